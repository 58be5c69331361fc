"""Preferences, and the append-only ledger of consents per purpose and channel."""

from enum import StrEnum

from sqlalchemy import Column, ForeignKey, Index, Integer, String, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from cdp.tables.base import (
    Category,
    enum_type,
    foreign_key_indexes,
    id_column,
    metadata,
    personal,
    structural,
    subject_columns,
    timestamp,
)


class Channel(StrEnum):
    """How somebody is contacted; ``any`` where a purpose has no channel."""

    ANY = "any"
    EMAIL = "email"
    PHONE = "phone"
    SMS = "sms"
    POST = "post"


class ConsentAction(StrEnum):
    """The newest row per purpose and channel decides."""

    GIVEN = "given"
    WITHDRAWN = "withdrawn"


preference = Table(
    "preference",
    metadata,
    id_column(),
    *subject_columns(),
    Column("key", String(100), nullable=False, info=personal(Category.PREFERENCE)),
    Column("value", JSONB, nullable=False, info=personal(Category.PREFERENCE)),
    Column("version", Integer, nullable=False, server_default="1", info=structural()),
    timestamp("updated_at", now=True, info=personal(Category.PREFERENCE)),
)

consent = Table(
    "consent",
    metadata,
    id_column(),
    *subject_columns(),
    Column("purpose", String(60), ForeignKey("purpose.code"), nullable=False, info=personal(Category.CONSENT)),
    Column("channel", enum_type(Channel, "consent_channel"), nullable=False, info=personal(Category.CONSENT)),
    Column("action", enum_type(ConsentAction, "consent_action"), nullable=False, info=personal(Category.CONSENT)),
    Column("wording", Text, nullable=False, info=personal(Category.CONSENT)),
    timestamp("recorded_at", now=True, info=personal(Category.CONSENT)),
)

Index("preference_customer_id_key_key", preference.c.customer_id, preference.c.key, unique=True)
Index(
    "consent_latest_idx",
    consent.c.customer_id,
    consent.c.purpose,
    consent.c.channel,
    consent.c.recorded_at.desc(),
    consent.c.id.desc(),
)
foreign_key_indexes(preference)
foreign_key_indexes(consent)
