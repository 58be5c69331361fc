"""Take a merge apart without being asked: a backup has two records as one, and one of them was erased after that.

Its rows lie among those of the other record, whom nobody erased; they come back first, and then go.
"""

from typing import Any

from sqlalchemy import Row, func, select

from cdp.access.viewer import SYSTEM
from cdp.core.db import Tx
from cdp.core.ids import CustomerId
from cdp.core.platform import Platform
from cdp.operations.merging import safety, states
from cdp.operations.merging.ledger import Book
from cdp.operations.merging.splitting import split
from cdp.tables.merge import MergeStatus, customer_merge


async def part(tx: Tx, platform: Platform, customer_id: CustomerId) -> bool:
    """Undo the merge that a customer went into, later merges of the other record first; False if there is none."""
    row = await _standing(tx, customer_id)
    if row is None:
        return False
    while row.customer_id != row.kept_id:
        if not await part(tx, platform, CustomerId(row.kept_id)):
            raise states.MergedFurther
        row = await states.find(tx, row.id)
    await safety.locked(tx, row.customer_id)
    book = Book(row.id, CustomerId(row.customer_id), CustomerId(row.merged_id))
    await split(tx, SYSTEM, book, row.merged_at, now=platform.clock())
    await states.move(tx, row.id, MergeStatus.MERGED, MergeStatus.UNDONE, wrote={"undone_at": func.now()})
    await states.record(tx, SYSTEM, "customer.unmerged", row.id, about=row.merged_ref)
    return True


async def _standing(tx: Tx, customer_id: CustomerId) -> Row[Any] | None:
    here = (customer_merge.c.merged_id == customer_id, customer_merge.c.status == MergeStatus.MERGED)
    return await tx.first(select(customer_merge).where(*here))
