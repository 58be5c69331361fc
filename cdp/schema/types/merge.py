"""Merges of a customer's records: what was made one, why, and whether it was undone."""

from datetime import datetime
from typing import Any

import strawberry
from sqlalchemy import ColumnElement, Text
from sqlalchemy import cast as sql_cast
from strawberry.scalars import JSON

from cdp.compiler.graph import Row
from cdp.compiler.render import global_id, quoted
from cdp.schema.fields import column, many, mapped
from cdp.schema.types.audit import AuditEvent
from cdp.schema.types.relay import Node
from cdp.tables import merge
from cdp.tables.merge import MergeEffect, MergeStatus

strawberry.enum(MergeStatus, description="Where a merge of two customers stands.")


def _is_aside(row: Row) -> ColumnElement[bool]:
    return row["effect"] == quoted(MergeEffect.PARKED.value)


def _merged_id(row: Row) -> ColumnElement[Any]:
    return global_id("Customer", row["merged_id"])


def _staff(name: str) -> Any:  # noqa: ANN401  # an expression, as column takes it
    def read(row: Row) -> ColumnElement[Any]:
        return sql_cast(row[name], Text)

    return read


@mapped(
    merge.customer_merge_row,
    subject="customer_id",
    description="A record of a merged customer that stands aside, because the other customer had one in its place.",
)
class MergedRecord(Node):
    """A row that was put aside."""

    kind: str = column("table_name", description="What it is a record of.")
    values: JSON | None = column("shown", description="What it says.")


@mapped(merge.customer_merge, subject="customer_id", description="Two records of one customer, made one.")
class CustomerMerge(Node):
    """A merge."""

    status: MergeStatus = column(description="Where it stands.")
    merged_id: str = column(_merged_id, description="Global id of the customer whose record went into this one.")
    reason: str | None = column(description="Why they are the same.")
    case_ref: str | None = column(description="The case it belongs to.")
    undo_reason: str | None = column(description="Why it was undone, or not carried out.")
    counts: JSON | None = column(description="Records by what became of them: moved, put aside, changed, added.")
    version: int = column(description="Number of the last change, for unmergeCustomers.")
    proposed_at: datetime = column(description="When somebody proposed it.")
    merged_at: datetime | None = column(description="When it happened.")
    undone_at: datetime | None = column(description="When it was undone, or not carried out.")
    proposed_by_id: str | None = column(_staff("proposed_by_id"), description="Who proposed it.")
    merged_by_id: str | None = column(_staff("merged_by_id"), description="Who carried it out.")
    undone_by_id: str | None = column(_staff("undone_by_id"), description="Who undid it.")
    put_aside: list[MergedRecord] | None = many(
        {"id": "merge_id"},
        order=("table_name", "id"),
        where=_is_aside,
        description="Records of the other customer that stand aside; they come back when it is undone.",
    )
    log: list[AuditEvent] | None = many(
        {"merged_ref": "subject_ref"},
        order=("occurred_at", "id"),
        typical=50,
        description="What was done with the other customer's data and by whom, oldest first.",
    )
