"""The audit log: who did what to whom. Subjects are pseudonyms; customers see what was done to their own data."""

from datetime import datetime
from enum import Enum
from typing import Any

import strawberry
from sqlalchemy import ColumnElement, Text, cast, select
from strawberry.scalars import JSON

from cdp.access.viewer import Actor
from cdp.compiler.graph import Kind, Row
from cdp.compiler.render import quoted
from cdp.schema.fields import OrderingSource, column, filtered, mapped
from cdp.schema.scalars import BigInt
from cdp.schema.types.comparison import Choice, DateTimeFilter, ExactFilter, IdFilter, OrderDirection
from cdp.schema.types.relay import Node
from cdp.tables.audit import audit_event, audit_leaf, audit_note
from cdp.tables.customer import customer
from cdp.tables.staff import staff

strawberry.enum(Actor, name="ActorKind", description="Kinds of those who do something.")


def _actor_name(row: Row) -> ColumnElement[Any]:
    return select(staff.c.name).where(staff.c.id == row["actor_ref"]).scalar_subquery()


def _note(row: Row) -> ColumnElement[Any]:
    return select(audit_note.c.text).where(audit_note.c.event_id == row["id"]).scalar_subquery()


def _position(row: Row) -> ColumnElement[Any]:
    return select(audit_leaf.c.position).where(audit_leaf.c.event_id == row["id"]).scalar_subquery()


def _leaf_hash(row: Row) -> ColumnElement[Any]:
    return select(audit_leaf.c.hash).where(audit_leaf.c.event_id == row["id"]).scalar_subquery()


def _fields(row: Row) -> ColumnElement[Any]:
    return row["details"].op("->")(quoted("fields"))


def _purpose(row: Row) -> ColumnElement[Any]:
    return row["details"].op("->>")(quoted("purpose"))


def _text(name: str) -> Any:  # noqa: ANN401  # an Expression
    def read(row: Row) -> ColumnElement[Any]:
        return cast(row[name], Text)

    return read


@mapped(audit_event, recorded=True, description="One entry of the audit log: who did what to whom.")
class AuditEvent(Node):
    """An audit event."""

    occurred_at: datetime = column(description="When it happened.")
    action: str = column(description="What was done, noun.verb.")
    outcome: str = column(description="ok, or refused.")
    code: str | None = column(description="Machine code of a refusal or a result.")
    actor_kind: Actor = column(description="Who did it.")
    actor_ref: str | None = column(_text("actor_ref"), description="Which member of staff did it.")
    actor_name: str | None = column(_actor_name, description="Name of the member of staff who did it.")
    client: str | None = column(description="The application it was done with.")
    subject_ref: str | None = column(_text("subject_ref"), description="Pseudonym of the customer it was done to.")
    object_type: str | None = column(description="Type of what it was done to.")
    object_id: str | None = column(_text("object_id"), description="Row of what it was done to.")
    fields: list[str] | None = column(_fields, description="Fields that were shown, for reads.")
    purpose: str | None = column(_purpose, description="Purpose of a read.")
    note: str | None = column(_note, description="What was said for a reason; erased with the customer.")
    details: JSON | None = column(description="Codes, counts and ids.")
    request: str | None = column(description="Id of the HTTP request, as in its answer and in the logs.")
    position: BigInt | None = column(
        _position, kind=Kind.BIGINT, description="Place in the log, once it is in the tree."
    )
    leaf_hash: str | None = column(_leaf_hash, kind=Kind.BYTES, description="Hash of its leaf, hexadecimal.")


@strawberry.enum(description="What audit events can be sorted by.")
class AuditEventOrderField(Enum):
    """Sort keys of audit events."""

    OCCURRED_AT = "occurred_at"


@strawberry.input(description="Order of audit events.")
class AuditEventOrder:
    """How to sort audit events."""

    field: AuditEventOrderField = strawberry.field(description="Sort key.")
    direction: OrderDirection | None = strawberry.field(default=OrderDirection.DESC, description="Direction.")


@strawberry.input(description="Which audit events to list.")
class AuditEventFilter:
    """Conditions on audit events."""

    occurred_at: DateTimeFilter | None = filtered(description="When it happened.")
    action: ExactFilter | None = filtered(description="What was done.")
    outcome: ExactFilter | None = filtered(description="How it ended.")
    actor_kind: Choice[Actor] | None = filtered(description="Who did it.")
    object_type: ExactFilter | None = filtered(description="Type of what it was done to.")
    request: ExactFilter | None = filtered(description="Id of the HTTP request.")
    customer: IdFilter | None = filtered(
        "id",
        within=(customer, {"subject_ref": "audit_ref"}),
        id_type="Customer",
        discloses=(("AuditEvent", "subjectRef"),),
        description="The customer it was done to.",
    )


AUDIT_ORDERINGS = {"OCCURRED_AT": OrderingSource()}
