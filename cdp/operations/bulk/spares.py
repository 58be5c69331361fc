"""Spare files: what the rewriter of a part is writing, and what it has just replaced; no manifest names them.

A part's row names its spare before there is such a file, under a lease. Once that has run out nobody can put the spare
in the part's place any more, so that whoever finds it may remove it: what a killed rewriter left does not wait for the
end of its export. A part has one spare, hence one rewriter at a time.
"""

from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

from sqlalchemy import func, select, update

from cdp.core.db import Role, Tx
from cdp.core.platform import Platform
from cdp.tables.bulk import bulk_part

FREE: Mapping[str, object] = {"spare_key": None, "spare_until": None}


async def claim(tx: Tx, part_id: UUID, old: str, key: str, *, lease_s: float) -> bool:
    """Name the file about to be written in place of ``old``; False when the part has another, or a spare."""
    claimed = await tx.execute(
        update(bulk_part)
        .where(bulk_part.c.id == part_id, bulk_part.c.object_key == old, bulk_part.c.spare_key.is_(None))
        .values(spare_key=key, spare_until=func.now() + timedelta(seconds=lease_s))
    )
    return claimed.rowcount == 1


async def extend(tx: Tx, part_id: UUID, key: str, *, lease_s: float) -> bool:
    """Keep it a while longer; False once the lease has run out."""
    kept = await tx.execute(
        update(bulk_part)
        .where(bulk_part.c.id == part_id, bulk_part.c.spare_key == key, bulk_part.c.spare_until > func.now())
        .values(spare_until=func.now() + timedelta(seconds=lease_s))
    )
    return kept.rowcount == 1


async def swap(tx: Tx, part_id: UUID, old: str, key: str, values: Mapping[str, object]) -> bool:
    """Put the spare in the place of ``old``, which becomes the spare nobody needs; False once the lease has run out."""
    swapped = await tx.execute(
        update(bulk_part)
        .where(
            bulk_part.c.id == part_id,
            bulk_part.c.object_key == old,
            bulk_part.c.spare_key == key,
            bulk_part.c.spare_until > func.now(),
        )
        .values({**values, "object_key": key, "spare_key": old, "spare_until": func.now()})
    )
    return swapped.rowcount == 1


async def give_up(platform: Platform, part_id: UUID, key: str) -> None:
    """Remove a spare that did not come to count."""
    async with platform.db.transaction(Role.WORKER) as tx:
        ours = update(bulk_part).where(bulk_part.c.id == part_id, bulk_part.c.spare_key == key)
        await tx.execute(ours.values(spare_until=func.now()))
    await platform.blobs.delete(key)  # also when somebody has found it late before it was there
    await remove(platform, part_id)


async def due(tx: Tx, *, limit: int) -> list[UUID]:
    """Parts with a spare nobody needs."""
    found = select(bulk_part.c.id).where(bulk_part.c.spare_key.is_not(None), bulk_part.c.spare_until <= func.now())
    return [row.id for row in await tx.all(found.limit(limit))]


async def remove(platform: Platform, part_id: UUID) -> bool:
    """Remove the spare of a part if nobody needs it; whether the part has none now. Doing it again is fine."""
    async with platform.db.transaction(Role.WORKER) as tx:
        over = (bulk_part.c.spare_until <= func.now()).label("is_over")
        row = await tx.first(select(bulk_part.c.spare_key, over).where(bulk_part.c.id == part_id))
    if row is None or row.spare_key is None:
        return True
    if not row.is_over:
        return False
    await platform.blobs.delete(row.spare_key)
    async with platform.db.transaction(Role.WORKER) as tx:
        same = update(bulk_part).where(bulk_part.c.id == part_id, bulk_part.c.spare_key == row.spare_key)
        await tx.execute(same.values(FREE))
    return True
