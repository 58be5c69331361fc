"""Reads that must be recorded, inside the very statement that reads: staff in the audit log, partners as disclosures.

A row says who read which fields of whom and for what purpose, never a value. It is written by a data-modifying CTE,
so that nothing is read unrecorded and nothing that failed is recorded. A list leaves one row for the question, and
one for everybody whose rows it shows: each customer finds it in their own part of the log.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ARRAY,
    CTE,
    ColumnElement,
    Select,
    Text,
    Uuid,
    any_,
    case,
    cast,
    func,
    insert,
    literal_column,
    null,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB
from structlog.contextvars import get_contextvars

from cdp.access.viewer import Actor, Viewer
from cdp.compiler.context import Context
from cdp.compiler.graph import ObjectType
from cdp.compiler.plan import Call, Path
from cdp.compiler.render import quoted
from cdp.core.ids import new_id
from cdp.tables.audit import audit_event
from cdp.tables.customer import customer
from cdp.tables.partner import disclosure

RECORDED = frozenset({Actor.STAFF})
ACTION = "customer.read"
_ABOUT = ("id", "subject_ref", "object_type", "object_id")
_CIRCUMSTANCES = ("action", "outcome", "actor_kind", "actor_ref", "client", "request", "details")


@dataclass(frozen=True)
class Named:
    """The one object a root field names by id."""

    kind: ObjectType
    row_id: ColumnElement[object]


@dataclass(frozen=True)
class Listed:
    """Objects shown: their type, and a selection of whose they are and which, ``subject`` and ``row``.

    ``is_one`` where each call names the one object there can be: then ``trace`` and ``request`` stand in the rows too,
    the id of the record that a call is to leave and the id of its request.
    """

    kind: ObjectType
    rows: Select[tuple[object, ...]]
    is_one: bool = False


@dataclass(frozen=True)
class Recorded:
    """One root field over personal rows: its name, what it names or lists, which fields it shows and matches."""

    root: str
    named: Named | None
    fields: tuple[str, ...]
    matched: tuple[str, ...]
    listed: tuple[Listed, ...] = ()


def is_recorded(viewer: Viewer) -> bool:
    """Whether this kind of viewer leaves a trace by reading; staff do too while they act for a customer."""
    return viewer.doer[0] in RECORDED or viewer.sharing is not None


def named_rows(
    kind: ObjectType, names: ColumnElement[object], ids: ColumnElement[object]
) -> Select[tuple[object, ...]] | None:
    """Rows of a type among objects asked for by type and id; None where they are nobody's."""
    if kind.table is None or kind.subject_column is None:
        return None
    table = kind.table
    mine = select(table.c[kind.subject_column].label("subject"), table.c.id.label("row"))
    return mine.where(table.c.id == any_(ids), quoted(kind.name) == any_(names))


def traces(context: Context, reads: Sequence[Recorded]) -> list[CTE]:
    """The inserts of every root field, to be attached to the statement."""
    found: list[CTE] = []
    if context.viewer.sharing is not None:
        shown = [(read, one) for read in reads for one in read.listed]
        return [_disclosed(context, number, read, one) for number, (read, one) in enumerate(shown)]
    for read in reads:
        found.append(_trace(context, len(found), read))
        for one in read.listed:
            found.append(_shown(context, len(found), read, one))
    return found


def _trace(context: Context, number: int, read: Recorded) -> CTE:
    about: list[ColumnElement[object]] = [
        context.parameter(lambda _: new_id(), Uuid(), (read.root,)),
        _subject(context, read.named),
        quoted(read.named.kind.name) if read.named else cast(null(), Text),
        read.named.row_id if read.named else cast(null(), Uuid),
    ]
    return _insert(select(*about, *_circumstances(context, read)), number)


def _shown(context: Context, number: int, read: Recorded, listed: Listed) -> CTE:
    """One row for every object of a list, with an id of its own from the database (UUIDv7 as well)."""
    rows, person = listed.rows.subquery(f"shown{number}"), customer.alias("person")
    about: list[ColumnElement[object]] = [
        func.uuidv7(type_=Uuid()),
        person.c.audit_ref,
        quoted(listed.kind.name),
        rows.c.row,
    ]
    joined = rows.join(person, person.c.id == rows.c.subject)
    return _insert(select(*about, *_circumstances(context, read)).select_from(joined), number)


def _disclosed(context: Context, number: int, read: Recorded, listed: Listed) -> CTE:
    """One row for every customer shown to a partner: each finds it on their own page."""
    rows, path = listed.rows.subquery(f"shown{number}"), (read.root,)
    request = rows.c.request if listed.is_one else context.parameter(_request_id, Text(), path)
    values: dict[str, ColumnElement[Any]] = {
        "id": rows.c.trace if listed.is_one else func.uuidv7(type_=Uuid()),
        "customer_id": rows.c.subject,
        "partner_id": context.partner(),
        "grant_id": context.grant(),
        "recipient": context.parameter(
            lambda call: call.viewer.sharing and call.viewer.sharing.recipient, Text(), path
        ),
        "purpose": quoted(context.viewer.purpose),
        "legal_basis": context.parameter(
            lambda call: call.viewer.sharing and call.viewer.sharing.legal_basis, Text(), path
        ),
        "fields": cast(quoted("{" + ",".join(read.fields) + "}"), ARRAY(Text)),
        "request": request,
    }
    written = select(*values.values()).select_from(rows)
    return insert(disclosure).from_select(list(values), written).cte(f"trace{number}")


def marks(context: Context, path: Path) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """Of every call a statement serves: the id of the record it is to leave, and the id of its request.

    Postgres opens the kernel's source of randomness for each id that it makes, which costs as much as an index.
    """
    return context.each_of(lambda _: new_id(), Uuid(), path), context.each_of(_request_id, Text(), path)


def _request_id(_: Call) -> object:
    return get_contextvars().get("request_id")


def _insert(values: Select[*tuple[Any, ...]], number: int) -> CTE:
    return insert(audit_event).from_select([*_ABOUT, *_CIRCUMSTANCES], values).cte(f"trace{number}")


def _circumstances(context: Context, read: Recorded) -> list[ColumnElement[object]]:
    viewer, path = context.viewer, (read.root,)
    details = {"root": read.root, "purpose": viewer.purpose, "fields": read.fields, "matched": read.matched}
    return [
        quoted(ACTION),
        quoted("ok"),
        quoted(viewer.doer[0].value),
        context.parameter(lambda call: call.viewer.doer[1], Uuid(), path),
        context.parameter(lambda call: call.viewer.client_id, Text(), path),
        context.parameter(_request_id, Text(), path),
        cast(quoted(json.dumps(details)), JSONB),
    ]


def _subject(context: Context, named: Named | None) -> ColumnElement[object]:
    """The random reference under which the log knows the person."""
    person = customer.alias("person")
    pseudonym = select(person.c.audit_ref)
    if context.viewer.acting_staff_id is not None:
        return under_subject(context, pseudonym.where(person.c.id == context.subject()).scalar_subquery())
    if named is None or named.kind.table is None or named.kind.subject_column is None:
        return cast(null(), Uuid)
    table = named.kind.table
    owner = select(table.c[named.kind.subject_column]).where(table.c.id == named.row_id).scalar_subquery()
    return pseudonym.where(person.c.id == owner).scalar_subquery()


def under_grant(context: Context, value: ColumnElement[Any]) -> ColumnElement[Any]:
    """A value that is read only once row-level security knows the partner's grant."""
    done = func.set_config(quoted("cdp.grant"), cast(context.grant(), Text), literal_column("true"))
    return case((done.is_not(None), value))


def under_subject(context: Context, value: ColumnElement[Any]) -> ColumnElement[Any]:
    """A value that is read only once the subject of row-level security is set for this statement."""
    subject = func.coalesce(cast(context.subject(), Text), quoted(""))
    done = func.set_config(quoted("cdp.subject"), subject, literal_column("true"))
    return case((done.is_not(None), value))
