"""Non-personal usage data once it is linked to a customer: devices and events (promise P2)."""

from enum import StrEnum

from sqlalchemy import Column, ForeignKey, Index, Integer, String, Table, Uuid
from sqlalchemy.dialects.postgresql import JSONB

from cdp.tables.base import (
    Category,
    enum_type,
    foreign_key_indexes,
    id_column,
    identifies,
    metadata,
    personal,
    structural,
    subject_columns,
    timestamp,
)


class DeviceKind(StrEnum):
    """Laptop or mobile, as the policy words it."""

    LAPTOP = "laptop"
    MOBILE = "mobile"
    TABLET = "tablet"
    OTHER = "other"


device = Table(
    "device",
    metadata,
    id_column(),
    *subject_columns(),
    Column("kind", enum_type(DeviceKind, "device_kind"), nullable=False, info=personal(Category.DEVICE)),
    Column("operating_system", String(100), info=personal(Category.DEVICE)),
    Column("browser", String(100), info=personal(Category.DEVICE)),
    Column("language", String(20), info=personal(Category.DEVICE)),
    Column("cookie_id", String(100), index=True, info={**personal(Category.DEVICE), **identifies("cookie")}),
    timestamp("first_seen_at", info=personal(Category.DEVICE)),
    timestamp("last_seen_at", info=personal(Category.DEVICE)),
)

event = Table(
    "event",
    metadata,
    id_column(),
    *subject_columns(),
    Column("device_id", Uuid, ForeignKey("device.id"), info=structural()),
    Column("type", String(60), nullable=False, info=personal(Category.ACTIVITY)),
    Column("name", String(200), info=personal(Category.ACTIVITY)),
    Column("page", String(500), info=personal(Category.ACTIVITY)),
    Column("exit_url", String(500), info=personal(Category.ACTIVITY)),
    Column("time_on_page_ms", Integer, info=personal(Category.ACTIVITY)),
    Column("ip_address", String(45), info=personal(Category.ACTIVITY)),
    Column("properties", JSONB, info=personal(Category.ACTIVITY)),
    timestamp("occurred_at", info=personal(Category.ACTIVITY)),
)

Index(None, device.c.customer_id, device.c.last_seen_at.desc(), device.c.id.desc())
Index(None, event.c.customer_id, event.c.occurred_at.desc(), event.c.id.desc())
foreign_key_indexes(device)
foreign_key_indexes(event)
