"""Relay connections as SQL: keyset pages, their cursors, page info and totals, in one subquery each.

The page's rows come from an ordered, limited subquery, so an index on the sort key serves them; one more row than
asked for says whether there is a next page. Source: https://relay.dev/graphql/connections.htm
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import (
    CTE,
    Boolean,
    ColumnElement,
    Integer,
    Select,
    Text,
    Uuid,
    cast,
    func,
    literal_column,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.sql.selectable import Subquery

from cdp.access.decision import OutsideGrant
from cdp.compiler.arguments import Leaf, Lifted, page_shape
from cdp.compiler.context import Context, Selected, Sets
from cdp.compiler.filters import TYPES, predicates, searches
from cdp.compiler.graph import Connection, Kind, Ordering
from cdp.compiler.limits import DEFAULT_PAGE, PageTooLarge
from cdp.compiler.plan import Call, Path
from cdp.compiler.render import EMPTY_LIST, NULL, Json, Pair, Source, constant, json_object, position, quoted
from cdp.core.errors import InvalidInput

ObjectJson: TypeAlias = Callable[[Sets, Source, Path], Json]
Conditions: TypeAlias = list[ColumnElement[bool]]
_ONE = literal_column("1", Integer)
TELLS_NOBODY = frozenset({"Customer.kind", "Customer.country", "Customer.locale"})
"""What a partner may filter and sort by and still hear how many are withheld."""


@dataclass(frozen=True)
class Window:
    """Which page is asked for. ``size`` is a literal or a parameter; ``about`` bounds a parameter for the planner."""

    size: ColumnElement[int]
    about: int | None
    backward: bool
    edge: Leaf | None


@dataclass(frozen=True)
class Sorting:
    """In which order; ties are broken by id in the same direction."""

    by: Ordering
    descending: bool


class Page:
    """One connection under construction."""

    def __init__(
        self,
        context: Context,
        field: Connection,
        arguments: dict[str, Lifted],
        path: Path,
        *,
        coordinate: tuple[str, str],
        most: int,
    ) -> None:
        self.context = context
        self.field = field
        self.path = path
        self.most = most
        target = context.target(field.target)
        assert target.table is not None
        self.row = Source(context.alias(), target.table, target.subject_column)
        self.inner = Source(context.alias(), target.table, target.subject_column)
        self.window = self._window(arguments)
        self.sorting = self._sorting(arguments.get("orderBy"))
        self.scope = f"{'.'.join(coordinate)}:{self.sorting.by.name}:{self.sorting.descending}".encode()
        self.filter = arguments.get("filter")
        self.needs_more = False
        self.needs_position = False
        self.is_kept = False
        """Whether ``shown`` is asked for: then the page's rows stand in a common table expression."""
        self.withheld: Callable[[Source], ColumnElement[bool]] | None = None
        """Whether a row is on the page but not shown, where that can be."""
        self.left_out: Callable[[Source], ColumnElement[bool]] | None = None
        """The same where who is not shown is not on the page either."""
        self._kept: CTE | None = None

    def sql(self, type_name: str, sets: Sets, conditions: Callable[[Source], Conditions], node: ObjectJson) -> Json:
        """The connection object. ``conditions`` tie a row to its parent and to the viewer."""
        fields = self.context.collect(type_name, sets)
        self.needs_more = any(one.name == "pageInfo" for one in fields)
        filters = predicates(self.context, self.field, self.filter, self.inner, self.path)
        is_telling = self._keep_quiet()
        pairs = [(one.key, self._member(type_name, one, node)) for one in fields]
        totals = {one.key for one in fields if one.name == "totalCount"}
        wanted = conditions(self.inner) + filters
        if self.left_out is not None:
            wanted.append(~self.left_out(self.inner))
        if is_telling:
            for key in totals:
                self.context.deny((*self.path, key), OutsideGrant())
            pairs, totals = [(key, NULL if key in totals else value) for key, value in pairs], set()
        counted = [(key, self._total(wanted) if key in totals else value) for key, value in pairs]
        if all(one.name in {"totalCount", "__typename"} for one in fields):
            return json_object(counted)
        page = select(json_object(counted)).select_from(self._rows(wanted))
        return page.having(literal_column("true")).scalar_subquery()  # one row, even where nothing aggregates

    def _keep_quiet(self) -> bool:
        """Leave out who is withheld where their number would tell who they are; whether it would.

        Whoever asks for an address or a part of a name and hears that one was withheld has found them. Nor is anybody
        only counted then, since a count leaves no disclosure.
        """
        if self.withheld is None or self.context.matched <= TELLS_NOBODY:
            return False
        self.left_out, self.withheld = self.withheld, None
        return True

    def _member(self, type_name: str, one: Selected, node: ObjectJson) -> Json:
        path = (*self.path, one.key)
        match one.name:
            case "nodes":
                return self._list(node(one.sets, self.row, path))
            case "edges":
                return self._list(self._edge(self.context.result_type(type_name, "edges"), one.sets, path, node))
            case "pageInfo":
                return self._page_info(one.sets)
            case "__typename":
                return quoted(type_name)
            case _:
                return literal_column("0")

    def _edge(self, type_name: str, sets: Sets, path: Path, node: ObjectJson) -> Json:
        pairs: list[Pair] = []
        for one in self.context.collect(type_name, sets):
            match one.name:
                case "node":
                    pairs.append((one.key, node(one.sets, self.row, (*path, one.key))))
                case "cursor":
                    pairs.append((one.key, self._cursor()))
                case _:
                    pairs.append((one.key, quoted(type_name)))
        return json_object(pairs)

    def _list(self, item: Json) -> Json:
        keys = [self._column("k0"), self._column("k1")]
        return func.coalesce(self._gather(item, keys, descending=self.sorting.descending), EMPTY_LIST)

    def _gather(
        self, item: Json, keys: list[ColumnElement[Any]], *, descending: bool, is_whole: bool = False
    ) -> ColumnElement[Any]:
        order = [key.desc() if descending else key.asc() for key in keys]
        gathered = func.json_agg(aggregate_order_by(item, *order))
        conditions = self._of_page()
        if self.withheld is not None and not is_whole:
            conditions.append(~self._is_withheld())
        return gathered.filter(*conditions) if conditions else gathered

    def _of_page(self) -> Conditions:
        """What tells the page's rows from the one that follows."""
        return [self._column("rn") <= self.window.size] if self.needs_more else []

    def _is_withheld(self) -> ColumnElement[bool]:
        return literal_column(f"{self.row.alias}.is_withheld", Boolean)

    def _page_info(self, sets: Sets) -> Json:
        more = func.count() > self.window.size
        beyond = constant(self.window.edge is not None)
        ahead, behind = (beyond, more) if self.window.backward else (more, beyond)
        pairs: list[Pair] = []
        for one in self.context.collect("PageInfo", sets):
            match one.name:
                case "hasNextPage":
                    pairs.append((one.key, ahead))
                case "hasPreviousPage":
                    pairs.append((one.key, behind))
                case "startCursor":
                    pairs.append((one.key, self._end_cursor(last=self.window.backward)))
                case "endCursor":
                    pairs.append((one.key, self._end_cursor(last=not self.window.backward)))
                case _:
                    pairs.append((one.key, quoted("PageInfo")))
        return json_object(pairs)

    def _end_cursor(self, *, last: bool) -> Json:
        # Also where everybody is withheld there is a next page, and a cursor that leads to it.
        gathered = self._gather(self._cursor(), [self._column("rn")], descending=last, is_whole=True)
        return gathered.op("->")(literal_column("0"))

    def _cursor(self) -> Json:
        self.needs_position = True
        mark = self.context.mark()
        return mark + quoted(f"{self.context.cursor_scope(self.scope)}:") + self._column("position") + mark

    def _column(self, name: str) -> ColumnElement[Any]:
        return literal_column(f"{self.row.alias}.{name}", Integer if name == "rn" else Text)

    def _total(self, wanted: Conditions) -> Json:
        counted = select(func.count()).select_from(self.inner.clause).where(*wanted)
        if self.withheld is not None:
            counted = counted.where(~self.withheld(self.inner))
        return counted.scalar_subquery()

    def shown(self) -> Select[Any] | None:
        """Whose rows the page shows, and which: customer id and row id. None where it only counts."""
        if self._kept is None or self.row.subject is None:
            return None
        listed = select(self._column(self.row.subject).label("subject"), self._column("k1").label("row"))
        listed = listed.select_from(self._kept).where(*self._of_page())
        return listed if self.withheld is None else listed.where(~self._is_withheld())

    def kept_back(self) -> ColumnElement[int] | None:
        """How many of the page's rows are withheld; None where that can not be."""
        if self._kept is None or self.withheld is None:
            return None
        counted = select(func.count()).select_from(self._kept).where(*self._of_page(), self._is_withheld())
        return counted.scalar_subquery()

    def _rows(self, wanted: Conditions) -> Subquery | CTE:
        if not self.is_kept or self.row.subject is None:
            return self._ordered(wanted).subquery(self.row.alias)
        self.row[self.row.subject]  # has the column provided
        self._kept = self._ordered(wanted).cte(self.row.alias)
        return self._kept

    def _ordered(self, wanted: Conditions) -> Select[Any]:
        key, identity = self.sorting.by.key.sql(self.inner), self.inner["id"]
        down = self.sorting.descending is not self.window.backward
        columns: list[ColumnElement[Any]] = [self.inner[name].label(name) for name in self.row.used]
        columns += [key.label("k0"), identity.label("k1")]
        if self.needs_position:
            place = func.json_build_array(position(key, self.sorting.by.key.kind), identity)
            columns.append(cast(place, Text).label("position"))
        if self.withheld is not None:
            columns.append(self.withheld(self.inner).label("is_withheld"))
        order = [key.desc(), identity.desc()] if down else [key.asc(), identity.asc()]
        if self.needs_more:
            columns.append(func.row_number().over(order_by=order).label("rn"))
        rows = self._found(wanted).with_only_columns(*columns).order_by(*order)
        if self.window.edge is not None:
            rows = rows.where(self._beyond(key, identity, self.window.edge, down=down))
        size = self.window.size + _ONE if self.needs_more else self.window.size
        if self.window.about is None:
            return rows.limit(size)
        bounded = rows.limit(literal_column(str(self.window.about + 1))).subquery(self.context.alias())
        return select(bounded).limit(size)

    def _found(self, wanted: Conditions) -> Select[Any]:
        """Rows that fit, to be ordered and cut.

        A searched text fits few rows anywhere in the order: these are found first. Plans are generic, and by the
        planner's guess of how many fit it would rather walk along the order until a page is full: through the table.
        """
        if not searches(self.filter):
            return select().select_from(self.inner.clause).where(*wanted)
        found = select(*(self.inner[name] for name in self.inner.used)).select_from(self.inner.clause).where(*wanted)
        return select().select_from(found.offset(literal_column("0")).subquery(self.inner.alias))

    def _beyond(
        self, key: ColumnElement[Any], identity: ColumnElement[Any], edge: Leaf, *, down: bool
    ) -> ColumnElement[bool]:
        kinds = (self.sorting.by.key.kind, Kind.ID)
        seal, scope = self.context.seal, self.scope

        def part(number: int) -> Callable[[Call], object]:
            return lambda call: seal.open(edge.read(call.variables), scope, call.viewer, kinds)[number]

        values = tuple_(
            self.context.parameter(part(0), TYPES[kinds[0]], self.path),
            self.context.parameter(part(1), Uuid(), self.path),
        )
        place = tuple_(key, identity)
        return place < values if down else place > values

    def _window(self, arguments: dict[str, Lifted]) -> Window:
        first, last = arguments.get("first"), arguments.get("last")
        after, before = arguments.get("after"), arguments.get("before")
        if first is not None and last is not None:
            raise InvalidInput("Ask for first or last, not for both.")
        backward = last is not None
        if (before if not backward else after) is not None:
            raise InvalidInput("Ask for first with after, or for last with before.")
        edge = before if backward else after
        size, about = self._size(last if backward else first)
        return Window(size, about, backward, edge if isinstance(edge, Leaf) else None)

    def _size(self, given: Lifted) -> tuple[ColumnElement[int], int | None]:
        if not isinstance(given, Leaf):
            return literal_column(str(DEFAULT_PAGE), Integer), None
        value = given.read({}) if given.is_fixed else None
        if isinstance(value, int):
            return literal_column(str(checked_size(value, self.most)), Integer), None
        about = page_shape(given.value)
        most = self.most
        size = self.context.parameter(lambda call: checked_size(given.read(call.variables), most), Integer(), self.path)
        return size, about if isinstance(about, int) else 1

    def _sorting(self, given: Lifted) -> Sorting:
        name, down = self.field.default, self.field.default_descending
        if isinstance(given, dict):
            chosen, direction = given.get("field"), given.get("direction")
            name = getattr(chosen.value, "name", name) if isinstance(chosen, Leaf) else name
            down = getattr(direction.value, "name", "") == "DESC" if isinstance(direction, Leaf) else down
            self.context.require_disclosable(self.field.orderings[name].discloses, exact=False)
        return Sorting(self.field.orderings[name], down)


def checked_size(value: object, most: int) -> int:
    """A page size within bounds. Raises PageTooLarge, InvalidInput."""
    if not isinstance(value, int) or value < 0:
        raise InvalidInput("A page size can not be negative.")
    if value > most:
        raise PageTooLarge(limit=most)
    return value
