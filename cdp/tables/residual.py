"""The residual pass: whom it still has to look for, how each run ended, and where it found something it must not.

No personal data: a check points to its request, whose identifiers stay sealed until the check is settled.
"""

from collections.abc import Mapping
from enum import StrEnum

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, String, Table, Text, Uuid

from cdp.tables.base import enum_type, foreign_key_indexes, id_column, metadata, timestamp


class PassStatus(StrEnum):
    """How a run ended. A failed one says nothing about anybody: everything is looked for again."""

    CLEAN = "clean"
    FOUND = "found"
    FAILED = "failed"


class ResidualStatus(StrEnum):
    """Where the search for what is left of one person stands."""

    WAITING = "waiting"
    CLEAN = "clean"
    FOUND = "found"  # somebody has to look at it, then it is searched again
    IMPOSSIBLE = "impossible"  # the sealed identifiers can not be opened any more


R = ResidualStatus
RESIDUAL_TRANSITIONS: Mapping[ResidualStatus, frozenset[ResidualStatus]] = {
    R.WAITING: frozenset({R.CLEAN, R.FOUND, R.IMPOSSIBLE}),
    R.FOUND: frozenset({R.WAITING, R.CLEAN, R.IMPOSSIBLE}),
    R.CLEAN: frozenset(),
    R.IMPOSSIBLE: frozenset(),
}

residual_pass = Table(
    "residual_pass",
    metadata,
    id_column(),
    Column("status", enum_type(PassStatus, "pass_status"), nullable=False),
    Column("code", String(60)),
    Column("people", Integer, nullable=False, server_default="0"),
    Column("tables_read", Integer, nullable=False, server_default="0"),
    Column("columns_read", Integer, nullable=False, server_default="0"),
    Column("rows_read", BigInteger, nullable=False, server_default="0"),
    Column("canaries", Integer, nullable=False, server_default="0"),
    timestamp("started_at"),
    timestamp("finished_at", now=True),
)
Index("residual_pass_finished_at_idx", residual_pass.c.finished_at)

residual_check = Table(
    "residual_check",
    metadata,
    id_column(),
    Column("request_id", Uuid, ForeignKey("privacy_request.id"), nullable=False, unique=True),
    Column(
        "status",
        enum_type(ResidualStatus, "residual_status"),
        nullable=False,
        server_default=ResidualStatus.WAITING.value,
    ),
    Column("pass_id", Uuid, ForeignKey("residual_pass.id")),
    timestamp("created_at", now=True),
    timestamp("published_at", nullable=True),
    timestamp("checked_at", nullable=True),
)
Index("residual_check_waiting_idx", residual_check.c.created_at, postgresql_where="status = 'waiting'")
foreign_key_indexes(residual_check, skip=("request_id",))

residual_finding = Table(
    "residual_finding",
    metadata,
    id_column(),
    Column("request_id", Uuid, ForeignKey("privacy_request.id"), nullable=False),
    Column("pass_id", Uuid, ForeignKey("residual_pass.id"), nullable=False),
    Column("table_name", String(63), nullable=False),
    Column("column_name", String(63), nullable=False),
    Column("identifier_type", String(40), nullable=False),
    Column("rows", Integer, nullable=False),
    timestamp("found_at", now=True),
)
foreign_key_indexes(residual_finding)

certificate_addendum = Table(
    "certificate_addendum",
    metadata,
    id_column(),
    Column("certificate_id", Uuid, ForeignKey("certificate.id"), nullable=False, unique=True),
    Column("request_id", Uuid, ForeignKey("privacy_request.id"), nullable=False, unique=True),
    Column("reference", String(20), nullable=False, unique=True),
    Column("document", Text, nullable=False),
    Column("key_id", String(60), nullable=False),
    timestamp("issued_at", now=True),
)

__all__ = [
    "RESIDUAL_TRANSITIONS",
    "PassStatus",
    "ResidualStatus",
    "certificate_addendum",
    "residual_check",
    "residual_finding",
    "residual_pass",
]
