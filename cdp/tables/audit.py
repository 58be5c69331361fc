"""Audit events: who did what to whom, append-only, in the transaction of what they record; and the tree over them.

Subjects appear only as ``subject_ref``, the random ``customer.audit_ref``, so that the log survives an erasure. What
somebody typed lives in ``audit_note`` and goes with the person; the event keeps its salted hash. A trigger puts every
event into ``audit_pending`` as it commits; the sequencer moves it from there into the tree, so that an event whose
transaction commits late is never passed over.
"""

from collections.abc import Mapping
from enum import StrEnum

from sqlalchemy import BigInteger, Column, ForeignKey, Index, LargeBinary, SmallInteger, String, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

from cdp.tables.base import (
    Category,
    foreign_key_indexes,
    id_column,
    metadata,
    personal,
    structural,
    subject_columns,
    timestamp,
)

# What events are about beside the types of the API, in the same spelling; nobody reads these by GraphQL.
OTHER_OBJECTS: Mapping[str, str] = {
    "AskedRequest": "what a controller asks of us as its processor",
    "AuditLog": "the log itself, when somebody exports it",
    "Controller": "somebody whose processor we are",
    "Backup": "a copy of the database, made or put in its place",
    "Import": "one run of an import",
    "Key": "a key the platform signs or seals with",
    "LogoutNotice": "what tells an application that somebody signed out",
    "OAuthClient": "an application that signs people in",
    "OAuthDeviceCode": "a device that waits to be let in",
    "OAuthGrant": "what somebody allowed an application",
    "OAuthInvitation": "leave to register an application",
    "Population": "demo data",
    "ResidualPass": "one search for what is left of people who were erased",
    "RetentionRun": "one run of the purge",
    "Staff": "somebody who works here",
}

audit_event = Table(
    "audit_event",
    metadata,
    id_column(),
    timestamp("occurred_at", now=True),
    Column("action", String(60), nullable=False),
    Column("outcome", String(20), nullable=False),
    Column("code", String(60)),
    Column("actor_kind", String(20), nullable=False),
    Column("actor_ref", Uuid),
    Column("client", String(100)),
    Column("subject_ref", Uuid),
    Column("object_type", String(40)),
    Column("object_id", Uuid),
    Column("details", JSONB, nullable=False, server_default="{}"),
    Column("request", String(40)),
    Column("note_hash", LargeBinary(32)),
)

Index(None, audit_event.c.subject_ref, audit_event.c.occurred_at)
Index(None, audit_event.c.object_id)
Index(None, audit_event.c.occurred_at, audit_event.c.id)

audit_note = Table(
    "audit_note",
    metadata,
    id_column(),
    *subject_columns(collected=False),
    Column("event_id", Uuid, ForeignKey("audit_event.id"), nullable=False, unique=True, info=structural()),
    Column("salt", LargeBinary(16), nullable=False, info=structural()),
    Column("text", Text, nullable=False, info=personal(Category.ACTIVITY)),
)
foreign_key_indexes(audit_note)

audit_pending = Table(
    "audit_pending",
    metadata,
    Column("event_id", Uuid, ForeignKey("audit_event.id"), primary_key=True),
)

audit_leaf = Table(
    "audit_leaf",
    metadata,
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("event_id", Uuid, ForeignKey("audit_event.id"), nullable=False, unique=True),
    Column("hash", LargeBinary(32), nullable=False, index=True),
)

audit_node = Table(
    "audit_node",
    metadata,
    Column("level", SmallInteger, primary_key=True, autoincrement=False),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary(32), nullable=False),
)

audit_head = Table(
    "audit_head",
    metadata,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("document", Text, nullable=False),
    Column("key_id", String(60), nullable=False),
    timestamp("signed_at"),
)


class WitnessKind(StrEnum):
    """Where signed heads are taken outside."""

    STORE = "store"
    MAIL = "mail"


audit_witness = Table(
    "audit_witness",
    metadata,
    Column("kind", String(20), primary_key=True),
    Column("size", BigInteger, nullable=False, server_default="0"),
    timestamp("lease_until", nullable=True),
    timestamp("sent_at", nullable=True),
)
