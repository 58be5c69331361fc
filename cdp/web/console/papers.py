"""Paper records: which are to be destroyed, one of them with its report and witness, and registering one."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any
from uuid import UUID

from starlette.responses import Response

from cdp.core.db import Role
from cdp.core.errors import Conflict, Forbidden, InvalidInput, NotFound, StepUpRequired, TooLarge
from cdp.core.ids import InvalidGlobalId, parse_global_id
from cdp.operations import audit
from cdp.operations.attachments import attachments
from cdp.operations.paper import records
from cdp.operations.paper.records import Filed, PaperInvalid
from cdp.tables.base import Category
from cdp.tables.paper import PaperStatus, paper_record
from cdp.web.console.customer import address, row_id
from cdp.web.console.search import hit_of
from cdp.web.console.uploads import ACCEPTED, document_of
from cdp.web.visit import Problem, Visit
from cdp.web.words import Said, with_times

PAGE = 50
HERE = "/console/paper"
STATUS: Mapping[str, Said] = {
    PaperStatus.FILED.name: ("Kept", ""),
    PaperStatus.DUE.name: ("To be destroyed", "warn"),
    PaperStatus.REPORTED.name: ("To be witnessed", "warn"),
    PaperStatus.DESTROYED.name: ("Destroyed", "good"),
}
VIEWS: Mapping[str, tuple[str, Sequence[PaperStatus]]] = {
    "due": ("To do", (PaperStatus.DUE, PaperStatus.REPORTED)),
    "filed": ("Kept", (PaperStatus.FILED,)),
    "destroyed": ("Destroyed", (PaperStatus.DESTROYED,)),
}
ACTIONS: Mapping[str, str] = {
    "report": "paper.reported",
    "witness": "paper.destroyed",
    "contradict": "paper.contradicted",
}


async def show_list(visit: Visit) -> Response:
    """Records of one view: those to be destroyed first."""
    view = visit.request.query_params.get("view", "")
    view = view if view in VIEWS else "due"
    answer = await visit.read(
        "console/papers.graphql",
        filter={"status": {"in": [status.name for status in VIEWS[view][1]]}},
        first=PAGE,
        after=visit.request.query_params.get("after") or None,
    )
    found: dict[str, Any] = with_times(answer["paperRecords"])
    return visit.page(
        "console/papers.html",
        title="Paper records",
        rows=found["nodes"],
        statuses=STATUS,
        view=view,
        views=[(name, title) for name, (title, _) in VIEWS.items()],
        after=found["pageInfo"]["endCursor"] if found["pageInfo"]["hasNextPage"] else None,
    )


async def show(visit: Visit) -> Response:
    """One record."""
    return await _page(visit, [])


async def submit(visit: Visit) -> Response:
    """Report, witness or contradict its destruction: the last word of the address."""
    what = str(visit.request.path_params["what"])
    if what not in ACTIONS:
        raise NotFound
    try:
        async with audit.refusing(visit.platform.db, visit.viewer, ACTIONS[what]):
            await _carry_out(visit, what)
    except StepUpRequired:
        raise
    except (Conflict, InvalidInput, Forbidden, TooLarge) as error:
        place = "method" if isinstance(error, InvalidInput) else ""
        return await _page(visit, [Problem(place, error.message)], status=max(422, error.status))
    return visit.redirect(f"{HERE}/{visit.request.path_params['id']}")


async def _carry_out(visit: Visit, what: str) -> None:
    platform, viewer, paper_id = visit.platform, visit.viewer, _id(visit)
    if what == "report":
        replaces = (paper_record, paper_id)
        async with (
            attachments.stored(platform, await document_of(visit), replaces=replaces) as document,
            platform.db.transaction(Role.WORKER) as tx,
        ):
            await records.report(tx, viewer, paper_id, method=visit.field("method"), document=document)
        return
    async with platform.db.transaction(Role.WORKER) as tx:
        step = records.witness if what == "witness" else records.contradict
        await step(tx, viewer, platform, paper_id)


def _id(visit: Visit) -> UUID:
    try:
        return parse_global_id(str(visit.request.path_params["id"]), expected="PaperRecord")[1]
    except InvalidGlobalId as error:
        raise NotFound from error


async def _page(visit: Visit, problems: Sequence[Problem], *, status: int | None = None) -> Response:
    answer = await visit.read("console/paper.graphql", id=visit.request.path_params["id"])
    row: dict[str, Any] | None = with_times(answer["node"])
    if not row:
        raise NotFound
    return visit.page(
        "console/paper.html",
        title=f"Paper record {row['reference']}",
        problems=problems,
        status=status,
        row=row,
        said=STATUS[row["status"]],
        is_mine=row["destroyedById"] == str(visit.viewer.staff_id),
        accepted=ACCEPTED,
        here=f"{HERE}/{visit.request.path_params['id']}",
        typed=visit.field("method"),
    )


async def show_filing(visit: Visit) -> Response:
    """The form to register a paper about a customer."""
    return await _filing(visit, [])


async def file(visit: Visit) -> Response:
    """Register it; it leads to the customer."""
    platform, viewer, customer_id = visit.platform, visit.viewer, row_id(visit)
    try:
        filed = _filed(visit)
        async with (
            audit.refusing(platform.db, viewer, "paper.registered"),
            platform.db.transaction(Role.WORKER) as tx,
        ):
            await records.register(tx, viewer, customer_id, filed)
    except (InvalidInput, Conflict) as error:
        place = str(error.extensions.get("argument", "retain_until"))
        return await _filing(visit, [Problem(place, error.message)])
    return visit.redirect(f"{HERE}?view=filed")


def _filed(visit: Visit) -> Filed:
    try:
        category, until = Category(visit.field("category")), date.fromisoformat(visit.field("retain_until"))
    except ValueError as error:
        raise PaperInvalid from error
    return Filed(category, visit.field("office"), visit.field("location"), visit.field("description"), until)


async def _filing(visit: Visit, problems: Sequence[Problem]) -> Response:
    answer = with_times(await visit.read("console/filing.graphql", id=visit.request.path_params["id"]))
    customer: dict[str, Any] | None = answer["customer"]
    if customer is None:
        raise NotFound
    names = ("category", "office", "location", "description", "retain_until")
    return visit.page(
        "console/filing.html",
        title="Register a paper",
        problems=problems,
        customer=hit_of(customer),
        papers=customer["paperRecords"],
        statuses=STATUS,
        categories=[(one.value, one.value.capitalize()) for one in Category],
        here=address(visit),
        typed={name: visit.field(name) for name in names},
    )
