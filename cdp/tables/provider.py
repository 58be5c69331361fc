"""Requests that controllers send us as their processor (OpenDSR), and what they are told of them.

A row holds nothing about anybody once the person was looked for: the identities are sealed until then, and of the body
only a keyed hash is kept, to know a repetition. What becomes of it is the engine's, by ``request_id``.

    pending -> in_progress -> completed | cancelled       (``outcome`` says what the four words can not)
           \\-> completed (nobody here) | cancelled

Source: OpenDSR 2.0, https://github.com/opengdpr/OpenDSR
"""

from collections.abc import Mapping
from enum import StrEnum

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, LargeBinary, String, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY

from cdp.tables.base import enum_type, foreign_key_indexes, id_column, metadata, sealed, timestamp


class AskedStatus(StrEnum):
    """The four words of the specification."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


class AskedOutcome(StrEnum):
    """What the four words can not say; it travels in ``extensions``."""

    REFUSED = "refused"
    FAILED = "failed"
    PARTIAL = "partial"
    HELD = "held"
    UNSUPPORTED = "unsupported"


class AskedType(StrEnum):
    """What a controller may ask for."""

    ACCESS = "access"
    PORTABILITY = "portability"
    ERASURE = "erasure"


class CallStatus(StrEnum):
    """Life of one callback."""

    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"


A, C = AskedStatus, CallStatus
ASKED_TRANSITIONS: Mapping[AskedStatus, frozenset[AskedStatus]] = {
    A.PENDING: frozenset({A.IN_PROGRESS, A.COMPLETED, A.CANCELLED}),
    A.IN_PROGRESS: frozenset({A.IN_PROGRESS, A.COMPLETED, A.CANCELLED}),  # to itself: held, or no longer
    A.COMPLETED: frozenset(),
    A.CANCELLED: frozenset(),
}
CALL_TRANSITIONS: Mapping[CallStatus, frozenset[CallStatus]] = {
    C.QUEUED: frozenset({C.SENDING}),
    C.SENDING: frozenset({C.SENDING, C.SENT, C.QUEUED, C.FAILED}),
    C.SENT: frozenset(),
    C.FAILED: frozenset(),
}

# Whom we are a processor of: a program in its own name, the brand whose customers are its own, its numbering of them.
controller = Table(
    "controller",
    metadata,
    id_column(),
    Column("client_id", Uuid, ForeignKey("oauth_client.id"), nullable=False, unique=True),
    Column("brand_id", Uuid, ForeignKey("brand.id"), nullable=False),
    Column("numbering", String(100), nullable=False, server_default=""),
    Column("callback_domains", ARRAY(Text), nullable=False, server_default="{}"),
    timestamp("created_at", now=True),
)

asked_request = Table(
    "asked_request",
    metadata,
    id_column(),
    Column("controller_id", Uuid, ForeignKey("controller.id"), nullable=False),
    Column("subject_request_id", Uuid, nullable=False),
    Column("type", enum_type(AskedType, "asked_type"), nullable=False),
    Column("regulation", String(20), nullable=False),
    Column("status", enum_type(AskedStatus, "asked_status"), nullable=False, server_default="pending"),
    Column("outcome", enum_type(AskedOutcome, "asked_outcome")),
    Column("code", String(60)),
    Column("results_count", Integer),
    Column("body_hash", LargeBinary(32), nullable=False),
    Column("identities_sealed", LargeBinary, info=sealed("asked_request:{id}")),
    Column("callback_urls", ARRAY(Text), nullable=False, server_default="{}"),
    Column("request_id", Uuid, ForeignKey("privacy_request.id")),
    timestamp("submitted_at"),
    timestamp("received_at", now=True),
    timestamp("due_at"),
    timestamp("next_run_at", now=True),
    timestamp("settled_at", nullable=True),
)

# One change of a request, told to one address.
status_call = Table(
    "status_call",
    metadata,
    id_column(),
    Column("asked_request_id", Uuid, ForeignKey("asked_request.id"), nullable=False),
    Column("url", Text, nullable=False),
    Column("request_status", enum_type(AskedStatus, "call_about"), nullable=False),
    Column("outcome", enum_type(AskedOutcome, "call_outcome")),
    Column("status", enum_type(CallStatus, "call_status"), nullable=False, server_default="queued"),
    Column("code", String(60)),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("fence", BigInteger, nullable=False, server_default="0"),
    timestamp("next_run_at", now=True),
    timestamp("created_at", now=True),
    timestamp("settled_at", nullable=True),
)

Index(
    "asked_request_controller_id_subject_request_id_key",
    asked_request.c.controller_id,
    asked_request.c.subject_request_id,
    unique=True,
)
Index(
    "asked_request_open_idx",
    asked_request.c.next_run_at,
    postgresql_where="status IN ('pending', 'in_progress')",
)
Index("status_call_due_idx", status_call.c.next_run_at, postgresql_where="status IN ('queued', 'sending')")
foreign_key_indexes(controller, skip=("client_id",))
foreign_key_indexes(asked_request)
foreign_key_indexes(status_call)
