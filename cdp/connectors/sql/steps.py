"""The steps against one open connection, in its transaction: read, count, erase with a read-back, verify."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    delete,
    func,
    literal_column,
    null,
    or_,
    select,
    text,
    union_all,
    update,
)

from cdp.connectors.base import Change, Code, Evidence, Outcome, Page, Retained, State
from cdp.connectors.records import record
from cdp.connectors.sql.mapping import Rows, Strategy, TableRule
from cdp.connectors.sql.reach import Nested, Reach, Remembered, Search
from cdp.connectors.sql.schema import delete_order, reading_order
from cdp.connectors.sql.strategies import uncut

PAGE_RECORDS = 500
# More tables than this in one statement would cost a planner more than temporary tables cost.
MOST_NESTED = 50
MOST_COUNTED = 100
# Triggers copy what goes into tables that may have been emptied before.
REPEATS = 2
# More than one row of the person misses the value; which of them is meant nobody said.
AMBIGUOUS = "AMBIGUOUS"


class LeftBehind(Exception):
    """The statements ran, and rows are still there: roll back."""

    def __init__(self, left: Mapping[str, int]) -> None:
        self.left = left
        super().__init__(Code.LEFT_BEHIND)


@dataclass(frozen=True)
class Step:
    """One person's rows in one transaction."""

    connection: Connection
    search: Search

    def read(self) -> Iterator[Page]:
        """Every reached row, whole, table by table."""
        reach = self._looking(erased_too=False)
        for rule in self.search.declared.tables:
            table = self.search.schema.tables[rule.key]
            found = self.connection.execute(
                select(table).where(reach.rows(rule)), execution_options={"yield_per": PAGE_RECORDS}
            )
            for rows in found.mappings().partitions():
                yield Page(rule.key, [record(dict(row)) for row in rows])
        reach.close()

    def check(self) -> Outcome:
        """Count what would go and what would stay."""
        reach = self._looking()
        going, retained = self._going(reach), self._retained(reach)
        reach.close()
        code = Code.FOUND if going or retained else Code.NOTHING_FOUND
        kept = {one.collection for one in retained}
        records = {name: count for name, count in going.items() if name not in kept}
        return Outcome(State.DONE, code, {"tables": self._touched(going)}, retained, records)

    def erase(self) -> Outcome:
        """Cut kept rows, delete the others, then read back what was meant. Raises LeftBehind; the caller rolls back."""
        reach = self._remembering()
        retained = self._retained(reach)
        touched = {**self._cut(reach), **self._delete(reach)}
        left = self._left(reach.rows_afterwards)  # also those whose way there is gone
        for _ in range(REPEATS):
            if not left:
                break
            self._delete(reach, again=True)
            left = self._left(reach.rows_afterwards)
        if left:
            raise LeftBehind(left)
        reach.close()
        records = {label(rule): touched[rule.key] for rule in self.search.declared.tables if touched.get(rule.key)}
        code = Code.ERASED if records or retained else Code.NOTHING_FOUND
        return Outcome(State.DONE, code, {"tables": self._touched(records), "read_back": True}, retained, records)

    def verify(self) -> Outcome:
        """Look for the identifiers, and through the tombstones for anything uncut."""
        reach = self._looking(only_erased=True)
        left, retained = self._left(reach.rows), self._retained(reach)
        reach.close()
        state, code = (State.FAILED, Code.LEFT_BEHIND) if left else (State.DONE, Code.NOTHING_LEFT)
        return Outcome(state, code, {"tables_read": len(self.search.declared.tables)}, retained, left)

    def correct(self, changes: Sequence[Change]) -> Outcome:
        """Give every row of the person that says an old value the new one, then read back. Raises LeftBehind.

        A value that was missing is filled in only where one row alone misses it: no other says which it is.
        """
        reach = self._remembering(erased_too=False)
        places = [
            (rule, name, one)
            for rule in self.search.declared.tables
            for name, said in rule.corrects.items()
            for one in changes
            if said == f"{one.object}.{one.field}"
        ]
        if any(one.old is None and self._saying(reach, rule, name, one)[1] > 1 for rule, name, one in places):
            reach.close()
            return Outcome(State.FAILED, AMBIGUOUS)
        changed = 0
        for rule, name, one in places:  # a statement each: they are other values of other columns
            where, _ = self._saying(reach, rule, name, one)
            table = self.search.schema.tables[rule.key]
            changed += self.connection.execute(update(table).where(where).values({name: one.new})).rowcount
            if left := self._count(rule, where):
                raise LeftBehind({label(rule): left})
        reach.close()
        if {one for _, _, one in places} < set(changes):
            return Outcome(State.UNSUPPORTED, Code.NOT_OFFERED, records={"values": changed})
        code = Code.CORRECTED if changed else Code.NOTHING_FOUND
        return Outcome(State.DONE, code, {"read_back": True}, records={"values": changed})

    def _saying(self, reach: Reach, rule: TableRule, name: str, change: Change) -> tuple[ColumnElement[bool], int]:
        """The person's rows that say the old value in a column, and how many there are."""
        column = self.search.schema.tables[rule.key].c[name]
        says = column.is_(None) if change.old is None else self.search.exactly(column).in_([change.old])
        where = and_(reach.rows(rule), says)
        return where, self._count(rule, where)

    def _looking(self, *, erased_too: bool = True, only_erased: bool = False) -> Reach:
        """For a step that changes nothing."""
        order = reading_order(self.search.declared)
        if order is None or len(order) > MOST_NESTED:
            return self._remembering(erased_too=erased_too, only_erased=only_erased)
        return Nested(self.search, self._roots(erased_too=erased_too, only_erased=only_erased), order)

    def _remembering(self, *, erased_too: bool = True, only_erased: bool = False) -> Remembered:
        return Remembered(self.connection, self.search, self._roots(erased_too=erased_too, only_erased=only_erased))

    def _roots(self, *, erased_too: bool, only_erased: bool) -> dict[str, ColumnElement[bool]]:
        roots: dict[str, ColumnElement[bool]] = {}
        for rule in self.search.declared.tables:
            named, buried = self.search.named(rule), self.search.buried(rule)
            roots[rule.key] = buried if only_erased else or_(named, buried) if erased_too else named
        return roots

    def _going(self, reach: Reach) -> dict[str, int]:
        wanted: list[tuple[TableRule, ColumnElement[bool]]] = []
        for rule in self.search.declared.tables:
            where = reach.rows(rule)
            if rule.rows is Rows.KEEP:
                where = and_(where, uncut(rule, self.search.schema.tables[rule.key]))
            wanted.append((rule, where))
        return self._counted(wanted)

    def _touched(self, counts: Mapping[str, int]) -> dict[str, Evidence]:
        """Rows that are deleted or cut, by table: which of both it is."""
        return {
            label(rule): {"deleted" if rule.rows is Rows.DELETE else "cut": counts[label(rule)]}
            for rule in self.search.declared.tables
            if label(rule) in counts
        }

    def _retained(self, reach: Reach) -> tuple[Retained, ...]:
        kept = [rule for rule in self.search.declared.tables if rule.retention is not None]
        sizes = {label(rule): size for rule in kept if (size := reach.size(rule)) is not None}
        counted = sizes | self._counted([(rule, reach.rows(rule)) for rule in kept if label(rule) not in sizes])
        return tuple(
            Retained(label(rule), counted[label(rule)], rule.retention.basis, self._until(reach, rule))
            for rule in kept
            if rule.retention is not None and counted.get(label(rule))
        )

    def _until(self, reach: Reach, rule: TableRule) -> date | None:
        assert rule.retention is not None
        if rule.retention.since is None or rule.retention.years is None:
            return None
        other, _, name = rule.retention.since.rpartition(".")
        dated = self.search.declared.table(other) if other else rule
        assert dated is not None
        column = self.search.schema.tables[dated.key].c[name]
        return _years_after(
            self.connection.scalar(select(func.max(column)).where(reach.rows(dated))), rule.retention.years
        )

    def _cut(self, reach: Remembered) -> dict[str, int]:
        """One UPDATE a table with kept rows; rows that are already cut are left alone."""
        counts: dict[str, int] = {}
        for rule in self.search.declared.tables:
            if rule.rows is Rows.KEEP and any(c.strategy is not Strategy.PRESERVE for c in rule.columns.values()):
                counts[rule.key] = self.connection.execute(self.search.cut(rule, reach)).rowcount
        return counts

    def _delete(self, reach: Remembered, *, again: bool = False) -> dict[str, int]:
        """One DELETE a table, children first; rings of foreign keys are deferred or loosened."""
        order = delete_order(self.search.declared, self.search.schema)
        is_deferrable = any(reference.deferrable for reference in self.search.schema.references)
        match self.search.schema.dialect:
            case "sqlite" if is_deferrable:
                self.connection.execute(text("PRAGMA defer_foreign_keys = ON"))
            case "postgresql" if is_deferrable:
                self.connection.execute(text("SET CONSTRAINTS ALL DEFERRED"))
        for key, columns in order.loosen:
            rule = self._rule(key)
            nothing = dict.fromkeys(columns, null())
            table = self.search.schema.tables[key]
            self.connection.execute(update(table).where(reach.rows(rule)).values(nothing))
        counts: dict[str, int] = {}
        loosened = {key for key, _ in order.loosen}
        for key in order.tables:
            where = self._whole(reach, self._rule(key), changed=again or key in loosened)
            counts[key] = self.connection.execute(delete(self.search.schema.tables[key]).where(where)).rowcount
        return counts

    def _left(self, rows: Callable[[TableRule], ColumnElement[bool]]) -> dict[str, int]:
        """Rows that should be gone or cut and are not."""
        wanted: list[tuple[TableRule, ColumnElement[bool]]] = []
        for rule in self.search.declared.tables:
            if rule.rows is Rows.DELETE:
                left = or_(self.search.named(rule), rows(rule))
            else:
                # most rows are cut, and a database asks in this order: whose a row is then costs nothing
                wrong = or_(uncut(rule, self.search.schema.tables[rule.key]), self.search.mentioned(rule))
                left = or_(self.search.exposed(rule), and_(wrong, rows(rule)))
            wanted.append((rule, left))
        return self._counted(wanted)

    def _whole(self, reach: Remembered, rule: TableRule, *, changed: bool) -> ColumnElement[bool]:
        """The person's rows of a table, also those whose way there was just set NULL."""
        return reach.rows_afterwards(rule) if changed else reach.rows(rule)

    def _count(self, rule: TableRule, where: ColumnElement[bool]) -> int:
        return self._counted([(rule, where)]).get(label(rule), 0)

    def _counted(self, wanted: Sequence[tuple[TableRule, ColumnElement[bool]]]) -> dict[str, int]:
        """How many rows there are of each table, in one statement (or a few); tables without any are left out."""
        counts: list[Select[Any, Any]] = [
            select(literal_column(str(place)).label("place"), func.count().label("number"))
            .select_from(self.search.schema.tables[rule.key])
            .where(where)
            for place, (rule, where) in enumerate(wanted)
        ]
        found: dict[str, int] = {}
        for begin in range(0, len(counts), MOST_COUNTED):
            some = counts[begin : begin + MOST_COUNTED]
            rows = self.connection.execute(some[0] if len(some) == 1 else union_all(*some))
            found |= {label(wanted[row.place][0]): row.number for row in rows if row.number}
        return found

    def _rule(self, key: str) -> TableRule:
        rule = self.search.declared.table(key)
        assert rule is not None
        return rule


def label(rule: TableRule) -> str:
    """A table's name as evidence may carry it."""
    return re.sub(r"[^A-Za-z0-9_.:-]", "_", rule.key)[:200]


def _years_after(moment: object, years: int) -> date | None:
    """The day ``years`` after a moment; databases without a date type keep it as text."""
    if isinstance(moment, str):
        try:
            moment = date.fromisoformat(moment[:10])
        except ValueError:
            return None
    if isinstance(moment, datetime):
        moment = moment.date()
    if not isinstance(moment, date):
        return None
    try:
        return moment.replace(year=moment.year + years)
    except ValueError:
        return moment.replace(year=moment.year + years, day=28)
