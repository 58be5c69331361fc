"""A query over the ``customers`` connection becomes a statement for COPY: a line of JSON a customer, by ranges of ids.

The live path is left alone: this compiles beside it, once for a part. Connections inside a customer are complete
unless they name a page size; places in lists (cursors, page info) mean nothing in a file and are refused. Everything
that is denied is an error here, since nobody reads ``errors`` in the morning.
"""

import hashlib
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from graphql import FieldNode, NameNode
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    ColumnElement,
    Integer,
    LargeBinary,
    Select,
    Subquery,
    Text,
    Uuid,
    and_,
    any_,
    case,
    cast,
    exists,
    func,
    literal_column,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import asyncpg

from cdp.access import departures
from cdp.access.bulk import BULK_RULES, PERSONAL_SCOPE, READ_BY_EXCLUSION, Reason, exclusion, staying
from cdp.access.decision import Decision, Deny, Rules
from cdp.access.viewer import MissingScope, Viewer
from cdp.compiler import cohort
from cdp.compiler.arguments import Lifted
from cdp.compiler.cohort import bound
from cdp.compiler.context import Context, Selected, Sets
from cdp.compiler.cursors import CursorSeal
from cdp.compiler.document import Document
from cdp.compiler.filters import predicates
from cdp.compiler.graph import Connection, Field, Graph, Kind, ObjectType, Scalar
from cdp.compiler.limits import Limits
from cdp.compiler.pages import Conditions, ObjectJson, Page, Window
from cdp.compiler.plan import Call, Path, Slot
from cdp.compiler.render import Json, Source, global_id, json_object, quoted
from cdp.compiler.sql import Place, Statement
from cdp.compiler.tabular import Column, columns, flat
from cdp.core.errors import Forbidden, InvalidInput
from cdp.tables.bulk import customer_change
from cdp.tables.customer import customer
from cdp.tables.merge import MergeStatus, customer_merge
from cdp.tables.policy import collection
from cdp.tables.transfer import transfer_customer

ROOT = "customers"
TYPE = "Customer"
INNER_KEY, OUTER_KEY = "cdp.pseudonym_inner", "cdp.pseudonym_outer"
"""Settings of the session that hold the two padded keys of a recipient (RFC 2104), hexadecimal."""
PSEUDONYM_CHARACTERS = 32
_COST = 1_000_000_000
_DIALECT = asyncpg.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped
_ALL = literal_column("ALL", Integer)
# As packages do: https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA = r"^[-=+@\t\r\n＝＋－＠]"
_NUMBER = r"^-?[0-9]+(\.[0-9]+)?$"
_WRITTEN = frozenset({Kind.TEXT, Kind.JSON})
_ONE = literal_column("1", Integer)
_EVERYBODY = literal_column("'00000000-0000-0000-0000-000000000000'::uuid", Uuid)


class BulkQueryRefused(InvalidInput):
    """This query can not be exported."""

    code = "BULK_QUERY_REFUSED"


class PersonalFieldsRefused(Forbidden):
    """This identifies people: ask for a personal export, which a second person approves."""

    code = "PERSONAL_FIELDS_REFUSED"


@dataclass(frozen=True)
class BulkOptions:
    """What of an export shapes its statements."""

    needs_consent: bool = False
    personal: bool = False
    incremental: bool = False
    flat_json: bool = False
    """Whether values of type JSON become text, as table formats need it."""
    cells: bool = False
    """Whether a row is a column of text a cell instead of one JSON line; lists are JSON, no cell starts a formula."""
    transfer: bool = False
    """Whether it is for a cohort of an asset transfer: its customers alone, what the sold brand collected alone.

    Takes ``cohort``, ``brand`` and ``mixed`` as bounds too; customers have the ids by which the acquirer knows them.
    """


@dataclass(frozen=True)
class BulkQuery:
    """One statement and the names of its parameters in order."""

    sql: str
    names: tuple[str, ...]
    slots: Mapping[str, Slot]

    def bind(self, call: Call, bounds: Mapping[str, object]) -> list[Any]:
        """Values of the parameters: the caller's from the call, ours from ``bounds``."""
        return [self.slots[name].read(call) if name in self.slots else bounds[name] for name in self.names]


@dataclass(frozen=True)
class BulkPlan:
    """Everything an export runs. Its queries take ``lower upper suppressed purpose since areas`` as bounds.

    ``digest`` changes with whatever changes what comes out: the query, the rules, the schema.
    """

    output: BulkQuery
    counts: BulkQuery
    deleted: BulkQuery
    columns: tuple[Column, ...]
    areas: tuple[str, ...]
    digest: bytes
    call: Call
    left_out: BulkQuery | None = None
    """Of a transfer: who of the cohort is not in the output, as (record, reason)."""


class BulkCompiler:
    """Compiles exports. ``limits`` bound documents as they bound live ones, but for the cost: a part may take time."""

    def __init__(self, graph: Graph, limits: Limits, *, rules: Rules = BULK_RULES) -> None:
        self.graph = graph
        self._rules = rules
        self._limits = replace(limits, cost=_COST)
        self._seal = CursorSeal(secrets.token_bytes(32))  # no cursor ever leaves

    def compile(
        self,
        text: str,
        viewer: Viewer,
        options: BulkOptions,
        *,
        variables: Mapping[str, object] | None = None,
        operation_name: str | None = None,
    ) -> BulkPlan:
        """Raises what is wrong with document, variables or access; BulkQueryRefused, PersonalFieldsRefused."""
        document = Document(text, self.graph, self._limits)
        operation = document.operation(operation_name)
        if not operation.is_query:
            raise BulkQueryRefused("Only queries can be exported.")
        values = operation.coerce(variables)
        if options.personal:
            viewer = replace(viewer, scopes=viewer.scopes | {PERSONAL_SCOPE})
        context = Context(self.graph, self._rules, viewer, values, operation.fragments, self._seal)
        roots = context.collect("Query", (operation.node.selection_set,))
        if len(roots) != 1 or roots[0].name != ROOT:
            raise BulkQueryRefused("An export has exactly one root: the connection customers.")
        plan = _Export(context, self._limits, options, roots[0]).plan(Call(viewer, values, ""))
        for query in (plan.output, plan.counts, plan.deleted):
            for slot in query.slots.values():
                slot.read(plan.call)  # a value that can not be read fails now
        return plan


class _Customer(Statement):
    """Builds objects as a live statement does, with ids as the recipient may know them."""

    def __init__(self, context: Context, limits: Limits, options: BulkOptions) -> None:
        super().__init__(context, most=limits.page)
        self._options = options
        self.areas: set[str] = set()

    def line(self, fields: Sequence[Selected], row: Source, path: Path) -> Json:
        """The object of one customer."""
        keys = [one.key for one in fields]
        return json_object([*zip(keys, self.values(fields, row, path), strict=True)])

    def values(self, fields: Sequence[Selected], row: Source, path: Path) -> list[Json]:
        """What one customer has in these fields."""
        kind = self.context.target(TYPE)
        return [self._field(Place(kind, one, row, (*path, one.key))) for one in fields]

    def identifier(self, type_name: str, value: ColumnElement[Any]) -> Json:
        """An id as it leaves: the recipient's pseudonym of it, or the global id in a personal export."""
        if self._options.transfer:
            return cohort.record_of(value) if type_name == TYPE else pseudonym(type_name, value)
        return global_id(type_name, value) if self._options.personal else pseudonym(type_name, value)

    def visible(self, row: Source) -> Conditions:
        """Which customers may be exported at all."""
        return self._visible(self.context.target(TYPE), row)

    def _visible(self, kind: ObjectType, row: Source, pinned: Iterable[str] = ()) -> list[ColumnElement[bool]]:
        """The row rule of a type: of a transfer what its brand has collected, else what no sold brand has."""
        found = super()._visible(kind, row, pinned)
        if kind.table is None or kind.table is customer:
            return found
        if kind.table is collection:
            return [*found, row["brand_id"] == bound("brand", Uuid())] if self._options.transfer else found
        if "collection_id" in kind.table.c:
            found.append(
                cohort.collected(row["collection_id"]) if self._options.transfer else departures.kept(row, of_many=True)
            )
        return found

    def _value(self, place: Place, field: Field, decision: Decision) -> Json:
        if isinstance(field, Scalar) and place.row is not None:
            if field.kind is Kind.ID:
                return self.identifier(field.id_type or place.kind.name, field.sql(place.row))
            if field.kind is Kind.JSON and self._options.flat_json:
                return cast(super()._value(place, field, decision), Text)
        return super()._value(place, field, decision)

    def _source(self, kind: ObjectType) -> Source:
        assert kind.table is not None
        self.areas.add(kind.table.name)
        return super()._source(kind)

    def _connection(self, place: Place, field: Connection) -> Json:
        name, node = place.kind.name, place.selected.node
        target = self.context.target(field.target)
        assert target.table is not None
        self.note(field)
        self.areas.add(target.table.name)
        page = _CompletePage(
            self.context,
            field,
            self.context.arguments(name, node),
            place.path,
            coordinate=(name, field.name),
            most=self._most,
        )

        def conditions(related: Source) -> Conditions:
            return self._tied(field.join, field.where, place.row, related) + self._visible(target, related)

        def member(sets: Sets, related: Source, path: Path) -> Json:
            return self._object(target, sets, related, path)

        return page.sql(self.context.result_type(name, field.name), place.selected.sets, conditions, member)

    def note(self, field: Connection) -> None:
        """Note the tables that filters of a connection may look into."""
        self.areas |= {one.within[0].name for one in field.filters.values() if one.within}


class _CompletePage(Page):
    """A connection inside a customer: all of it, or the page its size names."""

    def _window(self, arguments: dict[str, Lifted]) -> Window:
        if arguments.get("after") is not None or arguments.get("before") is not None:
            raise BulkQueryRefused("Cursors have no meaning in an export.")
        if arguments.get("first") is None and arguments.get("last") is None:
            return Window(_ALL, None, backward=False, edge=None)
        return super()._window(arguments)

    def sql(self, type_name: str, sets: Sets, conditions: Any, node: ObjectJson) -> Json:  # noqa: ANN401  # see Page
        """The connection object, unless it asks for places in the list."""
        for one in self.context.collect(type_name, sets):
            edge = self.context.result_type(type_name, "edges")
            inner = self.context.collect(edge, one.sets) if one.name == "edges" else []
            if one.name == "pageInfo" or any(member.name == "cursor" for member in inner):
                raise BulkQueryRefused("Cursors and page info have no meaning in an export.")
        return super().sql(type_name, sets, conditions, node)


class _Export:
    """One export under construction: its lines, its counts, its tombstones."""

    def __init__(self, context: Context, limits: Limits, options: BulkOptions, root: Selected) -> None:
        field = context.graph.query.fields[ROOT]
        assert isinstance(field, Connection)
        self._context = context
        self._options = options
        self._root = root
        self._path: Path = (root.key,)
        self._field = field
        self._statement = _Customer(context, limits, options)

    def plan(self, call: Call) -> BulkPlan:
        """Build everything. Raises the first thing that is denied."""
        allowed = self._context.rules.decide(self._context.viewer, "Query", ROOT)
        if isinstance(allowed, Deny):
            raise allowed.error
        given = self._context.arguments("Query", self._root.node)
        if strange := sorted(name for name, value in given.items() if name != "filter" and value is not None):
            raise BulkQueryRefused(f"An export takes no {strange[0]}: it holds all that the filter selects.")
        sets, wanted = self._node_sets(), given.get("filter")
        fields = self._fields(sets)
        self._statement.note(self._field)
        shape = columns(self._context, TYPE, sets, customer)
        shape = shape if any(one.name == "id" for one in shape) else (Column("id", Kind.ID), *shape)
        try:
            output = self._cells(fields, shape, wanted) if self._options.cells else self._output(fields, wanted)
            counts, deleted = self._counts(wanted), self._deleted(wanted)
        except MissingScope as error:
            raise _refusal(error, self._path) from None
        for one in self._context.denied:
            raise _refusal(one.error, one.path)
        areas = tuple(sorted(self._statement.areas | set(READ_BY_EXCLUSION)))
        digest = hashlib.sha256("\n".join((output.sql, counts.sql, *areas)).encode()).digest()
        left_out = self._left_out(wanted) if self._options.transfer else None
        return BulkPlan(output, counts, deleted, shape, areas, digest, call, left_out)

    def _node_sets(self) -> Sets:
        connection = self._context.result_type("Query", ROOT)
        members = self._context.collect(connection, self._root.sets)
        if len(members) == 1 and members[0].name == "nodes":
            return members[0].sets
        if len(members) == 1 and members[0].name == "edges":
            edge = self._context.collect(self._context.result_type(connection, "edges"), members[0].sets)
            if len(edge) == 1 and edge[0].name == "node":
                return edge[0].sets
        raise BulkQueryRefused("An export asks its connection for nodes, and for nothing else.")

    def _fields(self, sets: Sets) -> list[Selected]:
        """What was asked of a customer, and always their id."""
        fields = self._context.collect(TYPE, sets)
        named = [one for one in fields if one.key == "id"]
        if not named:
            return [Selected("id", FieldNode(name=NameNode(value="id")), ()), *fields]
        if named[0].name != "id":
            raise BulkQueryRefused("The name id belongs to the customer's id.")
        return fields

    def _row(self) -> Source:
        return Source(self._context.alias(), customer, "id")

    def _cohort(self, given: Lifted, row: Source) -> Conditions:
        members = cohort.members().where(*_within(transfer_customer.c.customer_id))
        mine = [row["id"].in_(members)] if self._options.transfer else []
        return self._statement.visible(row) + mine + predicates(self._context, self._field, given, row, self._path)

    def _exclusion(self, row: Source) -> ColumnElement[str]:
        suppressed, purpose = bound("suppressed", ARRAY(Uuid())), bound("purpose", Text())
        left_out = exclusion(
            row,
            suppressed=suppressed,
            purpose=purpose,
            needs_consent=self._options.needs_consent,
            to_acquirer=self._options.transfer,
        )
        if not self._options.transfer:
            return left_out
        member = transfer_customer.c
        here = cohort.members().where(*_within(member.customer_id))  # the part's own, not the whole cohort each time
        objected = member.objected_at.is_not(None)
        unreached = and_(bound("bounced_stay", Boolean()), member.notice == quoted("bounced"))
        why = case(
            (row["id"].in_(here.where(objected)), quoted(Reason.OBJECTED.value)),
            else_=quoted(Reason.UNDELIVERABLE_NOTICE.value),
        )
        since = func.coalesce(left_out, staying(row, agreed_to=bound("agreed_to", Text())))
        return case((row["id"].in_(here.where(or_(objected, unreached))), why), else_=since)

    def _changed(self, key: ColumnElement[Any]) -> Conditions:
        """Whether anything this query reads of the customer changed; a change of what all share concerns all."""
        if not self._options.incremental:
            return []
        log = customer_change.alias("common")
        common = exists(_ONE).select_from(log).where(*_logged(log), log.c.customer_key == _EVERYBODY)
        return [or_(key.in_(_changes()), common)]

    def _output(self, fields: Sequence[Selected], given: Lifted) -> BulkQuery:
        row = self._row()
        line = self._statement.line(fields, row, self._path)
        if self._options.transfer:
            return self._query(select(line).select_from(self._members(row, given)).order_by(row["id"]))
        wanted = [*self._cohort(given, row), *_within(row["id"]), *self._changed(row["id"])]
        found = select(line).select_from(row.clause).where(*wanted, self._exclusion(row).is_(None))
        return self._query(found.order_by(row["id"]))

    def _members(self, row: Source, given: Lifted) -> Subquery:
        """Who of the cohort goes, in order, under the row's alias.

        Nothing is known of a cohort's size before its table is analysed. Whatever Postgres takes it for, it sorts
        rows of the customer here, never lines, so that the first line leaves before the last one is made.
        """
        source = self._row()
        named = [source[name].label(name) for name in {**row.used, "id": None}]
        wanted = [*self._cohort(given, source), *_within(source["id"]), self._exclusion(source).is_(None)]
        found = select(*named).select_from(source.clause).where(*wanted)
        return found.order_by(source["id"]).offset(literal_column("0", Integer)).subquery(row.alias)

    def _cells(self, fields: Sequence[Selected], shape: Sequence[Column], given: Lifted) -> BulkQuery:
        """One column of text a cell: objects are opened as ``tabular.flat`` opens them, lists stay JSON."""
        row = self._row()
        values = self._statement.values(fields, row, self._path)
        named = [value.label(f"c{place}") for place, value in enumerate(values)]
        wanted = [*self._cohort(given, row), *_within(row["id"]), *self._changed(row["id"])]
        inner = select(*named, row["id"].label("key")).select_from(row.clause).where(*wanted)
        found = inner.where(self._exclusion(row).is_(None)).subquery("line")
        cells = [
            _cell(found.c[f"c{place}"], path[1:], leaf) for place, one in enumerate(shape) for path, leaf in flat([one])
        ]
        return self._query(select(*cells).select_from(found).order_by(found.c.key))

    def _counts(self, given: Lifted) -> BulkQuery:
        row = self._row()
        wanted = [*self._cohort(given, row), *_within(row["id"]), *self._changed(row["id"])]
        reasons = select(self._exclusion(row).label("reason")).select_from(row.clause).where(*wanted).subquery()
        return self._query(select(reasons.c.reason, func.count()).group_by(reasons.c.reason))

    def _left_out(self, given: Lifted) -> BulkQuery:
        row = self._row()
        wanted, reason = [*self._cohort(given, row), *_within(row["id"])], self._exclusion(row)
        found = select(cohort.record_of(row["id"]), reason).select_from(row.clause)
        return self._query(found.where(*wanted, reason.is_not(None)))

    def _deleted(self, given: Lifted) -> BulkQuery:
        """Who changed and is not in the output of the same snapshot: gone, left out, or no longer selected."""
        row = self._row()
        changed = _changes().where(customer_change.c.customer_key != _EVERYBODY).distinct().subquery("changed")
        selected = func.coalesce(and_(true(), *self._cohort(given, row)), literal_column("false"))
        key = literal_column("changed.customer_key", Uuid)
        standing = case(
            (and_(row["id"].is_(None), _merged(key)), quoted("merged")),
            (row["id"].is_(None), quoted("deleted")),
            (~selected, quoted("out_of_cohort")),
            (self._exclusion(row).is_not(None), quoted("suppressed")),
            else_=literal_column("NULL::text", Text),
        )
        joined = changed.outerjoin(row.clause, row["id"] == key)
        graves = select(key.label("customer_key"), standing.label("reason")).select_from(joined).subquery("grave")
        buried = literal_column("grave.customer_key", Uuid)
        shown = self._statement.identifier(TYPE, buried)
        line = json_object([("id", shown), ("reason", literal_column("grave.reason", Text))])
        return self._query(select(line).select_from(graves).where(graves.c.reason.is_not(None)).order_by(buried))

    def _query(self, statement: Select[*tuple[Any, ...]]) -> BulkQuery:
        compiled = statement.compile(dialect=_DIALECT)
        names: Sequence[str] = compiled.positiontup or ()
        slots = self._context.slots
        return BulkQuery(str(compiled), tuple(names), {name: slots[name] for name in names if name in slots})


def _merged(key: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether a record is gone because it went into another one."""
    merge = customer_merge.alias("merge")
    standing: ColumnElement[bool] = literal_column(f"merge.status = '{MergeStatus.MERGED.value}'", Boolean)
    return exists(_ONE).select_from(merge).where(merge.c.merged_id == key, standing)


def _cell(value: ColumnElement[Any], path: Sequence[str], leaf: Column) -> ColumnElement[Any]:
    """A cell as text; what people wrote gets an apostrophe where a spreadsheet would take it for a formula."""
    for name in path[:-1]:
        value = value.op("->")(quoted(name))
    text = value.op("->>")(quoted(path[-1])) if path else cast(value, Text)
    if leaf.is_list or leaf.kind not in _WRITTEN:
        return text
    starts = func.ltrim(text, quoted(" ")).op("~")(quoted(_FORMULA))
    return case((and_(starts, text.op("!~")(quoted(_NUMBER))), func.concat(quoted("'"), text)), else_=text)


def pseudonym(type_name: str, value: ColumnElement[Any]) -> Json:
    """HMAC-SHA256 of ``Type:uuid`` under the recipient's key, 128 bits of it; the key is a setting of the session."""
    message = func.convert_to(quoted(f"{type_name}:") + cast(value, Text), quoted("UTF8"))
    inner = func.sha256(_key(INNER_KEY).op("||")(message), type_=LargeBinary())
    outer = func.sha256(_key(OUTER_KEY).op("||")(inner), type_=LargeBinary())
    return func.left(func.encode(outer, quoted("hex")), literal_column(str(PSEUDONYM_CHARACTERS)), type_=Text)


def _key(setting: str) -> ColumnElement[bytes]:
    return literal_column(f"(SELECT decode(current_setting('{setting}'), 'hex'))", LargeBinary)


def _within(key: ColumnElement[Any]) -> Conditions:
    lower, upper = bound("lower", Uuid()), bound("upper", Uuid())
    return [or_(lower.is_(None), key >= lower), or_(upper.is_(None), key < upper)]


def _logged(log: Any) -> Conditions:  # noqa: ANN401  # the table or an alias of it
    return [log.c.xid >= bound("since", BigInteger()), log.c.area == any_(bound("areas", ARRAY(Text())))]


def _changes() -> Select[Any]:
    log = customer_change
    return select(log.c.customer_key).where(*_logged(log), *_within(log.c.customer_key))


def _refusal(error: Any, path: Path) -> Exception:  # noqa: ANN401  # a PlatformError of any leaf
    """A denied field as an error of the whole export, with its place."""
    if isinstance(error, MissingScope) and error.extensions.get("scope") == PERSONAL_SCOPE:
        return PersonalFieldsRefused(path=list(path))
    refusal: Exception = type(error)(error.message, **error.extensions, path=list(path))
    return refusal
