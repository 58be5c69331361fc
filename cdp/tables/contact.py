"""Ways to reach a customer: e-mail addresses, phone numbers, postal addresses; each verified or not, one primary."""

from enum import StrEnum
from typing import Any

from sqlalchemy import Boolean, Column, Index, Integer, String, Table

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


class AddressKind(StrEnum):
    """What an address is used for."""

    HOME = "home"
    WORK = "work"
    BILLING = "billing"
    SHIPPING = "shipping"


class PhoneKind(StrEnum):
    """What a phone number is."""

    MOBILE = "mobile"
    LANDLINE = "landline"
    FAX = "fax"
    UNKNOWN = "unknown"


def _state() -> tuple[Column[Any], ...]:
    return (
        timestamp("verified_at", nullable=True, info=personal(Category.CONTACT)),
        Column("is_primary", Boolean, nullable=False, server_default="false", info=personal(Category.CONTACT)),
        Column("version", Integer, nullable=False, server_default="1", info=structural()),
        timestamp("created_at", now=True, info=personal(Category.CONTACT)),
    )


email_address = Table(
    "email_address",
    metadata,
    id_column(),
    *subject_columns(),
    Column("address", String(320), nullable=False, info=personal(Category.CONTACT)),
    Column(
        "normalized",
        String(320),
        nullable=False,
        info={**personal(Category.CONTACT, export=False), **identifies("email")},
    ),
    *_state(),
)

phone_number = Table(
    "phone_number",
    metadata,
    id_column(),
    *subject_columns(),
    Column("number", String(40), nullable=False, info=personal(Category.CONTACT)),
    Column("e164", String(20), info={**personal(Category.CONTACT), **identifies("phone")}),
    Column(
        "kind",
        enum_type(PhoneKind, "phone_kind"),
        nullable=False,
        server_default="unknown",
        info=personal(Category.CONTACT),
    ),
    *_state(),
)

postal_address = Table(
    "postal_address",
    metadata,
    id_column(),
    *subject_columns(),
    Column("kind", enum_type(AddressKind, "address_kind"), nullable=False, info=personal(Category.CONTACT)),
    Column("recipient", String(200), info=personal(Category.CONTACT)),
    Column("line1", String(200), nullable=False, info=personal(Category.CONTACT)),
    Column("line2", String(200), info=personal(Category.CONTACT)),
    Column("city", String(100), info=personal(Category.CONTACT)),
    Column("region", String(100), info=personal(Category.CONTACT)),
    Column("postal_code", String(20), info=personal(Category.CONTACT)),
    Column("country", String(2), info=personal(Category.CONTACT)),
    *_state(),
)

for _table in (email_address, phone_number, postal_address):
    Index(
        f"{_table.name}_primary_key",
        _table.c.customer_id,
        unique=True,
        postgresql_where=_table.c.is_primary,
    )
    Index(None, _table.c.customer_id, _table.c.created_at, _table.c.id)
    foreign_key_indexes(_table)
Index(None, email_address.c.normalized)
Index(None, phone_number.c.e164)
