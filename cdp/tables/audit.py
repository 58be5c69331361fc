"""Audit events: who did what to whom, append-only, in the transaction of what they record.

Subjects appear only as ``subject_ref``, the random ``customer.audit_ref``, so that the log survives an erasure.
"""

from sqlalchemy import Column, Index, String, Table, Uuid
from sqlalchemy.dialects.postgresql import JSONB

from cdp.tables.base import id_column, metadata, timestamp

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
    Column("subject_ref", Uuid),
    Column("object_type", String(40)),
    Column("object_id", Uuid),
    Column("details", JSONB, nullable=False, server_default="{}"),
)

Index(None, audit_event.c.subject_ref, audit_event.c.occurred_at)
Index(None, audit_event.c.object_id)
