"""Bulk exports and their parts, who receives them, and the log of changes that later exports continue from.

    awaiting_approval -> queued -> running -> completed -> expired -> destroyed
    running -> cancelling -> cancelled                     (files go with cancelled, failed, expired and destroyed)

A part belongs to one epoch: all parts of an epoch read the one snapshot its holder exported. A new snapshot is a new
epoch with new parts, so that two snapshots can never meet in one manifest.
"""

from collections.abc import Mapping
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB

from cdp.tables.base import enum_type, foreign_key_indexes, id_column, metadata, sealed, timestamp


class BulkStatus(StrEnum):
    """Where a bulk export stands; see BULK_TRANSITIONS."""

    AWAITING_APPROVAL = "awaiting_approval"
    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    DESTROYED = "destroyed"


B = BulkStatus
BULK_TRANSITIONS: Mapping[BulkStatus, frozenset[BulkStatus]] = {
    B.AWAITING_APPROVAL: frozenset({B.QUEUED, B.CANCELLED}),
    B.QUEUED: frozenset({B.RUNNING, B.CANCELLED, B.FAILED}),
    B.RUNNING: frozenset({B.COMPLETED, B.CANCELLING, B.FAILED}),
    B.CANCELLING: frozenset({B.CANCELLED}),
    B.COMPLETED: frozenset({B.EXPIRED, B.DESTROYED}),
    B.EXPIRED: frozenset({B.DESTROYED}),
    B.FAILED: frozenset(),
    B.CANCELLED: frozenset(),
    B.DESTROYED: frozenset(),
}
BULK_OVER = frozenset({B.FAILED, B.CANCELLED, B.EXPIRED, B.DESTROYED})
"""States whose files are removed."""
BULK_SETTLED = BULK_OVER | {B.COMPLETED}


class BulkFormat(StrEnum):
    """What a part is."""

    NDJSON = "ndjson"
    CSV = "csv"
    PARQUET = "parquet"


class BulkCompression(StrEnum):
    """How a part is packed; Parquet packs its columns by itself."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"


class PartKind(StrEnum):
    """What a part holds: customers, or tombstones of those a recipient has to forget."""

    OUTPUT = "output"
    DELETED = "deleted"


class PartStatus(StrEnum):
    """Where a part stands."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


P = PartStatus
PART_TRANSITIONS: Mapping[PartStatus, frozenset[PartStatus]] = {
    P.PENDING: frozenset({P.RUNNING}),
    P.RUNNING: frozenset({P.RUNNING, P.PENDING, P.DONE, P.FAILED}),
    P.DONE: frozenset(),
    P.FAILED: frozenset(),
}

bulk_recipient = Table(
    "bulk_recipient",
    metadata,
    id_column(),
    Column("name", String(200), nullable=False, unique=True),
    Column("key_sealed", LargeBinary, nullable=False, info=sealed("bulk-recipient:{id}")),
    timestamp("created_at", now=True),
)

bulk_export = Table(
    "bulk_export",
    metadata,
    id_column(),
    Column("reference", String(20), nullable=False, unique=True),
    Column("status", enum_type(BulkStatus, "bulk_status"), nullable=False),
    Column("version", Integer, nullable=False, server_default="1"),
    Column("owner", String(120), nullable=False),
    Column("staff_id", Uuid, ForeignKey("staff.id")),
    Column("viewer", JSONB, nullable=False),
    Column("document", Text, nullable=False),
    Column("operation_name", String(200)),
    Column("variables", JSONB),
    Column("query_hash", LargeBinary(32), nullable=False),
    Column("purpose", String(60), ForeignKey("purpose.code"), nullable=False),
    Column("needs_consent", Boolean, nullable=False),
    Column("recipient_id", Uuid, ForeignKey("bulk_recipient.id"), nullable=False),
    Column("format", enum_type(BulkFormat, "bulk_format"), nullable=False),
    Column("compression", enum_type(BulkCompression, "bulk_compression"), nullable=False),
    Column("personal", Boolean, nullable=False, server_default="false"),
    Column("since_xid", BigInteger),
    Column("idempotency_key", String(200)),
    Column("input_hash", LargeBinary(32), nullable=False),
    Column("approver_id", Uuid, ForeignKey("staff.id")),
    Column("epoch", Integer, nullable=False, server_default="0"),
    Column("snapshot_name", String(100)),
    Column("watermark", Text),
    Column("fence", BigInteger, nullable=False, server_default="0"),
    Column("lease_owner", String(100)),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("part_count", Integer, nullable=False, server_default="0"),
    Column("selected", BigInteger),
    Column("record_count", BigInteger),
    Column("size_bytes", BigInteger),
    Column("excluded", JSONB),
    Column("code", String(60)),
    Column("manifest", Text),
    Column("manifest_sha256", LargeBinary(32)),
    Column("revision", Integer, nullable=False, server_default="0"),
    # The revision whose manifest lies beside the files.
    Column("published", Integer, nullable=False, server_default="0"),
    Column("notify_url", Text),
    Column("notify_attempt", Integer, nullable=False, server_default="0"),
    timestamp("created_at", now=True),
    timestamp("updated_at", now=True),
    timestamp("approved_at", nullable=True),
    timestamp("next_run_at", now=True),
    timestamp("snapshot_at", nullable=True),
    timestamp("completed_at", nullable=True),
    timestamp("expires_at", nullable=True),
    timestamp("swept_at", nullable=True),
    timestamp("notify_at", nullable=True),
)

bulk_part = Table(
    "bulk_part",
    metadata,
    id_column(),
    Column("bulk_export_id", Uuid, ForeignKey("bulk_export.id"), nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("kind", enum_type(PartKind, "part_kind"), nullable=False),
    # Rounded to a moment: never anybody's id.
    Column("lower_id", Uuid),
    Column("upper_id", Uuid),
    Column("status", enum_type(PartStatus, "part_status"), nullable=False, server_default="pending"),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("fence", BigInteger, nullable=False, server_default="0"),
    Column("lease_owner", String(100)),
    Column("object_key", String(300)),
    Column("record_count", BigInteger),
    Column("size_bytes", BigInteger),
    Column("sha256", LargeBinary(32)),
    Column("excluded", JSONB),
    Column("code", String(60)),
    # A file no manifest names: being written in place of the part's, until then, or replaced by it and to be removed.
    Column("spare_key", String(300)),
    timestamp("spare_until", nullable=True),
    timestamp("next_run_at", now=True),
    timestamp("started_at", nullable=True),
    timestamp("settled_at", nullable=True),
)

# No customer_id and no foreign key: it has to outlive the customer until every recipient was told to forget them.
customer_change = Table(
    "customer_change",
    metadata,
    Column("xid", BigInteger, nullable=False),
    Column("customer_key", Uuid, nullable=False),
    Column("area", String(40), nullable=False),
    timestamp("recorded_at", now=True),
    PrimaryKeyConstraint("xid", "customer_key", "area"),
)

Index("bulk_export_owner_idempotency_key_key", bulk_export.c.owner, bulk_export.c.idempotency_key, unique=True)
Index(None, bulk_export.c.created_at.desc(), bulk_export.c.id.desc())
Index(
    "bulk_export_open_idx",
    bulk_export.c.next_run_at,
    postgresql_where="status IN ('queued', 'running', 'cancelling')",
)
Index("bulk_export_completed_expires_at_idx", bulk_export.c.expires_at, postgresql_where="status = 'completed'")
Index(
    "bulk_export_unswept_idx",
    bulk_export.c.id,
    postgresql_where="status IN ('failed', 'cancelled', 'expired', 'destroyed') AND swept_at IS NULL",
)
Index(
    "bulk_export_unpublished_idx",
    bulk_export.c.id,
    postgresql_where="status = 'completed' AND published < revision",
)
Index("bulk_export_notify_at_idx", bulk_export.c.notify_at, postgresql_where="notify_at IS NOT NULL")
Index(
    "bulk_part_bulk_export_id_epoch_kind_ordinal_key",
    bulk_part.c.bulk_export_id,
    bulk_part.c.epoch,
    bulk_part.c.kind,
    bulk_part.c.ordinal,
    unique=True,
)
Index("bulk_part_spare_until_idx", bulk_part.c.spare_until, postgresql_where="spare_key IS NOT NULL")
Index("bulk_part_open_idx", bulk_part.c.next_run_at, postgresql_where="status IN ('pending', 'running')")
Index("customer_change_recorded_at_idx", customer_change.c.recorded_at, postgresql_using="brin")
foreign_key_indexes(bulk_export)
foreign_key_indexes(bulk_part)
