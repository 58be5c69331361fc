"""The queue: privacy requests by deadline, in views that answer what to do next."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from starlette.responses import Response

from cdp.access.viewer import Viewer
from cdp.core.clock import iso
from cdp.operations.accounts import colleagues
from cdp.tables.request import SETTLED, RequestStatus, TaskStatus
from cdp.web.console.words import SOON, RequestLine, request_line
from cdp.web.visit import Visit
from cdp.web.words import with_times

PAGE = 25
NEARBY = 20
OPEN = sorted(status.name for status in set(RequestStatus) - SETTLED)
WAITING = (TaskStatus.WAITING.name, TaskStatus.RETRYING.name)
Filter = dict[str, Any]


@dataclass(frozen=True)
class View:
    """A saved view: how it is called, which open requests it holds, and what it says when there are none."""

    name: str
    title: str
    narrow: Callable[[Viewer, datetime], Filter]
    empty: str

    def filter(self, viewer: Viewer, now: datetime) -> Filter:
        """The condition of the API."""
        return {"status": {"in": OPEN}} | self.narrow(viewer, now)


VIEWS: Sequence[View] = (
    View("open", "All open", lambda _v, _n: {}, "Nothing is open. Requests appear here as soon as somebody asks."),
    View(
        "mine",
        "Mine",
        lambda viewer, _: {"assigneeId": {"eq": str(viewer.staff_id)}},
        "Nothing is assigned to you. Take something from “Unassigned”.",
    ),
    View("unassigned", "Unassigned", lambda _v, _n: {"assigneeId": {"eq": None}}, "Everything has somebody."),
    View(
        "decide",
        "To decide",
        lambda _v, _n: {"status": {"eq": RequestStatus.RECEIVED.name}},
        "Nothing waits for a decision.",
    ),
    View(
        "due",
        "Due in 72 hours",
        lambda _, now: {"dueAt": {"gte": iso(now), "lte": iso(now + SOON)}},
        "Nothing is due in the next 72 hours.",
    ),
    View("overdue", "Overdue", lambda _, now: {"dueAt": {"lt": iso(now)}}, "Nothing is overdue."),
    View(
        "waiting",
        "Waiting for a system",
        lambda _v, _n: {"taskStatus": {"in": list(WAITING)}},
        "No connected system keeps anybody waiting.",
    ),
    View(
        "stuck",
        "Needs a person",
        lambda _v, _n: {"status": {"eq": RequestStatus.NEEDS_ATTENTION.name}},
        "Nothing is stuck.",
    ),
)
BY_NAME: Mapping[str, View] = {view.name: view for view in VIEWS}


@dataclass(frozen=True)
class Line:
    """One request of the queue."""

    request: RequestLine
    email: str | None
    assignee: str | None


async def show(visit: Visit) -> Response:
    """A page of a view."""
    query = visit.request.query_params
    view = view_of(visit)
    found = await _read(visit, view, first=PAGE, after=query.get("after") or None)
    names = await _names(visit)
    page = found["pageInfo"]
    return visit.page(
        "console/queue.html",
        title="Requests",
        view=view,
        views=VIEWS,
        lines=[_line(row, names, visit.now) for row in found["nodes"]],
        after=page["endCursor"] if page["hasNextPage"] else None,
        is_later="after" in query,
        is_done="done" in query,
    )


def view_of(visit: Visit) -> View:
    """The view in the address; the first where none is named."""
    return BY_NAME.get(visit.request.query_params.get("view", ""), VIEWS[0])


async def show_next(visit: Visit) -> Response:
    """Go on to the request that comes after the one in the address, in the same view; back to the queue at its end."""
    view, current = view_of(visit), visit.request.query_params.get("after", "")
    rows = (await _read(visit, view, first=NEARBY, after=None))["nodes"]
    references = [str(row["reference"]) for row in rows]
    following = references[references.index(current) + 1 :] if current in references else references
    nearest = (following or [one for one in references if one != current])[:1]
    if not nearest:
        return visit.redirect(f"/console/requests?view={view.name}&done=1")
    return visit.redirect(f"/console/requests/{nearest[0]}?view={view.name}")


async def _read(visit: Visit, view: View, *, first: int, after: str | None) -> dict[str, Any]:
    wanted = view.filter(visit.viewer, visit.now)
    answer = await visit.read("console/queue.graphql", filter=wanted, first=first, after=after)
    found: dict[str, Any] = with_times(answer["privacyRequests"])
    return found


async def _names(visit: Visit) -> Mapping[UUID, str]:
    async with visit.platform.db.transaction(visit.viewer.role) as tx:
        return await colleagues.on_requests(tx)


def _line(row: Mapping[str, Any], names: Mapping[UUID, str], now: datetime) -> Line:
    emails = row["customer"]["contacts"]["emails"] if row["customer"] else []
    first = sorted(emails, key=lambda one: not one["isPrimary"])[:1]
    assignee = names.get(UUID(row["assigneeId"]), "A former colleague") if row["assigneeId"] else None
    return Line(request_line(row, now), first[0]["address"] if first else None, assignee)
