"""What ends at the seller after a deal: its time to keep the sold brand's rows, and with it the rows.

Their use has stopped by then (``access/departures``); they are kept a while for what may come of the handing over, and
for a recall. Who was a customer of the sold brand alone is erased by a request like any other, in every system and with
a certificate; of shared customers what the sold brand collected goes from our tables, and the rest stays. Holds and
restrictions come first: who is under one is looked at again every day. A recall undoes what can be undone.
Sources: GDPR art. 5(1)(e), 17(1)(a).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, exists, func, or_, select, update

from cdp.access.viewer import SYSTEM
from cdp.core.db import Tx
from cdp.core.ids import CustomerId
from cdp.core.platform import Platform
from cdp.operations import audit, moves, subjects
from cdp.operations.requests import opening, requests
from cdp.operations.transfers import removal, states
from cdp.tables.customer import CustomerStatus, customer
from cdp.tables.hold import EFFECTIVE, legal_hold
from cdp.tables.policy import collection
from cdp.tables.request import SETTLED, RequestType, privacy_request
from cdp.tables.transfer import TransferStatus, transfer, transfer_customer

BATCH = 200
CHANNEL = "asset transfer"


@dataclass(frozen=True)
class Ended:
    """What one batch came to: erasures opened, shared customers whose rows went, and rows by table."""

    erasures: int = 0
    shared: int = 0
    rows: Mapping[str, int] | None = None

    @property
    def people(self) -> int:
        """How many it decided about."""
        return self.erasures + self.shared


async def waiting(tx: Tx) -> int:
    """How many people's time is over."""
    return int(await tx.scalar(select(func.count()).select_from(_over().subquery())))


async def end_due(tx: Tx, platform: Platform, *, limit: int = BATCH) -> Ended:
    """End the time of some people of one deal: open the erasures, remove the rows of who is shared."""
    found = await tx.all(_over().limit(limit).with_for_update(of=transfer_customer, skip_locked=True))
    if not found:
        return Ended()
    deal = found[0]
    mine = [row for row in found if row.transfer_id == deal.transfer_id]
    shared = [row for row in mine if row.is_shared_now]
    whole = [row for row in mine if not row.is_shared_now]
    rows = await _remove(tx, deal, shared)
    opened = 0
    for row in whole:  # each is a request of its own, with its letter and its tasks
        opened += await _open(tx, platform, row)
    details: dict[str, object] = {"erasures": opened, "shared": len(shared), "rows": dict(rows)}
    await states.note(tx, SYSTEM, "transfer.rows_ended", deal.transfer_id, details=details)
    return Ended(opened, len(shared), rows)


def _over() -> Select[Any]:
    """People whose rows of a sold brand are to go now, deal by deal."""
    member, deal, other = transfer_customer.c, transfer.c, collection.alias("other")
    elsewhere = exists().where(other.c.customer_id == member.customer_id, other.c.brand_id != deal.brand_id)
    held = exists().where(legal_hold.c.customer_id == member.customer_id, legal_hold.c.status.in_(EFFECTIVE))
    return (
        select(
            member.id,
            member.customer_id,
            member.subject_ref,
            member.transfer_id,
            deal.brand_id,
            deal.reference,
            elsewhere.label("is_shared_now"),
        )
        .select_from(
            transfer_customer.join(transfer, deal.id == member.transfer_id).join(
                customer, customer.c.id == member.customer_id
            )
        )
        .where(
            deal.status == TransferStatus.COMPLETED,
            deal.completed_at + func.make_interval(0, 0, 0, deal.retain_days) <= func.now(),
            member.stopped_at.is_not(None),
            member.removed_at.is_(None),
            customer.c.status == CustomerStatus.ACTIVE,
            customer.c.restricted_at.is_(None),
            ~held,
        )
        .order_by(member.transfer_id)
    )


async def _remove(tx: Tx, deal: Row[Any], shared: Sequence[Row[Any]]) -> Mapping[str, int]:
    """Remove what the sold brand collected of shared customers."""
    if not shared:
        return {}
    rows = await removal.remove(tx, deal.brand_id, [row.customer_id for row in shared])
    gone = update(transfer_customer).where(transfer_customer.c.id.in_([row.id for row in shared]))
    await tx.execute(gone.values(removed_at=func.now()))
    for row in shared:  # everybody's own log says it
        await audit.record(
            tx,
            SYSTEM,
            "customer.brand_removed",
            subject_ref=row.subject_ref,
            object_type="CustomerTransfer",
            object_id=row.id,
        )
    return rows


async def _open(tx: Tx, platform: Platform, row: Row[Any]) -> int:
    """Open the erasure of somebody whom only the sold brand knew; 0 where their own is open already."""
    customer_id = CustomerId(row.customer_id)
    status = await opening.lock_customer(tx, customer_id)
    person = await subjects.gather(tx, customer_id)
    if status is not CustomerStatus.ACTIVE or person is None:
        return 0
    kind = opening.KINDS[RequestType.ERASURE]
    reason = f"{row.reference}: the brand was sold, and our time to keep what went is over."
    opened = await opening.write(tx, SYSTEM, platform, person, kind, status=kind.status, reason=reason, channel=CHANNEL)
    await opening.start(tx, platform, opened, person, kind)
    mine = update(transfer_customer).where(transfer_customer.c.id == row.id)
    await tx.execute(mine.values(removed_at=func.now(), removal_id=opened.id))
    return 1


async def undo_due(tx: Tx, *, limit: int) -> int:
    """Undo the erasures of recalled deals, and of who has objected since, that nothing came of yet; how many."""
    pending: Select[UUID, UUID, UUID] = (
        select(transfer_customer.c.id, transfer_customer.c.transfer_id, transfer_customer.c.removal_id)
        .join(transfer, transfer.c.id == transfer_customer.c.transfer_id)
        .join(privacy_request, privacy_request.c.id == transfer_customer.c.removal_id)
        .where(
            or_(transfer.c.status == TransferStatus.RECALLED, transfer_customer.c.objected_at.is_not(None)),
            privacy_request.c.status.not_in(SETTLED),
        )
        .limit(limit)
    )
    undone: Counter[UUID] = Counter()
    for row in await tx.all(pending):  # few, and each has its letter
        request = await moves.lock(tx, row.removal_id)
        if request is None or not await requests.is_undoable(tx, request):
            continue  # it is being erased: too late for that one
        await requests.cancel_row(tx, SYSTEM, row.removal_id)
        mine = update(transfer_customer).where(transfer_customer.c.id == row.id)
        await tx.execute(mine.values(removed_at=None, removal_id=None))
        undone[row.transfer_id] += 1
    for transfer_id, people in undone.items():
        await states.note(tx, SYSTEM, "transfer.rows_kept", transfer_id, details={"erasures": people})
    return undone.total()
