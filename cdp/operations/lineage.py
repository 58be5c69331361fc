"""Under which ids a customer was known before records of them were merged: whoever has to forget one has to forget all.

A merge that stands has its row with the customer it went into, also after that one was merged further.
"""

from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Select, Uuid, any_, bindparam, select

from cdp.core.db import Tx
from cdp.core.ids import CustomerId
from cdp.tables.merge import MergeStatus, customer_merge


def merged_into(customers: Collection[UUID | ColumnElement[UUID]] | Select[UUID]) -> Select[UUID]:
    """Ids of the records that went into these customers."""
    standing = customer_merge.c.status == MergeStatus.MERGED
    return select(customer_merge.c.merged_id).where(customer_merge.c.customer_id.in_(customers), standing)


def log_names_of(customers: Collection[UUID | ColumnElement[UUID]]) -> Select[UUID]:
    """What the log called the records that went into these customers."""
    standing = customer_merge.c.status == MergeStatus.MERGED
    return select(customer_merge.c.merged_ref).where(customer_merge.c.customer_id.in_(customers), standing)


_KNOWN_AS = (
    select(customer_merge.c.customer_id, customer_merge.c.merged_id)
    .where(
        customer_merge.c.customer_id == any_(bindparam("customers", type_=ARRAY(Uuid))),
        customer_merge.c.status == MergeStatus.MERGED,
    )
    .order_by(customer_merge.c.merged_id)
)


async def known_as(tx: Tx, customer_id: CustomerId) -> list[CustomerId]:
    """The ids of the records that went into a customer."""
    return (await known_as_of(tx, [customer_id]))[customer_id]


async def known_as_of(tx: Tx, customer_ids: Sequence[CustomerId]) -> dict[CustomerId, list[CustomerId]]:
    """The ids of the records that went into each of these customers."""
    found: dict[CustomerId, list[CustomerId]] = {customer_id: [] for customer_id in customer_ids}
    for row in await tx.all(_KNOWN_AS, {"customers": list(customer_ids)}):
        found[CustomerId(row.customer_id)].append(CustomerId(row.merged_id))
    return found


async def now_known_as(tx: Tx, customer_id: UUID) -> CustomerId | None:
    """Into whom a record went that is no customer any more."""
    standing = customer_merge.c.status == MergeStatus.MERGED
    found = select(customer_merge.c.customer_id).where(customer_merge.c.merged_id == customer_id, standing)
    kept = await tx.scalar(found)
    return None if kept is None else CustomerId(kept)
