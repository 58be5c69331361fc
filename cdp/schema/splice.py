"""Executing what is not compiled, with compiled pieces spliced in as the bytes Postgres wrote.

Mutations, subscriptions and introspection run through graphql-core. Wherever a resolver answers with a ``Ref`` the
compiler reads the selection there, after the resolver's transaction has committed; root fields of a query that are
compiled are read by one statement and merged in document order. The pieces are never decoded.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

from graphql import (
    FieldNode,
    GraphQLError,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLResolveInfo,
    SelectionSetNode,
)
from graphql.execution import Executor
from graphql.execution.collect_fields import FieldDetailsList, GroupedFieldSet
from graphql.pyutils import Path

from cdp.access.viewer import Viewer
from cdp.compiler.document import Operation
from cdp.compiler.limits import DocumentTooComplex
from cdp.compiler.reader import Fetched, Reader, ReadRequest
from cdp.schema.context import Ref
from cdp.schema.introspection import Introspection

# Each is a transaction, and some ask every connected system.
MOST_MUTATIONS = 10
# Syntax nodes live as long as their operation, and so do the sets made of them.
_merged_sets: WeakKeyDictionary[Operation, dict[tuple[int, ...], SelectionSetNode]] = WeakKeyDictionary()
Tree: TypeAlias = "Spliced | Mapping[str, Tree] | Sequence[Tree] | str | int | float | bool | None"


@dataclass(frozen=True)
class Spliced:
    """JSON text that is part of a result."""

    text: bytes


@dataclass(frozen=True)
class Sources:
    """What the compiled pieces of one operation are read with."""

    reader: Reader
    introspection: Introspection
    operation: Operation
    viewer: Viewer
    variables: Mapping[str, Any]
    withheld: dict[str, int]
    """How many people each root field keeps from a partner, filled while it runs."""


def encode(tree: Tree) -> bytes:
    """Write a result as JSON, pieces as they are."""
    if isinstance(tree, Spliced):
        return tree.text
    if isinstance(tree, Mapping):
        members = (json.dumps(key).encode() + b":" + encode(value) for key, value in tree.items())
        return b"{" + b",".join(members) + b"}"
    if isinstance(tree, list | tuple):
        return b"[" + b",".join(map(encode, tree)) + b"]"
    return json.dumps(tree, ensure_ascii=False, allow_nan=False).encode()


class SplicingExecutor(Executor[Any]):
    """graphql-core's executor that leaves to the compiler what the compiler can read."""

    def __init__(self, *args: Any, sources: Sources, **options: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **options)
        self._sources = sources

    def execute_root_grouped_field_set(
        self,
        root_type: GraphQLObjectType,
        root_value: object,
        grouped_field_set: GroupedFieldSet,
        serially: bool,
        position_context: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Split the root fields of a query; those of mutations and subscriptions are all resolved.

        Raises DocumentTooComplex before anything has run.
        """
        if root_type is self.schema.query_type:
            return self._query(grouped_field_set)
        if len(grouped_field_set) > MOST_MUTATIONS:
            raise DocumentTooComplex(limit="mutations", most=MOST_MUTATIONS)
        return super().execute_root_grouped_field_set(
            root_type, root_value, grouped_field_set, serially, position_context
        )

    def complete_value(  # noqa: PLR0917  # graphql-core calls it so
        self,
        return_type: GraphQLOutputType,
        field_details_list: FieldDetailsList,
        info: GraphQLResolveInfo[Any],
        path: Path,
        result: object,
        position_context: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Read a Ref; complete anything else as usual."""
        if isinstance(result, Ref):
            return self._object(result, [details.node for details in field_details_list], path)
        return super().complete_value(return_type, field_details_list, info, path, result, position_context)

    async def _query(self, groups: GroupedFieldSet) -> dict[str, Spliced]:
        sources = self._sources
        nodes = {key: [details.node for details in group] for key, group in groups.items()}
        found: dict[str, bytes] = {}
        described = {key: group for key, group in nodes.items() if Introspection.is_about(group[0])}
        compiled = tuple(node for key, group in nodes.items() if key not in described for node in group)
        if described:
            found |= await sources.introspection.describe(
                sources.operation, described, sources.viewer, sources.variables
            )
        if compiled:
            fetched = await sources.reader.fetch(
                ReadRequest(sources.operation, compiled), sources.viewer, sources.variables
            )
            found |= fetched.fields
            sources.withheld.update(fetched.withheld)
            self._note(fetched, ())
        return {key: Spliced(found[key]) for key in nodes}

    async def _object(self, ref: Ref, nodes: list[FieldNode], path: Path) -> Spliced | None:
        sources = self._sources
        fetched = await sources.reader.fetch_node(
            ref.type_name,
            ref.row_id,
            self._merged(nodes),
            sources.operation.fragments,
            sources.viewer,
            sources.variables,
        )
        self._note(fetched, path.as_list())
        return Spliced(fetched.fields["node"])

    def _merged(self, nodes: Sequence[FieldNode]) -> SelectionSetNode:
        """The selections of one response key as one set, the same each time: plans are found by its identity."""
        sets = [node.selection_set for node in nodes if node.selection_set is not None]
        if len(sets) == 1:
            return sets[0]
        known = _merged_sets.setdefault(self._sources.operation, {})
        key = tuple(map(id, sets))
        if key not in known:
            known[key] = SelectionSetNode(selections=tuple(node for one in sets for node in one.selections))
        return known[key]

    def _note(self, fetched: Fetched, path: Sequence[str | int]) -> None:
        """Keep what could not be read; inside an object paths start after it."""
        for one in fetched.errors:
            at = [*path, *one.path[1:]] if path else list(one.path)
            error = GraphQLError(one.error.message, path=at, original_error=one.error)
            self.collected_errors.errors.append(error)
