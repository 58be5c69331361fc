"""Staging: every row of a run on local disk, so that a customer is read together with all its orders and items.

A private SQLite file that its own process has already unlinked holds them: bounded memory for any size of source, and
nothing is left behind, however the run ends. Everything here is blocking and runs in a thread.
"""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date

from cdp.core.errors import InvalidInput
from cdp.operations.imports.mapping import Customers, Items, Lookup, Mapping, Orders
from cdp.operations.imports.sources import Bad, Record, Source

SCHEMA = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, number INTEGER, key TEXT, record TEXT);
CREATE TABLE orders (id INTEGER PRIMARY KEY, number INTEGER, key TEXT, parent TEXT, record TEXT);
CREATE TABLE items (id INTEGER PRIMARY KEY, number INTEGER, parent TEXT, record TEXT);
CREATE TABLE lookups (name TEXT, key TEXT, record TEXT, PRIMARY KEY (name, key)) WITHOUT ROWID;
CREATE TABLE claims (kind TEXT, value TEXT, owner INTEGER, PRIMARY KEY (kind, value)) WITHOUT ROWID;
"""
INDEXES = """
CREATE INDEX customers_key ON customers (key);
CREATE INDEX orders_key ON orders (key);
CREATE INDEX orders_parent ON orders (parent);
CREATE INDEX items_parent ON items (parent);
"""
ORPHANS = (
    (
        "orders",
        "ORDER_WITHOUT_CUSTOMER",
        "SELECT o.number FROM orders o WHERE NOT EXISTS (SELECT 1 FROM customers c WHERE c.key = o.parent)",
    ),
    (
        "items",
        "ITEM_WITHOUT_ORDER",
        "SELECT i.number FROM items i WHERE NOT EXISTS (SELECT 1 FROM orders o WHERE o.key = i.parent)",
    ),
)
NEXT_CUSTOMERS = """
SELECT c.id, c.number, c.key, c.record,
       EXISTS (SELECT 1 FROM customers e WHERE e.key = c.key AND e.id < c.id)
  FROM customers c WHERE c.id > ? ORDER BY c.id LIMIT ?
"""
ORDERS_OF = """
SELECT o.id, o.number, o.key, o.parent, o.record,
       EXISTS (SELECT 1 FROM orders e WHERE e.key = o.key AND e.id < o.id)
  FROM orders o WHERE o.parent IN (SELECT value FROM json_each(?)) ORDER BY o.id
"""
ITEMS_OF = """
SELECT id, number, parent, record FROM items WHERE parent IN (SELECT value FROM json_each(?)) ORDER BY id
"""
REPORT_EVERY = 5_000

Section = Customers | Orders | Items
Reading = Callable[[str, int], None]


class ColumnMissing(InvalidInput):
    """The mapping names a column that the source does not have."""

    code = "MAPPING_COLUMN_MISSING"


@dataclass(frozen=True)
class Reject:
    """One row that was not imported, by place and code, never by value."""

    section: str
    row: int
    code: str
    field: str | None = None


@dataclass(frozen=True)
class Staged:
    """A row and the rows that name it as their parent. ``is_duplicate``: an earlier row has the same key."""

    place: int  # unique in its section, unlike the row's number, which nested rows share
    row: int
    record: Record
    children: tuple["Staged", ...] = ()
    is_duplicate: bool = False


@dataclass
class Read:
    """How many rows each section had, and which were no rows or belonged to nobody."""

    rows: dict[str, int] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)


class Staging:
    """The staged rows of one run."""

    def __init__(self, mapping: Mapping) -> None:
        self._sections = dict(mapping.sections())
        self._rows = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._rows.execute("PRAGMA journal_mode = OFF")
        self._rows.execute("PRAGMA synchronous = OFF")
        self._rows.executescript(SCHEMA)

    def close(self) -> None:
        """Forget everything."""
        self._rows.close()

    def fill(self, source: Source, reading: Reading) -> Read:
        """Read the source whole. Raises ColumnMissing or TableMissing, where possible before the first row is read."""
        for name, section in self._sections.items():
            for alias, lookup in section.lookups.items():
                _require(
                    source.columns(lookup.table), _lookup_columns(section, alias, lookup), f"{name}.lookups.{alias}"
                )
            _require(source.columns(section.table), _own_columns(section), name)
        found = Read()
        self._rows.execute("BEGIN")
        for name, section in self._sections.items():
            for alias, lookup in section.lookups.items():
                self._fill_lookup(source, f"{name}.{alias}", lookup, _lookup_columns(section, alias, lookup))
            self._fill_section(source, name, section, found, reading)
        self._rows.execute("COMMIT")
        self._rows.executescript(INDEXES)
        for name, code, statement in ORPHANS:
            found.rejects += [Reject(name, number, code) for (number,) in self._rows.execute(statement)]
        return found

    def _fill_lookup(self, source: Source, name: str, lookup: Lookup, columns: set[str]) -> None:
        for _, record in source.rows(lookup.table, sorted(columns)):
            if not isinstance(record, Bad):
                kept = {column: record.get(column) for column in columns}
                entry = (name, key_of(record.get(lookup.key)), _dump(kept))
                self._rows.execute("INSERT OR IGNORE INTO lookups VALUES (?, ?, ?)", entry)

    def _fill_section(self, source: Source, name: str, section: Section, found: Read, reading: Reading) -> None:
        columns, seen, count = _own_columns(section), set[str](), 0
        for number, record in source.rows(section.table, sorted(columns), each=section.each):
            count += 1
            if isinstance(record, Bad):
                found.rejects.append(Reject(name, number, record.code))
                continue
            seen.update(record)
            self._keep(section, number, record, columns)
            if count % REPORT_EVERY == 0:
                reading(name, count)
        found.rows[name] = count
        reading(name, count)
        if count:
            _require(seen, columns, name)

    def _keep(self, section: Section, number: int, record: Record, columns: set[str]) -> None:
        kept = _dump({column: record.get(column) for column in columns})
        match section:
            case Customers():
                entry = (number, key_of(record.get(section.key)), kept)
                self._rows.execute("INSERT INTO customers (number, key, record) VALUES (?, ?, ?)", entry)
            case Orders():
                keys = key_of(record.get(section.key)), key_of(record.get(section.customer))
                self._rows.execute(
                    "INSERT INTO orders (number, key, parent, record) VALUES (?, ?, ?, ?)", (number, *keys, kept)
                )
            case Items():
                entry = (number, key_of(record.get(section.order)), kept)
                self._rows.execute("INSERT INTO items (number, parent, record) VALUES (?, ?, ?)", entry)

    def batches(self, size: int) -> Iterator[list[Staged]]:
        """Customers in the order of the source, each with its orders and items, ``size`` at a time."""
        last = 0
        while rows := self._rows.execute(NEXT_CUSTOMERS, (last, size)).fetchall():
            last = rows[-1][0]
            owners = [key for _, _, key, _, is_duplicate in rows if key is not None and not is_duplicate]
            orders = self._orders(owners)
            records = self._with_lookups("customers", [row[3] for row in rows])
            yield [
                Staged(place, number, record, () if is_duplicate else tuple(orders.get(key, ())), bool(is_duplicate))
                for (place, number, key, _, is_duplicate), record in zip(rows, records, strict=True)
            ]

    def _orders(self, owners: list[str]) -> dict[str, list[Staged]]:
        rows = self._rows.execute(ORDERS_OF, (json.dumps(owners),)).fetchall()
        items = self._items([row[2] for row in rows if row[2] is not None and not row[5]])
        records = self._with_lookups("orders", [row[4] for row in rows])
        found: dict[str, list[Staged]] = defaultdict(list)
        for (place, number, key, parent, _, is_duplicate), record in zip(rows, records, strict=True):
            children = () if is_duplicate else tuple(items.get(key, ()))
            found[parent].append(Staged(place, number, record, children, bool(is_duplicate)))
        return found

    def _items(self, owners: list[str]) -> dict[str, list[Staged]]:
        rows = self._rows.execute(ITEMS_OF, (json.dumps(owners),)).fetchall()
        records = self._with_lookups("items", [row[3] for row in rows])
        found: dict[str, list[Staged]] = defaultdict(list)
        for (place, number, parent, _), record in zip(rows, records, strict=True):
            found[parent].append(Staged(place, number, record))
        return found

    def _with_lookups(self, name: str, raw: list[str]) -> list[Record]:
        records: list[Record] = [json.loads(text) for text in raw]
        section = self._sections.get(name)
        for alias, lookup in (section.lookups if section else {}).items():
            keys = {key for record in records if (key := key_of(record.get(lookup.by))) is not None}
            statement = "SELECT key, record FROM lookups WHERE name = ? AND key IN (SELECT value FROM json_each(?))"
            rows = self._rows.execute(statement, (f"{name}.{alias}", json.dumps(sorted(keys)))).fetchall()
            entries = {key: json.loads(text) for key, text in rows}
            for record in records:
                entry = entries.get(key_of(record.get(lookup.by)) or "", {})
                record.update({f"{alias}.{column}": value for column, value in entry.items()})
        return records

    def claim(self, claims: Iterable[tuple[str, str]], owner: int) -> bool:
        """Take identifiers for one customer of this run; false where another one has any of them."""
        wanted = list(claims)
        question = "SELECT owner FROM claims WHERE kind = ? AND value = ?"
        for entry in wanted:
            taken = self._rows.execute(question, entry).fetchone()
            if taken is not None and taken != (owner,):
                return False
        self._rows.executemany("INSERT OR IGNORE INTO claims VALUES (?, ?, ?)", ((*entry, owner) for entry in wanted))
        return True


def key_of(raw: object) -> str | None:
    """A key as text, so that 7 and "7" join."""
    text = "" if raw is None else str(raw).strip()
    return text or None


def _plain(value: object) -> str | None:
    """What JSON does not know: moments as ISO 8601, decimals and UUIDs as text; bytes are nothing we can map."""
    if isinstance(value, date):
        return value.isoformat()
    return None if isinstance(value, bytes | bytearray | memoryview) else str(value)


def _dump(record: Record) -> str:
    return json.dumps(record, default=_plain, ensure_ascii=False)


def _own_columns(section: Section) -> set[str]:
    found = {column for _, value in section.values() for column in value.columns()}
    found = {column for column in found if column.split(".")[0] not in section.lookups}
    found |= {lookup.by for lookup in section.lookups.values()}
    match section:
        case Customers():
            return found | {section.key}
        case Orders():
            return found | {section.key, section.customer}
        case Items():
            return found | {section.order}


def _lookup_columns(section: Section, alias: str, lookup: Lookup) -> set[str]:
    used = {column for _, value in section.values() for column in value.columns()}
    prefix = f"{alias}."
    return {column.removeprefix(prefix) for column in used if column.startswith(prefix)} | {lookup.key}


def _require(there: Iterable[str] | None, needed: set[str], section: str) -> None:
    if there is not None and (missing := sorted(needed - set(there))):
        raise ColumnMissing(section=section, columns=missing)
