"""Paper records: what lies about a customer in which office, until when, and who destroyed it before which witness.

    filed -> due -> reported -> destroyed
    reported -> due, where the witness saw it otherwise

Promise P12: written-down records are kept in the offices and destroyed when no longer needed.
"""

from collections.abc import Mapping
from enum import StrEnum

from sqlalchemy import Column, Date, ForeignKey, Index, Integer, LargeBinary, String, Table, Uuid

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

_PAPER = personal(Category.SUPPORT)
_OURS = personal(Category.SUPPORT, export=False)


class PaperStatus(StrEnum):
    """Where a paper record stands."""

    FILED = "filed"
    DUE = "due"
    REPORTED = "reported"
    DESTROYED = "destroyed"


P = PaperStatus
PAPER_TRANSITIONS: Mapping[PaperStatus, frozenset[PaperStatus]] = {
    P.FILED: frozenset({P.DUE}),
    P.DUE: frozenset({P.REPORTED}),
    P.REPORTED: frozenset({P.DESTROYED, P.DUE}),
    P.DESTROYED: frozenset(),
}

paper_record = Table(
    "paper_record",
    metadata,
    id_column(),
    *subject_columns(collected=False),
    Column("reference", String(20), nullable=False, unique=True, info=_PAPER),
    Column("category", enum_type(Category, "paper_category"), nullable=False, info=_PAPER),
    Column("office", String(100), nullable=False, info=_OURS),
    Column("location", String(200), nullable=False, info=_OURS),
    Column("description", String(300), nullable=False, info=_PAPER),
    Column("status", enum_type(PaperStatus, "paper_status"), nullable=False, server_default="filed", info=_PAPER),
    Column("retain_until", Date, nullable=False, info=_PAPER),
    # The erasure that asked for its destruction; none where its time was over.
    Column("request_id", Uuid, ForeignKey("privacy_request.id"), info=structural()),
    Column("method", String(100), info=_OURS),
    Column("file_name", String(200), info=_OURS),
    Column("media_type", String(100), info=structural()),
    Column("size_bytes", Integer, info=structural()),
    Column("sha256", LargeBinary(32), info=structural()),
    Column("object_key", String(300), info=structural()),
    Column("key_id", String(60), info=structural()),
    Column("registered_by_id", Uuid, ForeignKey("staff.id"), info=structural()),
    Column("destroyed_by_id", Uuid, ForeignKey("staff.id"), info=structural()),
    Column("witness_id", Uuid, ForeignKey("staff.id"), info=structural()),
    timestamp("filed_at", now=True, info=_PAPER),
    timestamp("due_at", nullable=True, info=_OURS),
    timestamp("reported_at", nullable=True, info=_OURS),
    timestamp("destroyed_at", nullable=True, info=_PAPER),
    # Rows are of different categories: a hold keeps those of its own.
    info={"row_category": "category"},
)

Index(None, paper_record.c.status, paper_record.c.due_at)
Index(None, paper_record.c.retain_until)
Index(None, paper_record.c.filed_at, paper_record.c.id)
foreign_key_indexes(paper_record)
