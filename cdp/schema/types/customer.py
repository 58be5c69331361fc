"""Customers and their accounts: the unified profile."""

from datetime import datetime

import strawberry
from strawberry.scalars import JSON

from cdp.schema.fields import column, connection, embedded, many, mapped, masked_fields, one
from cdp.schema.types.contact import Contacts
from cdp.schema.types.order import ORDER_ORDERINGS, Order, OrderFilter, OrderOrder
from cdp.schema.types.policy import COLLECTED, Brand, Collection
from cdp.schema.types.relay import Connection, Node
from cdp.tables import account, consent, customer

CustomerKind = strawberry.enum(customer.CustomerKind, description="Person or organisation.")
CustomerStatus = strawberry.enum(customer.CustomerStatus, description="Frozen while a deletion cools off.")
AccountStatus = strawberry.enum(account.AccountStatus, description="Frozen accounts can only watch or undo.")


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
    value: JSON = column(description="What is preferred.")
    version: int = column(description="Number of the last change, for updates.")
    updated_at: datetime = column(description="When it was last changed.")
    collection: Collection | None = one({"collection_id": "id"}, description=COLLECTED)


@mapped(customer.customer, subject="id", description="A customer: a person or an organisation, with all we hold.")
class Customer(Node):
    """A customer."""

    kind: CustomerKind | None = column(description="Person or organisation.")
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
    account: Account | None = one({"id": "customer_id"}, description="The account, where one was registered.")
    contacts: Contacts | None = embedded(description="Ways to reach this customer.")
    preferences: list[Preference] | None = many(
        {"id": "customer_id"}, order=("key",), description="Remembered preferences, by key."
    )
    orders: Connection[Order] | None = connection(
        {"id": "customer_id"},
        orderings=ORDER_ORDERINGS,
        default="-PLACED_AT",
        order_by=OrderOrder,
        filter_by=OrderFilter,
        description="Orders, newest first.",
    )
    masked_fields: list[str] = masked_fields()
