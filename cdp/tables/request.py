"""Privacy requests, their tasks and evidence: the truth about what people ask for; arq only rings for them.

One task row per request, connected system and step, so that the idempotency key ``request:system:step`` is the row
itself. After an erasure ``customer_id`` is cut; ``subject_ref`` (random, from ``customer.audit_ref``) stays.

    erasure               checking -> cooling_off -> erasing -> verifying -> completed
                          verifying -> held (a legal hold keeps the rest) -> erasing or verifying, once it ends
    access, portability   collecting -> packing -> completed
    rectification         applying -> completed
    restriction           in_force -> lifting -> completed
    objection             completed, or received when somebody has to weigh it

``received`` waits for an agent's decision: yes leads where the request's type begins, no to ``refused``.
Until ``erasing`` the person can undo (``cancelled``). Every working state can end in ``needs_attention``, from where
an operator's retry leads back to it or an agent gives it up (``failed``), and can be ``paused``, which stops our work
and never the clock of the law; ``operations.requests.progress`` decides every move.
"""

from collections.abc import Mapping
from enum import StrEnum

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, LargeBinary, String, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

from cdp.tables.base import (
    Category,
    Erase,
    enum_type,
    foreign_key_indexes,
    id_column,
    metadata,
    personal,
    sealed,
    sealed_apart,
    structural,
    subject_columns,
    timestamp,
)

PROOF_LAW = "Accountability: GDPR art. 5(2)"
_KEPT = personal(Category.REQUEST, erase=Erase.KEEP, basis=PROOF_LAW)
_CUT = personal(Category.REQUEST, erase=Erase.NULL)


class RequestType(StrEnum):
    """What the person asks for (GDPR art. 15 to 21)."""

    ACCESS = "access"
    PORTABILITY = "portability"
    ERASURE = "erasure"
    RECTIFICATION = "rectification"
    RESTRICTION = "restriction"
    OBJECTION = "objection"


class RequestStatus(StrEnum):
    """Where a request stands; see TRANSITIONS."""

    RECEIVED = "received"
    CHECKING = "checking"
    COOLING_OFF = "cooling_off"
    ERASING = "erasing"
    VERIFYING = "verifying"
    COLLECTING = "collecting"
    PACKING = "packing"
    APPLYING = "applying"
    IN_FORCE = "in_force"
    LIFTING = "lifting"
    PAUSED = "paused"
    HELD = "held"
    NEEDS_ATTENTION = "needs_attention"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    REFUSED = "refused"
    FAILED = "failed"


S = RequestStatus
WORKING = frozenset({S.CHECKING, S.COOLING_OFF, S.ERASING, S.VERIFYING, S.COLLECTING, S.PACKING, S.APPLYING})
# What an agent can stop and go on with.
PAUSABLE = WORKING | {S.RECEIVED}
TRANSITIONS: Mapping[RequestStatus, frozenset[RequestStatus]] = {
    S.RECEIVED: frozenset(
        {
            S.CHECKING,
            S.COLLECTING,
            S.APPLYING,
            S.IN_FORCE,
            S.COMPLETED,
            S.CANCELLED,
            S.REFUSED,
            S.PAUSED,
        }
    ),
    S.CHECKING: frozenset({S.COOLING_OFF, S.CANCELLED, S.REFUSED, S.NEEDS_ATTENTION, S.PAUSED}),
    S.COOLING_OFF: frozenset({S.ERASING, S.CANCELLED, S.REFUSED, S.NEEDS_ATTENTION, S.PAUSED}),
    S.ERASING: frozenset({S.VERIFYING, S.NEEDS_ATTENTION, S.PAUSED}),
    S.VERIFYING: frozenset({S.COMPLETED, S.HELD, S.NEEDS_ATTENTION, S.PAUSED}),
    S.HELD: frozenset({S.ERASING, S.VERIFYING, S.NEEDS_ATTENTION}),
    S.COLLECTING: frozenset({S.PACKING, S.CANCELLED, S.REFUSED, S.NEEDS_ATTENTION, S.PAUSED}),
    S.PACKING: frozenset({S.COMPLETED, S.CANCELLED, S.NEEDS_ATTENTION, S.PAUSED}),
    S.APPLYING: frozenset({S.COMPLETED, S.CANCELLED, S.NEEDS_ATTENTION, S.PAUSED}),
    S.IN_FORCE: frozenset({S.LIFTING, S.CANCELLED}),
    S.LIFTING: frozenset({S.COMPLETED, S.CANCELLED}),
    S.PAUSED: frozenset({*PAUSABLE, S.CANCELLED, S.REFUSED}),
    S.NEEDS_ATTENTION: frozenset(
        {
            S.CHECKING,
            S.ERASING,
            S.VERIFYING,
            S.COLLECTING,
            S.PACKING,
            S.APPLYING,
            S.REFUSED,
            S.CANCELLED,
            S.FAILED,
        }
    ),
    S.COMPLETED: frozenset(),
    S.CANCELLED: frozenset(),
    S.REFUSED: frozenset(),
    S.FAILED: frozenset(),
}
SETTLED = frozenset(status for status, following in TRANSITIONS.items() if not following)


class ObjectionStatus(StrEnum):
    """What became of an objection to one purpose (GDPR art. 21)."""

    WEIGHED = "weighed"  # an agent has not decided yet; the purpose rests meanwhile
    STANDS = "stands"
    REFUSED = "refused"


class EvidenceKind(StrEnum):
    """What an agent relied on when they acted for somebody."""

    IDENTITY = "identity"  # how the person showed who they are
    REPRESENTATIVE = "representative"  # somebody else asks for them: who, on what basis, by which document
    STATEMENT = "statement"  # what the person said or sent


class TaskStep(StrEnum):
    """What a task asks of its system.

    ``read`` and (of ``own``) ``pack`` for exports, ``update`` for corrections, the others for erasures.
    """

    READ = "read"
    PACK = "pack"
    CHECK = "check"
    ERASE = "erase"
    VERIFY = "verify"
    UPDATE = "update"


class TaskStatus(StrEnum):
    """Where a task stands. Unsupported is not failed; unknown is never done."""

    PENDING = "pending"
    RUNNING = "running"
    RETRYING = "retrying"
    WAITING = "waiting"
    DONE = "done"
    REFUSED = "refused"
    HELD = "held"
    UNSUPPORTED = "unsupported"
    FAILED = "failed"
    NEEDS_ATTENTION = "needs_attention"


T = TaskStatus
TASK_TRANSITIONS: Mapping[TaskStatus, frozenset[TaskStatus]] = {
    T.PENDING: frozenset({T.RUNNING}),
    T.RUNNING: frozenset(
        {
            T.RUNNING,
            T.RETRYING,
            T.WAITING,
            T.DONE,
            T.REFUSED,
            T.HELD,
            T.UNSUPPORTED,
            T.FAILED,
            T.NEEDS_ATTENTION,
        }
    ),
    T.RETRYING: frozenset({T.RUNNING}),
    T.WAITING: frozenset({T.RUNNING, T.DONE, T.REFUSED, T.HELD, T.UNSUPPORTED, T.FAILED}),
    T.NEEDS_ATTENTION: frozenset({T.PENDING}),
    T.FAILED: frozenset({T.PENDING}),
    T.DONE: frozenset({T.PENDING}),  # an erase whose verification failed runs again when an operator retries
    T.REFUSED: frozenset({T.PENDING}),
    T.HELD: frozenset({T.PENDING}),
    T.UNSUPPORTED: frozenset(),
}

privacy_request = Table(
    "privacy_request",
    metadata,
    id_column(),
    Column("customer_id", Uuid, ForeignKey("customer.id"), info=structural()),
    Column("reference", String(20), nullable=False, unique=True, info=_KEPT),
    Column("type", enum_type(RequestType, "request_type"), nullable=False, info=_KEPT),
    Column("status", enum_type(RequestStatus, "request_status"), nullable=False, info=_KEPT),
    Column("subject_ref", Uuid, nullable=False, info=structural()),
    Column("channel", String(30), nullable=False, info=_KEPT),
    Column("reason", Text, info=_CUT),
    Column("refusal_reason", Text, info=_CUT),
    Column("extension_reason", Text, info=_CUT),
    Column("pause_reason", Text, info=_CUT),
    Column("paused_from", enum_type(RequestStatus, "paused_from"), info=structural()),
    Column("joined", Integer, nullable=False, server_default="0", info=structural()),
    Column("opened_by_id", Uuid, ForeignKey("staff.id"), info=structural()),
    Column("assignee_id", Uuid, ForeignKey("staff.id"), info=structural()),
    Column("secret_hash", LargeBinary(32), info=structural()),
    Column(
        "identifiers_sealed",
        LargeBinary,
        info={**personal(Category.REQUEST, erase=Erase.NULL, export=False), **sealed_apart()},
    ),
    Column("key_id", String(60), info=structural()),
    # Keyed hash of a proven address, so that who asks again joins; cut when the request is closed.
    Column("address_hash", LargeBinary(32), info=personal(Category.REQUEST, erase=Erase.NULL, export=False)),
    Column("version", Integer, nullable=False, server_default="1", info=structural()),
    timestamp("requested_at", now=True, info=_KEPT),
    timestamp("due_at", info=_KEPT),
    timestamp("extended_at", nullable=True, info=_KEPT),
    timestamp("cooling_off_until", nullable=True, info=_KEPT),
    timestamp("settled_at", nullable=True, info=_KEPT),
    timestamp("updated_at", now=True),
)

request_task = Table(
    "request_task",
    metadata,
    id_column(),
    Column("customer_id", Uuid, ForeignKey("customer.id"), info=structural()),
    Column("request_id", Uuid, ForeignKey("privacy_request.id"), nullable=False, info=structural()),
    Column("system_id", Uuid, ForeignKey("system.id"), nullable=False, info=structural()),
    Column("step", enum_type(TaskStep, "task_step"), nullable=False, info=_KEPT),
    Column("status", enum_type(TaskStatus, "task_status"), nullable=False, server_default="pending", info=_KEPT),
    Column("attempt", Integer, nullable=False, server_default="0", info=_KEPT),
    Column("code", String(60), info=_KEPT),
    Column("evidence", JSONB, info=_KEPT),
    Column("fence", BigInteger, nullable=False, server_default="0", info=structural()),
    Column("lease_owner", String(100), info=structural()),
    timestamp("lease_until", nullable=True),
    timestamp("next_run_at", now=True, info=_KEPT),
    timestamp("started_at", nullable=True, info=_KEPT),
    timestamp("settled_at", nullable=True, info=_KEPT),
)

evidence = Table(
    "evidence",
    metadata,
    id_column(),
    *subject_columns(nullable=True),
    Column("request_id", Uuid, ForeignKey("privacy_request.id"), nullable=False, info=structural()),
    Column("kind", enum_type(EvidenceKind, "evidence_kind"), nullable=False, info=personal(Category.REQUEST)),
    Column("note", Text, nullable=False, info=personal(Category.REQUEST)),
    Column("representative_name", String(200), info=personal(Category.REQUEST)),
    Column("representative_basis", String(200), info=personal(Category.REQUEST)),
    Column("file_name", String(200), info=personal(Category.REQUEST)),
    Column("media_type", String(100), info=structural()),
    Column("size_bytes", Integer, info=structural()),
    Column("sha256", LargeBinary(32), info=structural()),
    Column("object_key", String(300), info=structural()),
    Column("key_id", String(60), info=structural()),
    Column("staff_id", Uuid, ForeignKey("staff.id"), info=structural()),
    timestamp("recorded_at", now=True, info=personal(Category.REQUEST)),
)

correction = Table(
    "correction",
    metadata,
    id_column(),
    *subject_columns(nullable=True),
    Column("request_id", Uuid, ForeignKey("privacy_request.id"), nullable=False, info=structural()),
    Column("object_type", String(40), nullable=False, info=personal(Category.REQUEST)),
    Column("object_id", Uuid, nullable=False, info=structural()),
    Column("field", String(60), nullable=False, info=personal(Category.REQUEST)),
    Column("old_value", Text, info=personal(Category.REQUEST)),
    Column("new_value", Text, info=personal(Category.REQUEST)),
    timestamp("asked_at", now=True, info=personal(Category.REQUEST)),
    timestamp("applied_at", nullable=True, info=personal(Category.REQUEST)),
)

objection = Table(
    "objection",
    metadata,
    id_column(),
    *subject_columns(nullable=True),
    Column("request_id", Uuid, ForeignKey("privacy_request.id"), nullable=False, info=structural()),
    Column("purpose", String(60), ForeignKey("purpose.code"), nullable=False, info=personal(Category.REQUEST)),
    Column("status", enum_type(ObjectionStatus, "objection_status"), nullable=False, info=personal(Category.REQUEST)),
    timestamp("objected_at", now=True, info=personal(Category.REQUEST)),
    timestamp("decided_at", nullable=True, info=personal(Category.REQUEST)),
)

# A mailed link of somebody without an account: it proves their address, or (with a request) fetches their package.
request_proof = Table(
    "request_proof",
    metadata,
    id_column(),
    Column("request_id", Uuid, ForeignKey("privacy_request.id"), index=True),
    Column("type", enum_type(RequestType, "request_type"), nullable=False),
    Column("address_sealed", LargeBinary, info=sealed("request_proof:{id}")),
    Column("locale", String(20)),
    Column("token_hash", LargeBinary(32), nullable=False, unique=True),
    timestamp("created_at", now=True),
    timestamp("expires_at"),
)

Index(None, request_proof.c.expires_at)
Index(
    "privacy_request_customer_id_requested_at_idx",
    privacy_request.c.customer_id,
    privacy_request.c.requested_at.desc(),
    privacy_request.c.id.desc(),
)
Index(
    "privacy_request_one_open_erasure_key",
    privacy_request.c.customer_id,
    unique=True,
    postgresql_where="type = 'erasure' AND status NOT IN ('completed', 'cancelled', 'refused', 'failed')",
)
Index("privacy_request_secret_hash_key", privacy_request.c.secret_hash, unique=True)
Index(
    "privacy_request_status_cooling_off_until_idx",
    privacy_request.c.status,
    privacy_request.c.cooling_off_until,
)
Index("privacy_request_updated_at_idx", privacy_request.c.updated_at)
Index(
    "request_task_request_id_system_id_step_key",
    request_task.c.request_id,
    request_task.c.system_id,
    request_task.c.step,
    unique=True,
)
Index(
    "request_task_due_idx",
    request_task.c.next_run_at,
    postgresql_where="status IN ('pending', 'running', 'retrying', 'waiting')",
)
Index(None, privacy_request.c.address_hash)
foreign_key_indexes(privacy_request)
foreign_key_indexes(request_task)
foreign_key_indexes(evidence)
foreign_key_indexes(correction)
foreign_key_indexes(objection)
Index(
    "request_task_open_by_system_idx",
    request_task.c.system_id,
    request_task.c.next_run_at,
    postgresql_where="status IN ('pending', 'running', 'retrying', 'waiting')",
)
Index("request_task_retrying_by_system_idx", request_task.c.system_id, postgresql_where="status = 'retrying'")
