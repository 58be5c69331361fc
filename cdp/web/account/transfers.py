"""Sales of part of the business: to whom data would go, which, on what ground; and one click to keep it here."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from starlette.responses import Response

from cdp.core.db import Role
from cdp.core.errors import NotFound
from cdp.operations import audit
from cdp.operations.transfers import objections
from cdp.tables.transfer import CohortBasis, TransferStatus
from cdp.web.visit import Visit
from cdp.web.words import Said, with_times

PATH = "/account/transfers"
ONE = f"{PATH}/{{reference}}"
STATUS: Mapping[str, Said] = {
    TransferStatus.NOTIFYING.name: ("You are being told", ""),
    TransferStatus.WINDOW.name: ("You can object", "warn"),
    TransferStatus.FROZEN.name: ("Being decided", ""),
    TransferStatus.APPROVED.name: ("Decided", ""),
    TransferStatus.PACKAGING.name: ("Being handed over", ""),
    TransferStatus.DELIVERING.name: ("Being handed over", ""),
    TransferStatus.COMPLETED.name: ("Done", "good"),
    TransferStatus.RECALLED.name: ("Called back", "warn"),
    TransferStatus.CANCELLED.name: ("Called off", ""),
}
BASIS: Mapping[str, str] = {
    CohortBasis.CONTRACT_ASSUMPTION.name: "They take over your contract with us.",
    CohortBasis.OPT_OUT.name: "They have a legitimate interest in it, unless you object.",
    CohortBasis.OPT_IN.name: "You consented to it.",
    CohortBasis.ARCHIVE_ONLY.name: "They only keep it as long as the law demands, and use it for nothing.",
}
_OVER = {TransferStatus.RECALLED.name, TransferStatus.CANCELLED.name}


async def show_list(visit: Visit) -> Response:
    """Every sale that concerns the customer."""
    return visit.page(
        "account/transfers.html", title="If part of the business is sold", rows=await _mine(visit), statuses=STATUS
    )


async def show(visit: Visit) -> Response:
    """One sale: who, what, why, until when one can object, and what one said."""
    row = await _one(visit)
    return visit.page(
        "account/transfer.html",
        title=row["transfer"]["name"],
        row=row,
        deal=row["transfer"],
        said=STATUS[row["transfer"]["status"]],
        basis=BASIS,
        can_object=row["cohort"] and not row["objectedAt"] and row["transfer"]["status"] not in _OVER,
        is_called_back=row["transfer"]["status"] == TransferStatus.RECALLED.name,
        until=_until(row["transfer"]) if row["stoppedAt"] else None,
    )


def _until(deal: Mapping[str, Any]) -> datetime:
    """When what went is deleted here."""
    completed_at: datetime = deal["completedAt"]
    return completed_at + timedelta(days=deal["retainDays"])


async def submit(visit: Visit) -> Response:
    """Object."""
    reference = str(visit.request.path_params["reference"])
    db, viewer = visit.platform.db, visit.viewer
    writing = db.transaction(Role.CUSTOMER, subject=viewer.subject)
    async with audit.refusing(db, viewer, "transfer.objected"), writing as tx:
        await objections.object_to(tx, viewer, reference)
    return visit.redirect(f"{PATH}/{reference}")


async def _mine(visit: Visit) -> list[dict[str, Any]]:
    answer = await visit.read("account/transfers.graphql")
    found: list[dict[str, Any]] = with_times(answer["viewer"]["customer"]["transfers"])
    return found


async def _one(visit: Visit) -> dict[str, Any]:
    reference = str(visit.request.path_params["reference"]).upper()
    found = [row for row in await _mine(visit) if row["transfer"] and row["transfer"]["reference"] == reference]
    if not found:
        raise NotFound
    return found[0]
