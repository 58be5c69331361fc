"""Ways to reach a customer."""

from datetime import datetime

import strawberry

from cdp.schema.fields import column, many, mapped, masked_fields, one
from cdp.schema.types.policy import COLLECTED, Collection
from cdp.schema.types.relay import Node
from cdp.tables import contact
from cdp.tables.contact import AddressKind, PhoneKind

strawberry.enum(AddressKind, description="What an address is used for.")
strawberry.enum(PhoneKind, description="What a phone number is.")

_BY_AGE = ("created_at", "id")
_VERIFIED = "When it was proven to reach the customer."
_PRIMARY = "Whether it is the one to use first."
_VERSION = "Number of the last change, for updates."
_CREATED = "When we first held it."


@mapped(contact.email_address, subject="customer_id", description="An e-mail address of a customer.")
class EmailAddress(Node):
    """An e-mail address."""

    address: str | None = column(description="The address, as the customer writes it.")
    verified_at: datetime | None = column(description=_VERIFIED)
    is_verified: bool = column(lambda row: row["verified_at"].is_not(None), description="Whether it is proven.")
    is_primary: bool = column(description=_PRIMARY)
    version: int = column(description=_VERSION)
    created_at: datetime = column(description=_CREATED)
    collection: Collection | None = one({"collection_id": "id"}, description=COLLECTED)
    masked_fields: list[str] = masked_fields()


@mapped(contact.phone_number, subject="customer_id", description="A phone number of a customer.")
class PhoneNumber(Node):
    """A phone number."""

    number: str | None = column(description="The number, as the customer writes it.")
    e164: str | None = column(description="The number in international form, where it could be read.")
    kind: PhoneKind = column(description="What it is.")
    verified_at: datetime | None = column(description=_VERIFIED)
    is_verified: bool = column(lambda row: row["verified_at"].is_not(None), description="Whether it is proven.")
    is_primary: bool = column(description=_PRIMARY)
    version: int = column(description=_VERSION)
    created_at: datetime = column(description=_CREATED)
    collection: Collection | None = one({"collection_id": "id"}, description=COLLECTED)
    masked_fields: list[str] = masked_fields()


@mapped(contact.postal_address, subject="customer_id", description="A postal address of a customer.")
class PostalAddress(Node):
    """A postal address."""

    kind: AddressKind = column(description="What it is used for.")
    recipient: str | None = column(description="Who receives there.")
    line1: str | None = column(description="Street and number.")
    line2: str | None = column(description="Further line.")
    city: str | None = column(description="City.")
    region: str | None = column(description="State or region.")
    postal_code: str | None = column(description="Postal code.")
    country: str | None = column(description="Country, ISO 3166-1 alpha-2.")
    verified_at: datetime | None = column(description=_VERIFIED)
    is_primary: bool = column(description=_PRIMARY)
    version: int = column(description=_VERSION)
    created_at: datetime = column(description=_CREATED)
    collection: Collection | None = one({"collection_id": "id"}, description=COLLECTED)
    masked_fields: list[str] = masked_fields()


@mapped(description="All ways to reach a customer.")
class Contacts:
    """Contacts, on the customer's row."""

    emails: list[EmailAddress] | None = many(
        {"id": "customer_id"}, order=_BY_AGE, typical=3, description="E-mail addresses, oldest first."
    )
    phones: list[PhoneNumber] | None = many(
        {"id": "customer_id"}, order=_BY_AGE, typical=3, description="Phone numbers, oldest first."
    )
    addresses: list[PostalAddress] | None = many(
        {"id": "customer_id"}, order=_BY_AGE, typical=3, description="Postal addresses, oldest first."
    )
