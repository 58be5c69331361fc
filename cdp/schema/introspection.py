"""Introspection: the part of the schema a viewer can use, answered by graphql-core in a thread, weighed and kept.

A page of introspection costs more than any read of data: lists inside lists of types, each a call into Python. What a
document may ask for is little more than what the standard introspection query asks for.
Source: https://spec.graphql.org/draft/#sec-Introspection
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    NamedTypeNode,
    NameNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    execute_sync,
    get_introspection_query,
    is_abstract_type,
    parse,
)

from cdp.access.decision import Rules
from cdp.access.privileges import EXPLORE
from cdp.access.viewer import Actor, Viewer
from cdp.compiler.cache import BoundedCache
from cdp.compiler.document import Operation
from cdp.compiler.graph import Graph
from cdp.compiler.limits import DocumentTooComplex, Scale
from cdp.core.errors import Forbidden
from cdp.schema.visible import visible_schema

TYPES = {"__schema": "__Schema", "__type": "__Type"}
TIMES_STANDARD = 1.25
KEPT_BYTES = 8 * 1024 * 1024
KEPT_SHAPES = 16
"""Of viewers, whose part of the schema is kept; there are a few: a role or a client, and its scopes."""


class IntrospectionRefused(Forbidden):
    """You may not ask for the schema."""

    code = "INTROSPECTION_REFUSED"


class Introspection:
    """Describes one schema, to each what they can use of it.

    ``is_open`` shows it to whoever is signed in, otherwise only explorers see it.
    """

    def __init__(self, graph: Graph, rules: Rules, *, is_open: bool = True) -> None:
        self._graph = graph
        self._rules = rules
        self._visible: BoundedCache[tuple[str, ...], GraphQLSchema] = BoundedCache(KEPT_SHAPES)
        self._is_open = is_open
        self._lists = _lists(graph.schema)
        standard = parse(get_introspection_query(input_value_deprecation=True, one_of=True, schema_description=True))
        [operation] = (d for d in standard.definitions if isinstance(d, OperationDefinitionNode))
        fragments = {d.name.value: d for d in standard.definitions if isinstance(d, FragmentDefinitionNode)}
        self._most = int(TIMES_STANDARD * self._cost(_fields(operation), fragments))
        self._kept: BoundedCache[tuple[object, ...], dict[str, bytes]] = BoundedCache(KEPT_BYTES)

    @staticmethod
    def is_about(node: FieldNode) -> bool:
        """Whether a root field asks for the schema."""
        return node.name.value in TYPES

    def is_shown_to(self, viewer: Viewer) -> bool:
        """Whether this viewer may see the schema."""
        if viewer.actor in {Actor.ANONYMOUS, Actor.SYSTEM}:
            return viewer.actor is Actor.SYSTEM
        return self._is_open or EXPLORE.allows(viewer)

    async def schema_of(self, viewer: Viewer) -> GraphQLSchema:
        """What of the schema this viewer can use: the same for all of their shape."""
        found = self._visible.get(viewer.shape)
        if found is None:
            found = await asyncio.to_thread(visible_schema, self._graph, self._rules, viewer)
            self._visible.put(viewer.shape, found)
        return found

    async def describe(
        self,
        operation: Operation,
        fields: Mapping[str, Sequence[FieldNode]],
        viewer: Viewer,
        variables: Mapping[str, Any],
    ) -> dict[str, bytes]:
        """JSON of each of these root fields. Raises IntrospectionRefused, DocumentTooComplex."""
        if not self.is_shown_to(viewer):
            raise IntrospectionRefused
        key = (operation, viewer.shape, tuple(fields), json.dumps(variables, sort_keys=True, default=str))
        kept = self._kept.get(key)
        if kept is None:
            nodes = tuple(node for group in fields.values() for node in group)
            if self._cost(nodes, operation.fragments) > self._most:
                raise DocumentTooComplex(limit="introspection", most=self._most)
            alone = OperationDefinitionNode(
                operation=OperationType.QUERY,
                variable_definitions=operation.node.variable_definitions,
                selection_set=SelectionSetNode(selections=nodes),
            )
            document = DocumentNode(definitions=(alone, *operation.fragments.values()))
            kept = await asyncio.to_thread(_run, await self.schema_of(viewer), document, variables)
            self._kept.put(key, kept, weight=sum(map(len, kept.values())))
        return kept

    def _cost(self, nodes: Sequence[FieldNode], fragments: Mapping[str, FragmentDefinitionNode]) -> int:
        """Weigh root fields; the scale knows no root field of introspection, so each stands as its type's fragment."""
        pieces = tuple(
            InlineFragmentNode(
                type_condition=NamedTypeNode(name=NameNode(value=TYPES[node.name.value])),
                selection_set=node.selection_set,
            )
            for node in nodes
            if node.selection_set is not None
        )
        operation = OperationDefinitionNode(
            operation=OperationType.QUERY, selection_set=SelectionSetNode(selections=pieces)
        )
        return _IntrospectionScale(self._graph, fragments, self._lists).weigh(operation).cost


class _IntrospectionScale(Scale):
    """Weighs the lists of the introspection types by how long they are in this schema."""

    def __init__(
        self,
        graph: Graph,
        fragments: Mapping[str, FragmentDefinitionNode],
        lists: Mapping[tuple[str, str], int],
    ) -> None:
        super().__init__(graph, fragments, {}, 0)
        self._lists = lists

    def _rows(self, node: FieldNode, parent: str, name: str) -> int:  # noqa: ARG002
        return self._lists.get((parent, name), 1)


def _run(schema: GraphQLSchema, document: DocumentNode, variables: Mapping[str, Any]) -> dict[str, bytes]:
    result = execute_sync(schema, document, variable_values=dict(variables), hide_suggestions=True)
    if result.errors:
        raise result.errors[0]
    return {key: json.dumps(value, ensure_ascii=False).encode() for key, value in (result.data or {}).items()}


def _fields(operation: OperationDefinitionNode) -> list[FieldNode]:
    return [node for node in operation.selection_set.selections if isinstance(node, FieldNode)]


def _lists(schema: GraphQLSchema) -> Mapping[tuple[str, str], int]:
    """How long the lists are: exactly for the schema, on average and rounded up for its types."""
    kinds = list(schema.type_map.values())
    fields = [field for kind in kinds for field in getattr(kind, "fields", {}).values()]
    sizes = {
        "fields": [len(kind.fields) for kind in kinds if isinstance(kind, GraphQLObjectType | GraphQLInterfaceType)],
        "inputFields": [len(kind.fields) for kind in kinds if isinstance(kind, GraphQLInputObjectType)],
        "enumValues": [len(kind.values) for kind in kinds if isinstance(kind, GraphQLEnumType)],
        "interfaces": [len(kind.interfaces) for kind in kinds if isinstance(kind, GraphQLObjectType)],
        "possibleTypes": [len(schema.get_possible_types(kind)) for kind in kinds if is_abstract_type(kind)],
    }
    return {
        ("__Schema", "types"): len(kinds),
        ("__Schema", "directives"): len(schema.directives),
        ("__Field", "args"): -(-sum(len(getattr(field, "args", ())) for field in fields) // len(fields)),
        ("__Directive", "args"): 2,
        **{("__Type", name): -(-sum(lengths) // len(kinds)) for name, lengths in sizes.items()},
    }
