"""How far the carrying out of a deal is, for the people who answer for it: parts, package, pull, receipt, changes."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, select

from cdp.access.viewer import Viewer
from cdp.core.db import Tx
from cdp.operations.transfers import states
from cdp.tables.bulk import PartStatus
from cdp.tables.delivery import (
    ReceiptKind,
    transfer_delta,
    transfer_package,
    transfer_part,
    transfer_pull,
    transfer_receipt,
)


@dataclass(frozen=True)
class Progress:
    """Nothing of it names anybody. ``revision`` is the newest package's; what follows it is about that one."""

    parts: int
    parts_done: int
    parts_failed: int
    revision: int | None
    offered_until: datetime | None
    opened_at: datetime | None
    closed_at: datetime | None
    accepted: int | None
    rejected: int | None
    received_at: datetime | None
    changes: int
    unacknowledged: int
    unacknowledged_since: datetime | None


async def of(tx: Tx, viewer: Viewer, deal_id: UUID) -> Progress:
    """How far a deal is. Raises MissingScope, TransferRoleNeeded."""
    states.require_reader(viewer)
    part, delta = transfer_part.c, transfer_delta.c
    made = await tx.first(
        select(
            func.count().label("parts"),
            func.count().filter(part.status == PartStatus.DONE).label("done"),
            func.count().filter(part.status == PartStatus.FAILED).label("failed"),
        ).where(part.transfer_id == deal_id)
    )
    told = await tx.first(
        select(
            func.count().label("changes"),
            func.count().filter(delta.acknowledged_at.is_(None)).label("open"),
            func.min(delta.issued_at).filter(delta.acknowledged_at.is_(None)).label("since"),
        ).where(delta.transfer_id == deal_id)
    )
    assert made is not None, "a count is a row"
    assert told is not None, "a count is a row"
    newest: Any = await tx.first(_newest(deal_id))
    return Progress(
        parts=made.parts,
        parts_done=made.done,
        parts_failed=made.failed,
        revision=newest.revision if newest else None,
        offered_until=newest.expires_at if newest else None,
        opened_at=newest.opened_at if newest else None,
        closed_at=newest.closed_at if newest else None,
        accepted=newest.accepted if newest else None,
        rejected=newest.rejected if newest else None,
        received_at=newest.received_at if newest else None,
        changes=told.changes,
        unacknowledged=told.open,
        unacknowledged_since=told.since,
    )


def _newest(deal_id: UUID) -> Select[Any]:
    package, pull, receipt = transfer_package.c, transfer_pull.c, transfer_receipt.c
    signed = transfer_package.join(transfer_pull, pull.package_id == package.id).outerjoin(
        transfer_receipt, (receipt.package_id == package.id) & (receipt.kind == ReceiptKind.RECEIPT)
    )
    found = select(
        *(package.revision, pull.expires_at, pull.opened_at, pull.closed_at),
        *(receipt.accepted, receipt.rejected, receipt.received_at),
    )
    mine = found.select_from(signed).where(package.transfer_id == deal_id)
    return mine.order_by(package.revision.desc(), receipt.received_at.desc()).limit(1)
