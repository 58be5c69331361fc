"""Orders and their items: retail orders and purchase orders."""

from datetime import datetime
from decimal import Decimal
from enum import Enum

import strawberry

from cdp.schema.fields import OrderingSource, column, filtered, many, mapped, masked_fields, one
from cdp.schema.types.comparison import Choice, DateTimeFilter, DecimalFilter, OrderDirection, TextFilter
from cdp.schema.types.policy import COLLECTED, Collection
from cdp.schema.types.relay import Node
from cdp.tables import order
from cdp.tables.order import OrderKind, OrderStatus

strawberry.enum(OrderKind, description="Retail order or purchase order.")
strawberry.enum(OrderStatus, description="Where an order stands.")


@mapped(order.sales_order_item, subject="customer_id", description="A line of an order.")
class OrderItem(Node):
    """An order line."""

    position: int = column(description="Place in the order, from 1.")
    sku: str = column(description="Article number.")
    title: str = column(description="What was ordered.")
    quantity: int = column(description="How many.")
    unit_price: Decimal = column(description="Price of one, in the order's currency.")
    total: Decimal = column(lambda row: row["quantity"] * row["unit_price"], description="Price of the line.")


@mapped(order.sales_order, subject="customer_id", description="An order of a customer.")
class Order(Node):
    """An order."""

    number: str = column(description="Order number.")
    kind: OrderKind = column(description="Retail order or purchase order.")
    status: OrderStatus = column(description="Where it stands.")
    placed_at: datetime = column(description="When it was placed.")
    confirmed_at: datetime | None = column(description="When we confirmed it.")
    currency: str = column(description="Currency, ISO 4217.")
    total: Decimal = column(description="Sum of the order.")
    purchase_order_number: str | None = column(description="The customer's own number of a purchase order.")
    billing_name: str | None = column(description="Name on the invoice.")
    billing_line1: str | None = column(description="Street on the invoice.")
    billing_city: str | None = column(description="City on the invoice.")
    billing_region: str | None = column(description="Region on the invoice.")
    billing_postal_code: str | None = column(description="Postal code on the invoice.")
    billing_country: str | None = column(description="Country on the invoice.")
    items: list[OrderItem] | None = many({"id": "order_id"}, order=("position",), typical=5, description="Its lines.")
    collection: Collection | None = one({"collection_id": "id"}, description=COLLECTED)
    masked_fields: list[str] = masked_fields()


@strawberry.enum(description="What orders can be sorted by.")
class OrderOrderField(Enum):
    """Sort keys of orders."""

    PLACED_AT = "placed_at"
    TOTAL = "total"
    NUMBER = "number"


@strawberry.input(description="Order of orders.")
class OrderOrder:
    """How to sort orders."""

    field: OrderOrderField = strawberry.field(description="Sort key.")
    direction: OrderDirection | None = strawberry.field(default=OrderDirection.DESC, description="Direction.")


@strawberry.input(description="Which orders to list.")
class OrderFilter:
    """Conditions on orders."""

    status: Choice[OrderStatus] | None = filtered(description="Where they stand.")
    kind: Choice[OrderKind] | None = filtered(description="Retail or purchase order.")
    number: TextFilter | None = filtered(description="Order number.")
    placed_at: DateTimeFilter | None = filtered(description="When they were placed.")
    total: DecimalFilter | None = filtered(description="Their sum.")


ORDER_ORDERINGS = {"PLACED_AT": OrderingSource(), "TOTAL": OrderingSource(), "NUMBER": OrderingSource()}
