"""Something wrong? The values of one thing we hold, each with a way to have it corrected (GDPR art. 16)."""

from collections.abc import Mapping
from uuid import UUID

from starlette.responses import Response

from cdp.core.errors import Conflict, InvalidInput, NotFound
from cdp.core.ids import InvalidGlobalId, parse_global_id
from cdp.operations.packages.readable import label
from cdp.operations.requests import corrections
from cdp.operations.requests.corrections import CORRECTABLE, Wanted
from cdp.web.visit import Problem, Visit

TITLE = "Something wrong?"
WHAT: Mapping[str, str] = {
    "Customer": "you",
    "PostalAddress": "this address",
    "Order": "this order",
    "Inquiry": "this question",
}
# The same name in two types, asked for under two names.
_ASKED_AS: Mapping[tuple[str, str], str] = {
    ("Customer", "country"): "customerCountry",
    ("PostalAddress", "country"): "addressCountry",
}
LONGEST_REASON = 2000


async def show(visit: Visit) -> Response:
    """The values, and the form for the one that was chosen."""
    return await _page(visit, visit.request.query_params.get("field", ""), [])


async def submit(visit: Visit) -> Response:
    """Open the correction, and go to its page; where somebody here has to agree the page says so."""
    viewer, platform = visit.viewer, visit.platform
    kind, object_id = _named(visit)
    wanted = Wanted(kind, object_id, visit.field("field"), visit.secret("old") or None, visit.field("new") or None)
    try:
        async with platform.db.transaction(viewer.role, subject=viewer.subject) as tx:
            reason = visit.field("reason")[:LONGEST_REASON] or None
            opened = await corrections.correct(tx, viewer, platform, wanted, reason=reason)
    except (InvalidInput, Conflict) as error:
        return await _page(visit, wanted.field, [Problem("new", error.message)])
    return visit.redirect(f"/account/requests/{opened.reference}")


def _named(visit: Visit) -> tuple[str, UUID]:
    try:
        kind, object_id = parse_global_id(str(visit.request.path_params["id"]))
    except InvalidGlobalId as error:
        raise NotFound from error
    if kind not in CORRECTABLE:
        raise NotFound
    return kind, object_id


async def _page(visit: Visit, chosen: str, problems: list[Problem]) -> Response:
    kind, _ = _named(visit)
    address = str(visit.request.path_params["id"])
    found = (await visit.read("account/correct.graphql", id=address))["node"]
    if found is None:
        raise NotFound
    values = {name: found[_ASKED_AS.get((kind, name), name)] for name in CORRECTABLE[kind]}
    if chosen and chosen not in values:
        raise NotFound
    place = CORRECTABLE[kind].get(chosen)
    return visit.page(
        "account/correct.html",
        title=TITLE,
        problems=problems,
        what=WHAT[kind],
        address=f"/account/correct/{address}",
        values=[(name, label(name), value) for name, value in values.items()],
        chosen=chosen,
        called=label(chosen),
        old=values.get(chosen) or "",
        new=visit.field("new") or values.get(chosen) or "",
        reason=visit.field("reason"),
        is_long=chosen == "body",
        at_once=place is not None and place.by_oneself,
    )
