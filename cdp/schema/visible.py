"""The part of the schema that a viewer can ever use: what introspection describes and suggestions may name.

Fields are left out that rules deny, or that lead to nothing; mutations and subscriptions that are not for this kind of
viewer; members of filters and orderings that disclose what they may not see; and every type nothing visible leads to.
It is a valid schema of its own, and each of its parts means the same as in the whole one.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    get_named_type,
    is_required_input_field,
)

from cdp.access.decision import Deny, Mask, Rules
from cdp.access.viewer import Viewer
from cdp.access.writes import WRITES
from cdp.compiler.graph import (
    Connection,
    Coordinate,
    Embedded,
    Field,
    Graph,
    Many,
    ObjectType,
    One,
    Operator,
)

ROOTS = ("Query", "Mutation", "Subscription")
_EXACT = {Operator.EQ.value, Operator.IN.value}


def visible_schema(graph: Graph, rules: Rules, viewer: Viewer) -> GraphQLSchema:
    """Cut the schema to what viewers of this shape can use."""
    return _Copy(graph.schema, _Sight(graph, rules, viewer)).schema()


class _Sight:
    """What a viewer sees, by name: ``fields`` of output types, ``members`` of filters and of enums of orderings."""

    def __init__(self, graph: Graph, rules: Rules, viewer: Viewer) -> None:
        self._graph, self._rules, self._viewer = graph, rules, viewer
        self._kinds = graph.schema.type_map
        self.members: dict[str, set[str]] = {}
        self.fields: dict[str, set[str]] = {kind.name: set(self._allowed(kind)) for kind in _outputs(graph.schema)}
        while dead := [(name, field) for name, field in self._each() if not self._leads_on(name, field)]:
            for name, field in dead:
                self.fields[name].remove(field)
        for name, field in self._each():
            self._arguments(name, field)

    def shows(self, kind: GraphQLNamedType) -> bool:
        """Whether there is anything of this type for the viewer."""
        if isinstance(kind, GraphQLObjectType):
            return bool(self.fields[kind.name])
        if isinstance(kind, GraphQLInterfaceType | GraphQLUnionType):
            return any(self.shows(one) for one in self.possible(kind))
        if isinstance(kind, GraphQLInputObjectType):
            members = {name: self.takes(kind, name) for name in kind.fields}
            needed = (name for name, field in kind.fields.items() if is_required_input_field(field))
            return any(members.values()) and all(members[name] for name in needed)
        return kind.name not in self.members or bool(self.members[kind.name])

    def takes(self, kind: GraphQLInputObjectType, name: str) -> bool:
        """Whether a member of an input can be given."""
        is_there = kind.name not in self.members or name in self.members[kind.name]
        inner = get_named_type(kind.fields[name].type)
        return is_there and (inner is kind or self.shows(inner))

    def possible(self, kind: GraphQLInterfaceType | GraphQLUnionType) -> Iterator[GraphQLObjectType]:
        """Objects that may stand behind an abstract type: of an interface, those that show all its fields."""
        return (one for one in self._graph.schema.get_possible_types(kind) if self.is_behind(one, kind))

    def is_behind(self, one: GraphQLObjectType, kind: GraphQLInterfaceType | GraphQLUnionType) -> bool:
        """Whether an object may stand behind this abstract type."""
        known = self._graph.types.get(one.name)
        is_whole = not isinstance(kind, GraphQLInterfaceType) or self.fields[one.name] >= kind.fields.keys()
        return is_whole and (known is None or self._reaches(known))

    def _each(self) -> list[Coordinate]:
        return [(name, field) for name, fields in self.fields.items() for field in sorted(fields)]

    def _allowed(self, kind: GraphQLObjectType | GraphQLInterfaceType) -> Iterator[str]:
        rules = WRITES if kind.name in ROOTS[1:] else self._rules
        decides = kind.name in self._graph.types or rules is WRITES
        for name in kind.fields:
            if not (decides and isinstance(rules.decide(self._viewer, kind.name, name), Deny)):
                yield name

    def _leads_on(self, name: str, field: str) -> bool:
        """Whether a field ends in a value, or in objects of which there are some for this viewer."""
        known = self._graph.types.get(name)
        source: Field | None = known.fields[field] if known is not None else None
        output = self._kinds[name]
        assert isinstance(output, GraphQLObjectType | GraphQLInterfaceType)
        target = get_named_type(output.fields[field].type)
        if isinstance(source, One | Many | Connection):
            aim = self._graph.types[source.target]
            return self._reaches(aim) and bool(self.fields[aim.name])
        if isinstance(target, GraphQLObjectType) and target.name in self._graph.types:
            stands_alone = not isinstance(source, Embedded)
            if stands_alone and not self._reaches(self._graph.types[target.name]):
                return False
        return self.shows(target)

    def _reaches(self, kind: ObjectType) -> bool:
        """Whether any row of a type is shown: the compiler asks for its row rule, and for its id if it has one."""
        if kind.table is not None and self._rules.rows(self._viewer, kind.name) is None:
            return False
        return not kind.is_node or "id" in self.fields[kind.name]

    def _arguments(self, name: str, field: str) -> None:
        """Note what the filter and the ordering of a visible list may name."""
        known = self._graph.types.get(name)
        source = known.fields[field] if known is not None else None
        if not isinstance(source, Connection):
            return
        output = self._kinds[name]
        assert isinstance(output, GraphQLObjectType)
        arguments = output.fields[field].args
        if "filter" in arguments:
            given = get_named_type(arguments["filter"].type)
            assert isinstance(given, GraphQLInputObjectType)
            exact = {key: bool(_EXACT & _members(one)) for key, one in given.fields.items()}
            named = {key for key, one in source.filters.items() if self._discloses(one.discloses, masked=exact[key])}
            self.members.setdefault(given.name, set()).update(named)
        if "orderBy" in arguments:
            order = get_named_type(arguments["orderBy"].type)
            assert isinstance(order, GraphQLInputObjectType)
            by = get_named_type(order.fields["field"].type)
            named = {key for key, one in source.orderings.items() if self._discloses(one.discloses, masked=False)}
            self.members.setdefault(by.name, set()).update(named)

    def _discloses(self, coordinates: tuple[Coordinate, ...], *, masked: bool) -> bool:
        """Whether these fields may be compared; masked ones only ``masked``, which is exactly."""
        decisions = [self._rules.decide(self._viewer, *coordinate) for coordinate in coordinates]
        return not any(isinstance(one, Deny) or (isinstance(one, Mask) and not masked) for one in decisions)


class _Copy:
    """Makes the types of the cut schema, each when something visible leads to it."""

    def __init__(self, whole: GraphQLSchema, sight: _Sight) -> None:
        self._whole = whole
        self._sight = sight
        self._made: dict[str, GraphQLNamedType] = {}

    def schema(self) -> GraphQLSchema:
        """The schema of what is seen."""
        roots = (self._whole.query_type, self._whole.mutation_type, self._whole.subscription_type)
        query, mutation, subscription = (
            self._named(root) if root is not None and self._sight.shows(root) else None for root in roots
        )
        assert query is not None, "everybody may ask who they are"
        behind = {
            one.name: self._named(one)
            for root in roots
            if root is not None
            for name, field in root.fields.items()
            if name in self._sight.fields[root.name]
            and isinstance(abstract := get_named_type(field.type), GraphQLInterfaceType)
            for one in self._sight.possible(abstract)
        }
        return GraphQLSchema(
            query,
            mutation,
            subscription,
            types=list(behind.values()),
            directives=self._whole.directives,
            description=self._whole.description,
            assume_valid=True,
        )

    def _named(self, kind: GraphQLNamedType) -> Any:  # noqa: ANN401  # of the same class as what is given
        if kind.name not in self._made:
            self._made[kind.name] = self._copy(kind)
        return self._made[kind.name]

    def _copy(self, kind: GraphQLNamedType) -> GraphQLNamedType:
        match kind:
            case GraphQLObjectType():
                shown = [one for one in kind.interfaces if self._sight.is_behind(kind, one)]
                interfaces = [self._named(one) for one in shown]
                return GraphQLObjectType(
                    **_with(kind.to_kwargs(), interfaces=interfaces, fields=lambda: self._fields(kind))
                )
            case GraphQLInterfaceType():
                return GraphQLInterfaceType(**_with(kind.to_kwargs(), fields=lambda: self._fields(kind)))
            case GraphQLUnionType():
                possible = [self._named(one) for one in self._sight.possible(kind)]
                return GraphQLUnionType(**_with(kind.to_kwargs(), types=possible))
            case GraphQLInputObjectType():
                return GraphQLInputObjectType(**_with(kind.to_kwargs(), fields=lambda: self._inputs(kind)))
            case GraphQLEnumType() if kind.name in self._sight.members:
                seen = self._sight.members[kind.name]
                values = {name: value for name, value in kind.values.items() if name in seen}
                return GraphQLEnumType(kind.name, values, description=kind.description)
        return kind

    def _fields(self, kind: GraphQLObjectType | GraphQLInterfaceType) -> Mapping[str, GraphQLField]:
        seen = self._sight.fields[kind.name]
        return {
            name: GraphQLField(**_with(field.to_kwargs(), type_=self._type(field.type), args=self._args(field)))
            for name, field in kind.fields.items()
            if name in seen
        }

    def _args(self, field: GraphQLField) -> Mapping[str, GraphQLArgument]:
        return {
            name: GraphQLArgument(**_with(one.to_kwargs(), type_=self._type(one.type)))
            for name, one in field.args.items()
            if self._sight.shows(get_named_type(one.type))
        }

    def _inputs(self, kind: GraphQLInputObjectType) -> Mapping[str, GraphQLInputField]:
        return {
            name: GraphQLInputField(**_with(field.to_kwargs(), type_=self._type(field.type)))
            for name, field in kind.fields.items()
            if self._sight.takes(kind, name)
        }

    def _type(self, kind: Any) -> Any:  # noqa: ANN401  # a type wrapped the same way
        if isinstance(kind, GraphQLNonNull):
            return GraphQLNonNull(self._type(kind.of_type))
        if isinstance(kind, GraphQLList):
            return GraphQLList(self._type(kind.of_type))
        return self._named(kind)


def _with(given: Mapping[str, object], **changed: object) -> dict[str, Any]:
    """How a part of a schema was made, with some of it changed."""
    return {**given, **changed}


def _outputs(schema: GraphQLSchema) -> Iterator[GraphQLObjectType | GraphQLInterfaceType]:
    for kind in schema.type_map.values():
        if isinstance(kind, GraphQLObjectType | GraphQLInterfaceType) and not kind.name.startswith("__"):
            yield kind


def _members(field: GraphQLInputField) -> set[str]:
    """What a comparison can be asked."""
    comparison = get_named_type(field.type)
    return set(comparison.fields) if isinstance(comparison, GraphQLInputObjectType) else set()
