"""The real tables behind a mapping, read anew for every step: a database that changed must not be erased by an old map.

``problems`` refuses what would end in a false success later: a table or column that is not there, a column of a kept
row that nobody decided about, a strategy its column can not take, foreign keys that no order of statements satisfies.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from graphlib import CycleError, TopologicalSorter
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, MetaData, Table, TextClause, inspect, text
from sqlalchemy.engine.interfaces import ReflectedColumn
from sqlalchemy.types import Boolean, Date, DateTime, Enum, Integer, Numeric, String

from cdp.connectors.base import Problem
from cdp.connectors.sql.database import MARIADB, functions
from cdp.connectors.sql.mapping import ColumnRule, Declared, Normalise, Rows, Strategy, TableRule
from cdp.tables.customer import IdentityType

TOMBSTONE_MIN_LENGTH = 24
SYSTEM_SCHEMAS = {"information_schema", "pg_catalog", "temp", "mysql", "performance_schema", "sys"}
HASHES = {Strategy.HASH, Strategy.KEYED_HASH, Strategy.RANDOM}


@dataclass(frozen=True)
class Reference:
    """A foreign key between two mapped tables, as the database has it."""

    child: str
    columns: tuple[str, ...]
    parent: str
    deferrable: bool


@dataclass(frozen=True)
class Schema:
    """The mapped tables that exist, by the mapping's key, and the foreign keys between them."""

    dialect: str
    tables: Mapping[str, Table]
    references: tuple[Reference, ...]
    unique: Mapping[str, tuple[frozenset[str], ...]]
    unsafe: frozenset[str] = frozenset()  # tables whose engine can not undo
    # Temporary tables of keys, by their number, the keys they hold and how many columns stand beside: a table made anew
    # would be compiled anew everywhere.
    made: dict[tuple[int, tuple[str, tuple[str, ...]], int], tuple[TextClause, Table]] = field(
        default_factory=dict, compare=False, repr=False
    )


@dataclass(frozen=True)
class DeleteOrder:
    """Tables whose rows go, children first; ``loosen``: columns to set NULL before, where foreign keys form a ring."""

    tables: tuple[str, ...]
    loosen: tuple[tuple[str, tuple[str, ...]], ...]
    unbreakable: tuple[str, ...]


def reflect(connection: Connection, declared: Declared) -> Schema:
    """Read the mapped tables, their columns and keys."""
    inspector = inspect(connection)
    home = inspector.default_schema_name
    by_place = {(rule.schema or home, rule.name): rule for rule in declared.tables}
    metadata = MetaData()
    tables: dict[str, Table] = {}
    unique: dict[str, tuple[frozenset[str], ...]] = {}
    references: list[Reference] = []
    for schema in sorted({rule.schema for rule in declared.tables}, key=str):
        names = {rule.name for rule in declared.tables if rule.schema == schema}
        present = sorted(names & set(inspector.get_table_names(schema=schema)))
        read = partial(_by_name, schema, present)
        columns, primary = read(inspector.get_multi_columns), read(inspector.get_multi_pk_constraint)
        single, indexes = read(inspector.get_multi_unique_constraints), read(inspector.get_multi_indexes)
        foreign = read(inspector.get_multi_foreign_keys)
        for name in present:
            rule = by_place[schema or home, name]
            key = set(primary[name]["constrained_columns"])
            tables[rule.key] = Table(name, metadata, *(_column(one, key) for one in columns[name]), schema=schema)
            unique[rule.key] = tuple(
                frozenset(one["column_names"])
                for one in (*single.get(name, ()), *indexes.get(name, ()))
                if one.get("unique", True)
            )
            for one in foreign.get(name, ()):
                parent = by_place.get((one["referred_schema"] or home, one["referred_table"]))
                if parent is not None:
                    deferrable = connection.dialect.name == "sqlite" or bool(one.get("options", {}).get("deferrable"))
                    references.append(Reference(rule.key, tuple(one["constrained_columns"]), parent.key, deferrable))
    unsafe = frozenset(rule.key for rule in declared.tables if (rule.schema or home, rule.name) in _unsafe(connection))
    return Schema(connection.dialect.name, tables, tuple(references), unique, unsafe)


def _unsafe(connection: Connection) -> set[tuple[str, str]]:
    """Tables without transactions, by schema and name: what is half done there stays half done."""
    if connection.dialect.name not in MARIADB:
        return set()
    found = connection.execute(
        text(
            "SELECT t.table_schema, t.table_name FROM information_schema.tables t"
            " JOIN information_schema.engines e ON e.engine = t.engine WHERE e.transactions <> 'YES'"
        )
    )
    return {(row[0], row[1]) for row in found}


def _by_name(
    schema: str | None, names: list[str], read: Callable[..., Mapping[tuple[str | None, str], Any]]
) -> dict[str, Any]:
    found = read(schema=schema, filter_names=names) if names else {}
    return {name: one for (_, name), one in found.items()}


def _column(one: ReflectedColumn, primary_key: set[str]) -> Column[Any]:
    always = "identity" in one and one["identity"]["always"]
    return Column(
        one["name"],
        one["type"],
        nullable=one["nullable"],
        primary_key=one["name"] in primary_key,
        info={"computed": "computed" in one or always},
    )


def problems(declared: Declared, schema: Schema) -> Iterator[Problem]:
    """Everything a mapping gets wrong about the real tables."""
    for number, rule in enumerate(declared.tables):
        at = f"mapping.tables[{number}]"
        table = schema.tables.get(rule.key)
        if table is None:
            yield Problem("TABLE_MISSING", at, f"There is no table {rule.key}")
            continue
        if rule.key in schema.unsafe:
            yield Problem("NOT_TRANSACTIONAL", at, f"The engine of {rule.key} can not undo what was half done")
        yield from _missing_columns(schema, rule, at)
        yield from _identity_problems(schema, rule, at)
        yield from _correction_problems(declared, schema, rule, at)
        if rule.rows is Rows.KEEP:
            yield from _kept_problems(declared, schema, rule, at)
    if all(rule.key in schema.tables for rule in declared.tables):
        ring = delete_order(declared, schema).unbreakable
        if ring:
            why = f"{', '.join(ring)} refer to each other in a ring that can not be deferred and has no nullable column"
            yield Problem("CYCLE_UNBREAKABLE", "mapping.tables", why)


def _missing_columns(schema: Schema, rule: TableRule, at: str) -> Iterator[Problem]:
    named = [(f"{at}.columns.{name}", rule.key, name) for name in rule.columns]
    named += [(f"{at}.identities[{n}]", rule.key, one.column) for n, one in enumerate(rule.identities)]
    named += [(f"{at}.corrects.{name}", rule.key, name) for name in rule.corrects]
    for number, reference in enumerate(rule.references):
        path = f"{at}.references[{number}]"
        named += [(path, rule.key, name) for name in reference.columns]
        named += [(path, reference.table, name) for name in reference.keys]
    if rule.retention is not None and rule.retention.since:
        other, _, name = rule.retention.since.rpartition(".")
        named.append((f"{at}.retention.since", other or rule.key, name))
    for path, key, name in named:
        table = schema.tables.get(key)
        if table is not None and name not in table.columns:
            yield Problem("COLUMN_MISSING", path, f"{key} has no column {name}")


def _identity_problems(schema: Schema, rule: TableRule, at: str) -> Iterator[Problem]:
    known = functions(schema.dialect)
    for number, identity in enumerate(rule.identities):
        path = f"{at}.identities[{number}]"
        column = schema.tables[rule.key].columns.get(identity.column)
        if identity.normalise is Normalise.DIGITS and known.digits is None:
            yield Problem("NOT_ON_THIS_DATABASE", path, f"digits is not available on {schema.dialect}")
        if column is None or is_text(column):
            continue
        is_number = isinstance(column.type, Integer | Numeric)
        if identity.type is IdentityType.PHONE and is_number:
            if identity.normalise is not Normalise.DIGITS:
                yield Problem("COLUMN_TYPE", path, f"{rule.key}.{column.name} is a number: normalise digits")
        elif identity.normalise is not Normalise.NONE:
            yield Problem("COLUMN_TYPE", path, f"{rule.key}.{column.name} is not text: normalise none")
        elif is_number and identity.type is IdentityType.EMAIL:
            yield Problem("COLUMN_TYPE", path, f"{rule.key}.{column.name} is a number: no address is one")


def _correction_problems(declared: Declared, schema: Schema, rule: TableRule, at: str) -> Iterator[Problem]:
    fixed = _fixed_columns(declared, schema, rule)
    for name in rule.corrects:
        column = schema.tables[rule.key].columns.get(name)
        if column is None:
            continue
        if not is_text(column):
            yield Problem("COLUMN_TYPE", f"{at}.corrects.{name}", f"{rule.key}.{name} is not text")
        elif name in fixed or column.info["computed"]:
            yield Problem("KEY_CHANGED", f"{at}.corrects.{name}", f"{rule.key}.{name} is a key, or computed")


def _kept_problems(declared: Declared, schema: Schema, rule: TableRule, at: str) -> Iterator[Problem]:
    table = schema.tables[rule.key]
    fixed = _fixed_columns(declared, schema, rule)
    for column in table.columns:
        path = f"{at}.columns.{column.name}"
        decided = rule.columns.get(column.name)
        if decided is None:
            yield Problem("COLUMN_UNDECIDED", path, f"{rule.key}.{column.name}: what becomes of it?")
        elif decided.strategy is not Strategy.PRESERVE:
            if column.name in fixed:
                yield Problem("KEY_CHANGED", path, f"{rule.key}.{column.name} is a key: preserve it")
            yield from _strategy_problems(schema, rule, column, decided, path)
    for reference in schema.references:
        yield from _foreign_key_problems(declared, reference, rule, at)


def _fixed_columns(declared: Declared, schema: Schema, rule: TableRule) -> set[str]:
    """Columns by which kept rows are found again: the primary key, and what other tables reach through."""
    fixed = {column.name for column in schema.tables[rule.key].primary_key}
    for other in declared.tables:
        for reference in other.references:
            if reference.table == rule.key:
                fixed |= set(reference.keys)
    return fixed


def _foreign_key_problems(declared: Declared, reference: Reference, rule: TableRule, at: str) -> Iterator[Problem]:
    if reference.child != rule.key:
        return
    parent = declared.table(reference.parent)
    strategies = {rule.columns[name].strategy for name in reference.columns if name in rule.columns}
    path = f"{at}.columns.{reference.columns[0]}"
    if strategies - {Strategy.NULL, Strategy.PRESERVE}:
        yield Problem("KEY_CHANGED", path, "A foreign key is preserved or becomes NULL")
    elif parent is not None and parent.rows is Rows.DELETE and Strategy.NULL not in strategies:
        yield Problem("KEY_CHANGED", path, f"Rows of {parent.key} go, so this foreign key becomes NULL")


def _strategy_problems(
    schema: Schema, rule: TableRule, column: Column[Any], decided: ColumnRule, path: str
) -> Iterator[Problem]:
    name = f"{rule.key}.{column.name}"
    if column.info["computed"]:
        yield Problem("COLUMN_TYPE", path, f"{name} is computed by the database: preserve it")
    if decided.strategy is Strategy.NULL and not column.nullable:
        yield Problem("NOT_NULLABLE", path, f"{name} can not be NULL")
    if decided.strategy is Strategy.CONSTANT:
        if constant(column, decided) is None:
            yield Problem("COLUMN_TYPE", path, f"{name} can not take this value")
        if any(single == {column.name} for single in schema.unique[rule.key]):
            yield Problem("COLUMN_UNIQUE", path, f"{name} is unique: the second erased person would collide")
    if decided.strategy in HASHES:
        if functions(schema.dialect).hmac is None:
            yield Problem("NOT_ON_THIS_DATABASE", path, f"{decided.strategy} is not available on {schema.dialect}")
        length = getattr(column.type, "length", None)
        if not is_text(column) or (length is not None and length < TOMBSTONE_MIN_LENGTH):
            yield Problem("COLUMN_TYPE", path, f"{name} has no room for a hash")


def is_text(column: ColumnElement[Any]) -> bool:
    """Whether a column takes any text."""
    return isinstance(column.type, String) and not isinstance(column.type, Enum)


def constant(column: Column[Any], decided: ColumnRule) -> str | int | bool | date | None:
    """The declared value as the column's type takes it, or None when it can not."""
    value = decided.value
    match column.type:
        case Enum():
            return value if isinstance(value, str) and value in column.type.enums else None
        case String():
            fits = isinstance(value, str) and (column.type.length is None or len(value) <= column.type.length)
            return value if fits else None
        case Boolean():
            return value if isinstance(value, bool) else None
        case Integer() | Numeric():
            return value if isinstance(value, int) and not isinstance(value, bool) else None
        case Date() | DateTime():
            return _moment(column, value)
        case _:
            return None


def _moment(column: Column[Any], value: object) -> date | None:
    try:
        return column.type.python_type.fromisoformat(value)  # type: ignore[no-any-return]
    except (TypeError, ValueError):
        return None


def delete_order(declared: Declared, schema: Schema) -> DeleteOrder:
    """Order the tables whose rows go so that no foreign key objects, and say what has to be loosened first."""
    going = {rule.key for rule in declared.tables if rule.rows is Rows.DELETE}
    inside = [r for r in schema.references if r.child in going and r.parent in going]
    edges = [r for r in inside if r.child != r.parent]
    # InnoDB looks at a table's references to itself row by row, not at the end of the statement
    own = [r for r in inside if r.child == r.parent] if schema.dialect in MARIADB else []
    loosen = [(r.child, r.columns) for r in own]
    if stuck := {r.child for r in own if not _loosenable(schema, r)}:
        return DeleteOrder((), (), tuple(sorted(stuck)))
    while True:
        # an edge says: the child goes before the parent
        sorter = TopologicalSorter({key: {r.child for r in edges if r.parent == key} for key in sorted(going)})
        try:
            return DeleteOrder(tuple(sorter.static_order()), tuple(loosen), ())
        except CycleError as error:
            ring = set(error.args[1])
        within = [r for r in edges if r.child in ring and r.parent in ring]
        free = next((r for r in within if r.deferrable), None)
        free = free or next((r for r in within if _loosenable(schema, r)), None)
        if free is None:
            return DeleteOrder((), (), tuple(sorted(ring)))
        if not free.deferrable:
            loosen.append((free.child, free.columns))
        edges.remove(free)


def reading_order(declared: Declared) -> tuple[str, ...] | None:
    """The tables in an order in which each follows those it refers to; None where references form a ring."""
    graph = {rule.key: {reference.table for reference in rule.references} for rule in declared.tables}
    try:
        return tuple(TopologicalSorter(graph).static_order())
    except CycleError:
        return None


def _loosenable(schema: Schema, reference: Reference) -> bool:
    """Whether a reference can be set NULL, and its row still be found afterwards."""
    table = schema.tables[reference.child]
    return bool(table.primary_key.columns) and all(table.columns[name].nullable for name in reference.columns)
