"""Reads that must be recorded: an audit row inside the very statement that reads (staff today, partners later).

The row says who read which fields of whom and for what purpose, never a value. It is written by a data-modifying CTE,
so that nothing is read unrecorded and nothing that failed is recorded.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import CTE, ColumnElement, Text, Uuid, cast, insert, null, select
from sqlalchemy.dialects.postgresql import JSONB

from cdp.access.viewer import Actor, Viewer
from cdp.compiler.context import Context
from cdp.compiler.graph import ObjectType
from cdp.compiler.render import quoted
from cdp.core.ids import new_id
from cdp.tables.audit import audit_event
from cdp.tables.customer import customer

RECORDED = frozenset({Actor.STAFF})
_COLUMNS = ("id", "action", "outcome", "actor_kind", "actor_ref", "subject_ref", "object_type", "object_id", "details")


@dataclass(frozen=True)
class Named:
    """The one object a root field names by id."""

    kind: ObjectType
    row_id: ColumnElement[object]


@dataclass(frozen=True)
class Recorded:
    """One root field over personal rows: its name, what it names, which fields it shows and which it matches."""

    root: str
    named: Named | None
    fields: tuple[str, ...]
    matched: tuple[str, ...]


def is_recorded(viewer: Viewer) -> bool:
    """Whether this kind of viewer leaves a trace by reading."""
    return viewer.actor in RECORDED


def traces(context: Context, reads: Sequence[Recorded]) -> list[CTE]:
    """One insert a root field, to be attached to the statement."""
    return [_trace(context, number, read) for number, read in enumerate(reads)]


def _trace(context: Context, number: int, read: Recorded) -> CTE:
    viewer = context.viewer
    details = {"root": read.root, "purpose": viewer.purpose, "fields": read.fields, "matched": read.matched}
    values: list[ColumnElement[object]] = [
        context.parameter(lambda _: new_id(), Uuid(), (read.root,)),
        quoted("customer.read"),
        quoted("ok"),
        quoted(viewer.actor.value),
        context.parameter(lambda call: call.viewer.staff_id, Uuid(), (read.root,)),
        _subject(read.named),
        quoted(read.named.kind.name) if read.named else cast(null(), Text),
        read.named.row_id if read.named else cast(null(), Uuid),
        cast(quoted(json.dumps(details)), JSONB),
    ]
    return insert(audit_event).from_select(list(_COLUMNS), select(*values)).cte(f"trace{number}")


def _subject(named: Named | None) -> ColumnElement[object]:
    """The random reference under which the log knows the person."""
    if named is None or named.kind.table is None or named.kind.subject_column is None:
        return cast(null(), Uuid)
    table = named.kind.table
    owner = select(table.c[named.kind.subject_column]).where(table.c.id == named.row_id).scalar_subquery()
    person = customer.alias("person")
    return select(person.c.audit_ref).where(person.c.id == owner).scalar_subquery()
