"""Arguments of a field, split into what shapes a statement and what is merely a value of it.

A plan is compiled once and run with other values, so a scalar becomes a ``Leaf`` that reads the value again from each
call's variables. Keys of input objects, nulls, enum values and booleans shape the statement; ``shape`` names exactly
these of a variable, and plans are kept by it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

from graphql import (
    FieldNode,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInputType,
    ListValueNode,
    ObjectValueNode,
    Undefined,
    ValueNode,
    VariableNode,
    get_nullable_type,
)
from graphql.utilities import coerce_input_literal

Variables: TypeAlias = Mapping[str, Any]
Read: TypeAlias = Callable[[Variables], Any]


@dataclass(frozen=True)
class Leaf:
    """A value of the statement. ``value`` is what it was when the plan was made, for what shapes the statement."""

    value: object
    read: Read
    is_fixed: bool = False
    """Whether it stands in the document itself, the same for every call."""


Lifted: TypeAlias = Leaf | dict[str, "Lifted"] | list["Lifted"] | None


def lift_arguments(node: FieldNode, definition: GraphQLField, variables: Variables) -> dict[str, Lifted]:
    """Lift every given argument of a validated field; what is absent is absent here too."""
    lifted: dict[str, Lifted] = {}
    for argument in node.arguments or ():
        name = argument.name.value
        value = argument.value
        if isinstance(value, VariableNode) and value.name.value not in variables:
            continue
        lifted[name] = _lift_literal(value, definition.args[name].type, variables)
    return lifted


def _lift_literal(node: ValueNode, kind: GraphQLInputType, variables: Variables) -> Lifted:
    if isinstance(node, VariableNode):
        name = node.name.value
        return _lift_value(variables[name], lambda given: given[name])
    nullable = get_nullable_type(kind)
    if isinstance(node, ObjectValueNode) and isinstance(nullable, GraphQLInputObjectType):
        return {
            member.name.value: _lift_literal(member.value, nullable.fields[member.name.value].type, variables)
            for member in node.fields
            if not (isinstance(member.value, VariableNode) and member.value.name.value not in variables)
        }
    if isinstance(node, ListValueNode) and any(isinstance(item, VariableNode) for item in node.values):
        inner: GraphQLInputType = getattr(nullable, "of_type", kind)
        items = [_lift_literal(item, inner, variables) for item in node.values]
        return Leaf(None, lambda given: [item.read(given) for item in items if isinstance(item, Leaf)])
    value = coerce_input_literal(node, kind)
    return _lift_value(None if value is Undefined else value, lambda _: value, is_fixed=True)


def _lift_value(value: object, read: Read, *, is_fixed: bool = False) -> Lifted:
    if value is None:
        return None
    if isinstance(value, dict):
        return {key: _lift_value(inner, _member(read, key), is_fixed=is_fixed) for key, inner in value.items()}
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return [_lift_value(inner, _member(read, position), is_fixed=is_fixed) for position, inner in enumerate(value)]
    return Leaf(value, read, is_fixed)


def _member(read: Read, key: str | int) -> Read:
    return lambda given: read(given)[key]


def shape(value: object) -> object:
    """What of a coerced variable shapes a statement; hashable."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, dict):
        return tuple((key, shape(inner)) for key, inner in value.items())
    if isinstance(value, list):
        return tuple(shape(inner) for inner in value) if any(isinstance(item, dict) for item in value) else "list"
    return "value"


def page_shape(value: object) -> object:
    """The power of two a page size falls under, so that the planner knows about how many rows are asked for."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return 1 << (value - 1).bit_length()
    return shape(value)
