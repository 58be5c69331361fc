# ruff: noqa: A002, N803  # resolvers take arguments by the names of the schema
"""The naive twin: the same Strawberry schema served by ordinary resolvers with DataLoaders.

It exists to disagree: the property tests compare it with the compiler, the benchmark measures what it costs. It reads
the same declarations (tables, joins, orderings), and does everything else its own way: rows in Python, no SQL beyond
``SELECT * … WHERE key IN …``.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any
from uuid import UUID

import strawberry
from graphql import GraphQLError, GraphQLField, GraphQLNamedType, GraphQLObjectType, get_named_type

from cdp.access.decision import Deny, Mask, Own
from cdp.access.rules import RULES
from cdp.access.viewer import Actor, Viewer
from cdp.compiler.cursors import CursorSeal
from cdp.core.clock import iso
from cdp.core.db import Database
from cdp.core.errors import PlatformError
from cdp.core.ids import global_id, parse_global_id
from cdp.schema import fields as declared
from cdp.schema.query import Query
from cdp.schema.scalars import schema_config
from cdp.tables.request import privacy_request
from tests.twin.formulas import FORMULAS, MASKS, SORT_KEYS, newest_consents, ordered_tasks, search_name
from tests.twin.loaders import Loaders, Record

Resolver = Callable[..., Any]


@dataclass
class Request:
    """Context of one twin request."""

    db: Database
    viewer: Viewer
    seal: CursorSeal
    loaders: Loaders = field(init=False)

    def __post_init__(self) -> None:
        self.loaders = Loaders(self.db)


@dataclass
class Page:
    """A page in memory."""

    rows: list[Record]
    total: int
    has_next: bool
    has_previous: bool
    cursor: Callable[[Record], str]


def twin_schema() -> strawberry.Schema:
    """The platform's query schema with resolvers."""
    schema = strawberry.Schema(query=Query, config=schema_config())
    for kind in schema._schema.type_map.values():
        if isinstance(kind, GraphQLObjectType) and not kind.name.startswith("__"):
            for name, one in kind.fields.items():
                _attach(kind, name, one)
        if hasattr(kind, "resolve_type") and kind.name == "Node":
            kind.resolve_type = lambda value, info, abstract: value["__typename"]
        if isinstance(kind, GraphQLObjectType):
            kind.is_type_of = None
    return schema


def _attach(kind: GraphQLObjectType, name: str, one: GraphQLField) -> None:
    definition = one.extensions.get("strawberry-definition")
    source = definition.metadata.get(declared.SOURCE) if definition else None
    inner = _resolver(kind, name, one, source)

    def guarded(row: Any, info: Any, **arguments: Any) -> Any:
        if _is_personal(kind):
            decision = RULES.decide(info.context.viewer, kind.name, name)
            if isinstance(decision, Deny):
                raise _error(decision.error)
        try:
            return inner(row, info, **arguments)
        except PlatformError as error:
            raise _error(error) from None

    async def guarded_async(row: Any, info: Any, **arguments: Any) -> Any:
        if _is_personal(kind):
            decision = RULES.decide(info.context.viewer, kind.name, name)
            if isinstance(decision, Deny):
                raise _error(decision.error)
        try:
            return await inner(row, info, **arguments)
        except PlatformError as error:
            raise _error(error) from None

    is_async = isinstance(
        source, declared.OneSource | declared.ManySource | declared.ConnectionSource | declared.NodeSource
    )
    one.resolve = guarded_async if is_async else guarded


def _is_personal(kind: GraphQLNamedType) -> bool:
    return kind.name != "PageInfo" and not kind.name.endswith(("Connection", "Edge"))


def _error(error: PlatformError) -> GraphQLError:
    return GraphQLError(error.message, extensions={"code": error.code, **error.extensions})


def _resolver(kind: GraphQLObjectType, name: str, one: GraphQLField, source: Any) -> Resolver:
    target = get_named_type(one.type)
    match source:
        case None if name == "id":
            return lambda row, info: global_id(kind.name, row["id"])
        case None:
            return _page_resolver(kind, name)
        case declared.ColumnSource():
            return _column(kind, name, one)
        case declared.ConstantSource():
            return lambda row, info: _constant(source.value(info.context.viewer), target)
        case declared.MaskedSource():
            return lambda row, info: sorted(
                other for other in kind.fields if isinstance(RULES.decide(info.context.viewer, kind.name, other), Mask)
            )
        case declared.EmbeddedSource():
            return lambda row, info: row if row is not None else {}
        case declared.OneSource():
            return _one(source, target)
        case declared.ManySource():
            return _many(kind, name, source, target)
        case declared.ConnectionSource():
            return _connection(kind, name, one, source)
        case declared.NodeSource():
            return _nodes if source.several else _node
        case _:
            raise AssertionError(source)


def _constant(value: Any, target: GraphQLNamedType) -> Any:
    return value.lower() if target.name == "ViewerKind" else value


def _column(kind: GraphQLObjectType, name: str, one: GraphQLField) -> Resolver:
    column = one.extensions["strawberry-definition"].python_name
    formula = FORMULAS.get((kind.name, name), lambda row: row[column])

    def resolve(row: Record, info: Any) -> Any:
        value = formula(row)
        decision = RULES.decide(info.context.viewer, kind.name, name)
        if isinstance(decision, Mask) and value is not None:
            return MASKS[decision.sql.__name__](value)
        return value

    return resolve


def _mapped(target: GraphQLNamedType) -> declared.Mapped:
    return target.extensions["strawberry-definition"].origin.__mapped__


async def _visible(rows: Iterable[Record], target: GraphQLNamedType, info: Any) -> list[Record]:
    viewer = info.context.viewer
    rule = RULES.rows(viewer, target.name)
    if rule is None:
        raise _error(RULES.decide(viewer, target.name, "id").error)
    if "id" in target.fields:
        decision = RULES.decide(viewer, target.name, "id")
        if isinstance(decision, Deny):
            raise _error(decision.error)
    rows = list(rows)
    if viewer.actor is not Actor.CUSTOMER:
        return rows
    if isinstance(rule, Own):
        return [row for row in rows if row[rule.column] == viewer.customer_id]
    if target.name == "Certificate":
        loaders = info.context.loaders
        owners = [await loaders.by_id(privacy_request, row["request_id"]) for row in rows]
        return [
            row for row, owner in zip(rows, owners, strict=True) if owner and owner["customer_id"] == viewer.customer_id
        ]
    return rows


def _typed(row: Record | None, target: GraphQLNamedType) -> Record | None:
    return None if row is None else {**row, "__typename": target.name}


async def _rows(row: Any, info: Any, join: Any, target: GraphQLNamedType) -> list[Record]:
    table = _mapped(target).table
    if not join:
        return await info.context.loaders.everything(table)
    ((outer, inner),) = join
    return await info.context.loaders.related(table, inner, row[outer])


def _one(source: declared.OneSource, target: GraphQLNamedType) -> Resolver:
    async def resolve(row: Any, info: Any, id: str | None = None) -> Any:
        table = _mapped(target).table
        if source.own is not None:
            found = await info.context.loaders.related(table, source.own, info.context.viewer.customer_id)
        elif source.by_id:
            found = await info.context.loaders.related(table, "id", parse_global_id(id or "", expected=target.name)[1])
        else:
            found = await _rows(row, info, source.join, target)
        visible = await _visible(found, target, info)
        return _typed(visible[0], target) if visible else None

    return resolve


def _many(kind: GraphQLObjectType, name: str, source: declared.ManySource, target: GraphQLNamedType) -> Resolver:
    async def resolve(row: Any, info: Any) -> Any:
        rows = await _visible(await _rows(row, info, source.join, target), target, info)
        if name == "currentConsents":
            rows = await newest_consents(rows, info.context.loaders)
        if name == "tasks":
            rows = await ordered_tasks(rows, info.context.loaders)
        else:
            for key in reversed(source.order):
                column = key.removeprefix("-")
                rows = sorted(rows, key=lambda one: _plain(one[column]), reverse=key.startswith("-"))
        return [_typed(one, target) for one in rows]

    return resolve


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


def _connection(kind: GraphQLObjectType, name: str, one: GraphQLField, source: Any) -> Resolver:
    target = get_named_type(get_named_type(one.type).fields["nodes"].type)

    async def resolve(
        row: Any,
        info: Any,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
        orderBy: Any = None,
        filter: Any = None,
    ) -> Page:
        if orderBy is not None:
            ordering = source.orderings[orderBy["field"].name]
            default = ((target.name, _camel(orderBy["field"].name.lower())),)
            _require_disclosable(info, ordering.discloses or default, exact=False)
        for key, comparison in (filter or {}).items():
            definition = get_named_type(one.args["filter"].type).fields[key].extensions["strawberry-definition"]
            told = definition.metadata[declared.SOURCE].discloses or ((target.name, key),)
            if comparison is not None:
                _require_ids(definition.metadata[declared.SOURCE], comparison)
                _require_disclosable(info, told, exact=set(comparison) <= {"eq", "in"})
        rows = await _visible(await _rows(row, info, source.join, target), target, info)
        for key, comparison in (filter or {}).items():
            if comparison is not None:
                rows = [r for r in rows if await _matches(r, key, comparison, one, info, target)]
        order, down = source.default.removeprefix("-"), source.default.startswith("-")
        if orderBy is not None:
            order = orderBy["field"].name
            down = orderBy["direction"].name == "DESC" if orderBy.get("direction") is not None else down
        sort_key = SORT_KEYS.get((target.name, order), lambda r: r[order.lower()])
        rows = sorted(rows, key=lambda r: (sort_key(r), r["id"]), reverse=down)
        scope = f"{kind.name}.{name}:{order}:{down}".encode()

        def cursor(r: Record) -> str:
            return _seal(info.context, scope, sort_key(r), r["id"])

        return _cut(rows, first, last, after, before, cursor, target)

    return resolve


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _require_disclosable(info: Any, coordinates: Any, *, exact: bool) -> None:
    for type_name, name in coordinates:
        decision = RULES.decide(info.context.viewer, type_name, name)
        if isinstance(decision, Deny):
            raise _error(decision.error)
        if isinstance(decision, Mask) and not exact:
            raise GraphQLError("masked", extensions={"code": "FORBIDDEN"})


def _cut(rows, first, last, after, before, cursor, target) -> Page:
    total = len(rows)
    edge = before if last is not None else after
    places = [cursor(r) for r in rows] if edge else []
    if edge is not None and last is None:
        rows = rows[places.index(edge) + 1 :]
    if edge is not None and last is not None:
        rows = rows[: places.index(edge)]
    size = last if last is not None else first if first is not None else 20
    kept = (rows[-size:] if size else []) if last is not None else rows[:size]
    more = len(rows) > size
    ahead, behind = (edge is not None, more) if last is not None else (more, edge is not None)
    return Page([_typed(r, target) for r in kept], total, ahead, behind, cursor)


def _seal(request: Request, scope: bytes, key: Any, row_id: UUID) -> str:
    place = json.dumps([iso(key) if hasattr(key, "tzinfo") else str(key), str(row_id)], ensure_ascii=False)
    payload = json.dumps(place, ensure_ascii=False)[1:-1].encode()
    marked = b"|" + b"0:" + payload + b"|"
    return request.seal.seal(marked, b"|", (scope,), request.viewer).decode()


def _page_resolver(kind: GraphQLObjectType, name: str) -> Resolver:
    def cursors(page: Page) -> list[str]:
        return [page.cursor(row) for row in page.rows]

    table: dict[str, Resolver] = {
        "nodes": lambda page, info: page.rows,
        "edges": lambda page, info: [{"row": row, "cursor": page.cursor(row)} for row in page.rows],
        "pageInfo": lambda page, info: page,
        "totalCount": lambda page, info: page.total,
        "cursor": lambda edge, info: edge["cursor"],
        "node": lambda edge, info: edge["row"],
        "hasNextPage": lambda page, info: page.has_next,
        "hasPreviousPage": lambda page, info: page.has_previous,
        "startCursor": lambda page, info: cursors(page)[0] if page.rows else None,
        "endCursor": lambda page, info: cursors(page)[-1] if page.rows else None,
    }
    return table[name]


def _require_ids(source: declared.FilterSource, comparison: dict[str, Any]) -> None:
    """An id that is none is refused whether or not there is a row to compare it with."""
    for given in comparison.values() if source.id_type is not None else ():
        for one in given if isinstance(given, list) else [given]:
            parse_global_id(one, expected=source.id_type)


async def _matches(
    row: Record, key: str, comparison: dict[str, Any], one: GraphQLField, info: Any, target: Any
) -> bool:
    member = get_named_type(one.args["filter"].type).fields[key]
    definition = member.extensions["strawberry-definition"]
    source: declared.FilterSource = definition.metadata[declared.SOURCE]
    if source.within is not None:
        table, ((outer, inner),) = source.within
        column = source.sql({each.name: each.name for each in table.columns})
        related = await info.context.loaders.related(table, inner, row[outer])
        return any(_holds(r[column], comparison, source.fold) for r in related)
    value = search_name(row) if key == "name" and target.name == "Customer" else row[definition.python_name]
    return _holds(value, comparison, source.fold)


def _holds(value: Any, comparison: dict[str, Any], fold: bool) -> bool:
    return all(_compare(operator, _plain(value), _given(given, fold)) for operator, given in comparison.items())


def _given(given: Any, fold: bool) -> Any:
    if isinstance(given, list):
        return [_given(one, fold) for one in given]
    plain = _plain(given)
    return plain.lower() if fold and isinstance(plain, str) else plain


def _compare(operator: str, value: Any, given: Any) -> bool:
    if given is None:
        return value is None
    if value is None:
        return False
    return {
        "eq": lambda: value == given,
        "in": lambda: value in given,
        "gt": lambda: value > given,
        "gte": lambda: value >= given,
        "lt": lambda: value < given,
        "lte": lambda: value <= given,
        "startsWith": lambda: value.startswith(given),
        "contains": lambda: given in value,
    }[operator]()


async def _node(row: Any, info: Any, id: str) -> Any:
    return await _by_id(id, info)


async def _nodes(row: Any, info: Any, ids: list[str]) -> Any:
    for one in ids:
        parse_global_id(one)
    return [await _by_id_or_error(one, info) for one in ids]


async def _by_id_or_error(id: str, info: Any) -> Any:
    """A member that is denied is an error of its own place."""
    try:
        return await _by_id(id, info)
    except GraphQLError as error:
        return error


async def _by_id(id: str, info: Any) -> Any:
    type_name, row_id = parse_global_id(id)
    target = info.schema.get_type(type_name)
    found = await info.context.loaders.related(_mapped(target).table, "id", row_id)
    visible = await _visible(found, target, info)
    return _typed(visible[0], target) if visible else None


__all__ = ["Request", "twin_schema"]
