"""One customer on one page: who they are (masked), what happened between us, what is open, and what can be done.

The reveal is a form of its own; after it the same document comes back with clear values, because its SQL says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from starlette.responses import Response

from cdp.access.rules import REVEALABLE, VEILED
from cdp.access.sharing import MANAGERS
from cdp.access.viewer import Actor
from cdp.access.writes import HOLD_PLACERS
from cdp.core.db import Role
from cdp.core.errors import NotFound, PlatformError
from cdp.core.ids import CustomerId, InvalidGlobalId, parse_global_id
from cdp.operations import audit
from cdp.operations.audit import trail
from cdp.operations.reveals import reveals
from cdp.operations.reveals.reveals import CaseNeeded, NothingToReveal, TooManyReveals, Wish
from cdp.tables.base import Category
from cdp.tables.request import SETTLED, RequestStatus
from cdp.tables.reveal import RevealReason
from cdp.web.console import duplicates
from cdp.web.console.timeline import LOOKS, STRANDS, Strand, looks, woven
from cdp.web.console.words import request_line, status_chips
from cdp.web.visit import Problem, Visit
from cdp.web.words import REVEAL_CATEGORY, REVEAL_REASON, with_times

GLANCE = 8
PAGE = 25
OPEN = sorted(status.name for status in set(RequestStatus) - SETTLED)
NOTICES: Mapping[str, str] = {
    "opened": "The request is open and waits for a colleague’s decision. The customer has been told.",
    "merge": "Merged, or proposed to a colleague who may: see below under Merges.",
    "merged": "You asked for a record that was merged into this one.",
    "unmerged": "The merge is undone, or the proposal withdrawn.",
    "joined": "The same was asked for already: your evidence is added to the open request.",
}
FIELD_OF: Mapping[type[PlatformError], str] = {
    CaseNeeded: "case_ref",
    NothingToReveal: f"category-{Category.CONTACT.value}",
    TooManyReveals: "",
}


@dataclass(frozen=True)
class Unmasking:
    """The form to see masked fields, and what is clear right now for how many seconds."""

    categories: Sequence[tuple[str, str]]
    reasons: Sequence[tuple[str, str]]
    chosen: frozenset[str]
    reason: str
    case_ref: str
    clear: Sequence[str]
    left_s: int
    lives: timedelta = reveals.LIVES


async def show(visit: Visit) -> Response:
    """The page; ``show`` in the address names one strand of the timeline, ``after`` is where its page starts.

    A record that was merged leads to the customer it went into.
    """
    try:
        return await page(visit, [])
    except NotFound:
        there = await duplicates.moved_to(visit, row_id(visit))
        if there is None:
            raise
        return visit.redirect(there)


async def submit_reveal(visit: Visit) -> Response:
    """See the chosen categories for a minute. An old sign-in is sent to sign in again, back to this page."""
    customer_id, platform = row_id(visit), visit.platform
    try:
        wish = _wish(visit)
        async with (
            audit.refusing(platform.db, visit.viewer, reveals.ACTION),
            platform.db.transaction(Role.WORKER) as tx,
        ):
            await reveals.open_reveal(tx, visit.viewer, platform, customer_id, wish)
    except (CaseNeeded, NothingToReveal, TooManyReveals) as error:
        return await page(visit, [Problem(FIELD_OF[type(error)], error.message)], status=max(422, error.status))
    return visit.redirect(address(visit))


def _wish(visit: Visit) -> Wish:
    chosen = {value for value in visit.form.getlist("category") if isinstance(value, str)}
    reason = visit.field("reason")
    if reason not in set(RevealReason):
        raise NothingToReveal
    categories = frozenset(one for one in REVEALABLE if one.value in chosen)
    return Wish(categories, RevealReason(reason), visit.field("case_ref"))


def row_id(visit: Visit) -> CustomerId:
    """The customer in the address. Raises NotFound for what names none."""
    try:
        return CustomerId(parse_global_id(str(visit.request.path_params["id"]), expected="Customer")[1])
    except InvalidGlobalId as error:
        raise NotFound from error


def address(visit: Visit) -> str:
    """The page of the customer in the address."""
    return f"/console/customers/{visit.request.path_params['id']}"


async def page(visit: Visit, problems: Sequence[Problem], *, status: int | None = None) -> Response:
    """The page, with what was wrong with a form of it."""
    customer_id = row_id(visit)
    chosen = _strands(visit)
    customer = await _read(visit, chosen)
    timeline = woven(customer, chosen)
    return visit.page(
        "console/customer.html",
        title=customer["displayName"] or "No name",
        problems=problems,
        status=status,
        customer=customer,
        chips=status_chips(customer),
        requests=[request_line(row, visit.now) for row in customer["open"]["nodes"]],
        timeline=timeline,
        strands=STRANDS,
        strand=chosen[0] if len(chosen) == 1 else None,
        is_later=bool(visit.request.query_params.get("after")),
        here=address(visit),
        likenesses=await duplicates.of_customer(visit, customer_id),
        can_merge=duplicates.may_merge(visit),
        can_hold=bool(visit.viewer.roles & HOLD_PLACERS),
        can_order=bool(visit.viewer.roles & MANAGERS),
        unmasking=await _unmasking(visit, customer_id),
        is_fresh=visit.is_fresh,
        notice=NOTICES.get(visit.request.query_params.get("done", "")),
    )


def _strands(visit: Visit) -> Sequence[Strand]:
    wanted = visit.request.query_params.get("show")
    return [one for one in STRANDS if one.name == wanted] or STRANDS


async def _read(visit: Visit, chosen: Sequence[Strand]) -> dict[str, Any]:
    is_one = len(chosen) == 1
    first = PAGE if is_one else GLANCE
    answer = await visit.read(
        "console/customer.graphql",
        id=visit.request.path_params["id"],
        first=first,
        after=(visit.request.query_params.get("after") or None) if is_one else None,
        open=OPEN,
        **{one.name: one in chosen for one in STRANDS if one is not LOOKS},
    )
    if answer["customer"] is None:
        raise NotFound
    found: dict[str, Any] = with_times(answer["customer"])
    if LOOKS in chosen:
        async with visit.platform.db.transaction(visit.viewer.role) as tx:
            traces = await trail.of_customer(tx, row_id(visit), actor=Actor.STAFF, limit=first + 1)
        found[LOOKS.name] = looks(traces, first=first)
    return found


async def _unmasking(visit: Visit, customer_id: CustomerId) -> Unmasking | None:
    """None for who sees nothing masked."""
    viewer = visit.viewer
    if not viewer.roles & VEILED or reveals.SCOPE not in viewer.scopes:
        return None
    async with visit.platform.db.transaction(viewer.role) as tx:
        left = await reveals.seconds_left(tx, viewer, customer_id)
    chosen = {value for value in visit.form.getlist("category") if isinstance(value, str)}
    return Unmasking(
        categories=[(one.value, title) for one, title in REVEAL_CATEGORY.items()],
        reasons=[(one.value, REVEAL_REASON[one]) for one in RevealReason],
        chosen=frozenset(chosen) or frozenset({Category.CONTACT.value}),
        reason=visit.field("reason"),
        case_ref=visit.field("case_ref"),
        clear=[title for one, title in REVEAL_CATEGORY.items() if one in left],
        left_s=max(left.values(), default=0),
    )
