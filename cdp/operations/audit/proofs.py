"""What anybody may ask of the log: its newest head, and proofs about it. Hashes and numbers, nothing about anybody."""

from cdp.core.db import Role
from cdp.core.errors import NotFound
from cdp.core.platform import Platform
from cdp.core.sign import Document
from cdp.operations.audit import heads, tree


class NoHead(NotFound):
    """Nothing is in the audit log yet."""

    code = "NO_AUDIT_HEAD"


async def head(platform: Platform) -> Document:
    """The newest signed head. Raises NoHead."""
    async with platform.db.transaction(Role.WORKER) as tx:
        newest = await heads.latest(tx)
    if newest is None:
        raise NoHead
    return newest.document


async def inclusion(platform: Platform, leaf_hash: bytes, size: int) -> Document:
    """The path from the leaf with this hash to the root of the tree of this size. Raises NotInTheLog, NotThatLarge."""
    async with platform.db.transaction(Role.WORKER) as tx:
        position = await tree.position_of(tx, leaf_hash)
        path = await tree.inclusion(tx, position, size)
    return {"index": position, "size": size, "path": [one.hex() for one in path]}


async def consistency(platform: Platform, first: int, second: int) -> Document:
    """The path that shows the tree of ``second`` leaves to begin with that of ``first``. Raises NotThatLarge."""
    async with platform.db.transaction(Role.WORKER) as tx:
        path = await tree.consistency(tx, first, second)
    return {"first": first, "second": second, "path": [one.hex() for one in path]}
