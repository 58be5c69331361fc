"""Under which ids a customer was known before records of them were merged: whoever has to forget one has to forget all.

A merge that stands has its row with the customer it went into, also after that one was merged further.
"""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import BindParameter, Select, bindparam, select

from cdp.core.db import Tx
from cdp.core.ids import CustomerId
from cdp.tables.merge import MergeStatus, customer_merge


def merged_into(customers: Collection[UUID | BindParameter[UUID]] | Select[UUID]) -> Select[UUID]:
    """Ids of the records that went into these customers."""
    standing = customer_merge.c.status == MergeStatus.MERGED
    return select(customer_merge.c.merged_id).where(customer_merge.c.customer_id.in_(customers), standing)


def log_names_of(customers: Collection[UUID | BindParameter[UUID]]) -> Select[UUID]:
    """What the log called the records that went into these customers."""
    standing = customer_merge.c.status == MergeStatus.MERGED
    return select(customer_merge.c.merged_ref).where(customer_merge.c.customer_id.in_(customers), standing)


_KNOWN_AS = merged_into([bindparam("customer")]).order_by(customer_merge.c.merged_id)


async def known_as(tx: Tx, customer_id: CustomerId) -> list[CustomerId]:
    """The ids of the records that went into a customer."""
    rows = await tx.all(_KNOWN_AS, {"customer": customer_id})
    return [CustomerId(row.merged_id) for row in rows]


async def now_known_as(tx: Tx, customer_id: UUID) -> CustomerId | None:
    """Into whom a record went that is no customer any more."""
    standing = customer_merge.c.status == MergeStatus.MERGED
    found = select(customer_merge.c.customer_id).where(customer_merge.c.merged_id == customer_id, standing)
    kept = await tx.scalar(found)
    return None if kept is None else CustomerId(kept)
