"""Privacy requests, their tasks, and what comes of them: export packages and certificates."""

from collections.abc import Callable
from datetime import datetime
from enum import Enum
from typing import Annotated, Any

import strawberry
from sqlalchemy import ColumnElement, Integer, Text, case, func, literal_column, select
from sqlalchemy import cast as sql_cast
from strawberry.scalars import JSON

from cdp.compiler.graph import Kind, Row
from cdp.compiler.render import quoted
from cdp.schema.fields import OrderingSource, column, filtered, many, mapped, one
from cdp.schema.scalars import BigInt
from cdp.schema.types.comparison import Choice, DateTimeFilter, ExactFilter, OrderDirection
from cdp.schema.types.relay import Node
from cdp.schema.types.system import System
from cdp.tables import certificate, export, request, residual
from cdp.tables.export import ExportStatus
from cdp.tables.request import EvidenceKind, ObjectionStatus, RequestStatus, RequestType, TaskStatus, TaskStep
from cdp.tables.residual import ResidualStatus
from cdp.tables.system import system

strawberry.enum(RequestType, description="What is asked for (GDPR art. 15 to 21).")
strawberry.enum(RequestStatus, description="Where a privacy request stands.")
strawberry.enum(ObjectionStatus, description="What became of an objection.")
strawberry.enum(EvidenceKind, description="What a piece of evidence shows.")
strawberry.enum(TaskStep, description="What a task asks of its system.")
strawberry.enum(ResidualStatus, description="Where the search for what is left of somebody stands.")
strawberry.enum(TaskStatus, description="Where a task stands.")
strawberry.enum(ExportStatus, description="Life of an export package.")


def _system_position(row: Row) -> ColumnElement[Any]:
    return select(system.c.position).where(system.c.id == row["system_id"]).scalar_subquery()


def _step_position(row: Row) -> ColumnElement[Any]:
    whens = {step.value: literal_column(str(place), Integer) for place, step in enumerate(request.TaskStep)}
    return case(
        *((row["step"] == quoted(name), place) for name, place in whens.items()),
        else_=literal_column("99"),
    )


def _is_overdue(row: Row) -> ColumnElement[Any]:
    return ~_is_settled(row) & (row["due_at"] < func.now())


def _column(name: str) -> Callable[[Row], ColumnElement[Any]]:
    return lambda row: row[name]


def _text(name: str) -> Callable[[Row], ColumnElement[Any]]:
    return lambda row: sql_cast(row[name], Text)


def _is_settled(row: Row) -> ColumnElement[Any]:
    return row["status"].in_([quoted(status.value) for status in sorted(request.SETTLED)])


@mapped(request.request_task, subject="customer_id", description="What one connected system is asked to do.")
class RequestTask(Node):
    """A task of a request."""

    system: System | None = one({"system_id": "id"}, description="The system asked.")
    step: TaskStep = column(description="What is asked.")
    status: TaskStatus = column(description="Where it stands; unsupported is not failed, unknown is never done.")
    attempt: int = column(description="Tries so far.")
    code: str | None = column(description="Machine code of the last outcome.")
    evidence: JSON | None = column(description="Counts and references the system gave.")
    next_run_at: datetime = column(description="When it is tried next.")
    started_at: datetime | None = column(description="When it was first tried.")
    settled_at: datetime | None = column(description="When it was settled.")


@mapped(export.export, subject="customer_id", description="A package of somebody's data.")
class Export(Node):
    """An export package."""

    reference: str = column(description="Reference to quote.")
    status: ExportStatus = column(description="Where it stands.")
    size_bytes: BigInt | None = column(description="Size of the package.")
    sha256: str | None = column(kind=Kind.BYTES, description="SHA-256 of the package, hexadecimal.")
    files: JSON | None = column(description="Files in the package.")
    missing: JSON | None = column(description="What could not be had, and why.")
    choices: JSON | None = column(description="What was chosen for it; null: everything, in every form, in one file.")
    download_count: int = column(description="How often it was fetched.")
    created_at: datetime = column(description="When it was asked for.")
    ready_at: datetime | None = column(description="When it was ready.")
    expires_at: datetime | None = column(description="When it is destroyed.")


@mapped(request.evidence, subject="customer_id", description="What an agent relied on when they acted for somebody.")
class Evidence(Node):
    """A piece of evidence."""

    kind: EvidenceKind = column(description="What it shows.")
    note: str = column(description="What was shown or said, and how it was checked.")
    representative_name: str | None = column(description="Who acts for the person.")
    representative_basis: str | None = column(description="Why they may.")
    file_name: str | None = column(description="Name of the document, which is kept sealed.")
    recorded_at: datetime = column(description="When it was recorded.")


@mapped(request.correction, subject="customer_id", description="A value to be corrected.")
class Correction(Node):
    """A correction."""

    object_type: str = column(description="Type of the object that holds the value.")
    field: str = column(description="Its field.")
    old_value: str | None = column(description="The value as it was.")
    new_value: str | None = column(description="The value as it should be.")
    asked_at: datetime = column(description="When it was asked for.")
    applied_at: datetime | None = column(description="When we corrected it here.")


@mapped(request.objection, subject="customer_id", description="An objection to one purpose.")
class Objection(Node):
    """An objection."""

    purpose_code: str = column(_column("purpose"), description="Code of the purpose.")
    status: ObjectionStatus = column(description="Whether it stands.")
    objected_at: datetime = column(description="When it was made.")
    decided_at: datetime | None = column(description="When an agent decided.")


@mapped(residual.certificate_addendum, description="Signed result of looking for what is left of somebody.")
class CertificateAddendum(Node):
    """An addendum."""

    reference: str = column(description="Reference to quote.")
    document: str = column(description="The signed document, JSON as it was signed.")
    key_id: str = column(description="The key it was signed with.")
    issued_at: datetime = column(description="When it was issued.")


@mapped(residual.residual_finding, description="Where something of an erased person was found; never what.")
class ResidualFinding(Node):
    """A finding."""

    table_name: str = column(description="Table.")
    column_name: str = column(description="Column.")
    identifier_type: str = column(description="What kind of identifier it is.")
    rows: int = column(description="In how many rows.")


@mapped(residual.residual_check, description="The search for what is left of an erased person.")
class ResidualCheck(Node):
    """A check."""

    status: ResidualStatus = column(description="Where it stands.")
    checked_at: datetime | None = column(description="When it was last looked for.")
    findings: list[ResidualFinding] | None = many(
        {"request_id": "request_id", "pass_id": "pass_id"},
        order=("table_name", "column_name", "id"),
        description="Where something was found by the last search.",
    )


@mapped(certificate.certificate, description="Signed proof of a deletion.")
class Certificate(Node):
    """A certificate."""

    reference: str = column(description="Reference to quote.")
    document: str = column(description="The signed document, JSON as it was signed.")
    key_id: str = column(description="The key it was signed with.")
    issued_at: datetime = column(description="When it was issued.")
    addendum: CertificateAddendum | None = one(
        {"id": "certificate_id"}, description="What a search through everything found afterwards: nothing."
    )


@mapped(request.privacy_request, subject="customer_id", description="A privacy request and where it stands.")
class PrivacyRequest(Node):
    """A privacy request."""

    reference: str = column(description="Reference to quote.")
    type: RequestType = column(description="What is asked for.")
    status: RequestStatus = column(description="Where it stands.")
    is_settled: bool = column(_is_settled, description="Whether nothing more will happen.")
    channel: str = column(description="How it reached us.")
    reason: str | None = column(description="Reason given.")
    refusal_reason: str | None = column(description="Why it was refused, in words for the customer.")
    extension_reason: str | None = column(description="Why it takes longer, in words for the customer.")
    pause_reason: str | None = column(description="Why the work on it rests, in words for the customer.")
    is_overdue: bool = column(_is_overdue, description="Whether it should have been answered by now.")
    joined: int = column(description="How often it was asked for again while it was open.")
    opened_by_id: str | None = column(_text("opened_by_id"), description="The agent who opened it for somebody.")
    assignee_id: str | None = column(_text("assignee_id"), description="The agent who works on it.")
    version: int = column(description="Number of the last change.")
    requested_at: datetime = column(description="When it was received.")
    due_at: datetime = column(description="When it must be answered (GDPR art. 12(3)).")
    extended_at: datetime | None = column(description="When its deadline was extended, once, by two months.")
    cooling_off_until: datetime | None = column(description="Until when it can be undone.")
    settled_at: datetime | None = column(description="When it was settled.")
    updated_at: datetime = column(description="When anything last changed.")
    tasks: list[RequestTask] | None = many(
        {"id": "request_id"},
        order=(_step_position, _system_position, "id"),
        description="What every connected system was asked, in order.",
    )
    evidence: list[Evidence] | None = many(
        {"id": "request_id"}, order=("id",), description="What agents relied on, oldest first."
    )
    corrections: list[Correction] | None = many(
        {"id": "request_id"}, order=("id",), description="What is corrected, for rectification."
    )
    objections: list[Objection] | None = many(
        {"id": "request_id"}, order=("id",), description="What is objected to, for objection."
    )
    export: Export | None = one({"id": "request_id"}, description="The package, for access and portability.")
    certificate: Certificate | None = one({"id": "request_id"}, description="The proof, for erasure.")
    residual: ResidualCheck | None = one(
        {"id": "request_id"}, description="The search for what is left of the person, for staff."
    )
    customer: Annotated["Customer", strawberry.lazy("cdp.schema.types.customer")] | None = one(  # type: ignore[name-defined]  # noqa: F821  # a lazy name
        {"customer_id": "id"}, description="Whose request it is, until the erasure cuts it."
    )


@strawberry.enum(description="What privacy requests can be sorted by.")
class PrivacyRequestOrderField(Enum):
    """Sort keys of requests."""

    REQUESTED_AT = "requested_at"
    DUE_AT = "due_at"


@strawberry.input(description="Order of privacy requests.")
class PrivacyRequestOrder:
    """How to sort requests."""

    field: PrivacyRequestOrderField = strawberry.field(description="Sort key.")
    direction: OrderDirection | None = strawberry.field(default=OrderDirection.DESC, description="Direction.")


@strawberry.input(description="Which privacy requests to list.")
class PrivacyRequestFilter:
    """Conditions on requests."""

    reference: ExactFilter | None = filtered(description="Reference.")
    type: Choice[RequestType] | None = filtered(description="What is asked for.")
    status: Choice[RequestStatus] | None = filtered(description="Where they stand.")
    requested_at: DateTimeFilter | None = filtered(description="When they were received.")
    due_at: DateTimeFilter | None = filtered(description="When they must be answered.")
    assignee_id: ExactFilter | None = filtered(
        _text("assignee_id"), description="The agent who works on them; null: nobody."
    )
    task_status: Choice[TaskStatus] | None = filtered(
        "status",
        within=(request.request_task, {"id": "request_id"}),
        discloses=[("RequestTask", "status")],
        description="Where any of their tasks stands.",
    )


REQUEST_ORDERINGS = {"REQUESTED_AT": OrderingSource(), "DUE_AT": OrderingSource()}
