"""The outbox: every message that leaves, as a row written with what caused it and sent after the commit."""

from collections.abc import Mapping
from enum import StrEnum

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, String, Table, Text, Uuid, func

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


class MessageStatus(StrEnum):
    """Life of a message."""

    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"
    CANCELLED = "cancelled"


M = MessageStatus
MESSAGE_TRANSITIONS: Mapping[MessageStatus, frozenset[MessageStatus]] = {
    M.QUEUED: frozenset({M.SENDING, M.CANCELLED}),
    M.SENDING: frozenset({M.SENDING, M.SENT, M.QUEUED, M.FAILED}),
    M.SENT: frozenset(),
    M.FAILED: frozenset({M.QUEUED}),
    M.CANCELLED: frozenset(),
}

message = Table(
    "message",
    metadata,
    id_column(),
    *subject_columns(nullable=True),
    # A letter about the request of somebody we hold no customer row of belongs to that request alone.
    Column("request_id", Uuid, ForeignKey("privacy_request.id"), info=structural()),
    Column("purpose", String(60), ForeignKey("purpose.code"), nullable=False, info=structural()),
    Column("template", String(60), nullable=False, info=personal(Category.MESSAGE)),
    Column(
        "recipient",
        String(320),
        nullable=False,
        info={**personal(Category.MESSAGE), **identifies("email", lower=True)},
    ),
    Column("subject", String(300), nullable=False, info=personal(Category.MESSAGE)),
    Column("body", Text, nullable=False, info=personal(Category.MESSAGE)),
    Column(
        "status",
        enum_type(MessageStatus, "message_status"),
        nullable=False,
        server_default="queued",
        info=personal(Category.MESSAGE),
    ),
    Column("attempt", Integer, nullable=False, server_default="0", info=structural()),
    Column("fence", BigInteger, nullable=False, server_default="0", info=structural()),
    timestamp("lease_until", nullable=True),
    timestamp("next_run_at", now=True),
    timestamp("created_at", now=True, info=personal(Category.MESSAGE)),
    timestamp("sent_at", nullable=True, info=personal(Category.MESSAGE)),
)

Index("message_lower_recipient_idx", func.lower(message.c.recipient))
Index("message_due_idx", message.c.next_run_at, postgresql_where="status IN ('queued', 'sending')")
Index(None, message.c.customer_id, message.c.created_at.desc(), message.c.id.desc())
foreign_key_indexes(message)
