"""Strawberry's schema -> the compiler's graph, failing loudly on any field that says not where it comes from.

Everything is checked here, once, when a process starts: every expression is evaluated against its table, every join
names columns that exist, every filter and ordering names fields that access rules can decide about.
"""

from collections.abc import Callable, Iterator, Mapping

import strawberry
from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    get_named_type,
    get_nullable_type,
    is_list_type,
)
from sqlalchemy import Table
from strawberry.types.field import StrawberryField

from cdp.compiler.graph import (
    Connection,
    Constant,
    Coordinate,
    Embedded,
    Expression,
    Field,
    Filter,
    Graph,
    Join,
    Kind,
    Many,
    MaskedFields,
    NodeById,
    NodesById,
    ObjectType,
    One,
    Order,
    Ordering,
    Row,
    Scalar,
)
from cdp.compiler.render import Source
from cdp.schema import fields as declared

_DEFINITION = "strawberry-definition"
_KINDS = {
    "ID": Kind.ID,
    "String": Kind.TEXT,
    "Int": Kind.INT,
    "Float": Kind.FLOAT,
    "Boolean": Kind.BOOLEAN,
    "Decimal": Kind.DECIMAL,
    "BigInt": Kind.BIGINT,
    "DateTime": Kind.DATETIME,
    "Date": Kind.DATE,
    "JSON": Kind.JSON,
}


class UnmappedField(Exception):
    """A field of the schema does not say where it comes from, or says something that is not there."""


def build_graph(schema: strawberry.Schema) -> Graph:
    """Read the compiled part of a schema: everything reachable from the query root. Raises UnmappedField."""
    core: GraphQLSchema = schema._schema  # noqa: SLF001  # Strawberry offers no other way to its core schema
    assert core.query_type is not None
    types: dict[str, ObjectType] = {}
    for kind in _reachable(core, core.query_type):
        types[kind.name] = _object_type(kind)
    graph = Graph(core, types)
    _check(graph)
    return graph


def _reachable(schema: GraphQLSchema, root: GraphQLObjectType) -> Iterator[GraphQLObjectType]:
    waiting, seen = [root], {root.name}
    for kind in waiting:
        if not _is_relay(kind):
            yield kind
        for field in kind.fields.values():
            target = get_named_type(field.type)
            inner = schema.get_possible_types(target) if isinstance(target, GraphQLInterfaceType) else [target]
            for one in inner:
                if isinstance(one, GraphQLObjectType) and one.name not in seen:
                    seen.add(one.name)
                    waiting.append(one)


def _is_relay(kind: GraphQLObjectType) -> bool:
    """Whether a type is Relay's own: pages, edges and their info are written by the compiler."""
    return kind.name == "PageInfo" or set(kind.fields) in (
        {"edges", "nodes", "pageInfo", "totalCount"},
        {"cursor", "node"},
    )


def _object_type(kind: GraphQLObjectType) -> ObjectType:
    origin = kind.extensions[_DEFINITION].origin
    mapped: declared.Mapped | None = getattr(origin, "__mapped__", None)
    table = mapped.table if mapped else None
    return ObjectType(
        name=kind.name,
        fields={name: _field(kind, name, field) for name, field in kind.fields.items()},
        table=table,
        is_node=any(interface.name == "Node" for interface in kind.interfaces),
        subject_column=mapped.subject if mapped else None,
        is_recorded=mapped.recorded if mapped else False,
    )


def _field(  # noqa: PLR0911  # one return a kind of source
    kind: GraphQLObjectType, name: str, field: GraphQLField
) -> Field:
    where = f"{kind.name}.{name}"
    strawberry_field: StrawberryField = field.extensions[_DEFINITION]
    source = strawberry_field.metadata.get(declared.SOURCE)
    python_name = strawberry_field.python_name
    nullable = not isinstance(field.type, GraphQLNonNull)
    target = get_named_type(field.type)
    if name == "id" and source is None:
        return Scalar(name, Kind.ID, _column("id"), nullable=False, id_type=kind.name)
    match source:
        case declared.ColumnSource():
            scalar_kind = source.kind or _kind(where, field)
            return Scalar(name, scalar_kind, source.sql or _column(python_name), nullable)
        case declared.ConstantSource():
            return Constant(name, source.value, nullable)
        case declared.MaskedSource():
            return MaskedFields(name, nullable)
        case declared.EmbeddedSource():
            return Embedded(name, target.name, nullable)
        case declared.OneSource():
            by_id = "id" if source.by_id else None
            return One(name, target.name, source.join, source.where, source.own, by_id, nullable)
        case declared.ManySource():
            order = tuple(_order(one) for one in source.order)
            return Many(name, target.name, order, source.join, source.where, source.typical, nullable)
        case declared.ConnectionSource():
            return _connection(where, name, field, source)
        case declared.NodeSource():
            return NodesById(name, nullable) if source.several else NodeById(name, nullable)
        case _:
            raise UnmappedField(f"{where} does not say where it comes from")


def _kind(where: str, field: GraphQLField | GraphQLInputField) -> Kind:
    target = get_named_type(field.type)
    if is_list_type(get_nullable_type(field.type)):
        return Kind.JSON
    if isinstance(target, GraphQLEnumType):
        for name, value in target.values.items():
            if str(value.value).upper() != name:
                raise UnmappedField(f"{where}: {target.name}.{name} is not its stored value in capitals")
        return Kind.ENUM
    if target.name not in _KINDS:
        raise UnmappedField(f"{where}: {target.name} is not a scalar the compiler knows")
    return _KINDS[target.name]


def _connection(where: str, name: str, field: GraphQLField, source: declared.ConnectionSource) -> Connection:
    target = _node_type(field)
    if "orderBy" in field.args:
        order_by = get_named_type(field.args["orderBy"].type)
        assert isinstance(order_by, GraphQLInputObjectType)
        by = get_named_type(order_by.fields["field"].type)
        assert isinstance(by, GraphQLEnumType)
        if set(by.values) != set(source.orderings):
            raise UnmappedField(f"{where}: {by.name} and its orderings differ")
    orderings = {key: _ordering(where, target, key, one) for key, one in source.orderings.items()}
    default = source.default.removeprefix("-")
    if default not in orderings:
        raise UnmappedField(f"{where}: there is no ordering {default}")
    filters: Mapping[str, Filter] = {}
    if "filter" in field.args:
        given = get_named_type(field.args["filter"].type)
        assert isinstance(given, GraphQLInputObjectType)
        filters = {key: _filter(given, target, key, one) for key, one in given.fields.items()}
    nullable = not isinstance(field.type, GraphQLNonNull)
    descending = source.default.startswith("-")
    return Connection(name, target.name, orderings, default, descending, source.join, source.where, filters, nullable)


def _node_type(field: GraphQLField) -> GraphQLObjectType:
    page = get_named_type(field.type)
    assert isinstance(page, GraphQLObjectType)
    target = get_named_type(page.fields["nodes"].type)
    assert isinstance(target, GraphQLObjectType)
    return target


def _ordering(where: str, target: GraphQLObjectType, key: str, source: declared.OrderingSource) -> Ordering:
    name = _camel(key.lower())
    sql = source.sql or _column(key.lower())
    discloses = source.discloses or ((target.name, name),)
    kind = Kind.TEXT
    if source.sql is None:
        if name not in target.fields:
            raise UnmappedField(f"{where}: ordering {key} is no field of {target.name}")
        kind = _kind(where, target.fields[name])
    return Ordering(key, Order(sql, kind), discloses)


def _filter(given: GraphQLInputObjectType, target: GraphQLNamedType, name: str, field: GraphQLInputField) -> Filter:
    where = f"{given.name}.{name}"
    strawberry_field: StrawberryField = field.extensions[_DEFINITION]
    source = strawberry_field.metadata.get(declared.SOURCE)
    if not isinstance(source, declared.FilterSource):
        raise UnmappedField(f"{where} does not say what it compares")
    comparison = get_named_type(field.type)
    assert isinstance(comparison, GraphQLInputObjectType)
    kinds = {_kind(where, one) for key, one in comparison.fields.items() if key != "in"}
    if len(kinds) != 1:
        raise UnmappedField(f"{where} compares several kinds of values")
    return Filter(
        name,
        source.sql or _column(strawberry_field.python_name),
        kinds.pop(),
        source.discloses or ((target.name, name),),
        source.within,
        source.id_type,
        source.fold,
    )


def _column(name: str) -> Expression:
    return lambda row: row[name]


def _order(name: Expression | str) -> Order:
    if not isinstance(name, str):
        return Order(name, Kind.TEXT)
    return Order(_column(name.removeprefix("-")), Kind.TEXT, name.startswith("-"))


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _check(graph: Graph) -> None:
    """Evaluate every expression and look up every column, target and disclosed field."""
    for kind in graph.types.values():
        for field in kind.fields.values():
            where = f"{kind.name}.{field.name}"
            try:
                _check_field(graph, kind, field)
            except (KeyError, AssertionError) as error:
                raise UnmappedField(f"{where}: {error!r} is not there") from error


def _check_field(graph: Graph, kind: ObjectType, field: Field) -> None:
    if isinstance(field, Scalar):
        assert kind.table is not None or _is_embedded(graph, kind), "a row"
        for table in _tables(graph, kind):
            field.sql(Source("t", table))
    if isinstance(field, One | Many | Connection):
        target = graph.types[field.target].table
        assert target is not None, "a table of the target"
        _check_join(_tables(graph, kind), target, field.join)
        expressions: list[Callable[[Row], object]] = [field.where] if field.where else []
        if isinstance(field, Connection):
            expressions += [ordering.key.sql for ordering in field.orderings.values()]
            expressions += [one.sql for one in field.filters.values() if one.within is None]
            _check_disclosures(graph, field, target)
        for expression in expressions:
            expression(Source("t", target))


def _check_disclosures(graph: Graph, field: Connection, target: Table) -> None:
    coordinates: list[Coordinate] = [c for ordering in field.orderings.values() for c in ordering.discloses]
    for one in field.filters.values():
        coordinates += one.discloses
        if one.within is not None:
            _check_join([target], one.within[0], one.within[1])
            one.sql(Source("t", one.within[0]))
    for type_name, name in coordinates:
        assert name in graph.types[type_name].fields, f"{type_name}.{name}"


def _check_join(tables: list[Table], target: Table, join: Join) -> None:
    for outer, inner in join:
        assert inner in target.columns, inner
        for table in tables:
            assert outer in table.columns, outer


def _tables(graph: Graph, kind: ObjectType) -> list[Table]:
    """Tables whose rows an object of this type may stand on."""
    if kind.table is not None:
        return [kind.table]
    parents = [parent for parent in graph.types.values() if _embeds(parent, kind.name)]
    return [parent.table for parent in parents if parent.table is not None]


def _is_embedded(graph: Graph, kind: ObjectType) -> bool:
    return any(_embeds(parent, kind.name) for parent in graph.types.values())


def _embeds(parent: ObjectType, name: str) -> bool:
    return any(isinstance(field, Embedded) and field.target == name for field in parent.fields.values())
