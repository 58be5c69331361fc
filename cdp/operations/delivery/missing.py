"""Who was erased after the freeze and before their part was made: in no file, and told to nobody.

Such a row has lost its customer and so belongs to no range; no part can speak of it. Once every part is made, the rolls
of its files tell: who is in one of them was delivered, and the acquirer will hear of the erasure; who is not was left
out. That is noted with the part that belongs to the deal as a whole, anew for every package.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row, delete, func, insert, select

from cdp.core.db import Tx
from cdp.operations.transfers import roll
from cdp.tables.delivery import ChangeReason, transfer_file, transfer_omission, transfer_roll
from cdp.tables.transfer import transfer_cohort, transfer_customer


async def note(tx: Tx, deal_id: UUID, made: Sequence[Row[Any]]) -> int:
    """Write them down, in place of those of the package before; how many. Every part is made."""
    whole = _whole(made)
    await tx.execute(delete(transfer_omission).where(transfer_omission.c.part_id == whole))
    member = transfer_customer.c
    named = select(transfer_omission.c.record_id).where(transfer_omission.c.record_id == member.id)
    gone = await tx.all(
        select(member.id, transfer_cohort.c.name)
        .join(transfer_cohort, transfer_cohort.c.id == member.cohort_id)
        .where(member.transfer_id == deal_id, member.customer_id.is_(None), ~named.exists())
    )
    left = {roll.leaf(row.id, row.name): row.id for row in gone}
    if left:
        await _take_out_delivered(tx, deal_id, left)
    if left:
        rows = [{"record_id": one, "part_id": whole, "reason": ChangeReason.ERASED.value} for one in left.values()]
        await tx.execute(insert(transfer_omission), rows)
    return len(left)


async def count(tx: Tx, cohort_id: UUID, made: Sequence[Row[Any]]) -> int:
    """How many of a cohort were noted."""
    mine = select(func.count()).select_from(transfer_omission.join(transfer_customer))
    mine = mine.where(transfer_omission.c.part_id == _whole(made), transfer_customer.c.cohort_id == cohort_id)
    return int(await tx.scalar(mine))


def _whole(made: Sequence[Row[Any]]) -> UUID:
    """The part that belongs to the deal as a whole."""
    (found,) = (part.id for part in made if part.cohort_id is None)
    return UUID(str(found))


async def _take_out_delivered(tx: Tx, deal_id: UUID, left: dict[bytes, UUID]) -> None:
    standing = select(transfer_file.c.people_sha256).where(
        transfer_file.c.transfer_id == deal_id,
        transfer_file.c.replaced_by_id.is_(None),
        transfer_file.c.people_sha256.is_not(None),
    )
    mine = (transfer_roll.c.transfer_id == deal_id, transfer_roll.c.sha256.in_(standing))
    rolls = select(transfer_roll.c.leaves).where(*mine).execution_options(yield_per=1)
    async for leaves in await tx.connection.stream_scalars(rolls):
        for one in roll.split(bytes(leaves)):
            left.pop(one, None)
