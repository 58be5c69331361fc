"""One request: its systems, its clock, its decisions, its history. Whoever decides does so about what they have seen:
a form carries the version it was made from, and a request that has moved on is shown anew with who moved it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from starlette.responses import Response

from cdp.access.viewer import Viewer
from cdp.access.writes import DECIDERS
from cdp.core.db import Role, Tx
from cdp.core.errors import Conflict, Forbidden, InvalidInput, NotFound, PlatformError, StepUpRequired
from cdp.core.ids import RequestId, global_id
from cdp.core.platform import Platform
from cdp.operations import audit
from cdp.operations.accounts import colleagues
from cdp.operations.audit import trail
from cdp.operations.audit.trail import Trace
from cdp.operations.requests import cases, docket, requests
from cdp.operations.requests.cases import REFUSABLE
from cdp.operations.requests.docket import CaseChanged
from cdp.tables.request import PAUSABLE, RequestStatus, TaskStatus, TaskStep
from cdp.web.console.queue import view_of
from cdp.web.console.search import hit_of
from cdp.web.console.words import ANSWERED, DECIDED, EVIDENCE, happened, request_line
from cdp.web.visit import Problem, Visit
from cdp.web.words import STEP, TASK_STATUS, Said, with_times

Row = Mapping[str, Any]
MOST_TRACES = 50


@dataclass(frozen=True)
class Decision:
    """One thing that can be done to a request: the event it leaves, and the operation."""

    action: str
    run: Callable[["Asked"], Awaitable[object]]


@dataclass(frozen=True)
class Asked:
    """A decision as posted."""

    tx: Tx
    viewer: Viewer
    platform: Platform
    id: RequestId
    reason: str
    agent: str


def _agent(asked: Asked) -> UUID | None:
    if not asked.agent:
        return None
    try:
        return UUID(asked.agent)
    except ValueError as error:
        raise cases.UnknownAgent from error


DECISIONS: Mapping[str, Decision] = {
    "approve": Decision("request.approved", lambda a: cases.approve(a.tx, a.viewer, a.platform, a.id)),
    "refuse": Decision("request.refused", lambda a: cases.refuse(a.tx, a.viewer, a.platform, a.id, reason=a.reason)),
    "give-up": Decision("request.failed", lambda a: cases.give_up(a.tx, a.viewer, a.platform, a.id, reason=a.reason)),
    "lift": Decision("request.lifting", lambda a: cases.lift(a.tx, a.viewer, a.platform, a.id, reason=a.reason)),
    "extend": Decision("request.extended", lambda a: cases.extend(a.tx, a.viewer, a.platform, a.id, reason=a.reason)),
    "pause": Decision("request.paused", lambda a: cases.pause(a.tx, a.viewer, a.id, reason=a.reason)),
    "resume": Decision("request.resumed", lambda a: cases.resume(a.tx, a.viewer, a.id)),
    "retry": Decision("request.retried", lambda a: requests.retry_row(a.tx, a.viewer, a.id)),
    "assign": Decision("request.assigned", lambda a: cases.assign(a.tx, a.viewer, a.id, agent_id=_agent(a))),
}

# What takes a fresh sign-in: it is asked for before anybody types a reason.
FRESH = frozenset({"approve", "refuse", "give-up", "lift"})


@dataclass(frozen=True)
class SystemLine:
    """One step of one system, in words."""

    row: Row
    title: str
    step: str
    state: Said
    said: str


async def show(visit: Visit) -> Response:
    """The request."""
    return await _page(visit, [])


async def submit(visit: Visit) -> Response:
    """Carry out the decision in the address, unless the request has changed since the page was made."""
    decision = DECISIONS.get(str(visit.request.path_params["decision"]))
    if decision is None:
        raise NotFound
    platform, viewer = visit.platform, visit.viewer
    version = visit.field("version")
    try:
        async with (
            audit.refusing(platform.db, viewer, decision.action),
            platform.db.transaction(Role.WORKER) as tx,
        ):
            request_id = await docket.id_of(tx, visit.reference)
            await docket.expect(tx, request_id, version=int(version) if version.isdecimal() else -1)
            asked = Asked(tx, viewer, platform, request_id, visit.field("reason"), visit.field("agent"))
            await decision.run(asked)
    except StepUpRequired:
        raise
    except CaseChanged as error:
        return await _page(visit, [], changed=True, status=error.status)
    except (Conflict, InvalidInput, Forbidden, cases.UnknownAgent) as error:
        return await _page(visit, [_problem(visit, error)], status=max(422, error.status))
    return visit.redirect(f"/console/requests/{visit.reference}?view={view_of(visit).name}")


def _problem(visit: Visit, error: PlatformError) -> Problem:
    place = f"{visit.request.path_params['decision']}-reason" if isinstance(error, InvalidInput) else ""
    return Problem(place, error.message)


async def _page(
    visit: Visit, problems: Sequence[Problem], *, changed: bool = False, status: int | None = None
) -> Response:
    async with visit.platform.db.transaction(visit.viewer.role) as tx:
        request_id = await docket.id_of(tx, visit.reference)
        names = await colleagues.on_requests(tx)
    answer = await visit.read("console/case.graphql", id=global_id("PrivacyRequest", request_id))
    found: dict[str, Any] | None = with_times(answer["privacyRequest"])
    if found is None:
        raise NotFound
    async with visit.platform.db.transaction(visit.viewer.role) as tx:
        traces = await trail.of_request(tx, request_id, limit=MOST_TRACES)
    line = request_line(found, visit.now)
    can = _possible(found, visit.viewer)
    return visit.page(
        "console/case.html",
        title=f"{line.type} {found['reference']}",
        problems=problems,
        status=status,
        case=found,
        line=line,
        customer=hit_of(found["customer"]),
        systems=[_system(one) for one in found["tasks"]],
        proofs=[(EVIDENCE[one["kind"]], one) for one in found["evidence"]],
        can=can if visit.is_fresh else can - FRESH,
        must_sign_in=not visit.is_fresh and bool(can & FRESH),
        is_own=found["openedById"] == str(visit.viewer.staff_id),
        colleagues=names,
        me=visit.viewer.staff_id,
        whose=_whose(found["assigneeId"], names),
        history=[
            (one, happened(one.action), DECIDED.get(one.code or "", one.code or ""))
            for one in traces
            if one.action != "customer.read"
        ],
        is_changed=changed,
        changed=_last_change(traces) if changed else None,
        view=view_of(visit),
        typed={"decision": visit.request.path_params.get("decision", ""), "reason": visit.field("reason")},
    )


def _system(row: Row) -> SystemLine:
    status, step = TaskStatus[row["status"]], TaskStep[row["step"]]
    title = row["system"]["title"] if row["system"] else "A system that is gone"
    return SystemLine(row, title, STEP[step], TASK_STATUS[status], ANSWERED.get(row["code"] or "", row["code"] or ""))


def _possible(row: Row, viewer: Viewer) -> frozenset[str]:
    """What can be offered; the operations decide anew."""
    status = RequestStatus[row["status"]]
    found = {"assign"}
    decides = bool(viewer.roles & DECIDERS)
    if status is RequestStatus.RECEIVED and decides:
        found.add("approve")
    if status in REFUSABLE and decides:
        found.add("refuse")
    if status is RequestStatus.NEEDS_ATTENTION and decides:
        found.add("give-up")
    if status is RequestStatus.IN_FORCE and decides:
        found.add("lift")
    if not row["isSettled"] and row["extendedAt"] is None:
        found.add("extend")
    if status in PAUSABLE:
        found.add("pause")
    if status is RequestStatus.PAUSED:
        found.add("resume")
    if status is RequestStatus.NEEDS_ATTENTION:
        found.add("retry")
    return frozenset(found)


def _whose(assignee_id: str | None, names: Mapping[UUID, str]) -> str:
    return names.get(UUID(assignee_id), "A former colleague") if assignee_id else "Nobody’s"


def _last_change(traces: Sequence[Trace]) -> Trace | None:
    """Who moved it meanwhile; None when it moved by itself."""
    changes = [one for one in traces if one.action.startswith("request.") and not one.is_refused]
    return changes[0] if changes else None
