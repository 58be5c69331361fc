"""Documents: limited, parsed and validated once, with everything about their operations that no call changes."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, cast

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLInputType,
    GraphQLSchema,
    GraphQLSyntaxError,
    InlineFragmentNode,
    ListValueNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    Undefined,
    VariableDefinitionNode,
    VariableNode,
    get_named_type,
    get_nullable_type,
    is_list_type,
    is_non_null_type,
    parse,
    specified_rules,
    type_from_ast,
    validate,
)
from graphql.utilities import coerce_input_literal, coerce_input_value
from graphql.validation import OverlappingFieldsCanBeMergedRule

from cdp.compiler.arguments import page_shape, shape
from cdp.compiler.graph import Graph
from cdp.compiler.limits import Limits, Scale, Weight, check_document, check_size, check_weight
from cdp.compiler.merge import FieldConflict, FieldMerge
from cdp.compiler.workshop import SMALL_STATEMENT
from cdp.core.errors import PlatformError
from cdp.core.ids import InvalidGlobalId, parse_global_id

RULES = tuple(rule for rule in specified_rules if rule is not OverlappingFieldsCanBeMergedRule)
MAX_ERRORS = 20
_SUGGESTS = " Did you mean"
NO_VARIABLES: Mapping[str, Any] = {}
_SERIALS = count()
_PLAIN: Mapping[str, type] = {"String": str, "ID": str, "Boolean": bool}
"""Scalars whose Python values need no coercion when they are exactly of this type."""


class DocumentRefused(PlatformError):
    """The request can not be run; ``errors`` are its entries in specification form."""

    code = "BAD_USER_INPUT"
    status = 400

    def __init__(self, message: str, errors: list[GraphQLError] | None = None) -> None:
        super().__init__(errors[0].message if errors else message)
        said = [dict(error.formatted) for error in errors] if errors else [{"message": message}]
        self.errors: list[dict[str, Any]] = [{**one, "extensions": {"code": self.code}} for one in said]


class DocumentUnreadable(DocumentRefused):
    """The document is not GraphQL."""

    code = "GRAPHQL_PARSE_FAILED"


class DocumentInvalid(DocumentRefused):
    """The document does not fit the schema."""

    code = "GRAPHQL_VALIDATION_FAILED"


class OperationMissing(DocumentRefused):
    """There is no such operation."""

    code = "OPERATION_NOT_FOUND"


def error_entry(error: PlatformError, path: tuple[str | int, ...] = ()) -> dict[str, Any]:
    """One entry of ``errors``: message, path, and the code with what the error adds."""
    entry: dict[str, Any] = {"message": error.message}
    if path:
        entry["path"] = list(path)
    entry["extensions"] = {"code": error.code, **error.extensions}
    return entry


@dataclass(frozen=True)
class Variable:
    """A declared variable, ready to be coerced."""

    name: str
    kind: GraphQLInputType
    default: object
    plain: type | None
    shape: Callable[[object], object]


class Operation:
    """One operation: its root fields, how its variables are coerced, and how they shape a statement."""

    def __init__(self, node: OperationDefinitionNode, document: "Document", graph: Graph, limits: Limits) -> None:
        self.serial = next(_SERIALS)
        """Names this operation in keys that outlive its syntax tree, which they must not hold."""
        self.node = node
        self.name = node.name.value if node.name else None
        self.fragments = document.fragments
        self.is_query = node.operation is OperationType.QUERY
        self._graph = graph
        self._limits = limits
        self._costs: dict[tuple[object, ...], int] = {}
        usage = _Usage(self.fragments)
        usage.walk(node.selection_set)
        self._pages = usage.pages | usage.ids
        self.variables = tuple(self._variable(d, usage) for d in node.variable_definitions or ())
        weight = self._weigh(NO_VARIABLES)
        self.is_small = weight.fields <= SMALL_STATEMENT
        self._base_cost = weight.cost
        self.roots = frozenset(_root_names(node.selection_set, self.fragments))
        self.is_compiled = self.is_query and self.roots <= graph.query.fields.keys() | {"__typename"}

    def _variable(self, node: VariableDefinitionNode, usage: "_Usage") -> Variable:
        name = node.variable.name.value
        kind = cast("GraphQLInputType", type_from_ast(self._graph.schema, node.type))  # validated: an input type
        shaper = _ids_shape if name in usage.ids else page_shape if name in usage.pages else shape
        default = coerce_input_literal(node.default_value, kind) if node.default_value else Undefined
        plain = _PLAIN.get(get_named_type(kind).name) if not is_list_type(get_nullable_type(kind)) else None
        return Variable(name, kind, default, plain, shaper)

    def coerce(self, given: Mapping[str, object] | None) -> Mapping[str, Any]:
        """Coerce a call's variables and weigh what depends on them. Raises DocumentRefused, DocumentTooComplex."""
        if not self.variables:
            return NO_VARIABLES
        given = given or NO_VARIABLES
        values: dict[str, Any] = {}
        for variable in self.variables:
            value = given.get(variable.name, Undefined)
            if value is Undefined:
                if variable.default is not Undefined:
                    values[variable.name] = variable.default
                elif is_non_null_type(variable.kind):
                    raise DocumentRefused(f"Variable '${variable.name}' is required.")
                continue
            if type(value) is not variable.plain:
                try:
                    value = coerce_input_value(value, variable.kind)
                except GraphQLError:  # an input object's own check, of @oneOf for example
                    value = Undefined
                if value is Undefined:
                    message = f"Variable '${variable.name}' is not a valid {variable.kind}."
                    raise DocumentRefused(message)
            values[variable.name] = value
        if self._pages:
            self.cost(values)
        return values

    def structure(self, values: Mapping[str, Any]) -> tuple[object, ...]:
        """What of the coerced variables shapes the statement; part of the key under which plans are kept."""
        return tuple(
            variable.shape(values[variable.name]) if variable.name in values else Undefined
            for variable in self.variables
        )

    def cost(self, values: Mapping[str, Any]) -> int:
        """Fields times rows, with the page sizes of coerced variables."""
        if not self._pages:
            return self._base_cost
        pages = tuple(_count(values.get(name)) for name in sorted(self._pages))
        known = self._costs.get(pages)
        if known is None:
            known = self._weigh(values).cost
            if len(self._costs) > 100:
                self._costs.clear()
            self._costs[pages] = known
        return known

    def _weigh(self, values: Mapping[str, Any]) -> Weight:
        weight = Scale(self._graph, self.fragments, values, self._limits.page).weigh(self.node)
        check_weight(weight, self._limits)
        return weight


def _suggesting(errors: list[GraphQLError], others: list[GraphQLError]) -> list[GraphQLError]:
    """These errors, each as another schema words it if it finds the same one: with the names it knows to suggest."""
    worded = {(*map(tuple, one.locations or ()), one.message.partition(_SUGGESTS)[0]): one for one in others}
    return [worded.get((*map(tuple, one.locations or ()), one.message), one) for one in errors]


def _count(value: object) -> object:
    return len(value) if isinstance(value, list) else value


def _ids_shape(value: object) -> object:
    """Types named by global ids: a statement over several types is made for exactly these."""
    values = value if isinstance(value, list) else [value]
    names = set()
    for one in values:
        try:
            names.add(parse_global_id(one)[0] if isinstance(one, str) else "")
        except InvalidGlobalId:
            names.add("")
    return tuple(sorted(names))


def _root_names(node: SelectionSetNode, fragments: Mapping[str, FragmentDefinitionNode]) -> Iterator[str]:
    waiting, seen = [node], set[str]()
    for selection_set in waiting:
        for selection in selection_set.selections:
            if isinstance(selection, FieldNode):
                yield selection.name.value
            elif isinstance(selection, InlineFragmentNode):
                waiting.append(selection.selection_set)
            elif isinstance(selection, FragmentSpreadNode) and selection.name.value not in seen:
                seen.add(selection.name.value)
                waiting.append(fragments[selection.name.value].selection_set)


class _Usage:
    """Which variables are page sizes and which are global ids of any type, by where they stand."""

    def __init__(self, fragments: Mapping[str, FragmentDefinitionNode]) -> None:
        self.pages: set[str] = set()
        self.ids: set[str] = set()
        self._fragments = fragments
        self._seen: set[str] = set()

    def walk(self, node: SelectionSetNode) -> None:
        """Look at a selection set and every fragment it reaches, each once."""
        waiting = [node]
        for selection_set in waiting:
            for selection in selection_set.selections:
                if isinstance(selection, FieldNode):
                    self._field(selection)
                if isinstance(selection, FragmentSpreadNode):
                    name = selection.name.value
                    if name not in self._seen and name in self._fragments:
                        self._seen.add(name)
                        waiting.append(self._fragments[name].selection_set)
                elif selection.selection_set:  # type: ignore[attr-defined]  # field or inline fragment
                    waiting.append(selection.selection_set)  # type: ignore[attr-defined]

    def _field(self, node: FieldNode) -> None:
        for argument in node.arguments or ():
            value = argument.value
            given = value.values if isinstance(value, ListValueNode) else (value,)
            names = {one.name.value for one in given if isinstance(one, VariableNode)}
            if argument.name.value in {"first", "last"}:
                self.pages |= names
            if (node.name.value, argument.name.value) in {("node", "id"), ("nodes", "ids")}:
                self.ids |= names


class Document:
    """A document that may be run."""

    def __init__(self, text: str, graph: Graph, limits: Limits, *, suggestions: GraphQLSchema | None = None) -> None:
        """Limit, parse and validate; errors suggest names of the schema ``suggestions``, a part of the whole one.

        Raises DocumentRefused, DocumentTooLarge, DocumentTooComplex.
        """
        check_size(text, limits)
        self.text = text
        self.ast = self._parse(text)
        self.fragments = check_document(self.ast, limits)
        nodes = [d for d in self.ast.definitions if isinstance(d, OperationDefinitionNode)]
        for node in nodes:
            scale = Scale(graph, self.fragments, NO_VARIABLES, limits.page)
            check_weight(scale.weigh(node), limits)
        self._validate(graph, nodes, suggestions)
        self.operations = {
            (node.name.value if node.name else None): Operation(node, self, graph, limits) for node in nodes
        }

    @staticmethod
    def _parse(text: str) -> DocumentNode:
        try:
            # Without their places trees are a third as large, and hold no chain of tokens that only the garbage
            # collector could let go.
            return parse(text, no_location=True)
        except GraphQLSyntaxError as error:
            raise DocumentUnreadable(error.message, [error]) from None

    def _validate(self, graph: Graph, nodes: list[OperationDefinitionNode], suggestions: GraphQLSchema | None) -> None:
        if validate(graph.schema, self.ast, RULES, max_errors=1, hide_suggestions=True):
            placed = parse(self.text)
            errors = validate(graph.schema, placed, RULES, max_errors=MAX_ERRORS, hide_suggestions=True)
            if suggestions is not None:
                errors = _suggesting(errors, validate(suggestions, placed, RULES, max_errors=MAX_ERRORS))
            raise DocumentInvalid(errors[0].message, errors)
        merge = FieldMerge(graph.schema, self.fragments)
        try:
            for node in nodes:
                merge.check(node)
        except FieldConflict as conflict:
            raise DocumentInvalid(str(conflict)) from None

    def operation(self, name: str | None) -> Operation:
        """The operation to run. Raises DocumentRefused when it is missing or ambiguous."""
        if name is None and len(self.operations) == 1:
            return next(iter(self.operations.values()))
        found = self.operations.get(name) if name is not None else None
        if found is None:
            message = "There is no such operation." if name else "Several operations: say which by operationName."
            raise OperationMissing(message)
        return found
