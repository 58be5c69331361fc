"""Steps of requests that people carry out."""

from datetime import datetime
from typing import Annotated, Any

import strawberry
from sqlalchemy import ColumnElement, Text, func
from sqlalchemy import cast as sql_cast

from cdp.compiler.graph import Kind, Row
from cdp.compiler.render import quoted
from cdp.schema.fields import OrderingSource, column, filtered, mapped, one
from cdp.schema.types.comparison import Choice, DateTimeFilter
from cdp.schema.types.relay import Node
from cdp.schema.types.request import PrivacyRequest
from cdp.schema.types.system import System
from cdp.tables import manual
from cdp.tables.manual import ManualOutcome, ManualStatus
from cdp.tables.request import TaskStep

strawberry.enum(ManualStatus, description="Where the work of people on a step stands.")
strawberry.enum(ManualOutcome, description="What whoever worked on it says came of it.")


def _is_overdue(row: Row) -> ColumnElement[Any]:
    waiting = [quoted(ManualStatus.OPEN.value), quoted(ManualStatus.REPORTED.value)]
    return row["status"].in_(waiting) & (row["due_at"] < func.now())


def _reported_by(row: Row) -> ColumnElement[Any]:
    return sql_cast(row["reported_by_id"], Text)


@mapped(manual.manual_task, subject="customer_id", description="A step of a request that people carry out.")
class ManualTask(Node):
    """A task for people."""

    system: System | None = one({"system_id": "id"}, description="The system it is about.")
    request: Annotated[PrivacyRequest | None, strawberry.lazy("cdp.schema.types.request")] = one(
        {"request_id": "id"}, description="The request it belongs to."
    )
    step: TaskStep = column(description="What is asked.")
    status: ManualStatus = column(description="Where it stands.")
    is_overdue: bool = column(_is_overdue, description="Whether it should have been done by now.")
    outcome: ManualOutcome | None = column(description="What was reported.")
    records: int | None = column(description="How many records it was.")
    code: str | None = column(description="Machine code that was reported.")
    note: str | None = column(description="Words for colleagues.")
    file_name: str | None = column(description="Name of the document, which is kept sealed.")
    sha256: str | None = column(kind=Kind.BYTES, description="SHA-256 of the document, hexadecimal.")
    reported_by_id: str | None = column(_reported_by, description="Who reported it.")
    created_at: datetime = column(description="Since when it waits.")
    due_at: datetime = column(description="When it should be done.")
    reported_at: datetime | None = column(description="When it was reported.")
    settled_at: datetime | None = column(description="When a second person confirmed it.")


@strawberry.input(description="Which tasks to list.")
class ManualTaskFilter:
    """Conditions on tasks."""

    status: Choice[ManualStatus] | None = filtered(description="Where they stand.")
    due_at: DateTimeFilter | None = filtered(description="When they should be done.")


MANUAL_ORDERINGS = {"DUE_AT": OrderingSource()}
