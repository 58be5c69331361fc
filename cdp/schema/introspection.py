"""Introspection: answered by graphql-core in a thread, weighed first and kept, since the schema never changes.

A page of introspection costs more than any read of data: lists inside lists of types, each a call into Python. What a
document may ask for is a small multiple of what the standard introspection query asks for.
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
    GraphQLObjectType,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    execute_sync,
    get_introspection_query,
    parse,
)

from cdp.access.viewer import Actor, Viewer
from cdp.compiler.cache import BoundedCache
from cdp.compiler.document import Operation
from cdp.compiler.graph import Graph
from cdp.compiler.limits import DocumentTooComplex, Scale
from cdp.core.errors import Forbidden

FIELDS = frozenset({"__schema", "__type"})
ALLOWED = frozenset({Actor.CUSTOMER, Actor.STAFF, Actor.SYSTEM})
TIMES_STANDARD = 2
KEPT_BYTES = 8 * 1024 * 1024


class IntrospectionRefused(Forbidden):
    """You may not ask for the schema."""

    code = "INTROSPECTION_REFUSED"


class Introspection:
    """Describes one schema."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._lists = _lists(graph.schema)
        standard = parse(get_introspection_query(input_value_deprecation=True, directive_is_repeatable=True))
        self._most = TIMES_STANDARD * self._cost(
            next(d for d in standard.definitions if isinstance(d, OperationDefinitionNode)),
            {d.name.value: d for d in standard.definitions if isinstance(d, FragmentDefinitionNode)},
        )
        self._kept: BoundedCache[tuple[object, ...], dict[str, bytes]] = BoundedCache(KEPT_BYTES)

    @staticmethod
    def is_about(node: FieldNode) -> bool:
        """Whether a root field asks for the schema."""
        return node.name.value in FIELDS

    async def describe(
        self,
        operation: Operation,
        fields: Mapping[str, Sequence[FieldNode]],
        viewer: Viewer,
        variables: Mapping[str, Any],
    ) -> dict[str, bytes]:
        """JSON of each of these root fields. Raises IntrospectionRefused, DocumentTooComplex."""
        if viewer.actor not in ALLOWED:
            raise IntrospectionRefused
        key = (operation, tuple(fields), json.dumps(variables, sort_keys=True, default=str))
        kept = self._kept.get(key)
        if kept is None:
            nodes = tuple(node for group in fields.values() for node in group)
            alone = OperationDefinitionNode(
                operation=OperationType.QUERY,
                variable_definitions=operation.node.variable_definitions,
                selection_set=SelectionSetNode(selections=nodes),
            )
            if self._cost(alone, operation.fragments) > self._most:
                raise DocumentTooComplex(limit="introspection", most=self._most)
            document = DocumentNode(definitions=(alone, *operation.fragments.values()))
            kept = await asyncio.to_thread(self._run, document, variables)
            self._kept.put(key, kept, weight=sum(map(len, kept.values())))
        return kept

    def _run(self, document: DocumentNode, variables: Mapping[str, Any]) -> dict[str, bytes]:
        result = execute_sync(self._graph.schema, document, variable_values=dict(variables), hide_suggestions=True)
        if result.errors:
            raise result.errors[0]
        return {key: json.dumps(value, ensure_ascii=False).encode() for key, value in (result.data or {}).items()}

    def _cost(self, node: OperationDefinitionNode, fragments: Mapping[str, FragmentDefinitionNode]) -> int:
        return _IntrospectionScale(self._graph, fragments, self._lists).weigh(node).cost


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


def _lists(schema: GraphQLSchema) -> Mapping[tuple[str, str], int]:
    """How long the lists are: exactly for the schema, as an average rounded up for its types."""
    objects = [kind for kind in schema.type_map.values() if isinstance(kind, GraphQLObjectType)]
    fields = [field for kind in objects for field in kind.fields.values()]
    per_type = -(-len(fields) // max(1, len(objects)))
    per_field = -(-sum(len(field.args) for field in fields) // max(1, len(fields)))
    return {
        ("__Schema", "types"): len(schema.type_map),
        ("__Schema", "directives"): len(schema.directives),
        ("__Type", "fields"): per_type,
        ("__Type", "inputFields"): per_type,
        ("__Type", "enumValues"): per_type,
        ("__Type", "possibleTypes"): len(objects),
        ("__Type", "interfaces"): 1,
        ("__Field", "args"): per_field,
        ("__Directive", "args"): per_field,
    }
