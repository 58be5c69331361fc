"""Steps that people carry out: the list, and one of them with its instructions, identifiers to copy, and a report."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from starlette.responses import Response

from cdp.connectors.base import Identifier
from cdp.core.db import Role
from cdp.core.errors import Conflict, Forbidden, InvalidInput, NotFound, StepUpRequired, TooLarge
from cdp.core.ids import InvalidGlobalId, parse_global_id
from cdp.operations import audit
from cdp.operations.attachments import attachments
from cdp.operations.manual import work
from cdp.operations.manual.work import Report
from cdp.tables.manual import ManualOutcome, ManualStatus, manual_task
from cdp.web.console.uploads import ACCEPTED, document_of
from cdp.web.visit import Problem, Visit
from cdp.web.words import STEP, Said, with_times

PAGE = 50
HERE = "/console/tasks"
STATUS: Mapping[str, Said] = {
    ManualStatus.OPEN.name: ("To do", ""),
    ManualStatus.REPORTED.name: ("To confirm", "warn"),
    ManualStatus.SETTLED.name: ("Done", "good"),
    ManualStatus.LAPSED.name: ("No answer", "bad"),
}
OUTCOME: Mapping[ManualOutcome, str] = {
    ManualOutcome.DONE: "Done",
    ManualOutcome.NOTHING_FOUND: "Nothing found",
    ManualOutcome.REFUSED: "Refused",
    ManualOutcome.HELD: "Held by law there",
    ManualOutcome.NOT_POSSIBLE: "Not possible",
}
STEPS: Mapping[str, str] = {step.name: words for step, words in STEP.items()}
ACTIONS: Mapping[str, str] = {
    "report": "manual_task.reported",
    "confirm": "manual_task.confirmed",
    "send-back": "manual_task.sent_back",
    "reveal": "manual_task.revealed",
}


async def show_list(visit: Visit) -> Response:
    """What waits for somebody, the next one due first; settled ones on request."""
    wants = (
        [ManualStatus.SETTLED, ManualStatus.LAPSED] if _is_past(visit) else [ManualStatus.OPEN, ManualStatus.REPORTED]
    )
    after = visit.request.query_params.get("after") or None
    filters = {"status": {"in": [status.name for status in wants]}}
    answer = await visit.read("console/tasks.graphql", filter=filters, first=PAGE, after=after)
    found: dict[str, Any] = with_times(answer["manualTasks"])
    return visit.page(
        "console/tasks.html",
        title="Tasks for people",
        rows=found["nodes"],
        statuses=STATUS,
        steps=STEPS,
        is_past=_is_past(visit),
        after=found["pageInfo"]["endCursor"] if found["pageInfo"]["hasNextPage"] else None,
    )


def _is_past(visit: Visit) -> bool:
    return visit.request.query_params.get("view") == "past"


async def show(visit: Visit) -> Response:
    """One task."""
    return await _page(visit, [])


async def submit(visit: Visit) -> Response:
    """Report, confirm, send back, or show the identifiers: the last word of the address."""
    what = str(visit.request.path_params["what"])
    if what not in ACTIONS:
        raise NotFound
    try:
        async with audit.refusing(visit.platform.db, visit.viewer, ACTIONS[what]):
            if what == "reveal":
                shown = await work.identifiers(visit.platform, visit.viewer, _id(visit))
                return await _page(visit, [], identifiers=shown)
            await _carry_out(visit, what)
    except StepUpRequired:
        raise
    except (Conflict, InvalidInput, Forbidden, TooLarge) as error:
        place = "note" if what == "send-back" else ("records" if isinstance(error, InvalidInput) else "")
        return await _page(visit, [Problem(place, error.message)], status=max(422, error.status))
    return visit.redirect(f"{HERE}/{visit.request.path_params['id']}")


async def _carry_out(visit: Visit, what: str) -> None:
    platform, viewer, task_id = visit.platform, visit.viewer, _id(visit)
    if what == "report":
        given = _report(visit)
        replaces = (manual_task, task_id)
        async with (
            attachments.stored(platform, await document_of(visit), replaces=replaces) as document,
            platform.db.transaction(Role.WORKER) as tx,
        ):
            await work.report(tx, viewer, task_id, given, document=document)
        return
    async with platform.db.transaction(Role.WORKER) as tx:
        if what == "confirm":
            await work.confirm(tx, viewer, platform, task_id)
        else:
            await work.send_back(tx, viewer, platform, task_id, note=visit.field("note"))


def _report(visit: Visit) -> Report:
    count = visit.field("records")
    try:
        outcome = ManualOutcome(visit.field("outcome"))
    except ValueError as error:
        raise work.ReportInvalid from error
    if count and not count.isdecimal():
        raise work.ReportInvalid
    return Report(outcome, int(count) if count else None, visit.field("code") or None, visit.field("note") or None)


def _id(visit: Visit) -> UUID:
    try:
        return parse_global_id(str(visit.request.path_params["id"]), expected="ManualTask")[1]
    except InvalidGlobalId as error:
        raise NotFound from error


async def _page(
    visit: Visit,
    problems: Sequence[Problem],
    *,
    identifiers: Sequence[Identifier] | None = None,
    status: int | None = None,
) -> Response:
    answer = await visit.read("console/task.graphql", id=visit.request.path_params["id"])
    row: dict[str, Any] | None = with_times(answer["node"])
    if not row:
        raise NotFound
    async with visit.platform.db.transaction(Role.WORKER) as tx:
        told = await work.instructions(tx, visit.viewer, _id(visit))
    return visit.page(
        "console/task.html",
        title=f"{STEPS[row['step']]}: {row['system']['title']}",
        problems=problems,
        status=status,
        row=row,
        said=STATUS[row["status"]],
        outcome=OUTCOME[ManualOutcome[row["outcome"]]] if row["outcome"] else None,
        outcomes=[(one.value, words) for one, words in OUTCOME.items()],
        instructions=told,
        identifiers=identifiers,
        is_mine=row["reportedById"] == str(visit.viewer.staff_id),
        accepted=ACCEPTED,
        here=f"{HERE}/{visit.request.path_params['id']}",
        typed={name: visit.field(name) for name in ("outcome", "records", "code", "note")},
    )
