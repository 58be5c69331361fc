"""Filters of connections as SQL predicates over a row; values stay parameters."""

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


def _compare_all(
    context: Context, declared: Filter, operators: dict[Operator, Lifted], row: Source, path: Path
) -> list[ColumnElement[bool]]:
    value = declared.sql(row)
    return [_compare(context, declared, value, operator, given, path) for operator, given in operators.items()]


def _compare(
    context: Context, declared: Filter, value: ColumnElement[Any], operator: Operator, given: Lifted, path: Path
) -> ColumnElement[bool]:
    if given is None:
        if operator is not Operator.EQ:
            raise InvalidInput("Only eq can be compared with null.")
        return value.is_(None)
    assert isinstance(given, Leaf)
    leaf = given
    kind = TYPES[declared.kind]
    if operator is Operator.IN:
        several = context.parameter(lambda call: _members(leaf, declared, call), ARRAY(kind), path)
        return value == any_(several)
    one: ColumnElement[Any] = context.parameter(lambda call: _native(leaf.read(call.variables), declared), kind, path)
    if declared.fold:
        one = func.lower(one, type_=Text)
    match operator:
        case Operator.EQ:
            return value == one
        case Operator.GT:
            return value > one
        case Operator.GTE:
            return value >= one
        case Operator.LT:
            return value < one
        case Operator.LTE:
            return value <= one
        case Operator.STARTS_WITH:
            return func.starts_with(value, one, type_=Boolean)
        case Operator.CONTAINS:
            return _contains(value, one)


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
