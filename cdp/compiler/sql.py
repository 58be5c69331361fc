"""A selection becomes one SQL statement: a scalar subquery for every relation, a JSON object for every row.

Access is decided here, once, while the statement is made: a denied field becomes null and an error by plan, a masked
one its mask, a type's rows their predicate. For customers every column of the statement first sets the subject that
row-level security reads: ``CASE WHEN set_config(…) IS NOT NULL THEN (…) END``.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from graphql import Node
from sqlalchemy import ARRAY, JSON, ColumnElement, Text, Uuid, case, cast, func, literal_column, select
from sqlalchemy.dialects.postgresql import aggregate_order_by, asyncpg

from cdp.access.decision import Deny, Mask, Own
from cdp.access.viewer import Actor
from cdp.compiler.arguments import Leaf, Lifted
from cdp.compiler.context import Context, Selected, Sets
from cdp.compiler.graph import (
    Connection,
    Constant,
    Embedded,
    Expression,
    Field,
    Join,
    Many,
    MaskedFields,
    NodeById,
    NodesById,
    ObjectType,
    One,
    Scalar,
)
from cdp.compiler.pages import Page
from cdp.compiler.plan import Path, Plan
from cdp.compiler.render import EMPTY_LIST, NULL, Json, Source, constant, json_object, quoted, scalar
from cdp.core.errors import Forbidden, PlatformError
from cdp.core.ids import parse_global_id

_DIALECT = asyncpg.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped
Condition = ColumnElement[bool]


class Statement:
    """Builds the columns of one statement."""

    def __init__(self, context: Context, *, most: int) -> None:
        self.context = context
        self._most = most

    def roots(self, sets: Sets, only: str | None = None) -> list[tuple[str, Json]]:
        """One column per root field of a query, or the one with this response key."""
        query = self.context.graph.query
        chosen = [one for one in self.context.collect(query.name, sets) if only is None or one.key == only]
        return [
            (one.key, constant(query.name) if one.name == "__typename" else self._field(query, one, None, (one.key,)))
            for one in chosen
        ]

    def root_node(self, type_name: str, sets: Sets, key: str) -> Json:
        """One object of a type by the call's row id."""
        kind = self.context.target(type_name)
        wanted = self.context.parameter(lambda call: call.row_id, Uuid(), (key,))
        return self._single(kind, sets, lambda row: [row["id"] == wanted], (key,))

    def _object(self, kind: ObjectType, sets: Sets, row: Source | None, path: Path) -> Json:
        fields = self.context.collect(kind.name, sets)
        return json_object([(one.key, self._field(kind, one, row, (*path, one.key))) for one in fields])

    def _field(self, kind: ObjectType, one: Selected, row: Source | None, path: Path) -> Json:
        if one.name == "__typename":
            return quoted(kind.name)
        try:
            if path in self.context.failures:
                raise self.context.failures[path]
            decision = self.context.rules.decide(self.context.viewer, kind.name, one.name)
            if isinstance(decision, Deny):
                raise decision.error
            return self._value(kind, kind.fields[one.name], one, row, path, decision)
        except PlatformError as error:
            self.context.deny(path, error)
            return NULL

    def _value(
        self, kind: ObjectType, field: Field, one: Selected, row: Source | None, path: Path, decision: object
    ) -> Json:
        match field:
            case Scalar():
                assert row is not None
                value = field.sql(row)
                return decision.sql(value) if isinstance(decision, Mask) else scalar(value, field.kind, field.id_type)
            case Constant():
                return constant(field.value(self.context.viewer))
            case MaskedFields():
                return constant(self._masked(kind))
            case Embedded():
                return self._object(self.context.target(field.target), one.sets, row, path)
            case One():
                return self._one(kind, field, one, row, path)
            case Many():
                return self._many(kind, field, one, row, path)
            case Connection():
                return self._connection(kind, field, one, row, path)
            case NodeById():
                return self._node(one, path)
            case NodesById():
                return self._nodes(one, path)

    def _masked(self, kind: ObjectType) -> list[str]:
        decide, viewer = self.context.rules.decide, self.context.viewer
        return sorted(name for name in kind.fields if isinstance(decide(viewer, kind.name, name), Mask))

    def _visible(self, kind: ObjectType, row: Source, pinned: Iterable[str] = ()) -> list[Condition]:
        """The row rule of a type, left out where the row's subject is already ``pinned`` to one the viewer may see."""
        viewer, rules = self.context.viewer, self.context.rules
        rows = rules.rows(viewer, kind.name)
        if rows is None:
            raise Forbidden
        if kind.is_node and isinstance(denial := rules.decide(viewer, kind.name, "id"), Deny):
            raise denial.error
        if isinstance(rows, Own) and rows.column in pinned:
            return []
        condition = rows(row, self.context.subject())
        return [] if condition is None else [condition]

    def _single(
        self,
        kind: ObjectType,
        sets: Sets,
        conditions: Callable[[Source], list[Condition]],
        path: Path,
        *,
        pinned: Iterable[str] = (),
    ) -> Json:
        row = self._source(kind)
        wanted = conditions(row) + self._visible(kind, row, pinned)
        value = self._object(kind, sets, row, path)
        return select(value).select_from(row.clause).where(*wanted).scalar_subquery()

    def _source(self, kind: ObjectType) -> Source:
        assert kind.table is not None
        return Source(self.context.alias(), kind.table, kind.subject_column)

    def _one(self, kind: ObjectType, field: One, one: Selected, row: Source | None, path: Path) -> Json:
        def conditions(related: Source) -> list[Condition]:
            found = self._tied(field.join, field.where, row, related)
            if field.subject_column is not None:
                found.append(related[field.subject_column] == self.context.subject())
            if field.id_argument is not None:
                given = self.context.arguments(kind.name, one.node)[field.id_argument]
                found.append(related["id"] == self._row_id(given, field.target, path))
            return found

        target = self.context.target(field.target)
        own = (field.subject_column,) if field.subject_column else ()
        return self._single(target, one.sets, conditions, path, pinned=(*own, *_pinned(row, field.join)))

    def _row_id(self, given: Lifted, type_name: str, path: Path) -> ColumnElement[Any]:
        assert isinstance(given, Leaf)
        return self.context.parameter(
            lambda call: parse_global_id(str(given.read(call.variables)), expected=type_name)[1], Uuid(), path
        )

    def _tied(self, join: Join, where: Expression | None, row: Source | None, related: Source) -> list[Condition]:
        found: list[Condition] = []
        for outer, inner in join:
            assert row is not None
            found.append(related[inner] == row[outer])
        if where is not None:
            found.append(where(related))
        return found

    def _many(self, kind: ObjectType, field: Many, one: Selected, row: Source | None, path: Path) -> Json:
        target = self.context.target(field.target)
        related = self._source(target)
        wanted = self._tied(field.join, field.where, row, related)
        wanted += self._visible(target, related, _pinned(row, field.join))
        order = [o.sql(related).desc() if o.descending else o.sql(related).asc() for o in field.order]
        members = func.json_agg(aggregate_order_by(self._object(target, one.sets, related, path), *order))
        return select(func.coalesce(members, EMPTY_LIST)).select_from(related.clause).where(*wanted).scalar_subquery()

    def _connection(self, kind: ObjectType, field: Connection, one: Selected, row: Source | None, path: Path) -> Json:
        target = self.context.target(field.target)
        page = Page(
            self.context,
            field,
            self.context.arguments(kind.name, one.node),
            path,
            coordinate=(kind.name, field.name),
            most=self._most,
        )

        def conditions(related: Source) -> list[Condition]:
            tied = self._tied(field.join, field.where, row, related)
            return tied + self._visible(target, related, _pinned(row, field.join))

        def node(sets: Sets, related: Source, inner: Path) -> Json:
            return self._object(target, sets, related, inner)

        return page.sql(self.context.result_type(kind.name, field.name), one.sets, conditions, node)

    def _node(self, one: Selected, path: Path) -> Json:
        given = self.context.arguments("Query", one.node)["id"]
        assert isinstance(given, Leaf)
        type_name, _ = parse_global_id(str(given.value))
        kind = self.context.graph.types.get(type_name)
        if kind is None or not kind.is_node:
            return NULL
        wanted = self._row_id(given, type_name, path)
        return self._single(kind, one.sets, lambda row: [row["id"] == wanted], path)

    def _nodes(self, one: Selected, path: Path) -> Json:
        given = self.context.arguments("Query", one.node)["ids"]
        assert isinstance(given, Leaf)
        leaf = given
        named = {parse_global_id(str(value))[0] for value in _as_list(leaf.value)}
        kinds = [kind for kind in self.context.graph.node_types() if kind.name in named]
        names = self.context.parameter(lambda call: _parts(leaf, call.variables, 0), ARRAY(Text()), path)
        ids = self.context.parameter(lambda call: _parts(leaf, call.variables, 1), ARRAY(Uuid()), path)
        wanted = (
            func.unnest(names, ids)
            .table_valued("type", "id", with_ordinality="place")
            .render_derived(name=self.context.alias())
        )
        identity = literal_column(f"{wanted.name}.id", Uuid)
        values = [
            (
                literal_column(f"{wanted.name}.type", Text) == quoted(kind.name),
                self._single(kind, one.sets, lambda row: [row["id"] == identity], path),
            )
            for kind in kinds
        ]
        value = case(*values, else_=NULL) if values else NULL
        members = func.json_agg(aggregate_order_by(value, literal_column(f"{wanted.name}.place")))
        return select(func.coalesce(members, EMPTY_LIST)).select_from(wanted).scalar_subquery()


def _pinned(row: Source | None, join: Join) -> list[str]:
    """Columns of related rows that a join ties to the subject of the row it starts from."""
    return [inner for outer, inner in join if row is not None and outer == row.subject]


def _as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _parts(leaf: Leaf, variables: Any, part: int) -> list[object]:  # noqa: ANN401
    return [parse_global_id(str(value))[part] for value in _as_list(leaf.read(variables))]


def finish(context: Context, columns: Sequence[tuple[str, Json]], *, holds: Sequence[Node] = ()) -> Plan:
    """Make the plan of a statement with these columns."""
    statement = select(*(_guarded(context, value).label(f"c{n}") for n, (_, value) in enumerate(columns)))
    compiled = statement.compile(dialect=_DIALECT)
    names: Sequence[str] = compiled.positiontup or ()  # type: ignore[attr-defined]  # a SQLCompiler
    return Plan(
        sql=str(compiled) if columns else "",
        keys=tuple(key for key, _ in columns),
        slots=tuple(context.slots[name] for name in names),
        denied=tuple(context.denied),
        cursor_scopes=tuple(context.cursor_scopes),
        seal=context.seal,
        holds=holds,
    )


def _guarded(context: Context, value: Json) -> Json:
    """JSON of one column; for customers, evaluated only once the subject is set for this statement."""
    json = cast(value, JSON)
    if context.viewer.actor not in {Actor.CUSTOMER, Actor.ANONYMOUS}:
        return json
    subject = func.coalesce(cast(context.subject(), Text), quoted(""))
    done = func.set_config(quoted("cdp.subject"), subject, literal_column("true"))
    return case((done.is_not(None), json))
