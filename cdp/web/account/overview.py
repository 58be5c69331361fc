"""Your data at a glance: a card a category with what, how many, why, until when; running requests; three actions."""

from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from cdp.web.reading import read
from cdp.web.visit import Visit
from cdp.web.words import REQUEST_STATUS, REQUEST_TYPE, parsed_times

CONTRACT = "To fulfil our contract with you (GDPR art. 6(1)(b))"
CONSENT = "Because you agreed (GDPR art. 6(1)(a))"
INTEREST = "Our legitimate interest in a working site (GDPR art. 6(1)(f))"
WITH_ACCOUNT = "As long as you have an account"


@dataclass(frozen=True)
class Card:
    """One category of data."""

    title: str
    anchor: str
    count: int
    unit: str
    empty: str
    why: str
    until: str


async def show(visit: Visit) -> Response:
    """The overview."""
    customer = (await read(visit, "account/overview"))["viewer"]["customer"]
    requests = parsed_times(customer["requests"]["nodes"])
    return visit.page(
        "account/overview.html",
        title="Your data",
        customer=customer,
        cards=_cards(customer),
        requests=requests,
        types=REQUEST_TYPE,
        statuses=REQUEST_STATUS,
    )


def _cards(customer: dict[str, Any]) -> list[Card]:
    contacts = customer["contacts"]
    reached = sum(len(contacts[kind]) for kind in ("emails", "phones", "addresses"))
    support = customer["inquiries"]["totalCount"] + customer["surveyResponses"]["totalCount"]
    return [
        Card("Contact", "contact", reached, "ways to reach you", "No address yet.", CONTRACT, WITH_ACCOUNT),
        Card(
            "Orders",
            "orders",
            customer["orders"]["totalCount"],
            "orders",
            "Your orders will be listed here.",
            CONTRACT,
            "10 years, by accounting law; after a deletion without your name",
        ),
        Card(
            "Questions and surveys",
            "support",
            support,
            "inquiries and answers",
            "What you ask us will be listed here.",
            CONTRACT,
            WITH_ACCOUNT,
        ),
        Card(
            "Consents",
            "consents",
            customer["consents"]["totalCount"],
            "decisions",
            "You have not been asked for any consent yet.",
            CONSENT,
            WITH_ACCOUNT,
        ),
        Card(
            "Preferences",
            "preferences",
            len(customer["preferences"]),
            "settings",
            "Nothing chosen yet.",
            CONTRACT,
            WITH_ACCOUNT,
        ),
        Card(
            "Devices and activity",
            "activity",
            customer["devices"]["totalCount"] + customer["events"]["totalCount"],
            "records",
            "No activity is recorded.",
            INTEREST,
            WITH_ACCOUNT,
        ),
    ]
