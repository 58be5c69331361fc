"""The shape of a selection as columns with types, for formats that want to know it before the first row."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from graphql import get_nullable_type, is_list_type
from sqlalchemy import Numeric, Table

from cdp.compiler.context import Context, Selected, Sets
from cdp.compiler.graph import Embedded, Kind, Scalar
from cdp.compiler.render import Source

DECIMAL_PLACES = 6
"""Of decimals whose column does not say how many it has."""


@dataclass(frozen=True)
class Column:
    """One field of the result: scalars have a kind, objects members; ``is_list`` for lists of either."""

    name: str
    kind: Kind | None
    members: tuple["Column", ...] = ()
    is_list: bool = False
    scale: int = DECIMAL_PLACES


def columns(context: Context, type_name: str, sets: Sets, table: Table | None) -> tuple[Column, ...]:
    """The columns of an object of this type, whose rows come from ``table``."""
    return tuple(_column(context, type_name, one, table) for one in context.collect(type_name, sets))


def flat(shape: Sequence[Column], before: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Column]]:
    """Cells of a row of a table, each with its path: objects are opened, lists stay whole."""
    for one in shape:
        path = (*before, one.name)
        if one.members and not one.is_list:
            yield from flat(one.members, path)
        else:
            yield path, one


def _column(context: Context, type_name: str, one: Selected, table: Table | None) -> Column:
    if one.name == "__typename":
        return Column(one.key, Kind.TEXT)
    declared = context.graph.types.get(type_name)
    field = declared.fields.get(one.name) if declared else None
    if isinstance(field, Scalar):
        return Column(one.key, field.kind, scale=_scale(field, table))
    is_list = is_list_type(get_nullable_type(context.definition(type_name, one.name).type))
    if not one.sets:  # totalCount of a connection, or the names of masked fields
        return Column(one.key, Kind.TEXT if is_list else Kind.INT, is_list=is_list)
    target = context.result_type(type_name, one.name)
    known = context.graph.types.get(target)
    inner = table if isinstance(field, Embedded) else known.table if known else None
    return Column(one.key, None, columns(context, target, one.sets, inner), is_list)


def _scale(field: Scalar, table: Table | None) -> int:
    if field.kind is not Kind.DECIMAL or table is None:
        return DECIMAL_PLACES
    kind = field.sql(Source("t", table)).type
    return kind.scale if isinstance(kind, Numeric) and kind.scale is not None else DECIMAL_PLACES
