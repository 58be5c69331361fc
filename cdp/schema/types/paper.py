"""Paper records: what lies in our offices, until when, and what became of it."""

from datetime import date, datetime
from typing import Annotated, Any

import strawberry
from sqlalchemy import ColumnElement, Text, func
from sqlalchemy import cast as sql_cast

from cdp.compiler.graph import Row
from cdp.compiler.render import quoted
from cdp.schema.fields import OrderingSource, column, filtered, mapped, one
from cdp.schema.types.comparison import Choice, DateTimeFilter, ExactFilter
from cdp.schema.types.relay import Node
from cdp.tables import paper
from cdp.tables.base import Category
from cdp.tables.paper import PaperStatus

strawberry.enum(PaperStatus, description="Where a paper record stands.")


def _is_overdue(row: Row) -> ColumnElement[Any]:
    waiting = [quoted(PaperStatus.DUE.value), quoted(PaperStatus.REPORTED.value)]
    return row["status"].in_(waiting) & (row["due_at"] < func.now())


def _destroyed_by(row: Row) -> ColumnElement[Any]:
    return sql_cast(row["destroyed_by_id"], Text)


@mapped(paper.paper_record, subject="customer_id", description="A paper about a customer in one of our offices.")
class PaperRecord(Node):
    """A paper record."""

    reference: str = column(description="Reference to quote.")
    category: Category = column(description="What kind of data it holds.")
    description: str = column(description="What kind of document it is.")
    office: str | None = column(description="The office it is kept in.")
    location: str | None = column(description="Room, cabinet, folder.")
    status: PaperStatus = column(description="Where it stands.")
    is_overdue: bool | None = column(_is_overdue, description="Whether it should have been destroyed by now.")
    retain_until: date = column(description="Until when it is kept.")
    method: str | None = column(description="How it was destroyed.")
    file_name: str | None = column(description="Name of the proof of its destruction, which is kept sealed.")
    destroyed_by_id: str | None = column(_destroyed_by, description="Who destroyed it.")
    filed_at: datetime = column(description="When it was registered.")
    due_at: datetime | None = column(description="When it should be destroyed.")
    reported_at: datetime | None = column(description="When its destruction was reported.")
    destroyed_at: datetime | None = column(description="When a witness confirmed its destruction.")
    customer: Annotated["Customer", strawberry.lazy("cdp.schema.types.customer")] | None = one(  # type: ignore[name-defined]  # noqa: F821  # a lazy name
        {"customer_id": "id"}, description="Whom it is about."
    )


@strawberry.input(description="Which paper records to list.")
class PaperRecordFilter:
    """Conditions on paper records."""

    reference: ExactFilter | None = filtered(description="Reference.")
    office: ExactFilter | None = filtered(description="The office.")
    status: Choice[PaperStatus] | None = filtered(description="Where they stand.")
    due_at: DateTimeFilter | None = filtered(description="When they should be destroyed.")


PAPER_ORDERINGS = {"FILED_AT": OrderingSource()}
