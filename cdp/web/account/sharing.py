"""Who was shown what: the log of disclosures, and links by which somebody reads parts of the profile for a while."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from cdp.core.db import Role
from cdp.core.errors import Conflict, InvalidInput, NotFound
from cdp.core.ids import InvalidGlobalId, parse_global_id
from cdp.operations.partners import links
from cdp.operations.partners.links import NewLink
from cdp.operations.reference import PURPOSES
from cdp.web.visit import Problem, Visit
from cdp.web.words import with_times

PATH = "/account/sharing"
NEW = f"{PATH}/new"
PAGE = 25
AREAS: Mapping[str, str] = {
    "contacts": "E-mail addresses, phone numbers, postal addresses",
    "orders": "Orders",
    "preferences": "Preferences and consents",
    "conversations": "Questions, quotations, survey answers, messages",
    "activity": "Activity on the site, devices, sessions",
    "identities": "Account and customer numbers",
}
BASIS: Mapping[str, str] = {
    "consent": "your consent",
    "contract": "a contract with you",
    "legal_obligation": "a law that demanded it",
    "legitimate_interest": "a legitimate interest",
}
FOR = {"legal_order": "An order of a court or authority"} | {one.code.value: one.title for one in PURPOSES}
LASTING = ((1, "One hour"), (24, "One day"), (24 * 7, "One week"), (24 * 30, "Thirty days"))


async def show(visit: Visit) -> Response:
    """Disclosures, newest first, and every link."""
    answer = await visit.read("account/sharing.graphql", first=PAGE, after=visit.request.query_params.get("after"))
    found: dict[str, Any] = with_times(answer["viewer"]["customer"])
    page = found["disclosures"]
    return visit.page(
        "account/sharing.html",
        title="Who saw your data",
        rows=page["nodes"],
        total=page["totalCount"],
        after=page["pageInfo"]["endCursor"] if page["pageInfo"]["hasNextPage"] else None,
        links=found["sharedLinks"],
        areas=AREAS,
        basis=BASIS,
        purposes=FOR,
    )


async def show_new(visit: Visit) -> Response:
    """The form for a new link."""
    return _form(visit, [])


async def submit_new(visit: Visit) -> Response:
    """Make the link, and show what opens it this once."""
    areas = frozenset(one for one in visit.form.getlist("area") if isinstance(one, str))
    given = visit.field("hours")
    hours = int(given) if given.isascii() and given.isdigit() and len(given) < 5 else 0
    wanted = NewLink(visit.field("recipient"), visit.field("purpose"), areas, hours)
    try:
        async with visit.platform.db.transaction(Role.WORKER) as tx:
            _, token = await links.make(tx, visit.viewer, visit.platform, wanted)
    except (InvalidInput, Conflict) as error:
        return _form(visit, [Problem("recipient" if areas else "area", error.message)])
    url = f"{visit.platform.settings.url}/share/{token}"
    return visit.page("account/sharing_made.html", title="Your link", url=url, recipient=wanted.recipient)


async def revoke(visit: Visit) -> Response:
    """Take a link back."""
    try:
        link_id = parse_global_id(visit.field("link"), expected="SharedLink")[1]
    except InvalidGlobalId as error:
        raise NotFound from error
    async with visit.platform.db.transaction(Role.WORKER) as tx:
        await links.revoke(tx, visit.viewer, link_id)
    return visit.redirect(PATH)


def _form(visit: Visit, problems: list[Problem]) -> Response:
    return visit.page(
        "account/sharing_new.html",
        title="Let somebody read your data",
        problems=problems,
        areas=AREAS,
        lasting=LASTING,
        ticked=visit.form.getlist("area"),
        typed={name: visit.field(name) for name in ("recipient", "purpose", "hours")},
        longest_purpose=links.LONGEST_PURPOSE,
    )
