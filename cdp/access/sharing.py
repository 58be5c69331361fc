"""What a partner may be granted at all, by function, and what one living grant lets it see.

A grant names fields of the API, ``Type.field``; whatever it does not name is denied, and so is every field that comes
later. What leads to a field (the list it is in, its id) comes with it. Nothing beyond what the partner's function needs
can be granted, whoever approves it (promise P8).
Sources: RFC 9396, https://www.rfc-editor.org/rfc/rfc9396; GDPR art. 5(1)(b) and (c).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from uuid import UUID

from cdp.tables.partner import PartnerFunction

MANAGE_SCOPE = "partners:manage"
MANAGERS = frozenset({"privacy_officer", "supervisor", "administrator"})
READ_SCOPE = "partner:read"
OFFER_SCOPE = "partner:offer"
# A token that names a grant carries none but these, whatever its program was given beside.
PARTNER_SCOPES = frozenset({READ_SCOPE, OFFER_SCOPE})


def _of(type_name: str, names: str) -> frozenset[str]:
    return frozenset(f"{type_name}.{name}" for name in names.split())


_NAMES = _of("Customer", "kind displayName givenName familyName organisationName")
_LOCAL = _of("Customer", "country locale brand") | _of("Brand", "code name")
_EMAILS = _of("EmailAddress", "address isVerified isPrimary")
_PHONES = _of("PhoneNumber", "number e164 kind isVerified isPrimary")
_ADDRESSES = _of("PostalAddress", "kind recipient line1 line2 city region postalCode country isPrimary")
_PREFERENCES = _of("Preference", "key value updatedAt")
_ORDERS = _of("Order", "number kind status placedAt confirmedAt currency total purchaseOrderNumber") | _of(
    "OrderItem", "position sku title quantity unitPrice total"
)
_BILLING = _of("Order", "billingName billingLine1 billingCity billingRegion billingPostalCode billingCountry")
_QUESTIONS = _of("Inquiry", "kind status subject body receivedAt answeredAt") | _of(
    "Quotation", "number status currency total leadTimeDays requestedAt respondBy validUntil"
)
_CONTACTS = _EMAILS | _PHONES | _ADDRESSES

SHAREABLE: Mapping[PartnerFunction, frozenset[str]] = {
    PartnerFunction.PROMOTIONS: _NAMES | _LOCAL | _EMAILS | _PREFERENCES,
    PartnerFunction.EMAIL_CONTACT: _NAMES | _EMAILS | _of("Customer", "locale"),
    PartnerFunction.DATA_MANAGEMENT: _NAMES | _LOCAL | _CONTACTS | _PREFERENCES | _ORDERS,
    PartnerFunction.PAYMENT_PROCESSING: _NAMES | _ADDRESSES | _EMAILS | _ORDERS | _BILLING,
    PartnerFunction.CUSTOMER_SERVICE: _NAMES | _LOCAL | _CONTACTS | _ORDERS | _QUESTIONS,
}
"""The most a grant of each function may name."""

LEADING: Mapping[str, frozenset[str]] = {
    "Customer": frozenset({"Query.customer", "Query.customers", "Customer.id"}),
    "Brand": frozenset({"Customer.brand", "Brand.id"}),
    "EmailAddress": frozenset({"Customer.contacts", "Contacts.emails", "EmailAddress.id"}),
    "PhoneNumber": frozenset({"Customer.contacts", "Contacts.phones", "PhoneNumber.id"}),
    "PostalAddress": frozenset({"Customer.contacts", "Contacts.addresses", "PostalAddress.id"}),
    "Preference": frozenset({"Customer.preferences", "Preference.id"}),
    "Order": frozenset({"Customer.orders", "Order.id"}),
    "OrderItem": frozenset({"Customer.orders", "Order.items", "Order.id", "OrderItem.id"}),
    "Inquiry": frozenset({"Customer.inquiries", "Inquiry.id"}),
    "Quotation": frozenset({"Customer.quotations", "Quotation.id"}),
}
"""What comes with any field of a type: the way there, and its id."""
OWN_LOG = frozenset(
    {"Query.disclosures", *(f"Disclosure.{name}" for name in ["id", "customerId", "purpose", "fields", "disclosedAt"])}
)
"""What every partner reads of itself: what was disclosed to it."""


@dataclass(frozen=True)
class Sharing:
    """One living grant as a token carries it; ``fields`` are as granted, ``recipient`` is the partner's name."""

    grant_id: UUID
    partner_id: UUID
    recipient: str = field(repr=False)
    legal_basis: str
    needs_consent: bool
    fields: frozenset[str]
    brands: tuple[UUID, ...] = ()
    countries: tuple[str, ...] = ()

    @cached_property
    def coordinates(self) -> frozenset[str]:
        """Everything it lets through: what was granted, and what leads there."""
        return reaching(self.fields) | OWN_LOG

    @cached_property
    def types(self) -> frozenset[str]:
        """The types it reaches."""
        return frozenset(one.partition(".")[0] for one in self.coordinates)

    @cached_property
    def shape(self) -> str:
        """What statements depend on, in a few characters."""
        parts = [*sorted(self.fields), str(self.needs_consent), str(bool(self.brands)), str(bool(self.countries))]
        return sha256("\n".join(parts).encode()).hexdigest()


def reaching(fields: Iterable[str]) -> frozenset[str]:
    """Fields, and what leads there: the roots, the lists in between, ids."""
    named = frozenset(fields)
    if not named:
        return named
    return named.union(LEADING["Customer"], *(LEADING[one.partition(".")[0]] for one in named))
