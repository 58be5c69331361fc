"""Why two records can not be merged, or taken apart, now: each reason with a code of its own.

Whatever is under way knows a person by one record: a request that erases or hands out, a hold, an order, a sale whose
list is being agreed to. It ends first.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row, exists, func, or_, select

from cdp.connectors.holds import is_effective
from cdp.core.db import Tx
from cdp.core.errors import Conflict
from cdp.operations.collection import CustomerFrozen
from cdp.tables.customer import CustomerStatus, customer
from cdp.tables.hold import legal_hold
from cdp.tables.provider import controller
from cdp.tables.request import SETTLED, privacy_request
from cdp.tables.sharing import OrderStatus, legal_order
from cdp.tables.transfer import TransferStatus, transfer, transfer_customer

_OVER = (TransferStatus.COMPLETED, TransferStatus.RECALLED, TransferStatus.CANCELLED)
_FIXED = (TransferStatus.FROZEN, TransferStatus.APPROVED, TransferStatus.PACKAGING, TransferStatus.DELIVERING)


class MergeRestricted(Conflict):
    """Processing is restricted for one of the two; that has to be lifted first."""

    code = "MERGE_RESTRICTED"


class MergeRequestOpen(Conflict):
    """A request of one of the two is still open; it has to be settled first."""

    code = "MERGE_REQUEST_OPEN"


class MergeHeld(Conflict):
    """A legal hold or a legal order covers one of the two; it has to end first."""

    code = "MERGE_HELD"


class MergeInTransfer(Conflict):
    """One of the two is part of an asset transfer that is under way; it has to end first."""

    code = "MERGE_IN_TRANSFER"


class MergeKindsDiffer(Conflict):
    """A person and an organisation are two customers."""

    code = "MERGE_KINDS_DIFFER"


class MergeControllersDiffer(Conflict):
    """One of the two is the customer of somebody whose processor we are; records of two controllers stay apart."""

    code = "MERGE_CONTROLLERS_DIFFER"


@dataclass(frozen=True)
class Blocker:
    """One reason, with the sentence people read."""

    code: str
    message: str


async def under_way(tx: Tx, people: Collection[Row[Any]]) -> list[type[Conflict]]:
    """What keeps these customers' records from changing hands; ``people`` are rows of ``customer``."""
    ids = [row.id for row in people]
    found: list[type[Conflict]] = []
    if any(row.status is not CustomerStatus.ACTIVE for row in people):
        found.append(CustomerFrozen)
    if any(row.restricted_at is not None for row in people):
        found.append(MergeRestricted)
    row = await tx.first(
        select(
            exists()
            .where(privacy_request.c.customer_id.in_(ids), privacy_request.c.status.not_in(SETTLED))
            .label("asked"),
            exists().where(legal_hold.c.customer_id.in_(ids), is_effective()).label("held"),
            exists()
            .where(
                legal_order.c.customer_id.in_(ids),
                legal_order.c.status.not_in((OrderStatus.DISCLOSED, OrderStatus.REFUSED)),
            )
            .label("ordered"),
            exists()
            .where(
                transfer_customer.c.customer_id.in_(ids),
                transfer.c.id == transfer_customer.c.transfer_id,
                transfer.c.status.not_in(_OVER),
                or_(transfer_customer.c.cohort_id.is_not(None), transfer.c.status.in_(_FIXED)),
            )
            .label("sold"),
        )
    )
    assert row is not None
    reasons = ((row.asked, MergeRequestOpen), (row.held or row.ordered, MergeHeld), (row.sold, MergeInTransfer))
    return [*found, *(reason for is_so, reason in reasons if is_so)]


async def apart(tx: Tx, keep: Row[Any], drop: Row[Any]) -> list[type[Conflict]]:
    """Why these two are not one, whatever their values say."""
    found: list[type[Conflict]] = []
    if keep.kind is not drop.kind:
        found.append(MergeKindsDiffer)
    if keep.brand_id != drop.brand_id:
        theirs = select(func.count()).where(controller.c.brand_id.in_([keep.brand_id, drop.brand_id]))
        if await tx.scalar(theirs):
            found.append(MergeControllersDiffer)
    return found


def blockers(reasons: Collection[type[Conflict]]) -> list[Blocker]:
    """The reasons in words."""
    return [Blocker(reason.code, reason().message) for reason in reasons]


async def locked(tx: Tx, *ids: UUID) -> dict[UUID, Row[Any]]:
    """Lock customers in the order of their ids, so that two merges never wait for each other; those that are there."""
    rows = await tx.all(select(customer).where(customer.c.id.in_(ids)).order_by(customer.c.id).with_for_update())
    return {row.id: row for row in rows}
