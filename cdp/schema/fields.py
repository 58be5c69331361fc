"""How Strawberry types declare where their fields come from.

A type says its table with ``mapped``; a field says ``column``, ``embedded``, ``one``, ``many`` or ``connection``.
The declaration travels as metadata of the Strawberry field; ``graph`` reads it. Nothing here is ever resolved in
Python: these fields are compiled.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, dataclass_transform

import strawberry
from sqlalchemy import Table
from strawberry import UNSET
from strawberry.annotation import StrawberryAnnotation
from strawberry.types.arguments import StrawberryArgument
from strawberry.types.field import StrawberryField

from cdp.access.viewer import Viewer
from cdp.compiler.graph import Coordinate, Expression, Join, Kind, Row

T = TypeVar("T")
SOURCE = "cdp.source"
Columns = Mapping[str, str]
"""A join: column of the parent's row to column of the related row."""


@dataclass(frozen=True)
class Mapped:
    """Where the rows of a type live and which column says whose they are."""

    table: Table
    subject: str | None
    recorded: bool


@dataclass(frozen=True)
class ColumnSource:
    """A value of the row: its expression, or None for the column named like the field."""

    sql: Expression | None
    kind: Kind | None


@dataclass(frozen=True)
class ConstantSource:
    """A value by kind of viewer."""

    value: Callable[[Viewer], object]


@dataclass(frozen=True)
class MaskedSource:
    """``maskedFields``."""


@dataclass(frozen=True)
class EmbeddedSource:
    """An object on the same row."""


@dataclass(frozen=True)
class OneSource:
    """One related row."""

    join: Join
    where: Expression | None
    own: str | None
    by_id: bool


@dataclass(frozen=True)
class ManySource:
    """A short list."""

    join: Join
    where: Expression | None
    order: tuple[Expression | str, ...]
    typical: int


@dataclass(frozen=True)
class ConnectionSource:
    """A page of related rows."""

    join: Join
    where: Expression | None
    orderings: Mapping[str, "OrderingSource"]
    default: str
    filter: type | None


@dataclass(frozen=True)
class OrderingSource:
    """A sort key; ``sql`` None means the column named like the ordering."""

    sql: Expression | None = None
    discloses: tuple[Coordinate, ...] = ()


@dataclass(frozen=True)
class FilterSource:
    """A member of a filter input."""

    sql: Expression | None
    discloses: tuple[Coordinate, ...]
    within: tuple[Table, Join] | None
    id_type: str | None
    fold: bool


@dataclass(frozen=True)
class NodeSource:
    """``node`` and ``nodes``."""

    several: bool


Source = (
    ColumnSource
    | ConstantSource
    | MaskedSource
    | EmbeddedSource
    | OneSource
    | ManySource
    | ConnectionSource
    | NodeSource
)


def column(sql: Expression | str | None = None, *, description: str, kind: Kind | None = None) -> Any:  # noqa: ANN401
    """A value of the row: the column of the field's own name, another column, or an expression."""
    return _field(ColumnSource(_expression(sql), kind), description)


def constant(value: Callable[[Viewer], object], *, description: str) -> Any:  # noqa: ANN401
    """A value that depends on the kind of viewer alone."""
    return _field(ConstantSource(value), description)


def masked_fields() -> Any:  # noqa: ANN401
    """The names of this object's fields that the viewer sees masked."""
    return _field(MaskedSource(), "Names of the fields of this object that you see masked.")


def embedded(*, description: str) -> Any:  # noqa: ANN401
    """An object made of the same row."""
    return _field(EmbeddedSource(), description)


def one(
    join: Columns | None = None,
    *,
    description: str,
    where: Expression | None = None,
    own: str | None = None,
    by_id: bool = False,
) -> Any:  # noqa: ANN401
    """One related row: by a join, the viewer's ``own`` by this column, or ``by_id`` argument."""
    field = _field(OneSource(_join(join), where, own, by_id), description)
    if by_id:
        field.arguments = [_argument("id", strawberry.ID, "Global id.")]
    return field


def many(
    join: Columns | None = None,
    *,
    description: str,
    order: Sequence[Expression | str],
    where: Expression | None = None,
    typical: int = 10,
) -> Any:  # noqa: ANN401
    """A complete list that is short by nature, ordered by these columns (``-name`` descends)."""
    return _field(ManySource(_join(join), where, tuple(order), typical), description)


def connection(
    join: Columns | None = None,
    *,
    description: str,
    orderings: Mapping[str, OrderingSource],
    default: str,
    order_by: type | None = None,
    where: Expression | None = None,
    filter_by: type | None = None,
) -> Any:  # noqa: ANN401
    """A Relay connection; ``default`` names an ordering (``-NAME`` descends), the only one without ``order_by``."""
    field = _field(ConnectionSource(_join(join), where, orderings, default, filter_by), description)
    field.arguments = [
        _argument("first", int | None, "Size of a page from the start (default 20)."),
        _argument("after", str | None, "Cursor that the page comes after; with first."),
        _argument("last", int | None, "Size of a page from the end."),
        _argument("before", str | None, "Cursor that the page comes before; with last."),
    ]
    if order_by is not None:
        field.arguments.append(_argument("order_by", order_by | None, "Order of the list; ties are broken by id."))
    if filter_by is not None:
        field.arguments.append(_argument("filter", filter_by | None, "Conditions that must all hold."))
    return field


def filtered(
    sql: Expression | str | None = None,
    *,
    description: str,
    discloses: Sequence[Coordinate] = (),
    within: tuple[Table, Columns] | None = None,
    id_type: str | None = None,
    fold: bool = False,
) -> Any:  # noqa: ANN401
    """A member of a filter input: the column of its own name, another, or an expression; ``fold`` ignores case.

    ``within`` compares inside related rows. ``discloses`` names the fields a match reveals; default: the target's
    field of the same name.
    """
    inner = (within[0], _join(within[1])) if within else None
    source = FilterSource(_expression(sql), tuple(discloses), inner, id_type, fold)
    return strawberry.field(default=UNSET, description=description, metadata={SOURCE: source})


def node_field(*, several: bool, description: str) -> Any:  # noqa: ANN401
    """``node(id)`` or ``nodes(ids)``."""
    field = _field(NodeSource(several), description)
    field.arguments = [
        _argument("ids", list[strawberry.ID], "Global ids, at most 100.")
        if several
        else _argument("id", strawberry.ID, "Global id.")
    ]
    return field


@dataclass_transform(kw_only_default=True, field_specifiers=(column, constant, embedded, one, many, connection))
def mapped(
    table: Table | None = None, *, description: str, subject: str | None = None, recorded: bool = False
) -> Callable[[type[T]], type[T]]:
    """Make a GraphQL type of rows of a table. ``subject`` is the column that says which customer a row is about.

    Reading rows of a customer leaves a trace where staff do it; ``recorded`` says so of others.
    """

    def decorate(cls: type[T]) -> type[T]:
        if table is not None:
            cls.__mapped__ = Mapped(table, subject, recorded)  # type: ignore[attr-defined]  # read by graph
        return strawberry.type(cls, description=description)

    return decorate


def _field(source: Source, description: str) -> StrawberryField:
    made: StrawberryField = strawberry.field(description=description, metadata={SOURCE: source})
    return made


def _argument(name: str, kind: object, description: str) -> StrawberryArgument:
    return StrawberryArgument(name, None, StrawberryAnnotation(kind), description=description)


def _join(columns: Columns | None) -> Join:
    return tuple(columns.items()) if columns else ()


def _expression(sql: Expression | str | None) -> Expression | None:
    if isinstance(sql, str):
        name = sql

        def read(row: Row) -> Any:  # noqa: ANN401
            return row[name]

        return read
    return sql
