"""Whether this process opens the key store that the database was filled with.

Hosts that do not share ``CDP_KEY_STORE_DIR`` would each seal under keys that the others do not have, find nobody on a
suppression list that was hashed under another pepper, and destroy keys in one place that live on in another. The first
process of an installation records the fingerprint of its key store; every other one compares before it serves or works.
A copy of the folder has the same fingerprint: that hosts mount one folder is theirs to see to (docs/operation.md).
"""

import hmac

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from cdp.access.viewer import SYSTEM, Viewer
from cdp.core.db import Role, Tx
from cdp.core.errors import Forbidden
from cdp.core.platform import Platform
from cdp.operations import audit
from cdp.tables.keys import key_store


class KeyStoreDiffers(Forbidden):
    """This process opens another key store than the database was filled with: hosts share one CDP_KEY_STORE_DIR."""

    code = "KEY_STORE_DIFFERS"


async def check(platform: Platform) -> None:
    """Refuse to work with another key store than the one on record; the first one comes to be on record.

    Raises KeyStoreDiffers.
    """
    async with platform.db.transaction(Role.WORKER) as tx:
        if await tx.scalar(select(key_store.c.id)) is None:
            first = insert(key_store).values(fingerprint=platform.pepper.fingerprint)
            if (await tx.execute(first.on_conflict_do_nothing())).rowcount == 1:
                await _record(tx, SYSTEM, "key_store.recorded")
        if not await is_known(tx, platform):
            raise KeyStoreDiffers


async def is_known(tx: Tx, platform: Platform) -> bool:
    """Whether this key store is the one on record, or none is yet."""
    known = await tx.scalar(select(key_store.c.fingerprint))
    return known is None or hmac.compare_digest(bytes(known), platform.pepper.fingerprint)


async def adopt(platform: Platform, viewer: Viewer) -> bool:
    """Take this key store for the installation's from now on; False when it was already.

    For who has lost the other one: what was sealed there stays unreadable, and its suppression list finds nobody.
    """
    async with platform.db.transaction(Role.WORKER) as tx:
        fresh = {"fingerprint": platform.pepper.fingerprint}
        changed = (
            insert(key_store)
            .values(fresh)
            .on_conflict_do_update(
                index_elements=[key_store.c.id], set_=fresh, where=key_store.c.fingerprint != fresh["fingerprint"]
            )
        )
        is_new = (await tx.execute(changed)).rowcount == 1
        if is_new:
            await _record(tx, viewer, "key_store.adopted")
    return is_new


async def _record(tx: Tx, viewer: Viewer, action: str) -> None:
    await audit.record(tx, viewer, action, subject_ref=None, object_type="Key")
