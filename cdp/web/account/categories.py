"""What we hold, category by category, as people read it: why, until when, and what a row of it looks like."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from sqlalchemy import Table

from cdp.operations.reference import PURPOSES, Purpose
from cdp.tables.account import account, session
from cdp.tables.consent import consent, preference
from cdp.tables.contact import email_address, phone_number, postal_address
from cdp.tables.customer import customer, identity
from cdp.tables.datamap import retention
from cdp.tables.event import device, event
from cdp.tables.inquiry import inquiry, quotation, survey_response
from cdp.tables.message import message
from cdp.tables.order import sales_order
from cdp.tables.policy import LegalBasis, policy_acceptance
from cdp.tables.request import RequestStatus, RequestType, privacy_request
from cdp.web.words import REQUEST_STATUS, REQUEST_TYPE

Cell: TypeAlias = "str | bool | int | datetime | list[str] | None"
Row: TypeAlias = Mapping[str, Any]
Read: TypeAlias = Callable[[Row], Cell]

BASIS: Mapping[LegalBasis, str] = {
    LegalBasis.CONTRACT: "our contract with you, GDPR art. 6(1)(b)",
    LegalBasis.CONSENT: "your consent, GDPR art. 6(1)(a)",
    LegalBasis.LEGITIMATE_INTEREST: "our legitimate interest, GDPR art. 6(1)(f)",
    LegalBasis.LEGAL_OBLIGATION: "the law, GDPR art. 6(1)(c)",
}
WITH_ACCOUNT = "As long as you have an account."
"""What is kept no longer than the account."""


@dataclass(frozen=True)
class Column:
    """One column of a listing."""

    label: str
    read: Read


@dataclass(frozen=True)
class Listing:
    """One list: where its rows are in the customer's answer, and its columns. ``paged`` ones may be long.

    ``table`` is where the rows live, by whose name they are counted.
    """

    slug: str
    title: str
    table: Table
    path: tuple[str, ...]
    columns: tuple[Column, ...]
    empty: str
    paged: bool = True

    def of(self, customer: Row) -> Any:  # noqa: ANN401
        """The list, or the connection, or the one object."""
        found: Any = customer
        for name in self.path:
            found = found[name]
        return found

    def rows(self, customer: Row) -> list[Row]:
        """The rows that were read."""
        found = self.of(customer)
        if self.paged:
            return list(found["nodes"])
        if isinstance(found, list):
            return found
        return [found] if found else []

    def total(self, customer: Row) -> int:
        """How many there are in all."""
        return int(self.of(customer)["totalCount"]) if self.paged else len(self.rows(customer))


@dataclass(frozen=True)
class Category:
    """One category: what people call it, why we hold it, until when."""

    slug: str
    title: str
    what: str
    purposes: tuple[Purpose, ...]
    kept: str
    listings: tuple[Listing, ...]

    @property
    def why(self) -> list[tuple[str, str]]:
        """Legal bases, each with the purposes that rest on it."""
        found: dict[LegalBasis, list[str]] = {}
        for text in PURPOSES:
            if text.code in self.purposes:
                found.setdefault(text.basis, []).append(text.title)
        return [("; ".join(titles), BASIS[basis]) for basis, titles in found.items()]


def _plain(name: str) -> Read:
    return lambda row: row[name]


def _word(name: str) -> Read:
    """A member of a closed set, as a word."""
    return lambda row: str(row[name]).capitalize().replace("_", " ") if row[name] else None


def _lines(*names: str) -> Read:
    return lambda row: [str(row[name]) for name in names if row[name]]


def _money(row: Row) -> Cell:
    return f"{row['total']} {row['currency']}"


def _items(row: Row) -> Cell:
    return [f"{item['quantity']} × {item['title']}, {item['unitPrice']} {row['currency']}" for item in row["items"]]


def _json(name: str) -> Read:
    def read(row: Row) -> Cell:
        match row[name]:
            case dict() as members:
                return [f"{key}: {_text(value)}" for key, value in members.items()]
            case list() as members:
                return [_text(value) for value in members]
            case value:
                return None if value is None else _text(value)

    return read


def _text(value: object) -> str:
    match value:
        case str():
            return value
        case datetime():
            return value.isoformat()
    return json.dumps(value, ensure_ascii=False, default=str)


def _purpose(row: Row) -> Cell:
    return str(row["purpose"]["title"]) if row["purpose"] else None


def _seconds(row: Row) -> Cell:
    milliseconds = row["timeOnPageMs"]
    return None if milliseconds is None else f"{milliseconds / 1000:.0f} s"


def _request(row: Row) -> Cell:
    return REQUEST_TYPE[RequestType[row["type"]]]


def _request_status(row: Row) -> Cell:
    return REQUEST_STATUS[RequestStatus[row["status"]]][0]


def _kept_orders() -> str:
    rule = retention(sales_order)
    assert rule is not None, "orders are accounting records"
    return f"{rule.years} years after the order, by law ({rule.basis}); after a deletion, without your name."


_PROVEN = (Column("Proven", _plain("verifiedAt")), Column("First choice", _plain("isPrimary")))

CATEGORIES = (
    Category(
        "profile",
        "Profile",
        "Who you are to us, and how you sign in.",
        (Purpose.PRODUCTS, Purpose.ACCOUNT_NOTICES),
        WITH_ACCOUNT,
        (
            Listing(
                "you",
                "You",
                customer,
                (),
                (
                    Column("First name", _plain("givenName")),
                    Column("Last name", _plain("familyName")),
                    Column("Organisation", _plain("organisationName")),
                    Column("Country", _plain("country")),
                    Column("Language", _plain("locale")),
                    Column("Customer since", _plain("createdAt")),
                ),
                "",
                paged=False,
            ),
            Listing(
                "account",
                "Account",
                account,
                ("account",),
                (
                    Column("User name", _plain("username")),
                    Column("Last sign-in", _plain("lastSignInAt")),
                    Column("Registered", _plain("createdAt")),
                ),
                "You have no account.",
                paged=False,
            ),
            Listing(
                "identifiers",
                "Identifiers by which systems know you",
                identity,
                ("identities",),
                (
                    Column("Kind", _word("type")),
                    Column("Identifier", _plain("value")),
                    Column("Given by", _plain("issuer")),
                    Column("Proven", _plain("verifiedAt")),
                ),
                "No system knows you by a number of its own.",
                paged=False,
            ),
        ),
    ),
    Category(
        "contact",
        "Contact",
        "Where we can reach you.",
        (Purpose.ORDERS, Purpose.QUESTIONS, Purpose.ACCOUNT_NOTICES),
        WITH_ACCOUNT,
        (
            Listing(
                "emails",
                "E-mail addresses",
                email_address,
                ("contacts", "emails"),
                (Column("Address", _plain("address")), *_PROVEN),
                "Your e-mail addresses would be here.",
                paged=False,
            ),
            Listing(
                "phones",
                "Phone numbers",
                phone_number,
                ("contacts", "phones"),
                (Column("Number", _plain("number")), Column("Kind", _word("kind")), *_PROVEN),
                "Your phone numbers would be here.",
                paged=False,
            ),
            Listing(
                "addresses",
                "Postal addresses",
                postal_address,
                ("contacts", "addresses"),
                (
                    Column("Address", _lines("recipient", "line1", "line2", "postalCode", "city", "region", "country")),
                    Column("Kind", _word("kind")),
                    *_PROVEN,
                ),
                "Your postal addresses would be here.",
                paged=False,
            ),
        ),
    ),
    Category(
        "orders",
        "Orders",
        "What you bought.",
        (Purpose.ORDERS,),
        _kept_orders(),
        (
            Listing(
                "orders",
                "Orders",
                sales_order,
                ("orders",),
                (
                    Column("Number", _plain("number")),
                    Column("Placed", _plain("placedAt")),
                    Column("State", _word("status")),
                    Column("What", _items),
                    Column("Sum", _money),
                    Column("Invoice to", _lines("billingName", "billingLine1", "billingPostalCode", "billingCity")),
                ),
                "Your orders would be here.",
            ),
        ),
    ),
    Category(
        "support",
        "Questions and answers",
        "What you asked us, what we offered, and what you answered in surveys.",
        (Purpose.QUESTIONS, Purpose.INDIVIDUAL_SERVICE),
        WITH_ACCOUNT,
        (
            Listing(
                "inquiries",
                "Questions",
                inquiry,
                ("inquiries",),
                (
                    Column("Received", _plain("receivedAt")),
                    Column("Subject", _plain("subject")),
                    Column("Text", _plain("body")),
                    Column("Answered", _plain("answeredAt")),
                ),
                "What you ask us would be here.",
            ),
            Listing(
                "quotations",
                "Quotations",
                quotation,
                ("quotations",),
                (
                    Column("Number", _plain("number")),
                    Column("Asked for", _plain("requestedAt")),
                    Column("State", _word("status")),
                    Column("Sum", _money),
                    Column("We answer by", _plain("respondBy")),
                    Column("Valid until", _plain("validUntil")),
                ),
                "What we offer you would be here.",
            ),
            Listing(
                "surveys",
                "Survey answers",
                survey_response,
                ("surveyResponses",),
                (
                    Column("Survey", _plain("survey")),
                    Column("Sent", _plain("submittedAt")),
                    Column("Answers", _json("answers")),
                ),
                "Your answers to surveys would be here.",
            ),
        ),
    ),
    Category(
        "choices",
        "Choices",
        "What you agreed to, and what you prefer.",
        (Purpose.PREFERENCES, Purpose.INFORMATION, Purpose.PROMOTIONS),
        WITH_ACCOUNT,
        (
            Listing(
                "consents",
                "Consents",
                consent,
                ("consents",),
                (
                    Column("When", _plain("recordedAt")),
                    Column("What for", _purpose),
                    Column("By", _word("channel")),
                    Column("Decision", _word("action")),
                    Column("The words you saw", _plain("wording")),
                ),
                "You have not been asked for any consent yet.",
            ),
            Listing(
                "policies",
                "Answers to our privacy policy",
                policy_acceptance,
                ("policyAcceptances",),
                (
                    Column("When", _plain("decidedAt")),
                    Column("Version", lambda row: str(row["policyVersion"]["version"])),
                    Column("Decision", _word("decision")),
                ),
                "You have not been asked about our privacy policy yet.",
            ),
            Listing(
                "preferences",
                "Preferences",
                preference,
                ("preferences",),
                (
                    Column("About", _plain("key")),
                    Column("Choice", _json("value")),
                    Column("Changed", _plain("updatedAt")),
                ),
                "Nothing chosen yet.",
                paged=False,
            ),
        ),
    ),
    Category(
        "messages",
        "Messages",
        "What we sent you.",
        (Purpose.ACCOUNT_NOTICES, Purpose.PRIVACY_REQUESTS),
        WITH_ACCOUNT,
        (
            Listing(
                "messages",
                "Messages",
                message,
                ("messages",),
                (
                    Column("Written", _plain("createdAt")),
                    Column("Subject", _plain("subject")),
                    Column("To", _plain("recipient")),
                    Column("What for", _purpose),
                    Column("State", _word("status")),
                ),
                "Messages we send you would be here.",
            ),
        ),
    ),
    Category(
        "devices",
        "Devices and activity",
        "How you use our site.",
        (Purpose.SITE_IMPROVEMENT,),
        WITH_ACCOUNT,
        (
            Listing(
                "devices",
                "Devices",
                device,
                ("devices",),
                (
                    Column("Kind", _word("kind")),
                    Column("System", _lines("operatingSystem", "browser")),
                    Column("Language", _plain("language")),
                    Column("Cookie", _plain("cookieId")),
                    Column("First seen", _plain("firstSeenAt")),
                    Column("Last seen", _plain("lastSeenAt")),
                ),
                "No device of yours is known.",
            ),
            Listing(
                "activity",
                "Activity",
                event,
                ("events",),
                (
                    Column("When", _plain("occurredAt")),
                    Column("What", _lines("type", "name")),
                    Column("Page", _lines("page", "exitUrl")),
                    Column("Time on page", _seconds),
                    Column("Address", _plain("ipAddress")),
                    Column("More", _json("properties")),
                ),
                "No activity is recorded.",
            ),
        ),
    ),
    Category(
        "sign-ins",
        "Sign-ins and requests",
        "Where you are signed in, and what you asked for under data protection law.",
        (Purpose.ACCOUNT_NOTICES, Purpose.PRIVACY_REQUESTS),
        WITH_ACCOUNT,
        (
            Listing(
                "sessions",
                "Sign-ins",
                session,
                ("sessions",),
                (
                    Column("Signed in", _plain("authenticatedAt")),
                    Column("Last used", _plain("lastSeenAt")),
                    Column("Ended", _plain("revokedAt")),
                    Column("Address", _plain("ipAddress")),
                    Column("Browser", _plain("userAgent")),
                ),
                "You are not signed in anywhere.",
            ),
            Listing(
                "requests",
                "Requests",
                privacy_request,
                ("requests",),
                (
                    Column("Reference", _plain("reference")),
                    Column("What", _request),
                    Column("Asked", _plain("requestedAt")),
                    Column("State", _request_status),
                ),
                "You have not asked for a copy or a deletion yet.",
            ),
        ),
    ),
)
LISTINGS: Mapping[str, Listing] = {one.slug: one for category in CATEGORIES for one in category.listings}
PAGED = tuple(one for one in LISTINGS.values() if one.paged)
