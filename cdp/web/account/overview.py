"""Your data at a glance: three actions, running requests, and a card a category: what, how many, why, until when."""

from dataclasses import dataclass

from starlette.responses import Response

from cdp.core.db import Role
from cdp.operations import systems
from cdp.tables.customer import CustomerStatus
from cdp.tables.request import RequestStatus, RequestType
from cdp.web.account.categories import CATEGORIES
from cdp.web.account.listings import Category, Row
from cdp.web.visit import Visit
from cdp.web.words import REQUEST_STATUS, REQUEST_TYPE, Said, records, with_times


@dataclass(frozen=True)
class Asked:
    """A request as one line."""

    row: Row
    title: str
    state: Said
    address: str


async def show(visit: Visit) -> Response:
    """The overview."""
    customer = with_times((await visit.read("account/overview.graphql"))["viewer"]["customer"])
    async with visit.platform.db.transaction(Role.WORKER) as tx:
        receivers = [one.title for one in await systems.listed(tx) if one.enabled and one.kind != systems.OWN]
    return visit.page(
        "account/overview.html",
        title="Your data",
        customer=customer,
        cards=[(category, _counts(category, customer)) for category in CATEGORIES],
        requests=[_asked(row) for row in customer["requests"]["nodes"]],
        is_frozen=customer["status"] == CustomerStatus.FROZEN.name,
        receivers=receivers,
    )


def _counts(category: Category, customer: Row) -> list[str]:
    """How many rows each list of a category has, in words; lists without any are left out."""
    counts = [(one.table.name, one.total(customer)) for one in category.listings]
    return [records(name, count) for name, count in counts if count]


def _asked(row: Row) -> Asked:
    kind = RequestType[row["type"]]
    folder = "requests" if kind is RequestType.ERASURE else "downloads"
    address = f"/account/{folder}/{row['reference']}"
    return Asked(row, REQUEST_TYPE[kind], REQUEST_STATUS[RequestStatus[row["status"]]], address)
