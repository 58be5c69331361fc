"""Linear limits on documents: size and tokens before parsing, then depth, aliases, directives, fields, cost.

Every fragment is weighed once and its weight reused, so that a document which spreads fragments exponentially costs
no more to refuse than to read; cycles are refused. Everything after these limits may expand fragments, because the
expanded document is bounded by them.
Source: https://spec.graphql.org/draft/#sec-Validation, https://owasp.org/www-project-graphql (denial of service).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    NullValueNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    VariableNode,
    get_named_type,
)

from cdp.compiler.graph import Connection, Graph, Many, NodesById
from cdp.core.errors import InvalidInput, TooLarge

_TOKEN = re.compile(
    r"(?P<ignored>[\s,\ufeff]++|#[^\r\n]*+)"
    r'|"""(?:[^"\\]|\\"""|\\|""?(?!"))*+(?:"""|\Z)'
    r'|"(?:[^"\\\r\n]|\\.)*+"?'
    r"|[A-Za-z_][0-9A-Za-z_]*+"
    r"|-?[0-9]++(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?"
    r"|\.\.\.|.",
    re.DOTALL,
)
_SATURATED = 1_000_000_000
DEFAULT_PAGE = 20
MAX_NESTING = 120
MAX_IDS = 100


class DocumentTooLarge(TooLarge):
    """The document is too large: put long strings and lists into variables."""

    code = "DOCUMENT_TOO_LARGE"


class DocumentTooComplex(InvalidInput):
    """The document asks for too much at once."""

    code = "DOCUMENT_TOO_COMPLEX"


class PageTooLarge(InvalidInput):
    """A page can not be that large."""

    code = "PAGE_TOO_LARGE"


@dataclass(frozen=True)
class Limits:
    """How much one document may ask for."""

    document_bytes: int = 32 * 1024
    tokens: int = 2_000
    depth: int = 16
    aliases: int = 100
    directives: int = 100
    fields: int = 2_000
    fragments: int = 100
    operations: int = 50
    cost: int = 20_000
    page: int = 500


@dataclass(frozen=True)
class Weight:
    """What a selection amounts to once every fragment is spread out. ``cost`` is fields times rows."""

    depth: int = 0
    fields: int = 0
    aliases: int = 0
    directives: int = 0
    cost: int = 0

    def beside(self, other: "Weight") -> "Weight":
        """Both selections in one selection set."""
        return Weight(
            max(self.depth, other.depth),
            min(self.fields + other.fields, _SATURATED),
            min(self.aliases + other.aliases, _SATURATED),
            min(self.directives + other.directives, _SATURATED),
            min(self.cost + other.cost, _SATURATED),
        )


NOTHING = Weight()


def check_size(text: str, limits: Limits) -> None:
    """Refuse a document by its bytes and tokens, before any parser sees it. Raises DocumentTooLarge."""
    if len(text) > limits.document_bytes or len(text.encode("utf-8", "replace")) > limits.document_bytes:
        raise DocumentTooLarge(limit_bytes=limits.document_bytes)
    if count_tokens(text, limits.tokens + 1) > limits.tokens:
        raise DocumentTooLarge(limit_tokens=limits.tokens)


def count_tokens(text: str, enough: int) -> int:
    """Count lexical tokens in one pass, at most ``enough``."""
    count = 0
    for match in _TOKEN.finditer(text):
        if match.lastgroup is None:
            count += 1
            if count >= enough:
                break
    return count


class Scale:
    """Weighs selections of one document, each fragment once. ``visited`` counts the nodes looked at."""

    def __init__(
        self,
        graph: Graph,
        fragments: Mapping[str, FragmentDefinitionNode],
        variables: Mapping[str, object],
        page: int,
    ) -> None:
        self.visited = 0
        self._graph = graph
        self._fragments = fragments
        self._variables = variables
        self._page = page
        self._known: dict[str, Weight] = {}
        self._open: set[str] = set()
        self._nesting = 0

    def weigh(self, node: OperationDefinitionNode) -> Weight:
        """Weigh one operation."""
        root = self._graph.schema.get_root_type(node.operation)
        return self._selections(node.selection_set, root).beside(Weight(directives=len(node.directives or ())))

    def weigh_object(self, node: SelectionSetNode, type_name: str) -> Weight:
        """Weigh what is selected of one object."""
        return self._selections(node, self._graph.schema.get_type(type_name))

    def _selections(self, node: SelectionSetNode, parent: GraphQLNamedType | None) -> Weight:
        self._nesting += 1
        if self._nesting > MAX_NESTING:
            raise DocumentTooComplex(limit="depth")
        total = NOTHING
        for selection in node.selections:
            self.visited += 1
            total = total.beside(self._selection(selection, parent))
        self._nesting -= 1
        return total

    def _selection(self, node: SelectionNode, parent: GraphQLNamedType | None) -> Weight:
        directives = Weight(directives=len(node.directives or ()))
        if isinstance(node, FieldNode):
            return self._field(node, parent).beside(directives)
        if isinstance(node, InlineFragmentNode):
            condition = node.type_condition
            inner = self._graph.schema.get_type(condition.name.value) if condition else parent
            return self._selections(node.selection_set, inner).beside(directives)
        if isinstance(node, FragmentSpreadNode):
            return self._fragment(node.name.value).beside(directives)
        return directives

    def _fragment(self, name: str) -> Weight:
        if name in self._known:
            return self._known[name]
        definition = self._fragments.get(name)
        if definition is None:
            return NOTHING
        if name in self._open:
            raise DocumentTooComplex("A fragment spreads itself.", limit="fragments")
        self._open.add(name)
        condition = self._graph.schema.get_type(definition.type_condition.name.value)
        weight = self._selections(definition.selection_set, condition)
        self._open.discard(name)
        self._known[name] = weight
        return weight

    def _field(self, node: FieldNode, parent: GraphQLNamedType | None) -> Weight:
        name = node.name.value
        kind = None
        if isinstance(parent, GraphQLObjectType | GraphQLInterfaceType) and name in parent.fields:
            kind = get_named_type(parent.fields[name].type)
        inner = self._selections(node.selection_set, kind) if node.selection_set else NOTHING
        rows = self._rows(node, parent.name if parent else "", name)
        return Weight(
            inner.depth + 1,
            min(inner.fields + 1, _SATURATED),
            min(inner.aliases + (node.alias is not None), _SATURATED),
            inner.directives,
            min(1 + rows * inner.cost, _SATURATED),
        )

    def _rows(self, node: FieldNode, parent: str, name: str) -> int:
        declared = self._graph.types.get(parent)
        field = declared.fields.get(name) if declared else None
        if isinstance(field, Many):
            return field.typical
        if isinstance(field, Connection):
            return max(self._given(node, "first"), self._given(node, "last")) or DEFAULT_PAGE
        if isinstance(field, NodesById):
            return self._ids(node)
        return 1

    def _given(self, node: FieldNode, argument: str) -> int:
        for given in node.arguments or ():
            if given.name.value == argument:
                value: object = None
                if isinstance(given.value, VariableNode):
                    value = self._variables.get(given.value.name.value)
                elif isinstance(given.value, IntValueNode):
                    value = int(given.value.value[:12])
                if isinstance(value, int) and value > self._page:
                    raise PageTooLarge(limit=self._page)
                return value if isinstance(value, int) else 0
        return 0

    def _ids(self, node: FieldNode) -> int:
        for given in node.arguments or ():
            if given.name.value == "ids" and not isinstance(given.value, NullValueNode):
                if isinstance(given.value, VariableNode):
                    value = self._variables.get(given.value.name.value)
                    count = len(value) if isinstance(value, list) else 1
                else:
                    count = len(given.value.values) if isinstance(given.value, ListValueNode) else 1
                if count > MAX_IDS:
                    raise PageTooLarge(limit=MAX_IDS)
                return count
        return 1


def check_document(document: DocumentNode, limits: Limits) -> dict[str, FragmentDefinitionNode]:
    """Refuse too many definitions; answer with the fragments by name."""
    fragments = {d.name.value: d for d in document.definitions if isinstance(d, FragmentDefinitionNode)}
    operations = sum(isinstance(d, OperationDefinitionNode) for d in document.definitions)
    if len(document.definitions) - operations > limits.fragments:
        raise DocumentTooComplex(limit="fragments", most=limits.fragments)
    if operations > limits.operations:
        raise DocumentTooComplex(limit="operations", most=limits.operations)
    return fragments


def check_weight(weight: Weight, limits: Limits) -> None:
    """Refuse what is too deep, too wide or too dear. Raises DocumentTooComplex naming the limit."""
    for name in ("depth", "aliases", "directives", "fields", "cost"):
        most = getattr(limits, name)
        if getattr(weight, name) > most:
            raise DocumentTooComplex(limit=name, most=most)
