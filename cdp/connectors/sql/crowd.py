"""Many people at once in one database: their identifiers and tombstones in a temporary table, then a statement a table.

What becomes of each row is what their own requests would have made of it, so that each can still be verified alone. A
mapping that needs the key of each row's person (``keyed_hash`` on a column that names nobody) is not for crowds.
"""

import hmac
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Index, MetaData, Table, Text, false, or_, select, text

from cdp.connectors.base import Subject
from cdp.connectors.sql.database import hmac_of
from cdp.connectors.sql.mapping import IdentityRule, Rows, Strategy, TableRule
from cdp.connectors.sql.reach import Search, preserved
from cdp.connectors.sql.schema import is_text
from cdp.connectors.sql.strategies import (
    TOMBSTONE,
    normalised,
    place_of,
    tombstone_or_noise,
    tombstone_room,
)

DIALECTS = frozenset({"postgresql", "sqlite"})
# A hashed subplan of Postgres has to fit, or it is a loop over a loop.
WORK_MEM = "256MB"
NAME = "cdp_known"
Line = tuple[str, str, str]


def _known() -> Table:
    columns = (Column(name, Text) for name in ("place", "value", "tombstone"))
    return Table(NAME, MetaData(), *columns, prefixes=["TEMPORARY"])


@dataclass(frozen=True)
class Crowd(Search):
    """Everything that finds many people in one database."""

    known: Table = field(default_factory=_known)

    def prepare(self, connection: Connection, subjects: Sequence[Subject]) -> None:
        """Write what is known about them into the temporary table."""
        is_postgres = connection.dialect.name == "postgresql"
        if is_postgres:
            connection.execute(text(f"SET LOCAL work_mem = '{WORK_MEM}'"))
        self.known.create(connection)
        lines = self._lines(subjects)
        if is_postgres:
            _copy(connection, lines)
        else:
            connection.exec_driver_sql(f"INSERT INTO {NAME} VALUES (?, ?, ?)", list(lines))  # noqa: S608 - our own name
        Index(f"{NAME}_value", self.known.c.place, self.known.c.value).create(connection)
        connection.execute(text(f"ANALYZE {NAME}"))

    def close(self, connection: Connection) -> None:
        """Drop the temporary table."""
        self.known.drop(connection)

    def buried(self, rule: TableRule) -> ColumnElement[bool]:
        """Kept rows of somebody after an erasure."""
        found: list[ColumnElement[bool]] = []
        for identity in rule.identities if rule.rows is Rows.KEEP else ():
            if preserved(rule, identity):
                found.append(self._carries(rule, identity))
            else:
                column = self.schema.tables[rule.key].c[identity.column]
                found.append(column.in_(self._of(rule, identity, "tombstone")))
        return or_(false(), *found)

    def new_values(self, rule: TableRule) -> dict[str, ColumnElement[Any]]:
        """What the columns of a kept row become: tombstones were computed, each under the key of its request."""
        values = super().new_values(rule)
        for identity in rule.identities:
            if rule.columns[identity.column].strategy is Strategy.KEYED_HASH:
                column = self.schema.tables[rule.key].c[identity.column]
                plain = normalised(column, identity.normalise, self.functions)
                own = self._of(rule, identity, "tombstone").where(self.known.c.value == plain).limit(1)
                buried = own.correlate(self.schema.tables[rule.key]).scalar_subquery()
                values[identity.column] = tombstone_or_noise(column, buried, self.functions)
        return values

    def _carries(self, rule: TableRule, identity: IdentityRule) -> ColumnElement[bool]:
        column = self.schema.tables[rule.key].c[identity.column]
        return normalised(column, identity.normalise, self.functions).in_(self._of(rule, identity, "value"))

    def _of(self, rule: TableRule, identity: IdentityRule, column: str) -> Any:  # noqa: ANN401 - a subquery of any kind
        return select(self.known.c[column]).where(self.known.c.place == _place(rule, identity))

    def _lines(self, subjects: Sequence[Subject]) -> Iterator[Line]:
        """Everybody's identifiers, column by column, each with its tombstone under the key of its own request."""
        for rule in self.declared.tables:
            for identity in rule.identities:
                column = self.schema.tables[rule.key].c[identity.column]
                place, room = _place(rule, identity), tombstone_room(column)
                context = place_of(self.system, rule.key, identity.column)
                for subject in subjects:
                    values = self.values_of(identity, subject.proven)
                    key = hmac.digest(subject.secret, context, "sha256") if values else b""
                    for value in values:
                        yield place, value, TOMBSTONE + hmac_of(key, value)[:room]


def crowd_of(search: Search) -> Crowd | None:
    """The same database for many people; None where its mapping or dialect needs them one by one."""
    if search.schema.dialect not in DIALECTS:
        return None
    for rule in search.declared.tables:
        named = {identity.column for identity in rule.identities}
        if not all(is_text(search.schema.tables[rule.key].c[name]) for name in named):
            return None
        keyed = {name for name, decided in rule.columns.items() if decided.strategy is Strategy.KEYED_HASH}
        if keyed - named:
            return None
    nobody = replace(search, identifiers=(), secret=b"")
    return Crowd(nobody.declared, nobody.schema, nobody.functions, (), b"", nobody.system)


def _place(rule: TableRule, identity: IdentityRule) -> str:
    return f"{rule.key}/{rule.identities.index(identity)}"


def _copy(connection: Connection, lines: Iterator[Line]) -> None:
    raw: Any = connection.connection.cursor()
    with raw, raw.copy(f"COPY {NAME} FROM STDIN") as stream:
        for line in lines:
            stream.write_row(line)
