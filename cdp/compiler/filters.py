"""Filters of connections as SQL predicates over a row; values stay parameters."""

import operator
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    ColumnElement,
    Date,
    DateTime,
    Float,
    Integer,
    Numeric,
    Text,
    Uuid,
    any_,
    exists,
    func,
    literal_column,
)
from sqlalchemy.types import TypeEngine

from cdp.compiler.arguments import Leaf, Lifted
from cdp.compiler.context import Context
from cdp.compiler.graph import Connection, Filter, Kind, Operator
from cdp.compiler.plan import Call, Path
from cdp.compiler.render import Source, quoted
from cdp.core.errors import InvalidInput
from cdp.core.ids import parse_global_id

TYPES: dict[Kind, TypeEngine[Any]] = {
    Kind.ID: Uuid(),
    Kind.TEXT: Text(),
    Kind.ENUM: Text(),
    Kind.INT: Integer(),
    Kind.BIGINT: BigInteger(),
    Kind.FLOAT: Float(),
    Kind.BOOLEAN: Boolean(),
    Kind.DECIMAL: Numeric(),
    Kind.DATETIME: DateTime(timezone=True),
    Kind.DATE: Date(),
}
_EXACT = frozenset({Operator.EQ, Operator.IN})


def predicates(
    context: Context, connection: Connection, given: Lifted, row: Source, path: Path
) -> list[ColumnElement[bool]]:
    """Every condition of a filter argument; all of them must hold."""
    found: list[ColumnElement[bool]] = []
    for name, comparison in given.items() if isinstance(given, dict) else ():
        if not isinstance(comparison, dict):
            continue
        declared = connection.filters[name]
        operators = {Operator(key): value for key, value in comparison.items()}
        context.require_disclosable(declared.discloses, exact=set(operators) <= _EXACT)
        if declared.within is None:
            found += _compare_all(context, declared, operators, row, path)
            continue
        table, join = declared.within
        related = Source(context.alias(), table)
        conditions = [row[parent] == related[child] for parent, child in join]
        conditions += _compare_all(context, declared, operators, related, path)
        found.append(exists(literal_column("1")).select_from(related.clause).where(*conditions))
    return found


def searches(given: Lifted) -> bool:
    """Whether a filter looks inside texts."""
    comparisons = given.values() if isinstance(given, dict) else ()
    return any(Operator.CONTAINS in one for one in comparisons if isinstance(one, dict))


def _compare_all(
    context: Context, declared: Filter, operators: Mapping[Operator, Lifted], row: Source, path: Path
) -> list[ColumnElement[bool]]:
    value = declared.sql(row)
    found: list[ColumnElement[bool]] = []
    for asked, given in operators.items():
        if given is not None:
            found.append(
                _COMPARISONS[asked](value, _parameter(context, declared, given, path, several=asked is Operator.IN))
            )
        elif asked is Operator.EQ:
            found.append(value.is_(None))
        else:
            raise InvalidInput("Only eq can be compared with null.")
    return found


def _parameter(context: Context, declared: Filter, given: Lifted, path: Path, *, several: bool) -> ColumnElement[Any]:
    assert isinstance(given, Leaf)
    leaf, kind = given, TYPES[declared.kind]
    if several:
        return context.parameter(lambda call: _members(leaf, declared, call), ARRAY(kind), path)
    one = context.parameter(lambda call: _native(leaf.read(call.variables), declared), kind, path)
    return func.lower(one, type_=Text) if declared.fold else one


def _contains(value: ColumnElement[Any], one: ColumnElement[Any]) -> ColumnElement[bool]:
    escaped = one
    for special in ("\\", "%", "_"):
        escaped = func.replace(escaped, quoted(special), quoted("\\" + special), type_=Text)
    return value.like(quoted("%") + escaped + quoted("%"))


def _members(leaf: Leaf, declared: Filter, call: Call) -> list[Any]:
    members = leaf.read(call.variables)
    return [_native(member, declared) for member in (members if isinstance(members, list) else [members])]


def _native(value: object, declared: Filter) -> object:
    if declared.kind is Kind.ID:
        return parse_global_id(str(value), expected=declared.id_type)[1]
    return value.value if isinstance(value, Enum) else value


_COMPARISONS: Mapping[Operator, Callable[[ColumnElement[Any], ColumnElement[Any]], ColumnElement[bool]]] = {
    Operator.EQ: operator.eq,
    Operator.IN: lambda value, several: value == any_(several),
    Operator.GT: operator.gt,
    Operator.GTE: operator.ge,
    Operator.LT: operator.lt,
    Operator.LTE: operator.le,
    Operator.STARTS_WITH: lambda value, one: func.starts_with(value, one, type_=Boolean),
    Operator.CONTAINS: _contains,
}
