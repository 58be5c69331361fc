"""A selection becomes one SQL statement: a scalar subquery for every relation, a JSON object for every row.

Access is decided here, once, while the statement is made: a denied field becomes null and an error by plan, a masked
one its mask, a type's rows their predicate. For customers every column of the statement first sets the subject that
row-level security reads: ``CASE WHEN set_config(…) IS NOT NULL THEN (…) END``.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from graphql import Node
from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Boolean,
    ColumnElement,
    FromClause,
    Text,
    Uuid,
    case,
    cast,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by, asyncpg
from sqlalchemy.types import TypeEngine

from cdp.access import departures
from cdp.access.decision import Decision, Deny, Mask, Own
from cdp.access.masks import is_revealed
from cdp.access.viewer import Actor
from cdp.access.withholding import covered, withheld
from cdp.compiler.arguments import Leaf, Variables
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
from cdp.compiler.plan import Call, Members, Path, Plan
from cdp.compiler.record import (
    Listed,
    Named,
    Recorded,
    is_recorded,
    marks,
    named_rows,
    traces,
    under_grant,
    under_subject,
)
from cdp.compiler.render import EMPTY_LIST, NULL, Json, Source, constant, json_object, quoted, scalar
from cdp.core.errors import Forbidden, PlatformError
from cdp.core.ids import InvalidGlobalId, parse_global_id
from cdp.tables.base import Category

_DIALECT = asyncpg.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped
Condition = ColumnElement[bool]
PERSON = "Customer"


@dataclass(frozen=True)
class Place:
    """A selected field of an object: on which type and row, and where in the response."""

    kind: ObjectType
    selected: Selected
    row: Source | None
    path: Path


class Statement:
    """Builds the columns of one statement."""

    def __init__(self, context: Context, *, most: int) -> None:
        self.context = context
        self.reads: list[Recorded] = []
        self._most = most
        self._named: Named | None = None
        self._listed: list[Listed] = []
        self._sold: ColumnElement[Any] | None = None

    def roots(self, sets: Sets, only: str | None = None) -> list[tuple[str, Json]]:
        """One column per root field of a query, or the one with this response key."""
        query = self.context.graph.query
        chosen = [one for one in self.context.collect(query.name, sets) if only is None or one.key == only]
        return [(one.key, self._root(query, one)) for one in chosen]

    def root_node(self, type_name: str, sets: Sets, key: str) -> Json:
        """One object of a type by the call's row id."""
        kind = self.context.target(type_name)
        wanted = self.context.parameter(lambda call: call.row_id, Uuid(), (key,))
        self._named = Named(kind, wanted)
        value = self._single(kind, sets, lambda row: [row["id"] == wanted], (key,))
        self._record(key)
        return value

    def _root(self, query: ObjectType, one: Selected) -> Json:
        if one.name == "__typename":
            return constant(query.name)
        value = self._field(Place(query, one, None, (one.key,)))
        self._record(one.name)
        return value

    def _record(self, root: str) -> None:
        """Note what a root field shows, where reading leaves a trace."""
        context = self.context
        told = context.shown | context.matched if context.viewer.sharing is not None else context.shown
        shown, matched = tuple(sorted(told)), tuple(sorted(context.matched))
        if is_recorded(context.viewer) and (shown or matched):
            self.reads.append(Recorded(root, self._named, shown, matched, tuple(self._listed)))
        context.shown, context.matched, self._named = set(), set(), None
        self._listed = []
        self._sold = None

    def _object(self, kind: ObjectType, sets: Sets, row: Source | None, path: Path) -> Json:
        fields = self.context.collect(kind.name, sets)
        return json_object([(one.key, self._field(Place(kind, one, row, (*path, one.key)))) for one in fields])

    def _field(self, place: Place) -> Json:
        kind, name = place.kind, place.selected.name
        if name == "__typename":
            return quoted(kind.name)
        self.context.trail[place.path] = (kind.name, name)
        try:
            if place.path in self.context.failures:
                raise self.context.failures[place.path]
            decision = self.context.rules.decide(self.context.viewer, kind.name, name)
            if isinstance(decision, Deny):
                raise decision.error
            return self._value(place, kind.fields[name], decision)
        except PlatformError as error:
            self.context.deny(place.path, error)
            return NULL

    def _value(self, place: Place, field: Field, decision: Decision) -> Json:  # noqa: PLR0911  # one return a kind
        match field:
            case Scalar():
                assert place.row is not None
                if place.kind.subject_column is not None or place.kind.is_recorded:
                    self.context.shown.add(f"{place.kind.name}.{field.name}")
                value = field.sql(place.row)
                clear = scalar(value, field.kind, field.id_type)
                return self._veiled(place, decision, value, clear) if isinstance(decision, Mask) else clear
            case Constant():
                return constant(field.value(self.context.viewer))
            case MaskedFields():
                return self._masked(place)
            case Embedded():
                return self._object(self.context.target(field.target), place.selected.sets, place.row, place.path)
            case One():
                return self._one(place, field)
            case Many():
                return self._many(place, field)
            case Connection():
                return self._connection(place, field)
            case NodeById():
                return self._node(place)
            case NodesById():
                return self._nodes(place)

    def _veiled(self, place: Place, mask: Mask, value: Json, clear: Json) -> Json:
        """A value as its mask, and as it is while its category is revealed."""
        revealed = self._revealed(place, mask.category)
        return mask.sql(value) if revealed is None else case((revealed, clear), else_=mask.sql(value))

    def _revealed(self, place: Place, category: Category | None) -> Condition | None:
        """Whether this category of the row's person is revealed to the viewer; None where it never is."""
        subject, viewer = place.kind.subject_column, self.context.viewer
        if category is None or subject is None or place.row is None or viewer.actor is not Actor.STAFF:
            return None
        return is_revealed(category, place.row[subject], self.context.staff())

    def _masked(self, place: Place) -> Json:
        decide, viewer, kind = self.context.rules.decide, self.context.viewer, place.kind
        found = {name: decide(viewer, kind.name, name) for name in sorted(kind.fields)}
        masks = {name: decision for name, decision in found.items() if isinstance(decision, Mask)}
        categories = {mask.category for mask in masks.values()}
        names = constant(list(masks))
        revealed = self._revealed(place, categories.pop()) if len(categories) == 1 else None
        return names if revealed is None else case((revealed, EMPTY_LIST), else_=names)

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
        is_staff = viewer.actor is Actor.STAFF
        if viewer.sharing is not None:
            condition = rows(row, self.context.partner())
        else:
            condition = rows(row, self.context.staff() if is_staff else self.context.subject())
        found = [] if condition is None else [condition]
        is_collected = kind.name != PERSON and kind.table is not None and "collection_id" in kind.table.c
        if viewer.sharing is not None and is_collected:
            sold = self._sold
            found.append(departures.kept(row) if sold is None else departures.kept_from(row, sold))
        return found

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

    def _one(self, place: Place, field: One) -> Json:
        def conditions(related: Source) -> list[Condition]:
            found = self._tied(field.join, field.where, place.row, related)
            if field.subject_column is not None:
                found.append(related[field.subject_column] == self.context.subject())
            if field.id_argument is not None:
                wanted = self.context.parameter(self._reads_id(place, field), Uuid(), place.path)
                self._named = Named(self.context.target(field.target), wanted)
                found.append(related["id"] == wanted)
            return found

        target = self.context.target(field.target)
        if self._is_shared(target) and field.id_argument is not None:
            return self._admitted(target, place, field)
        own = (field.subject_column,) if field.subject_column else ()
        pinned = (*own, *_pinned(place.row, field.join))
        return self._single(target, place.selected.sets, conditions, place.path, pinned=pinned)

    def _is_shared(self, target: ObjectType) -> bool:
        """Whether these are people shown to a partner: whom the grant covers, and who is not withheld."""
        return self.context.viewer.sharing is not None and target.name == PERSON

    def _covered(self, row: Source) -> list[Condition]:
        """Conditions of the grant itself: it lives, and the person is in its cohort."""
        context, sharing = self.context, self.context.viewer.sharing
        assert sharing is not None
        brands = context.parameter(lambda call: _cohort(call, "brands"), ARRAY(Uuid()), ())
        countries = context.parameter(lambda call: _cohort(call, "countries"), ARRAY(Text()), ())
        narrowed = covered(
            row, brands=brands if sharing.brands else None, countries=countries if sharing.countries else None
        )
        return [context.lives(), *narrowed]

    def _withheld(self, row: Source) -> Condition:
        viewer = self.context.viewer
        assert viewer.sharing is not None
        sharing, purpose = viewer.sharing, quoted(viewer.purpose)
        return withheld(row, purpose=purpose, needs_consent=sharing.needs_consent, by_brand=bool(sharing.brands))

    def _admitted(self, target: ObjectType, place: Place, field: One) -> Json:
        """The person each call names, if a partner may see them: decided once, for the answer, the log and the count.

        The decision stands in a common table expression, with every column of theirs that the answer reads and what of
        them went with a sold brand: asked by each table for itself, that costs as much as the rest of the read.
        """
        context, inner, row = self.context, self._source(target), self._source(target)
        asked, own = self._asked(self._reads_id(place, field), place.path)
        where = [] if field.where is None else [field.where(inner)]
        wanted = [inner["id"] == own["id"], *where, *self._covered(inner), *self._visible(target, inner)]
        self._sold = literal_column(f"{row.alias}.sold", ARRAY(Uuid()))
        value = self._object(target, place.selected.sets, row, place.path)
        columns = [inner[name].label(name) for name in {"id": None, **row.used}]
        columns += [own[name].label(name) for name in ("trace", "request", "place")]
        decided = select(*columns, self._withheld(inner).label("is_withheld"), departures.sold_of(inner).label("sold"))
        admitted = decided.select_from(asked, inner.clause).where(*wanted).cte(context.alias())
        subject, its = admitted.c.id, admitted.c
        shown = select(subject.label("subject"), subject.label("row"), its.trace, its.request).where(~its.is_withheld)
        self._listed.append(Listed(target, shown, is_one=True))
        is_withheld: Condition = literal_column(f"{row.alias}.is_withheld", Boolean)
        part = func.json_build_array(
            literal_column(f"{row.alias}.place"), is_withheld, case((~is_withheld, cast(value, JSON)))
        )
        context.each.add(place.selected.key)
        parts = select(part).select_from(admitted.alias(row.alias)).scalar_subquery()
        return func.array(parts, type_=ARRAY(JSON))

    def _asked(
        self, reads_id: Callable[[Call], UUID], path: Path
    ) -> tuple[FromClause, Mapping[str, ColumnElement[Any]]]:
        """A row for every call that the statement serves: whom it names, what it is to leave, and which call it is."""
        context = self.context
        ids, (traces, requests), alias = context.each_of(reads_id, Uuid(), path), marks(context, path), context.alias()
        kinds: Mapping[str, TypeEngine[Any]] = {"id": Uuid(), "trace": Uuid(), "request": Text(), "place": BigInteger()}
        names = [name for name in kinds if name != "place"]
        rows = func.unnest(ids, traces, requests).table_valued(*names, with_ordinality="place")
        columns = {name: literal_column(f"{alias}.{name}", kind) for name, kind in kinds.items()}
        return rows.render_derived(name=alias), columns

    def _reads_id(self, place: Place, field: One) -> Callable[[Call], UUID]:
        """What reads the id that a field's argument names. Its reading raises InvalidGlobalId."""
        assert field.id_argument is not None
        given = self.context.arguments(place.kind.name, place.selected.node)[field.id_argument]
        assert isinstance(given, Leaf)
        return lambda call: parse_global_id(str(given.read(call.variables)), expected=field.target)[1]

    def _tied(self, join: Join, where: Expression | None, row: Source | None, related: Source) -> list[Condition]:
        found: list[Condition] = []
        for outer, inner in join:
            assert row is not None
            found.append(related[inner] == row[outer])
        if where is not None:
            found.append(where(related))
        return found

    def _many(self, place: Place, field: Many) -> Json:
        target = self.context.target(field.target)
        related = self._source(target)
        wanted = self._tied(field.join, field.where, place.row, related)
        wanted += self._visible(target, related, _pinned(place.row, field.join))
        order = [o.sql(related).desc() if o.descending else o.sql(related).asc() for o in field.order]
        member = self._object(target, place.selected.sets, related, place.path)
        rows = select(member).select_from(related.clause).where(*wanted).order_by(*order).scalar_subquery()
        # Setting up an aggregate for each execution costs more than collecting a few rows that come in order.
        return func.array_to_json(func.array(rows), type_=JSON)

    def _connection(self, place: Place, field: Connection) -> Json:
        name, node = place.kind.name, place.selected.node
        target = self.context.target(field.target)
        given = self.context.arguments(name, node)
        page = Page(self.context, field, given, place.path, coordinate=(name, field.name), most=self._most)

        def conditions(related: Source) -> list[Condition]:
            tied = self._tied(field.join, field.where, place.row, related)
            covering = self._covered(related) if is_shared else []
            return tied + covering + self._visible(target, related, _pinned(place.row, field.join))

        def member(sets: Sets, related: Source, path: Path) -> Json:
            return self._object(target, sets, related, path)

        is_shared = self._is_shared(target)
        page.is_kept = place.row is None and (self.context.viewer.actor is Actor.STAFF or is_shared)
        if is_shared:
            page.withheld = self._withheld
        made = page.sql(self.context.result_type(name, field.name), place.selected.sets, conditions, member)
        if (shown := page.shown()) is not None:
            self._listed.append(Listed(target, shown))
        if (counted := page.kept_back()) is not None:
            self.context.withheld.append((place.selected.key, counted))
        return made

    def _node(self, place: Place) -> Json:
        given = self.context.arguments("Query", place.selected.node)["id"]
        assert isinstance(given, Leaf)
        type_name, _ = parse_global_id(str(given.value))
        kind = self.context.graph.types.get(type_name)
        if kind is None or not kind.is_node:
            raise InvalidGlobalId
        wanted = self.context.parameter(
            lambda call: parse_global_id(str(given.read(call.variables)), expected=type_name)[1], Uuid(), place.path
        )
        self._named = Named(kind, wanted)
        return self._single(kind, place.selected.sets, lambda row: [row["id"] == wanted], place.path)

    def _nodes(self, place: Place) -> Json:
        leaf = self.context.arguments("Query", place.selected.node)["ids"]
        assert isinstance(leaf, Leaf)
        ids = Ids(leaf)
        named = {type_name for type_name, _ in ids.parse(self.context.variables)}
        kinds = [kind for kind in self.context.graph.node_types() if kind.name in named]
        if len(kinds) < len(named):
            raise InvalidGlobalId
        names = self.context.parameter(
            lambda call: [n for n, _ in ids.parse(call.variables)], ARRAY(Text()), place.path
        )
        rows = self.context.parameter(lambda call: [i for _, i in ids.parse(call.variables)], ARRAY(Uuid()), place.path)
        alias = self.context.alias()
        listed = func.unnest(names, rows).table_valued("type", "id", with_ordinality="place")
        type_column, id_column = literal_column(f"{alias}.type", Text), literal_column(f"{alias}.id", Uuid)
        values = [(type_column == quoted(kind.name), self._member(kind, ids, place, id_column)) for kind in kinds]
        if self.context.viewer.actor is Actor.STAFF:
            found = [(kind, named_rows(kind, names, rows)) for kind in kinds]
            self._listed += [Listed(kind, listing) for kind, listing in found if listing is not None]
        value = case(*values, else_=NULL) if values else cast(NULL, JSON)
        members = func.json_agg(aggregate_order_by(value, literal_column(f"{alias}.place")))
        rows_of = listed.render_derived(name=alias)
        return select(func.coalesce(members, EMPTY_LIST)).select_from(rows_of).scalar_subquery()

    def _member(self, kind: ObjectType, ids: "Ids", place: Place, wanted: ColumnElement[Any]) -> Json:
        """The objects of one type in a list of several; what is denied of it concerns these members alone."""
        context = self.context
        context.members = ids.members(kind.name)
        try:
            return self._single(kind, place.selected.sets, lambda row: [row["id"] == wanted], place.path)
        except PlatformError as error:
            context.deny(place.path, error)
            return cast(NULL, JSON)
        finally:
            context.members = None


@dataclass(frozen=True)
class Ids:
    """The argument of ``nodes``. Raises InvalidGlobalId where one is malformed."""

    leaf: Leaf

    def members(self, type_name: str) -> Members:
        """Which places of the list hold objects of this type."""
        return lambda call, place: self.parse(call.variables)[place][0] == type_name

    def parse(self, variables: Variables) -> list[tuple[str, UUID]]:
        """Type names and row ids, in order."""
        given = self.leaf.read(variables)
        return [parse_global_id(str(one)) for one in (given if isinstance(given, list) else [given])]


def _pinned(row: Source | None, join: Join) -> list[str]:
    """Columns of related rows that a join ties to the subject of the row it starts from."""
    return [inner for outer, inner in join if row is not None and outer == row.subject]


def finish(
    context: Context, columns: Sequence[tuple[str, Json]], reads: Sequence[Recorded], *, holds: Sequence[Node] = ()
) -> Plan:
    """Make the plan of a statement with these columns; ``reads`` are recorded by the same statement."""
    values = [value for _, value in columns]
    is_shared = context.viewer.sharing is not None and bool(columns)
    if is_shared:
        values.append(_account(context))
    statement = select(*(_guarded(context, value).label(f"c{n}") for n, value in enumerate(values)))
    if reads:
        statement = statement.add_cte(*traces(context, reads))
    compiled = statement.compile(dialect=_DIALECT)
    names: Sequence[str] = compiled.positiontup or ()
    return Plan(
        sql=str(compiled) if columns else "",
        keys=tuple(key for key, _ in columns),
        slots=tuple(context.slots[name] for name in names),
        denied=tuple(context.denied),
        cursor_scopes=tuple(context.cursor_scopes),
        seal=context.seal,
        holds=holds,
        is_shared=is_shared,
        leaves_traces=bool(reads),
        each=frozenset(context.each),
    )


def _account(context: Context) -> Json:
    """What a partner's statement says about itself: whether the grant lives, and how many people it kept back."""
    counts = json_object(context.withheld)
    return json_object([("lives", context.lives()), ("withheld", counts)])


def _cohort(call: Call, name: str) -> list[Any]:
    return list(getattr(call.viewer.sharing, name, ()))


def _guarded(context: Context, value: Json) -> Json:
    """JSON of one column; for customers, evaluated only once the subject is set for this statement."""
    json = value if isinstance(value.type, ARRAY) else cast(value, JSON)
    if context.viewer.sharing is not None:
        return under_grant(context, json)
    if context.viewer.actor not in {Actor.CUSTOMER, Actor.ANONYMOUS}:
        return json
    return under_subject(context, json)
