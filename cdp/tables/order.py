"""Orders and their items: retail orders and purchase orders with confirmation (promise P16).

Accounting law keeps the facts after an erasure (retention below); who bought is cut: every personal column goes to
NULL and the row no longer points to a customer.
"""

from enum import StrEnum

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    Numeric,
    SmallInteger,
    String,
    Table,
    Uuid,
)

from cdp.tables.base import (
    Category,
    Erase,
    Retention,
    enum_type,
    foreign_key_indexes,
    id_column,
    metadata,
    personal,
    subject_columns,
    timestamp,
)

ACCOUNTING_LAW = "Accounting records: HGB § 257, AO § 147"
_KEPT = personal(Category.ORDER, erase=Erase.KEEP, basis=ACCOUNTING_LAW)
_CUT = personal(Category.ORDER, erase=Erase.NULL)


class OrderKind(StrEnum):
    """Retail order, or a purchase order that we confirm."""

    RETAIL = "retail"
    PURCHASE_ORDER = "purchase_order"


class OrderStatus(StrEnum):
    """Where an order stands."""

    OPEN = "open"
    CONFIRMED = "confirmed"
    SHIPPED = "shipped"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


sales_order = Table(
    "sales_order",
    metadata,
    id_column(),
    *subject_columns(nullable=True),
    Column("number", String(60), nullable=False, unique=True, info=_KEPT),
    Column("kind", enum_type(OrderKind, "order_kind"), nullable=False, server_default="retail", info=_KEPT),
    Column("status", enum_type(OrderStatus, "order_status"), nullable=False, info=_KEPT),
    timestamp("placed_at", info=_KEPT),
    timestamp("confirmed_at", nullable=True, info=_KEPT),
    Column("currency", String(3), nullable=False, info=_KEPT),
    Column("total", Numeric(18, 2), nullable=False, info=_KEPT),
    Column("purchase_order_number", String(60), info=_CUT),
    Column("billing_name", String(200), info=_CUT),
    Column("billing_line1", String(200), info=_CUT),
    Column("billing_city", String(100), info=_CUT),
    Column("billing_region", String(100), info=_CUT),
    Column("billing_postal_code", String(20), info=_CUT),
    Column("billing_country", String(2), info=_KEPT),
    timestamp("retained_until", nullable=True),
    CheckConstraint("customer_id IS NOT NULL OR retained_until IS NOT NULL", name="owner_or_retention"),
    info={"retention": Retention(ACCOUNTING_LAW, 10, "placed_at")},
)

sales_order_item = Table(
    "sales_order_item",
    metadata,
    id_column(),
    *subject_columns(nullable=True),
    Column("order_id", Uuid, ForeignKey("sales_order.id"), nullable=False, info=_KEPT),
    Column("position", SmallInteger, nullable=False, info=_KEPT),
    Column("sku", String(60), nullable=False, info=_KEPT),
    Column("title", String(300), nullable=False, info=_KEPT),
    Column("quantity", Integer, nullable=False, info=_KEPT),
    Column("unit_price", Numeric(18, 2), nullable=False, info=_KEPT),
    CheckConstraint("quantity > 0", name="quantity_positive"),
    info={"retention": Retention(ACCOUNTING_LAW, 10, "sales_order.placed_at")},
)

Index(
    "sales_order_customer_id_placed_at_idx",
    sales_order.c.customer_id,
    sales_order.c.placed_at.desc(),
    sales_order.c.id.desc(),
)
Index(
    "sales_order_retained_until_idx",
    sales_order.c.retained_until,
    postgresql_where=sales_order.c.retained_until.is_not(None),
)
Index(
    "sales_order_item_order_id_position_key",
    sales_order_item.c.order_id,
    sales_order_item.c.position,
    unique=True,
)
# A statement that pins the customer too would otherwise read all their items for every order.
Index(None, sales_order_item.c.customer_id, sales_order_item.c.order_id, sales_order_item.c.position)
foreign_key_indexes(sales_order)
foreign_key_indexes(sales_order_item)
