"""Packages a customer took out: where the sealed file is, how long it lives, how often it was fetched."""

from collections.abc import Mapping
from enum import StrEnum

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, LargeBinary, String, Table, Uuid
from sqlalchemy.dialects.postgresql import JSONB

from cdp.tables.base import (
    Category,
    enum_type,
    foreign_key_indexes,
    id_column,
    metadata,
    personal,
    sealed,
    structural,
    timestamp,
)


class ExportStatus(StrEnum):
    """Life of a package."""

    PREPARING = "preparing"
    READY = "ready"
    FAILED = "failed"
    REVOKED = "revoked"
    EXPIRED = "expired"


X = ExportStatus
EXPORT_TRANSITIONS: Mapping[ExportStatus, frozenset[ExportStatus]] = {
    X.PREPARING: frozenset({X.READY, X.FAILED, X.REVOKED}),
    X.READY: frozenset({X.REVOKED, X.EXPIRED}),
    X.FAILED: frozenset(),
    X.REVOKED: frozenset(),
    X.EXPIRED: frozenset(),
}

export = Table(
    "export",
    metadata,
    id_column(),
    Column("customer_id", Uuid, ForeignKey("customer.id"), info=structural()),
    Column("request_id", Uuid, ForeignKey("privacy_request.id"), nullable=False, unique=True, info=structural()),
    Column("reference", String(20), nullable=False, unique=True, info=personal(Category.REQUEST)),
    Column(
        "status",
        enum_type(ExportStatus, "export_status"),
        nullable=False,
        server_default="preparing",
        info=personal(Category.REQUEST),
    ),
    Column("object_key", String(300), info=structural()),
    Column("key_id", String(60), info=structural()),
    Column("size_bytes", BigInteger, info=personal(Category.REQUEST)),
    Column("sha256", LargeBinary(32), info=personal(Category.REQUEST)),
    Column("files", JSONB, info=personal(Category.REQUEST)),
    # None: everything, in every form, in one file.
    Column("choices", JSONB, info=personal(Category.REQUEST)),
    # Until the package is made.
    Column("passphrase_sealed", LargeBinary, info={**structural(), **sealed("export:{id}")}),
    Column("missing", JSONB, info=personal(Category.REQUEST)),
    Column("download_count", Integer, nullable=False, server_default="0", info=personal(Category.REQUEST)),
    timestamp("created_at", now=True, info=personal(Category.REQUEST)),
    timestamp("ready_at", nullable=True, info=personal(Category.REQUEST)),
    timestamp("expires_at", nullable=True, info=personal(Category.REQUEST)),
    # When systems that did not give their part are asked again.
    timestamp("retry_at", nullable=True, info=personal(Category.REQUEST)),
)

Index(None, export.c.customer_id, export.c.created_at.desc(), export.c.id.desc())
Index("export_ready_expires_at_idx", export.c.expires_at, postgresql_where="status = 'ready'")
Index("export_retry_at_idx", export.c.retry_at, postgresql_where="retry_at IS NOT NULL")
foreign_key_indexes(export)
