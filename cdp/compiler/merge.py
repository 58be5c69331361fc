"""The rule that fields with one response name must agree, in time linear in the spread-out document.

graphql-core compares every pair of fields, which is quadratic; comparing each field with the first of its group says
the same, because agreement is transitive.
Source: https://spec.graphql.org/draft/#sec-Field-Selection-Merging
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLInterfaceType,
    GraphQLLeafType,
    GraphQLList,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    get_named_type,
    is_leaf_type,
    print_ast,
)


class FieldConflict(Exception):
    """Two fields want the same response name and do not agree."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"Fields conflict on the response name '{name}': use different aliases.")


@dataclass(frozen=True)
class _Selected:
    parent: GraphQLNamedType | None
    node: FieldNode
    kind: GraphQLOutputType | None

    @property
    def identity(self) -> tuple[str, tuple[str, ...]]:
        return self.node.name.value, tuple(sorted(print_ast(argument) for argument in self.node.arguments or ()))


class FieldMerge:
    """Checks operations of one document whose size is already bounded by the limits."""

    def __init__(self, schema: GraphQLSchema, fragments: Mapping[str, FragmentDefinitionNode]) -> None:
        self._schema = schema
        self._fragments = fragments

    def check(self, operation: OperationDefinitionNode) -> None:
        """Raise FieldConflict when a response name is claimed twice for different things."""
        fields = self._fields([(self._schema.get_root_type(operation.operation), operation.selection_set)])
        self._same_shape(fields)
        self._same_field(fields)

    def _fields(self, sets: Iterable[tuple[GraphQLNamedType | None, SelectionSetNode]]) -> list[_Selected]:
        found: list[_Selected] = []
        spread: set[str] = set()
        waiting = list(sets)
        for parent, selection_set in waiting:
            for node in selection_set.selections:
                if isinstance(node, FieldNode):
                    found.append(_Selected(parent, node, self._kind(parent, node)))
                elif isinstance(node, InlineFragmentNode):
                    condition = node.type_condition
                    inner = self._schema.get_type(condition.name.value) if condition else parent
                    waiting.append((inner, node.selection_set))
                elif isinstance(node, FragmentSpreadNode) and node.name.value not in spread:
                    spread.add(node.name.value)
                    fragment = self._fragments[node.name.value]
                    inner = self._schema.get_type(fragment.type_condition.name.value)
                    waiting.append((inner, fragment.selection_set))
        return found

    def _kind(self, parent: GraphQLNamedType | None, node: FieldNode) -> GraphQLOutputType | None:
        if isinstance(parent, GraphQLObjectType | GraphQLInterfaceType):
            field = parent.fields.get(node.name.value)
            return field.type if field else None
        return None

    def _inner(self, group: list[_Selected]) -> list[_Selected]:
        return self._fields(
            (get_named_type(one.kind) if one.kind else None, one.node.selection_set)
            for one in group
            if one.node.selection_set
        )

    def _same_shape(self, fields: list[_Selected]) -> None:
        for name, group in _by_name(fields).items():
            first = group[0].kind
            for other in group[1:]:
                if first is not None and other.kind is not None and not _alike(first, other.kind):
                    raise FieldConflict(name)
            self._same_shape(self._inner(group))

    def _same_field(self, fields: list[_Selected]) -> None:
        for name, group in _by_name(fields).items():
            concrete: dict[str, list[_Selected]] = {}
            anywhere: list[_Selected] = []
            for one in group:
                if isinstance(one.parent, GraphQLObjectType):
                    concrete.setdefault(one.parent.name, []).append(one)
                else:
                    anywhere.append(one)
            for together in [anywhere + some for some in concrete.values()] or [anywhere]:
                if len({one.identity for one in together}) > 1:
                    raise FieldConflict(name)
                self._same_field(self._inner(together))


def _by_name(fields: list[_Selected]) -> dict[str, list[_Selected]]:
    groups: dict[str, list[_Selected]] = {}
    for one in fields:
        groups.setdefault(one.node.alias.value if one.node.alias else one.node.name.value, []).append(one)
    return groups


def _alike(one: GraphQLOutputType | GraphQLLeafType, other: GraphQLOutputType) -> bool:
    while isinstance(one, GraphQLNonNull | GraphQLList) or isinstance(other, GraphQLNonNull | GraphQLList):
        if type(one) is not type(other):
            return False
        one, other = one.of_type, other.of_type  # type: ignore[union-attr]  # both are the same wrapper
    if is_leaf_type(one) or is_leaf_type(other):
        return one is other
    return True
