"""Customers and their accounts: the unified profile."""

from datetime import datetime
from enum import Enum
from typing import Any

import strawberry
from sqlalchemy import ColumnElement, func, literal_column
from strawberry.scalars import JSON

from cdp.compiler.graph import Row
from cdp.compiler.render import quoted
from cdp.schema.fields import OrderingSource, column, connection, embedded, filtered, many, mapped, masked_fields, one
from cdp.schema.types.access import Authenticator, Authorization, ExternalIdentity, RecoveryCode
from cdp.schema.types.activity import Device, Event, EventFilter, Message, Passkey, Session
from cdp.schema.types.audit import AUDIT_ORDERINGS, AuditEvent, AuditEventFilter
from cdp.schema.types.comparison import Choice, DateTimeFilter, ExactFilter, OrderDirection, SearchFilter
from cdp.schema.types.consent import Consent, ConsentFilter, is_newest
from cdp.schema.types.contact import Contacts
from cdp.schema.types.hold import LegalHold
from cdp.schema.types.inquiry import Inquiry, Quotation, SurveyResponse
from cdp.schema.types.merge import CustomerMerge
from cdp.schema.types.order import ORDER_ORDERINGS, Order, OrderFilter, OrderOrder
from cdp.schema.types.paper import PaperRecord
from cdp.schema.types.partner import DISCLOSURE_ORDERINGS, Disclosure, DisclosureFilter, SharedLink, is_told
from cdp.schema.types.policy import COLLECTED, Brand, Collection, PolicyAcceptance
from cdp.schema.types.relay import Connection, Node
from cdp.schema.types.request import (
    REQUEST_ORDERINGS,
    Export,
    PrivacyRequest,
    PrivacyRequestFilter,
    PrivacyRequestOrder,
)
from cdp.schema.types.transfer import CustomerTransfer
from cdp.schema.types.transfer import is_told as is_in_transfer
from cdp.tables import account, consent, customer
from cdp.tables.account import AccountStatus
from cdp.tables.contact import email_address, phone_number
from cdp.tables.customer import CustomerKind, CustomerStatus, IdentityType
from cdp.tables.order import sales_order

strawberry.enum(CustomerKind, description="Person or organisation.")
strawberry.enum(CustomerStatus, description="Frozen while a deletion cools off.")
strawberry.enum(IdentityType, description="Kinds of identifiers.")
strawberry.enum(AccountStatus, description="Frozen accounts can only watch or undo.")

_OWN = {"id": "customer_id"}


@mapped(account.account, subject="customer_id", description="The account a customer signs in with.")
class Account(Node):
    """An account."""

    username: str | None = column(description="Name used to sign in.")
    status: AccountStatus | None = column(description="Active, or frozen while a deletion cools off.")
    last_sign_in_at: datetime | None = column(description="Last sign-in.")
    created_at: datetime | None = column(description="When it was registered.")
    version: int | None = column(description="Number of the last change, for updates.")
    collection: Collection | None = one({"collection_id": "id"}, description=COLLECTED)
    masked_fields: list[str] = masked_fields()


@mapped(consent.preference, subject="customer_id", description="A remembered preference.")
class Preference(Node):
    """A preference."""

    key: str = column(description="What it is about.")
    value: JSON | None = column(description="What is preferred.")
    version: int = column(description="Number of the last change, for updates.")
    updated_at: datetime = column(description="When it was last changed.")
    collection: Collection | None = one({"collection_id": "id"}, description=COLLECTED)


@mapped(customer.identity, subject="customer_id", description="A name by which a system knows a customer.")
class Identity(Node):
    """An identity."""

    type: IdentityType = column(description="Kind of identifier.")
    issuer: str = column(description="Who gave it; empty where it stands for itself.")
    value: str = column(description="The identifier.")
    verified_at: datetime | None = column(description="When it was proven.")
    collection: Collection | None = one({"collection_id": "id"}, description=COLLECTED)
    masked_fields: list[str] = masked_fields()


def _display_name(row: Row) -> ColumnElement[Any]:
    full = func.concat_ws(quoted(" "), row["given_name"], row["family_name"])
    return func.coalesce(row["organisation_name"], func.nullif(full, quoted("")))


def _sort_name(row: Row) -> ColumnElement[Any]:
    """The expression of ``customer_sort_name_id_idx``."""
    return func.lower(func.coalesce(row["family_name"], row["organisation_name"], literal_column("''")))


def _search_name(row: Row) -> ColumnElement[Any]:
    """The expression of ``customer_search_name_idx``."""
    blank: ColumnElement[str] = literal_column("' '")
    empty: ColumnElement[str] = literal_column("''")
    given, family, organisation = (
        func.coalesce(row[name], empty) for name in ("given_name", "family_name", "organisation_name")
    )
    return func.lower(given + blank + family + blank + organisation)


def _by(key: str) -> dict[str, OrderingSource]:
    return {key: OrderingSource()}


@mapped(customer.customer, subject="id", description="A customer: a person or an organisation, with all we hold.")
class Customer(Node):
    """A customer."""

    kind: CustomerKind | None = column(description="Person or organisation.")
    display_name: str | None = column(_display_name, description="Name to show: organisation, or first and last name.")
    given_name: str | None = column(description="First name.")
    family_name: str | None = column(description="Last name.")
    organisation_name: str | None = column(description="Name of the organisation.")
    country: str | None = column(description="Country, ISO 3166-1 alpha-2.")
    locale: str | None = column(description="Preferred language and region, BCP 47.")
    status: CustomerStatus | None = column(description="Active, or frozen while a deletion cools off.")
    version: int | None = column(description="Number of the last change, for updates.")
    created_at: datetime | None = column(description="Since when we know this customer.")
    updated_at: datetime | None = column(description="When the profile was last changed.")
    brand: Brand | None = one({"brand_id": "id"}, description="The brand that serves this customer.")
    collection: Collection | None = one({"collection_id": "id"}, description=COLLECTED)
    account: Account | None = one(_OWN, description="The account, where one was registered.")
    contacts: Contacts | None = embedded(description="Ways to reach this customer.")
    identities: list[Identity] | None = many(
        _OWN, order=("created_at", "id"), description="Names by which systems know this customer, oldest first."
    )
    preferences: list[Preference] | None = many(_OWN, order=("key",), description="Remembered preferences, by key.")
    current_consents: list[Consent] | None = many(
        _OWN, order=("purpose", "channel"), where=is_newest, description="What holds now, per purpose and channel."
    )
    consents: Connection[Consent] | None = connection(
        _OWN,
        orderings=_by("RECORDED_AT"),
        default="-RECORDED_AT",
        filter_by=ConsentFilter,
        description="Every decision ever made, newest first.",
    )
    orders: Connection[Order] | None = connection(
        _OWN,
        orderings=ORDER_ORDERINGS,
        default="-PLACED_AT",
        order_by=OrderOrder,
        filter_by=OrderFilter,
        description="Orders, newest first.",
    )
    inquiries: Connection[Inquiry] | None = connection(
        _OWN, orderings=_by("RECEIVED_AT"), default="-RECEIVED_AT", description="Questions asked, newest first."
    )
    quotations: Connection[Quotation] | None = connection(
        _OWN, orderings=_by("REQUESTED_AT"), default="-REQUESTED_AT", description="Quotations, newest first."
    )
    survey_responses: Connection[SurveyResponse] | None = connection(
        _OWN, orderings=_by("SUBMITTED_AT"), default="-SUBMITTED_AT", description="Answers to surveys, newest first."
    )
    devices: Connection[Device] | None = connection(
        _OWN, orderings=_by("LAST_SEEN_AT"), default="-LAST_SEEN_AT", description="Devices, last used first."
    )
    events: Connection[Event] | None = connection(
        _OWN,
        orderings=_by("OCCURRED_AT"),
        default="-OCCURRED_AT",
        filter_by=EventFilter,
        description="Activity on the site, newest first.",
    )
    sessions: Connection[Session] | None = connection(
        _OWN, orderings=_by("CREATED_AT"), default="-CREATED_AT", description="Signed-in browsers, newest first."
    )
    passkeys: Connection[Passkey] | None = connection(
        _OWN, orderings=_by("CREATED_AT"), default="-CREATED_AT", description="Passkeys, newest first."
    )
    external_identities: list[ExternalIdentity] | None = many(
        _OWN, order=("created_at", "id"), description="Outside providers that sign them in, oldest first."
    )
    authenticators: list[Authenticator] | None = many(
        _OWN, order=("created_at", "id"), description="Authenticator apps, oldest first."
    )
    recovery_codes: list[RecoveryCode] | None = many(
        _OWN, order=("created_at", "id"), description="Recovery codes, oldest first."
    )
    authorizations: Connection[Authorization] | None = connection(
        _OWN, orderings=_by("CREATED_AT"), default="-CREATED_AT", description="Applications let in, newest first."
    )
    messages: Connection[Message] | None = connection(
        _OWN, orderings=_by("CREATED_AT"), default="-CREATED_AT", description="Messages sent, newest first."
    )
    policy_acceptances: Connection[PolicyAcceptance] | None = connection(
        _OWN, orderings=_by("DECIDED_AT"), default="-DECIDED_AT", description="Answers to policies, newest first."
    )
    requests: Connection[PrivacyRequest] | None = connection(
        _OWN,
        orderings=REQUEST_ORDERINGS,
        default="-REQUESTED_AT",
        order_by=PrivacyRequestOrder,
        filter_by=PrivacyRequestFilter,
        description="Privacy requests, newest first.",
    )
    paper_records: list[PaperRecord] | None = many(
        _OWN, order=("filed_at", "id"), description="Papers in our offices, oldest first."
    )
    holds: list[LegalHold] | None = many(
        _OWN, order=("placed_at", "id"), description="Legal holds: what has to be kept, oldest first."
    )
    merges: list[CustomerMerge] | None = many(
        _OWN,
        order=("proposed_at", "id"),
        description="Records of this customer that were made one, or are to be, oldest first; undone ones too.",
    )
    disclosures: Connection[Disclosure] | None = connection(
        _OWN,
        orderings=DISCLOSURE_ORDERINGS,
        default="-DISCLOSED_AT",
        where=is_told,
        filter_by=DisclosureFilter,
        description="To whom data was disclosed, for what and when, newest first.",
    )
    transfers: list[CustomerTransfer] | None = many(
        _OWN,
        order=("id",),
        where=is_in_transfer,
        description="Sales of part of the business by which data goes, or would go, to somebody else.",
    )
    shared_links: list[SharedLink] | None = many(
        _OWN, order=("-created_at", "id"), description="Links that let somebody read, newest first."
    )
    exports: Connection[Export] | None = connection(
        _OWN, orderings=_by("CREATED_AT"), default="-CREATED_AT", description="Export packages, newest first."
    )
    audit_events: Connection[AuditEvent] | None = connection(
        {"audit_ref": "subject_ref"},
        orderings=AUDIT_ORDERINGS,
        default="-OCCURRED_AT",
        filter_by=AuditEventFilter,
        description="What was done with this customer's data and by whom, newest first.",
    )
    masked_fields: list[str] = masked_fields()


@strawberry.enum(description="What customers can be sorted by.")
class CustomerOrderField(Enum):
    """Sort keys of customers."""

    CREATED_AT = "created_at"
    NAME = "name"


@strawberry.input(description="Order of customers.")
class CustomerOrder:
    """How to sort customers."""

    field: CustomerOrderField = strawberry.field(description="Sort key.")
    direction: OrderDirection | None = strawberry.field(default=OrderDirection.ASC, description="Direction.")


_NAMES = tuple(("Customer", name) for name in ("givenName", "familyName", "organisationName"))


@strawberry.input(description="Which customers to list.")
class CustomerFilter:
    """Conditions on customers."""

    name: SearchFilter | None = filtered(_search_name, discloses=_NAMES, fold=True, description="Any of the names.")
    email: ExactFilter | None = filtered(
        "normalized",
        within=(email_address, _OWN),
        discloses=[("EmailAddress", "address")],
        fold=True,
        description="An e-mail address, whatever the case.",
    )
    phone: ExactFilter | None = filtered(
        "e164",
        within=(phone_number, _OWN),
        discloses=[("PhoneNumber", "e164")],
        description="A phone number in international form.",
    )
    identity: ExactFilter | None = filtered(
        "value",
        within=(customer.identity, _OWN),
        discloses=[("Identity", "value")],
        description="Any identifier, a customer number for example.",
    )
    order_number: ExactFilter | None = filtered(
        "number",
        within=(sales_order, _OWN),
        discloses=[("Order", "number")],
        description="The number of an order of theirs.",
    )
    kind: Choice[CustomerKind] | None = filtered(description="Person or organisation.")
    status: Choice[CustomerStatus] | None = filtered(description="Active or frozen.")
    country: ExactFilter | None = filtered(description="Country.")
    created_at: DateTimeFilter | None = filtered(description="Since when we know them.")


CUSTOMER_ORDERINGS = {"CREATED_AT": OrderingSource(), "NAME": OrderingSource(_sort_name, _NAMES)}
