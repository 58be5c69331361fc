"""Legal holds: what is held and waits for a second person, one hold with its decisions, and placing one."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from starlette.responses import Response

from cdp.core.db import Role
from cdp.core.errors import Conflict, Forbidden, InvalidInput, NotFound, StepUpRequired, TooLarge
from cdp.core.ids import InvalidGlobalId, global_id, parse_global_id
from cdp.operations import audit
from cdp.operations.attachments import attachments
from cdp.operations.holds import holds
from cdp.operations.holds.holds import HoldDateInvalid, Wanted
from cdp.tables.base import Category
from cdp.tables.hold import EFFECTIVE, HoldStatus
from cdp.web.console.customer import address, row_id
from cdp.web.console.search import hit_of
from cdp.web.console.uploads import ACCEPTED, document_of
from cdp.web.visit import Problem, Visit
from cdp.web.words import Said, with_times

PAGE = 50
HERE = "/console/holds"
STATUS: Mapping[str, Said] = {
    HoldStatus.PROPOSED.name: ("Held, to be agreed to", "warn"),
    HoldStatus.ACTIVE.name: ("Held", "warn"),
    HoldStatus.RELEASING.name: ("Held, release to be agreed to", "warn"),
    HoldStatus.RELEASED.name: ("Released", "good"),
    HoldStatus.REFUSED.name: ("Refused", ""),
    HoldStatus.EXPIRED.name: ("Ended on its day", "good"),
}
ACTIONS: Mapping[str, str] = {
    "agree": "hold.approved",
    "refuse": "hold.refused",
    "release": "hold.release_asked",
}


async def show_list(visit: Visit) -> Response:
    """Holds that keep something, newest first; ended ones on request."""
    is_past = visit.request.query_params.get("view") == "past"
    wanted = set(HoldStatus) - EFFECTIVE if is_past else EFFECTIVE
    answer = await visit.read(
        "console/holds.graphql",
        filter={"status": {"in": sorted(status.name for status in wanted)}},
        first=PAGE,
        after=visit.request.query_params.get("after") or None,
    )
    found: dict[str, Any] = with_times(answer["legalHolds"])
    return visit.page(
        "console/holds.html",
        title="Legal holds",
        rows=found["nodes"],
        statuses=STATUS,
        now=visit.now,
        is_past=is_past,
        after=found["pageInfo"]["endCursor"] if found["pageInfo"]["hasNextPage"] else None,
    )


async def show(visit: Visit) -> Response:
    """One hold."""
    return await _page(visit, [])


async def submit(visit: Visit) -> Response:
    """Agree, refuse, or ask for the release: the last word of the address."""
    what, platform, viewer = str(visit.request.path_params["what"]), visit.platform, visit.viewer
    if what not in ACTIONS:
        raise NotFound
    hold_id, reason = _id(visit), visit.field("reason")
    try:
        async with (
            audit.refusing(platform.db, viewer, ACTIONS[what]),
            platform.db.transaction(Role.WORKER) as tx,
        ):
            if what == "agree":
                await holds.agree(tx, viewer, platform, hold_id)
            elif what == "refuse":
                await holds.refuse(tx, viewer, platform, hold_id, reason=reason)
            else:
                await holds.ask_release(tx, viewer, platform, hold_id, reason=reason)
    except StepUpRequired:
        raise
    except (Conflict, InvalidInput, Forbidden) as error:
        place = f"{what}-reason" if isinstance(error, InvalidInput) else ""
        return await _page(visit, [Problem(place, error.message)], status=max(422, error.status))
    return visit.redirect(f"{HERE}/{visit.request.path_params['id']}")


def _id(visit: Visit) -> UUID:
    try:
        return parse_global_id(str(visit.request.path_params["id"]), expected="LegalHold")[1]
    except InvalidGlobalId as error:
        raise NotFound from error


async def _page(visit: Visit, problems: Sequence[Problem], *, status: int | None = None) -> Response:
    answer = await visit.read("console/hold.graphql", id=visit.request.path_params["id"])
    row: dict[str, Any] | None = with_times(answer["node"])
    if not row:
        raise NotFound
    first = row["releaseAskedById"] if row["status"] == HoldStatus.RELEASING.name else row["placedById"]
    return visit.page(
        "console/hold.html",
        title=f"Hold on {row['category'].lower()} data",
        problems=problems,
        status=status,
        row=row,
        said=STATUS[row["status"]],
        is_mine=first == str(visit.viewer.staff_id),
        here=f"{HERE}/{visit.request.path_params['id']}",
        typed=visit.field("reason"),
    )


async def show_placing(visit: Visit) -> Response:
    """The form to hold something of a customer."""
    return await _placing(visit, [])


async def place(visit: Visit) -> Response:
    """Hold it from now on; it leads to the hold."""
    platform, viewer, customer_id = visit.platform, visit.viewer, row_id(visit)
    try:
        wanted = Wanted(
            Category(visit.field("category")),
            visit.field("reason"),
            is_secret=visit.field("is_secret") == "yes",
            case_ref=visit.field("case_ref") or None,
            until=_day(visit, "until"),
            review_at=_day(visit, "review_at"),
        )
        async with (
            audit.refusing(platform.db, viewer, "hold.placed"),
            attachments.stored(platform, await document_of(visit)) as document,
            platform.db.transaction(Role.WORKER) as tx,
        ):
            hold_id = await holds.place(tx, viewer, platform, customer_id, wanted, document=document)
    except ValueError:
        return await _placing(visit, [Problem("category", "Choose what has to stay.")])
    except StepUpRequired:
        raise
    except (Conflict, InvalidInput, TooLarge, Forbidden) as error:
        place = "until" if isinstance(error, HoldDateInvalid) else "reason" if isinstance(error, InvalidInput) else ""
        return await _placing(visit, [Problem(place, error.message)], status=max(422, error.status))
    return visit.redirect(f"{HERE}/{global_id('LegalHold', hold_id)}")


def _day(visit: Visit, name: str) -> datetime | None:
    given = visit.field(name)
    if not given:
        return None
    try:
        return datetime.fromisoformat(given).replace(tzinfo=UTC)
    except ValueError as error:
        raise HoldDateInvalid from error


async def _placing(visit: Visit, problems: Sequence[Problem], *, status: int | None = None) -> Response:
    answer = with_times(await visit.read("console/holding.graphql", id=visit.request.path_params["id"]))
    customer: dict[str, Any] | None = answer["customer"]
    if customer is None:
        raise NotFound
    return visit.page(
        "console/holding.html",
        title="Place a legal hold",
        problems=problems,
        status=status,
        customer=hit_of(customer),
        held=[one for one in customer["holds"] if one["isEffective"]],
        categories=[(one.value, one.value.capitalize()) for one in Category],
        here=address(visit),
        accepted=ACCEPTED,
        typed={name: visit.field(name) for name in ("category", "reason", "case_ref", "until", "review_at")},
        is_secret=visit.field("is_secret") == "yes",
    )
