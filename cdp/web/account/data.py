"""Everything we hold: each category with its first rows and where they came from; long lists page by page."""

from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from cdp.core.errors import NotFound
from cdp.web.account.categories import CATEGORIES, LISTINGS, PAGED
from cdp.web.account.listings import Category, Listing, Row
from cdp.web.visit import Visit
from cdp.web.words import with_times

GLANCE = 5
PAGE = 25


@dataclass(frozen=True)
class Shown:
    """A listing with the rows that were read; ``after`` is where the next page starts, None on the last."""

    listing: Listing
    rows: list[Row]
    total: int
    after: str | None


async def show(visit: Visit) -> Response:
    """All categories, the first rows of each list."""
    customer = await _read(visit, PAGED, first=GLANCE)
    shown = [(category, [_shown(customer, one) for one in category.listings]) for category in CATEGORIES]
    return visit.page("account/data.html", title="Everything we hold", shown=shown)


async def show_list(visit: Visit) -> Response:
    """One list, a page of it. ``after`` is the sealed cursor of the page before, ``from`` how many came before."""
    listing = LISTINGS.get(str(visit.request.path_params["listing"]))
    if listing is None or not listing.paged:
        raise NotFound
    query = visit.request.query_params
    customer = await _read(visit, [listing], first=PAGE, after=query.get("after") or None)
    shown = _shown(customer, listing)
    given = query.get("from", "")
    before = int(given) if given.isascii() and given.isdigit() and len(given) < 10 else 0
    return visit.page(
        "account/listing.html", title=listing.title, shown=shown, before=before, category=_category_of(listing)
    )


async def _read(visit: Visit, wanted: "tuple[Listing, ...] | list[Listing]", **variables: object) -> dict[str, Any]:
    """The customer with the lists wanted; all of them means also what is not a list."""
    flags = {one.slug: one in wanted for one in PAGED}
    answer = await visit.read("account/data.graphql", whole=wanted is PAGED, **flags, **variables)
    found: dict[str, Any] = with_times(answer["viewer"]["customer"])
    return found


def _shown(customer: Row, listing: Listing) -> Shown:
    page = listing.of(customer)["pageInfo"] if listing.paged else {"hasNextPage": False}
    after = str(page["endCursor"]) if page["hasNextPage"] else None
    return Shown(listing, listing.rows(customer), listing.total(customer), after)


def _category_of(listing: Listing) -> Category:
    return next(category for category in CATEGORIES if listing in category.listings)
