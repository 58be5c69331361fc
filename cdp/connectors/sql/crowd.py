"""Many people at once in one database: their identifiers and tombstones in temporary tables, then a statement a table.

What becomes of each row is what their own requests would have made of it, so that each can still be verified alone. A
mapping that needs the key of each row's person (``keyed_hash`` on a column that names nobody) is not for crowds, and
neither are kept rows with a tombstone but no primary key.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    FromClause,
    MetaData,
    Select,
    Table,
    Text,
    Update,
    false,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.exc import DBAPIError

from cdp.connectors.base import Subject
from cdp.connectors.sql.database import hmac_of, keyed
from cdp.connectors.sql.mapping import Declared, IdentityRule, Rows, Strategy, TableRule
from cdp.connectors.sql.reach import KeySet, Reach, Remembered, Search, preserved, same_keys, sought
from cdp.connectors.sql.schema import is_text
from cdp.connectors.sql.strategies import (
    TOMBSTONE,
    buries,
    normalised,
    place_of,
    tombstone_or_noise,
    tombstone_room,
    uncut,
)

DIALECTS = frozenset({"postgresql", "sqlite"})
# Hashed subplans of Postgres have to fit, or they are loops over loops; of people who are all different a small sample
# says everything.
SETTINGS = {"work_mem": "256MB", "default_statistics_target": "10"}
LINES = 5_000
Place = tuple[str, int]


@dataclass(frozen=True)
class Crowd(Search):
    """Everything that finds many people in one database."""

    known: Mapping[Place, Table] = field(default_factory=dict)

    def prepare(self, connection: Connection, subjects: Sequence[Subject]) -> None:
        """Write what is known about them into temporary tables, one an identity column."""
        is_postgres = connection.dialect.name == "postgresql"
        for name, value in SETTINGS.items() if is_postgres else ():
            connection.execute(text(f"SET LOCAL {name} = '{value}'"))
        for rule in self.declared.tables:
            for number, identity in enumerate(rule.identities):
                table = self.known[rule.key, number]
                table.create(connection)
                fill = _copy if is_postgres else _insert
                fill(connection, table.name, self._tombstones(rule, identity, subjects))
                if is_postgres:
                    connection.execute(text(f"ANALYZE {table.name}"))

    def close(self, connection: Connection) -> None:
        """Drop the temporary tables."""
        for table in self.known.values():
            table.drop(connection)

    def buried(self, rule: TableRule) -> ColumnElement[bool]:
        """Kept rows of somebody after an erasure."""
        found: list[ColumnElement[bool]] = []
        for number, identity in enumerate(rule.identities) if rule.rows is Rows.KEEP else ():
            if preserved(rule, identity):
                found.append(self._carries(rule, identity))
            else:
                column = self.schema.tables[rule.key].c[identity.column]
                known = self.known[rule.key, number]
                found.append(buries(column) & column.in_(select(known.c.tombstone)))
        return or_(false(), *found)

    def reached(
        self, wanted: KeySet, keys: Iterable[ColumnElement[Any]], root: ColumnElement[bool], *more: ColumnElement[bool]
    ) -> Select[Any]:
        """The same, and beside the primary keys of kept rows the tombstones of those whom the row names."""
        table, rule = self.schema.tables[wanted[0]], self.declared.table(wanted[0])
        assert rule is not None
        if wanted[1] != tuple(column.name for column in table.primary_key) or not (hashed := _hashed(rule)):
            return super().reached(wanted, keys, root, *more)
        read: FromClause = table
        named: list[ColumnElement[bool]] = []
        tombstones: list[ColumnElement[Any]] = []
        for number, identity in hashed:
            known = self.known[rule.key, number]
            plain = normalised(table.c[identity.column], identity.normalise, self.functions)
            read = read.outerjoin(known, known.c.value == plain)
            named.append(known.c.value.is_not(None))
            tombstones.append(known.c.tombstone.label(f"t{number}"))
        # rows with an identifier that is preserved are buried ones, too
        return select(*keys, *tombstones).select_from(read).where(or_(*named, self.buried(rule), *more))

    def cut(self, rule: TableRule, reach: Reach) -> Update:
        """Tombstones were computed, each under the key of its request, and stand beside the key of their row."""
        if not _hashed(rule):
            return super().cut(rule, reach)
        assert isinstance(reach, Remembered)
        table, keys = self.schema.tables[rule.key], reach.primary(rule)
        assert keys is not None
        values = self.new_values(rule)
        for name in {identity.column for _, identity in _hashed(rule)}:
            own = [keys.c[f"t{number}"] for number, identity in _hashed(rule) if identity.column == name]
            values[name] = tombstone_or_noise(table.c[name], own, self.functions)
        return update(table).where(same_keys(keys, table.primary_key), uncut(rule, table)).values(values)

    def _carries(self, rule: TableRule, identity: IdentityRule) -> ColumnElement[bool]:
        column = self.schema.tables[rule.key].c[identity.column]
        known = self.known[rule.key, rule.identities.index(identity)]
        return normalised(column, identity.normalise, self.functions).in_(select(known.c.value))

    def _tombstones(self, rule: TableRule, identity: IdentityRule, subjects: Sequence[Subject]) -> dict[str, str]:
        """Everybody's identifiers for a column, each with its tombstone under the key of its own request."""
        column = self.schema.tables[rule.key].c[identity.column]
        room, context = tombstone_room(column), place_of(self.system, rule.key, identity.column)
        found: dict[str, str] = {}
        for subject in subjects:
            for one in subject.proven:
                for value in sought(identity, one):
                    found[value] = TOMBSTONE + hmac_of(keyed(subject.secret, context), value)[:room]
        return found


def crowd_of(search: Search) -> Crowd | None:
    """The same database for many people; None where its mapping or dialect needs them one by one."""
    if search.schema.dialect not in DIALECTS:
        return None
    for rule in search.declared.tables:
        table, named = search.schema.tables[rule.key], {identity.column for identity in rule.identities}
        if not all(is_text(table.c[name]) for name in named):
            return None
        keyed = {name for name, decided in rule.columns.items() if decided.strategy is Strategy.KEYED_HASH}
        if keyed - named or (keyed and not table.primary_key.columns):
            return None
    return Crowd(search.declared, search.schema, search.functions, (), b"", search.system, _known(search.declared))


def _hashed(rule: TableRule) -> list[tuple[int, IdentityRule]]:
    """Identity columns that take tombstones, with their numbers."""
    return [
        (number, identity)
        for number, identity in enumerate(rule.identities)
        if rule.rows is Rows.KEEP and not preserved(rule, identity)
    ]


def _known(declared: Declared) -> dict[Place, Table]:
    """A temporary table an identity column; nobody's identifier is in one twice."""
    places = [(rule.key, number) for rule in declared.tables for number in range(len(rule.identities))]
    metadata = MetaData()
    return {
        place: Table(
            f"cdp_known_{position}", metadata, Column("value", Text), Column("tombstone", Text), prefixes=["TEMPORARY"]
        )
        for position, place in enumerate(places)
    }


def _copy(connection: Connection, table: str, tombstones: Mapping[str, str]) -> None:
    raw: Any = connection.connection.cursor()
    lines = [f"{_escaped(value)}\t{tombstone}\n" for value, tombstone in tombstones.items()]
    try:
        with raw, raw.copy(f"COPY {table} FROM STDIN") as stream:
            for begin in range(0, len(lines), LINES):
                stream.write("".join(lines[begin : begin + LINES]))
    except connection.dialect.loaded_dbapi.Error as error:  # beside SQLAlchemy, which would have translated it
        raise DBAPIError("COPY", None, error, hide_parameters=True) from None


def _escaped(value: str) -> str:
    """As COPY wants a text (https://www.postgresql.org/docs/18/sql-copy.html#SQL-COPY-FILE-FORMATS)."""
    return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def _insert(connection: Connection, table: str, tombstones: Mapping[str, str]) -> None:
    if tombstones:
        connection.exec_driver_sql(f"INSERT INTO {table} VALUES (?, ?)", list(tombstones.items()))  # noqa: S608 - our own name
