"""Rotation of the master keys while everything runs: seal anew in batches, look whether anything is left, then drop.

Nothing is remembered between batches: what is not yet under the current key is what is left to do, so that a rotation
that was killed goes on where it stopped, and two at once only share the work. A value that changes meanwhile keeps its
newer content: it is replaced only if it is still what was read.
Source: NIST SP 800-57 part 1 rev. 5, section 5.3 (cryptoperiods), https://doi.org/10.6028/NIST.SP.800-57pt1r5
"""

import base64
import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import func, select, update

from cdp.access.viewer import Viewer
from cdp.connectors.gdpr_api import passes
from cdp.core.db import Role
from cdp.core.errors import Conflict, InvalidInput, NotFound
from cdp.core.keys import KeyStore
from cdp.core.platform import Platform
from cdp.core.seal import LOCAL, RELOAD_EVERY_S, Unsealable, head_of, local_id
from cdp.core.sign import SIGNING, Signer
from cdp.operations import audit, signing_keys
from cdp.operations.oauth import backchannel_logout
from cdp.operations.oauth.token_keys import TokenKeys
from cdp.operations.secrets.places import KEY_FILES, Place, counted, key_files, places

BATCH = 200
Progress = Callable[[str, int], None]


class KeysFromOutside(InvalidInput):
    """The master keys come from CDP_MASTER_KEYS: put a new one in front there, restart, and rotate."""

    code = "KEYS_FROM_OUTSIDE"


class KeyInUse(Conflict):
    """Something is still sealed under this key, or a process may still use it; rotate, wait two minutes, try again."""

    code = "KEY_IN_USE"


class UnknownKey(NotFound):
    """There is no master key with this id."""

    code = "UNKNOWN_KEY"


@dataclass(frozen=True)
class KeyUse:
    """One master key and what is sealed under it, by place."""

    id: str
    is_current: bool
    is_known: bool
    sealed: Mapping[str, int]


@dataclass
class Rotated:
    """What a rotation did; ``unreadable`` values were left as they are, since no key here opens them."""

    current: str
    resealed: Counter[str] = field(default_factory=Counter)
    unreadable: Counter[str] = field(default_factory=Counter)
    left: Mapping[str, int] = field(default_factory=dict)


async def listed(platform: Platform) -> list[KeyUse]:
    """Every key that is known here or that something is sealed under, the current first."""
    found = await counted(platform)
    current, known = platform.sealer.current, platform.sealer.key_ids
    ids = list(dict.fromkeys([current, *known, *sorted({one for counts in found.values() for one in counts})]))
    return [
        KeyUse(one, one == current, one in known, {name: counts[one] for name, counts in found.items() if counts[one]})
        for one in ids
    ]


def entry(key_id: str) -> str:
    """A fresh key as ``CDP_MASTER_KEYS`` takes it, to be put in front of the others."""
    if not key_id or not key_id.isascii() or not key_id.isprintable() or set(key_id) & set(":, ") or len(key_id) > 40:
        raise InvalidInput("A key's id is up to 40 characters without colon, comma and space.")
    return f"{key_id}:{base64.b64encode(secrets.token_bytes(32)).decode()}"


def add_local(platform: Platform) -> str:
    """Make a master key in the key store, which seals from now on. Raises KeysFromOutside.

    Running processes meet it when they read a value sealed under it, or within a minute.
    """
    if platform.settings.master_keys:
        raise KeysFromOutside
    store = KeyStore(platform.settings.keys_dir)
    number = int(store.names(LOCAL)[-1].removeprefix(LOCAL).removeprefix("-") or 1) + 1
    store.create(f"{LOCAL}-{number:04}")
    return local_id(f"{LOCAL}-{number:04}")


async def rotate(
    platform: Platform, viewer: Viewer, *, batch: int = BATCH, progress: Progress | None = None
) -> Rotated:
    """Seal everything anew that is not under the current master key, a batch a transaction; then count what is left."""
    current = platform.sealer.current
    done = Rotated(current)
    for place in places():
        await _column(platform, place, done, batch=batch, progress=progress)
    _files(platform, done, progress)
    done.left = {
        name: number
        for name, counts in (await counted(platform)).items()
        if (number := sum(counts.values()) - counts[current])
    }
    async with platform.db.transaction(Role.WORKER) as tx:
        details = {"key": current, "resealed": sum(done.resealed.values()), "left": sum(done.left.values())}
        await audit.record(tx, viewer, "keys.rotated", subject_ref=None, object_type="Key", details=details)
    return done


async def _column(platform: Platform, place: Place, done: Rotated, *, batch: int, progress: Progress | None) -> None:
    head, key = head_of(done.current), next(iter(place.table.primary_key.columns))
    other = func.substring(place.column, 1, len(head)) != head
    after = None
    while True:  # each turn is one batch in a transaction of its own
        async with platform.db.transaction(Role.WORKER) as tx:
            left = select(place.table).where(place.column.is_not(None), other).order_by(key).limit(batch)
            rows = await tx.all(left if after is None else left.where(key > after))
            for row in rows:  # every value is sealed by itself: no statement can do it for many
                values = row._asdict()
                old = bytes(values[place.column.name])
                context = place.context_of(values)
                try:
                    fresh = platform.sealer.seal(platform.sealer.open(old, context), context)
                except Unsealable:
                    done.unreadable[place.name] += 1
                    continue
                same = (key == values[key.name]) & (place.column == old)
                changed = await tx.execute(update(place.table).where(same).values({place.column.name: fresh}))
                done.resealed[place.name] += changed.rowcount
        if not rows:
            return
        after = rows[-1]._asdict()[key.name]
        if progress is not None:
            progress(place.name, done.resealed[place.name])


def _files(platform: Platform, done: Rotated, progress: Progress | None) -> None:
    store, head = platform.keys, head_of(done.current)
    for name in key_files(store):
        try:
            if not (store.exists(name) and (store.sealed(name) or b"").startswith(head)):
                store.reseal(name)
                done.resealed[KEY_FILES] += 1
        except Unsealable:
            done.unreadable[KEY_FILES] += 1
    if progress is not None:
        progress(KEY_FILES, done.resealed[KEY_FILES])


async def drop_local(platform: Platform, viewer: Viewer, key_id: str) -> None:
    """Destroy a master key of the key store under which nothing is left, and of which no process can think it current.

    Raises KeysFromOutside, UnknownKey, KeyInUse.
    """
    store = KeyStore(platform.settings.keys_dir)
    names = {local_id(name): name for name in store.names(LOCAL)}
    if key_id not in names:
        raise KeysFromOutside if key_id in platform.sealer.key_ids else UnknownKey
    newest = store.folder / f"{list(names.values())[-1]}.key"
    used = next(one for one in await listed(platform) if one.id == key_id)
    if used.is_current or used.sealed or time.time() - newest.stat().st_mtime < 2 * RELOAD_EVERY_S:
        raise KeyInUse
    store.destroy(names[key_id])
    async with platform.db.transaction(Role.WORKER) as tx:
        details = {"key": key_id}
        await audit.record(tx, viewer, "keys.dropped", subject_ref=None, object_type="Key", details=details)


async def rotate_token_keys(platform: Platform, viewer: Viewer) -> None:
    """Sign tokens with a new key; older ones stay published while a token signed with them may live."""
    longest_s = max(platform.settings.access_token_ttl_s, passes.LIFE_S, backchannel_logout.TOKEN_LIFE_S)
    TokenKeys(platform.keys).rotate(life_s=longest_s)
    await _record(platform, viewer, "token_keys.rotated")


async def rotate_signing_key(platform: Platform, viewer: Viewer) -> str:
    """Sign certificates and manifests with a new key from each process's next start; answers its id.

    The old public key stays pinned and published for ever: what it has signed still verifies.
    """
    signing_keys.publish(platform)
    number = int(platform.keys.names(SIGNING)[-1].removeprefix(SIGNING).removeprefix("-") or 1) + 1
    platform.keys.create(f"{SIGNING}-{number:04}")
    signer = Signer(platform.keys)
    signing_keys.publish(platform, signer=signer)
    await _record(platform, viewer, "signing_key.rotated")
    return signer.key_id


async def _record(platform: Platform, viewer: Viewer, action: str) -> None:
    async with platform.db.transaction(Role.WORKER) as tx:
        await audit.record(tx, viewer, action, subject_ref=None, object_type="Key")
