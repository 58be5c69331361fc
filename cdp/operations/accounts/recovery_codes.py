"""Recovery codes: ten words of eighty random bits, each good once, for who has lost phone or key.

Only keyed hashes are kept, so that a code is shown once and never again. New ones replace all the old.
"""

import base64
import secrets
from collections.abc import Sequence

from sqlalchemy import delete, func, insert, select, update

from cdp.core.db import Tx
from cdp.core.ids import new_id
from cdp.core.platform import Platform
from cdp.core.seal import Pepper
from cdp.operations.accounts.owner import Owner
from cdp.tables.second_factor import recovery_code

HOW_MANY = 10
RANDOM_BYTES = 10
LENGTH = 16


async def make(tx: Tx, platform: Platform, owner: Owner) -> Sequence[str]:
    """Replace somebody's codes; the answer is shown to them once and kept nowhere."""
    codes = [base64.b32encode(secrets.token_bytes(RANDOM_BYTES)).decode().lower() for _ in range(HOW_MANY)]
    await remove(tx, owner)
    rows = [{"id": new_id(), **owner.columns, "code_hash": _hash(platform.pepper, owner, one)[0]} for one in codes]
    await tx.execute(insert(recovery_code), rows)
    return [spaced(one) for one in codes]


async def use(tx: Tx, platform: Platform, owner: Owner, code: str) -> bool:
    """Use a code up; whether it was good. One conditional UPDATE, so that of two at once exactly one wins."""
    hashes = _hash(platform.pepper, owner, normal(code))
    mine = owner.holds(recovery_code) & recovery_code.c.code_hash.in_(hashes) & recovery_code.c.used_at.is_(None)
    return (await tx.execute(update(recovery_code).where(mine).values(used_at=platform.clock()))).rowcount == 1


async def left(tx: Tx, owner: Owner) -> int:
    """How many are good."""
    mine = select(func.count()).where(owner.holds(recovery_code), recovery_code.c.used_at.is_(None))
    return int(await tx.scalar(mine))


async def remove(tx: Tx, owner: Owner) -> None:
    """Forget them all."""
    await tx.execute(delete(recovery_code).where(owner.holds(recovery_code)))


def looks_like_one(typed: str) -> bool:
    """Whether somebody typed a recovery code and not the six digits of an app."""
    return len(normal(typed)) == LENGTH


def normal(typed: str) -> str:
    """Without spaces, dashes and capitals."""
    return "".join(typed.split()).replace("-", "").lower()


def spaced(code: str) -> str:
    """In groups of four."""
    return "-".join(code[at : at + 4] for at in range(0, len(code), 4))


def _hash(pepper: Pepper, owner: Owner, code: str) -> list[bytes]:
    """Newest key first; a lookup tries all."""
    return [known.value for known in pepper.hashes("recovery-code", f"{owner.id}\0{code}")]
