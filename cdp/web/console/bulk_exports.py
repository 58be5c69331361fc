"""Bulk exports: what was asked for and how far it is; approving, refusing and stopping one."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from starlette.responses import Response

from cdp.core.db import Role
from cdp.core.errors import Conflict, Forbidden, NotFound, StepUpRequired
from cdp.core.ids import InvalidGlobalId, parse_global_id
from cdp.operations import audit
from cdp.operations.bulk import control
from cdp.tables.bulk import BULK_OVER, BulkStatus, PartKind, PartStatus
from cdp.web.visit import Problem, Visit
from cdp.web.words import Said, with_times

PAGE = 50
HERE = "/console/exports"
STATUS: Mapping[str, Said] = {
    BulkStatus.AWAITING_APPROVAL.name: ("Waits for a second person", "warn"),
    BulkStatus.QUEUED.name: ("Waits for a worker", ""),
    BulkStatus.RUNNING.name: ("Being made", ""),
    BulkStatus.CANCELLING.name: ("Being stopped", "warn"),
    BulkStatus.COMPLETED.name: ("Ready", "good"),
    BulkStatus.FAILED.name: ("Failed", "bad"),
    BulkStatus.CANCELLED.name: ("Stopped", ""),
    BulkStatus.EXPIRED.name: ("Its time is over", ""),
    BulkStatus.DESTROYED.name: ("Destroyed", ""),
}
PART_STATUS: Mapping[str, Said] = {
    PartStatus.PENDING.name: ("Waits", ""),
    PartStatus.RUNNING.name: ("Being made", ""),
    PartStatus.DONE.name: ("Done", "good"),
    PartStatus.FAILED.name: ("Failed", "bad"),
}
ACTIONS: Mapping[str, str] = {
    "approve": "bulk_export.approved",
    "refuse": "bulk_export.refused",
    "cancel": "bulk_export.cancelled",
}
_ENDED = {status.name for status in BULK_OVER} | {BulkStatus.CANCELLING.name}


async def show_list(visit: Visit) -> Response:
    """Everybody's exports, newest first: analysts and privacy officers see them."""
    after = visit.request.query_params.get("after") or None
    listed = with_times((await visit.read("console/bulk_exports.graphql", first=PAGE, after=after))["bulkExports"])
    return visit.page(
        "console/bulk_exports.html",
        title="Bulk exports",
        rows=listed["nodes"],
        statuses=STATUS,
        after=listed["pageInfo"]["endCursor"] if listed["pageInfo"]["hasNextPage"] else None,
    )


async def show(visit: Visit) -> Response:
    """One export."""
    return await _page(visit, [])


async def submit(visit: Visit) -> Response:
    """Approve, refuse or stop it: the last word of the address."""
    what, platform, viewer = str(visit.request.path_params["what"]), visit.platform, visit.viewer
    if what not in ACTIONS:
        raise NotFound
    export_id = _id(visit)
    try:
        async with audit.refusing(platform.db, viewer, ACTIONS[what]):
            if what == "approve":
                await control.approve(platform, viewer, export_id)
            elif what == "refuse":
                await control.refuse(platform, viewer, export_id)
            else:
                async with platform.db.transaction(Role.WORKER) as tx:
                    await control.cancel(tx, viewer, export_id)
    except StepUpRequired:
        raise
    except (Conflict, Forbidden) as error:
        return await _page(visit, [Problem("", error.message)], status=error.status)
    return visit.redirect(f"{HERE}/{visit.request.path_params['id']}")


def _id(visit: Visit) -> UUID:
    try:
        return parse_global_id(str(visit.request.path_params["id"]), expected="BulkExport")[1]
    except InvalidGlobalId as error:
        raise NotFound from error


async def _page(visit: Visit, problems: Sequence[Problem], *, status: int | None = None) -> Response:
    _id(visit)
    answer = await visit.read("console/bulk_export.graphql", id=visit.request.path_params["id"])
    row: dict[str, Any] | None = with_times(answer["bulkExport"])
    if not row:
        raise NotFound
    is_mine = row["requestedById"] == str(visit.viewer.staff_id)
    return visit.page(
        "console/bulk_export.html",
        title=f"Export {row['reference']}",
        problems=problems,
        status=status,
        row=row,
        said=STATUS[row["status"]],
        part_statuses=PART_STATUS,
        deleted=PartKind.DELETED.name,
        is_mine=is_mine,
        is_waiting=row["status"] == BulkStatus.AWAITING_APPROVAL.name,
        can_stop=is_mine and row["status"] not in _ENDED,
        is_ready=row["status"] == BulkStatus.COMPLETED.name,
        here=f"{HERE}/{visit.request.path_params['id']}",
    )
