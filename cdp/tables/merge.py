"""Merges: two records of one person made one, in a ledger from which they can be taken apart again.

    proposed -> merged -> undone
    proposed -> withdrawn

The record that was merged into another one has no row in ``customer`` any more, so that no read can show it: its row
lies in the ledger, with every other row that could not live beside the ones of the record that stayed. ``kept_id`` is
the record it was merged into; ``customer_id`` follows when that one is merged further. ``kept`` of a line holds what
the row was before, ``shown`` the part of it that the customer may take away.
"""

from collections.abc import Mapping
from enum import StrEnum

from sqlalchemy import Column, ForeignKey, Index, Integer, LargeBinary, String, Table, Text, Uuid
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


class MergeStatus(StrEnum):
    """Where a merge stands; see MERGE_TRANSITIONS."""

    PROPOSED = "proposed"
    MERGED = "merged"
    WITHDRAWN = "withdrawn"
    UNDONE = "undone"


M = MergeStatus
MERGE_TRANSITIONS: Mapping[MergeStatus, frozenset[MergeStatus]] = {
    M.PROPOSED: frozenset({M.MERGED, M.WITHDRAWN}),
    M.MERGED: frozenset({M.UNDONE}),
    M.WITHDRAWN: frozenset(),
    M.UNDONE: frozenset(),
}


class MergeEffect(StrEnum):
    """What a merge did to a row: gave it to the record that stays, put it aside, changed it, or made it."""

    MOVED = "moved"
    PARKED = "parked"
    CHANGED = "changed"
    ADDED = "added"


_TOLD = personal(Category.IDENTITY)

customer_merge = Table(
    "customer_merge",
    metadata,
    id_column(),
    Column("customer_id", Uuid, ForeignKey("customer.id"), nullable=False, info=structural()),
    Column("kept_id", Uuid, nullable=False, info=structural()),
    Column("merged_id", Uuid, nullable=False, info=_TOLD),
    # By which the log knows the record that was merged.
    Column("merged_ref", Uuid, info=structural()),
    Column(
        "status", enum_type(MergeStatus, "merge_status"), nullable=False, server_default="proposed", info=structural()
    ),
    Column("reason", Text, nullable=False, info=_TOLD),
    Column("case_ref", String(100), info=_TOLD),
    Column("undo_reason", Text, info=_TOLD),
    # Rows by table and by what became of them; what lines said remains as counts when they are gone.
    Column("counts", JSONB, nullable=False, server_default="{}", info=structural()),
    Column("proposed_by_id", Uuid, ForeignKey("staff.id"), info=structural()),
    Column("merged_by_id", Uuid, ForeignKey("staff.id"), info=structural()),
    Column("undone_by_id", Uuid, ForeignKey("staff.id"), info=structural()),
    Column("version", Integer, nullable=False, server_default="1", info=structural()),
    timestamp("proposed_at", now=True, info=_TOLD),
    timestamp("merged_at", nullable=True, info=_TOLD),
    timestamp("undone_at", nullable=True, info=_TOLD),
)

customer_merge_row = Table(
    "customer_merge_row",
    metadata,
    id_column(),
    Column("customer_id", Uuid, ForeignKey("customer.id"), nullable=False, info=structural()),
    Column("merge_id", Uuid, ForeignKey("customer_merge.id"), nullable=False, info=structural()),
    Column("table_name", String(63), nullable=False, info=structural()),
    Column("row_id", Uuid, nullable=False, info=structural()),
    Column("effect", enum_type(MergeEffect, "merge_effect"), nullable=False, info=structural()),
    Column("kept", JSONB(none_as_null=True), info=personal(Category.IDENTITY, export=False)),
    Column("shown", JSONB(none_as_null=True), info=_TOLD),
    # A sealed value of the row and what it was sealed for: rotation of the keys finds it here.
    Column("kept_context", String(120), info=structural()),
    Column("kept_sealed", LargeBinary, info={**structural(), **sealed("{kept_context}")}),
)

Index(
    "customer_merge_merged_id_key",
    customer_merge.c.merged_id,
    unique=True,
    postgresql_where="status = 'merged'",
)
Index(
    "customer_merge_proposal_key",
    customer_merge.c.customer_id,
    customer_merge.c.merged_id,
    unique=True,
    postgresql_where="status = 'proposed'",
)
Index(None, customer_merge.c.customer_id, customer_merge.c.proposed_at)
Index(
    "customer_merge_row_key",
    customer_merge_row.c.merge_id,
    customer_merge_row.c.table_name,
    customer_merge_row.c.row_id,
    unique=True,
)
# Sign-ins of external providers that stand aside, for the providers that still ask by them.
Index(
    "customer_merge_row_provider_idx",
    customer_merge_row.c.row_id,
    postgresql_where="table_name = 'external_identity'",
)
foreign_key_indexes(customer_merge)
foreign_key_indexes(customer_merge_row)
