"""What we hold, category by category, as people read it: why, until when, and what a row of it looks like."""

from collections.abc import Mapping

from cdp.operations.reference import Purpose
from cdp.tables.account import account, session
from cdp.tables.consent import consent, preference
from cdp.tables.contact import email_address, phone_number, postal_address
from cdp.tables.customer import customer, identity
from cdp.tables.datamap import retention
from cdp.tables.event import device, event
from cdp.tables.hold import legal_hold
from cdp.tables.inquiry import inquiry, quotation, survey_response
from cdp.tables.merge import customer_merge
from cdp.tables.message import message
from cdp.tables.order import sales_order
from cdp.tables.paper import PaperStatus, paper_record
from cdp.tables.policy import policy_acceptance
from cdp.tables.request import RequestStatus, RequestType, privacy_request
from cdp.web.account.listings import (
    Category,
    Cell,
    Column,
    Listing,
    Row,
    items,
    lines,
    members,
    money,
    plain,
    purpose,
    seconds,
    word,
)
from cdp.web.words import REQUEST_STATUS, REQUEST_TYPE

WITH_ACCOUNT = "As long as you have an account."
"""What is kept no longer than the account."""


def _request(row: Row) -> Cell:
    return REQUEST_TYPE[RequestType[row["type"]]]


def _request_status(row: Row) -> Cell:
    return REQUEST_STATUS[RequestStatus[row["status"]]][0]


def _paper_status(row: Row) -> Cell:
    return PAPER_STATUS[PaperStatus[row["status"]]]


def _hold_status(row: Row) -> Cell:
    return "Kept by law" if row["isEffective"] else "Over"


def _kept_orders() -> str:
    rule = retention(sales_order)
    assert rule is not None, "orders are accounting records"
    return f"{rule.years} years after the order, by law ({rule.basis}); after a deletion, without your name."


PAPER_STATUS: Mapping[PaperStatus, str] = {
    PaperStatus.FILED: "Kept",
    PaperStatus.DUE: "To be destroyed",
    PaperStatus.REPORTED: "To be destroyed",
    PaperStatus.DESTROYED: "Destroyed",
}
_PROVEN = (Column("Proven", plain("verifiedAt")), Column("First choice", plain("isPrimary")))

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
                    Column("First name", plain("givenName")),
                    Column("Last name", plain("familyName")),
                    Column("Organisation", plain("organisationName")),
                    Column("Country", plain("country")),
                    Column("Language", plain("locale")),
                    Column("Customer since", plain("createdAt")),
                ),
                "",
                paged=False,
                correctable=True,
            ),
            Listing(
                "account",
                "Account",
                account,
                ("account",),
                (
                    Column("User name", plain("username")),
                    Column("Last sign-in", plain("lastSignInAt")),
                    Column("Registered", plain("createdAt")),
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
                    Column("Kind", word("type")),
                    Column("Identifier", plain("value")),
                    Column("Given by", plain("issuer")),
                    Column("Proven", plain("verifiedAt")),
                ),
                "No system knows you by a number of its own.",
                paged=False,
            ),
            Listing(
                "merges",
                "Records of yours that we made one",
                customer_merge,
                ("merges",),
                (
                    Column("When", plain("mergedAt")),
                    Column("Why", plain("reason")),
                    Column("State", word("status")),
                    Column("Undone", plain("undoneAt")),
                ),
                "We never had two records of you that we made one.",
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
                (Column("Address", plain("address")), *_PROVEN),
                "Your e-mail addresses would be here.",
                paged=False,
            ),
            Listing(
                "phones",
                "Phone numbers",
                phone_number,
                ("contacts", "phones"),
                (Column("Number", plain("number")), Column("Kind", word("kind")), *_PROVEN),
                "Your phone numbers would be here.",
                paged=False,
            ),
            Listing(
                "addresses",
                "Postal addresses",
                postal_address,
                ("contacts", "addresses"),
                (
                    Column("Address", lines("recipient", "line1", "line2", "postalCode", "city", "region", "country")),
                    Column("Kind", word("kind")),
                    *_PROVEN,
                ),
                "Your postal addresses would be here.",
                paged=False,
                correctable=True,
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
                    Column("Number", plain("number")),
                    Column("Placed", plain("placedAt")),
                    Column("State", word("status")),
                    Column("What", items),
                    Column("Sum", money),
                    Column("Invoice to", lines("billingName", "billingLine1", "billingPostalCode", "billingCity")),
                ),
                "Your orders would be here.",
                correctable=True,
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
                    Column("Received", plain("receivedAt")),
                    Column("Subject", plain("subject")),
                    Column("Text", plain("body")),
                    Column("Answered", plain("answeredAt")),
                ),
                "What you ask us would be here.",
                correctable=True,
            ),
            Listing(
                "quotations",
                "Quotations",
                quotation,
                ("quotations",),
                (
                    Column("Number", plain("number")),
                    Column("Asked for", plain("requestedAt")),
                    Column("State", word("status")),
                    Column("Sum", money),
                    Column("We answer by", plain("respondBy")),
                    Column("Valid until", plain("validUntil")),
                ),
                "What we offer you would be here.",
            ),
            Listing(
                "surveys",
                "Survey answers",
                survey_response,
                ("surveyResponses",),
                (
                    Column("Survey", plain("survey")),
                    Column("Sent", plain("submittedAt")),
                    Column("Answers", members("answers")),
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
                    Column("When", plain("recordedAt")),
                    Column("What for", purpose),
                    Column("By", word("channel")),
                    Column("Decision", word("action")),
                    Column("The words you saw", plain("wording")),
                ),
                "You have not been asked for any consent yet.",
            ),
            Listing(
                "policies",
                "Answers to our privacy policy",
                policy_acceptance,
                ("policyAcceptances",),
                (
                    Column("When", plain("decidedAt")),
                    Column("Version", lambda row: str(row["policyVersion"]["version"])),
                    Column("Decision", word("decision")),
                ),
                "You have not been asked about our privacy policy yet.",
            ),
            Listing(
                "preferences",
                "Preferences",
                preference,
                ("preferences",),
                (
                    Column("About", plain("key")),
                    Column("Choice", members("value")),
                    Column("Changed", plain("updatedAt")),
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
                    Column("Written", plain("createdAt")),
                    Column("Subject", plain("subject")),
                    Column("To", plain("recipient")),
                    Column("What for", purpose),
                    Column("State", word("status")),
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
                    Column("Kind", word("kind")),
                    Column("System", lines("operatingSystem", "browser")),
                    Column("Language", plain("language")),
                    Column("Cookie", plain("cookieId")),
                    Column("First seen", plain("firstSeenAt")),
                    Column("Last seen", plain("lastSeenAt")),
                ),
                "No device of yours is known.",
            ),
            Listing(
                "activity",
                "Activity",
                event,
                ("events",),
                (
                    Column("When", plain("occurredAt")),
                    Column("What", lines("type", "name")),
                    Column("Page", lines("page", "exitUrl")),
                    Column("Time on page", seconds),
                    Column("Address", plain("ipAddress")),
                    Column("More", members("properties")),
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
                    Column("Signed in", plain("authenticatedAt")),
                    Column("Last used", plain("lastSeenAt")),
                    Column("Ended", plain("revokedAt")),
                    Column("Address", plain("ipAddress")),
                    Column("Browser", plain("userAgent")),
                ),
                "You are not signed in anywhere.",
            ),
            Listing(
                "requests",
                "Requests",
                privacy_request,
                ("requests",),
                (
                    Column("Reference", plain("reference")),
                    Column("What", _request),
                    Column("Asked", plain("requestedAt")),
                    Column("State", _request_status),
                ),
                "You have not asked for a copy or a deletion yet.",
            ),
        ),
    ),
    Category(
        "kept",
        "Papers and legal holds",
        "What lies about you in our offices, and what the law forbids us to delete for now.",
        (Purpose.ORDERS, Purpose.PRIVACY_REQUESTS),
        "Papers until the day in the list, or until you have your data deleted; holds until they end.",
        (
            Listing(
                "papers",
                "Papers",
                paper_record,
                ("paperRecords",),
                (
                    Column("Reference", plain("reference")),
                    Column("What", plain("description")),
                    Column("Kind of data", word("category")),
                    Column("Kept until", plain("retainUntil")),
                    Column("State", _paper_status),
                ),
                "We hold no paper about you.",
                paged=False,
            ),
            Listing(
                "holds",
                "Legal holds",
                legal_hold,
                ("holds",),
                (
                    Column("What is kept", word("category")),
                    Column("Since", plain("placedAt")),
                    Column("Why", plain("notice")),
                    Column("State", _hold_status),
                ),
                "Nothing of yours is under a legal hold.",
                paged=False,
            ),
        ),
    ),
)
LISTINGS: Mapping[str, Listing] = {one.slug: one for category in CATEGORIES for one in category.listings}
PAGED = tuple(one for one in LISTINGS.values() if one.paged)
