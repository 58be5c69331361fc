"""Lines of a merge: one for each row it touched, written before the row changes, by one statement a table.

A row that is put aside is kept whole, as JSON of its table; what is sealed in it stays apart, where the rotation of
keys finds it. ``put_back`` is the inverse.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Select,
    String,
    Table,
    Text,
    Uuid,
    case,
    cast,
    delete,
    func,
    insert,
    literal,
    null,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB

from cdp.core.db import Tx
from cdp.core.ids import CustomerId, new_id
from cdp.operations.merging.places import named, sealed_column, secret_columns
from cdp.tables.merge import MergeEffect, customer_merge_row

_COLUMNS = ("id", "customer_id", "merge_id", "table_name", "row_id", "effect", "kept", "shown", "kept_context")
_line = customer_merge_row
_NOTHING: ColumnElement[Any] = cast(null(), JSONB)
_NO_TEXT: ColumnElement[Any] = cast(null(), String)


@dataclass(frozen=True)
class Book:
    """One merge: its ledger row, the record that stays, and the one that goes into it."""

    merge_id: UUID
    keep: CustomerId
    drop: CustomerId


@dataclass(frozen=True)
class _Kept:
    """What a line keeps of a row: all of it, what its person may take away, and what its sealed value was for."""

    row: ColumnElement[Any] = _NOTHING
    shown: ColumnElement[Any] = _NOTHING
    sealed_for: ColumnElement[Any] = _NO_TEXT


async def park(tx: Tx, book: Book, table: Table, which: ColumnElement[bool]) -> int:
    """Keep rows of a table whole in the ledger; they are deleted by the caller, children first."""
    whole: ColumnElement[Any] = func.to_jsonb(table.table_valued(), type_=JSONB)
    shown, place = _without(whole, secret_columns(table)), sealed_column(table)
    kept = _Kept(whole, shown)
    if place is not None:
        column, context_of = place
        sealed_for = func.replace(literal(context_of), "{id}", cast(table.c.id, Text))
        kept = _Kept(_without(whole, [column]), shown, sealed_for)
    result = await tx.execute(_lines(book, table, MergeEffect.PARKED, kept, which))
    if place is not None:
        await _seal_apart(tx, book, table, place[0])
    return result.rowcount


async def _seal_apart(tx: Tx, book: Book, table: Table, column: str) -> None:
    await tx.execute(
        update(_line)
        .where(_mine(book, table, MergeEffect.PARKED), _line.c.row_id == table.c.id)
        .values(kept_sealed=table.c[column])
    )


async def note_moving(tx: Tx, book: Book, table: Table, *, is_demoted: bool) -> int:
    """Write a line for every row of a table that is about to change hands; ``is_demoted`` notes who was primary."""
    kept = _Kept()
    if is_demoted:
        was_primary = cast(literal('{"is_primary": true}', Text), JSONB)
        kept = _Kept(case((table.c.is_primary, was_primary), else_=_NOTHING))
    mine = table.c.customer_id == book.drop
    return (await tx.execute(_lines(book, table, MergeEffect.MOVED, kept, mine))).rowcount


async def note(
    tx: Tx,
    book: Book,
    effect: MergeEffect,
    table: Table,
    row_id: UUID,
    *,
    kept: dict[str, Any] | None = None,
    shown: dict[str, Any] | None = None,
) -> None:
    """Write one line: a row that the merge made, or changed from ``kept`` to ``shown``."""
    await tx.execute(
        insert(_line).values(
            id=new_id(),
            customer_id=book.keep,
            merge_id=book.merge_id,
            table_name=table.name,
            row_id=row_id,
            effect=effect,
            kept=kept,
            shown=shown,
        )
    )


async def put_back(tx: Tx, book: Book, table: Table) -> int:
    """Write the rows of a table that were put aside again; one whose place is taken stays away.

    Columns that came to the table meanwhile get their defaults.
    """
    lines = _mine(book, table, MergeEffect.PARKED)
    known = await tx.scalar(select(_line.c.kept).where(lines).limit(1))
    if known is None:
        return 0
    place = sealed_column(table)
    columns = [name for name in table.columns.keys() if name in known or (place and name == place[0])]  # noqa: SIM118
    whole, read = "line.kept", ", ".join(f'was."{name}"' for name in columns)
    if place is not None:
        whole = f"line.kept || jsonb_build_object('{place[0]}', line.kept_sealed)"
    listed = ", ".join(f'"{name}"' for name in columns)
    result = await tx.execute(
        text(
            f"INSERT INTO {table.name} ({listed}) SELECT {read}"  # noqa: S608  # names of our own tables
            f" FROM customer_merge_row line, jsonb_populate_record(NULL::{table.name}, {whole}) was"
            f" WHERE line.merge_id = :merge_id AND line.table_name = '{table.name}' AND line.effect = 'parked'"
            " ON CONFLICT DO NOTHING"
        ),
        {"merge_id": book.merge_id},
    )
    return result.rowcount


def rows_of(book: Book, table: Table, effect: MergeEffect) -> Select[UUID]:
    """Ids of a table's rows with one effect."""
    return select(_line.c.row_id).where(_mine(book, table, effect))


async def lines_of(tx: Tx, book: Book, effect: MergeEffect) -> list[tuple[Table, Any]]:
    """Lines of one effect with their tables; for the few that a merge made or changed."""
    rows = await tx.all(select(_line).where(_line.c.merge_id == book.merge_id, _line.c.effect == effect))
    return [(named(row.table_name), row) for row in rows]


async def counts(tx: Tx, merge_id: UUID) -> dict[str, dict[str, int]]:
    """How many rows of which table had which effect."""
    grouped = select(_line.c.effect, _line.c.table_name, func.count().label("number")).where(
        _line.c.merge_id == merge_id
    )
    found: dict[str, dict[str, int]] = {}
    for row in await tx.all(grouped.group_by(_line.c.effect, _line.c.table_name)):
        found.setdefault(row.effect.value, {})[row.table_name] = row.number
    return found


async def clear(tx: Tx, merge_id: UUID) -> None:
    """Forget the lines of a merge that was undone: what they held is where it came from."""
    await tx.execute(delete(_line).where(_line.c.merge_id == merge_id))


def _mine(book: Book, table: Table, effect: MergeEffect) -> ColumnElement[bool]:
    return (_line.c.merge_id == book.merge_id) & (_line.c.table_name == table.name) & (_line.c.effect == effect)


def _without(whole: ColumnElement[Any], columns: list[str]) -> ColumnElement[Any]:
    return whole.op("-", return_type=JSONB())(cast(columns, ARRAY(Text)))


def _lines(book: Book, table: Table, effect: MergeEffect, kept: _Kept, which: ColumnElement[bool]) -> Any:  # noqa: ANN401  # an insert of SQLAlchemy has no short type
    found = select(
        func.gen_random_uuid(),
        literal(book.keep, Uuid),
        literal(book.merge_id, Uuid),
        literal(table.name, String),
        table.c.id,
        literal(effect.value, String),
        kept.row,
        kept.shown,
        kept.sealed_for,
    ).where(which)
    return insert(_line).from_select(_COLUMNS, found)


__all__ = ["Book", "clear", "counts", "lines_of", "note", "note_moving", "park", "put_back", "rows_of"]
