"""Which rows of which tables belong to one person: identities first, then references until nothing new appears.

Who only looks finds them in one statement (``Nested``). Before anything changes, and wherever tables refer to each
other in a ring, the values other tables refer to are collected in temporary tables (``Remembered``), so that a row is
still found after the row that led to it is gone. Only rows of the person are in them, whatever the graph: a ring simply
ends when a round finds nothing new.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from unicodedata import normalize

import phonenumbers
from email_validator import EmailNotValidError, validate_email
from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Connection,
    CreateTableAs,
    FromClause,
    Integer,
    Numeric,
    Select,
    Table,
    Text,
    Update,
    Uuid,
    and_,
    cast,
    exists,
    false,
    func,
    insert,
    literal,
    or_,
    select,
    text,
    update,
)

from cdp.connectors.base import Identifier
from cdp.connectors.sql.database import FUNCTIONS, Functions, digits_of
from cdp.connectors.sql.mapping import Declared, IdentityRule, Normalise, Rows, Strategy, TableRule
from cdp.connectors.sql.schema import Schema, delete_order, is_text
from cdp.connectors.sql.strategies import column_key, new_values, normalised, tombstone, uncut
from cdp.tables.customer import IdentityType

MIN_DIGITS = 6
# What names somebody wherever it stands.
STRONG = frozenset({IdentityType.EMAIL, IdentityType.PHONE})
KeySet = tuple[str, tuple[str, ...]]


@dataclass(frozen=True)
class Search:
    """Everything that finds one person in one database."""

    declared: Declared
    schema: Schema
    functions: Functions
    identifiers: tuple[Identifier, ...]
    secret: bytes
    system: str

    def values(self, identity: IdentityRule) -> list[str]:
        """The person's identifiers for a column, in its normalised form."""
        return sorted({value for one in self.identifiers for value in sought(identity, one)})

    def key(self, rule: TableRule, column: str) -> bytes:
        """The key of a column's tombstones for this request."""
        return column_key(self.secret, self.system, rule.key, column)

    def named(self, rule: TableRule) -> ColumnElement[bool]:
        """Rows of a table that carry the person's identifiers."""
        return or_(false(), *(self._carries(rule, identity) for identity in rule.identities))

    def exposed(self, rule: TableRule) -> ColumnElement[bool]:
        """Rows that carry identifiers an erasure should have removed: all but preserved numbers."""
        return or_(
            false(), *(self._carries(rule, identity) for identity in rule.identities if not preserved(rule, identity))
        )

    def mentioned(self, rule: TableRule) -> ColumnElement[bool]:
        """Rows with an address or number of the person in a text that is preserved: it was taken for impersonal."""
        named = {identity.column for identity in rule.identities}
        kept = [name for name, one in rule.columns.items() if one.strategy is Strategy.PRESERVE and name not in named]
        columns = [self.schema.tables[rule.key].c[name] for name in kept]
        texts = [self.functions.lower(cast(one, Text)) for one in columns if is_text(one) or isinstance(one.type, JSON)]
        strong = {one.value.lower() for one in self.identifiers if one.type in STRONG}
        return or_(false(), *(text_.contains(one, autoescape=True) for text_ in texts for one in sorted(strong)))

    def buried(self, rule: TableRule) -> ColumnElement[bool]:
        """Kept rows of the person after an erasure: by tombstone, or by a number that was preserved."""
        found: list[ColumnElement[bool]] = []
        for identity in rule.identities if rule.rows is Rows.KEEP else ():
            if preserved(rule, identity):
                found.append(self._carries(rule, identity))
            else:
                column = self.schema.tables[rule.key].c[identity.column]
                key = self.key(rule, identity.column)
                found.append(column.in_([tombstone(column, key, value) for value in self.values(identity)]))
        return or_(false(), *found)

    def reached(
        self, wanted: KeySet, keys: Iterable[ColumnElement[Any]], root: ColumnElement[bool], *more: ColumnElement[bool]
    ) -> Select[Any]:
        """The keys, to be remembered, of a table's rows that carry identifiers (``root``) or are ``more`` of theirs."""
        return select(*keys).select_from(self.schema.tables[wanted[0]]).where(or_(root, *more))

    def cut(self, rule: TableRule, reach: "Reach") -> Update:
        """Cut what is not cut yet of a table's kept rows."""
        table = self.schema.tables[rule.key]
        return update(table).where(reach.rows(rule), uncut(rule, table)).values(self.new_values(rule))

    def _carries(self, rule: TableRule, identity: IdentityRule) -> ColumnElement[bool]:
        column = self.schema.tables[rule.key].c[identity.column]
        values = [known for value in self.values(identity) if (known := _typed(column, value)) is not None]
        found = normalised(column, identity.normalise, self.functions)
        if self.functions.exact is None or not is_text(column):
            return found.in_(values)
        return and_(found.in_(values), self.functions.exact(found).in_(values))  # the first may use an index

    def new_values(self, rule: TableRule) -> dict[str, ColumnElement[Any]]:
        """What the columns of a kept row become."""
        keys = {name: self.key(rule, name) for name in rule.columns}
        return new_values(rule, self.schema.tables[rule.key], self.functions, keys)

    def exactly(self, column: Column[Any]) -> ColumnElement[Any]:
        """A column in the form in which the keys of rows are compared."""
        return self.functions.exact(column) if self.functions.exact is not None and is_text(column) else column


class Reach:
    """The person's rows. ``keys`` are the values by which tables refer to rows of theirs."""

    def __init__(self, search: Search, roots: Mapping[str, ColumnElement[bool]]) -> None:
        self._search = search
        self._roots = roots
        self._keys: dict[KeySet, FromClause] = {}

    def rows(self, rule: TableRule) -> ColumnElement[bool]:
        """Whether a row of a table is the person's."""
        return or_(self._roots[rule.key], *self._referring(rule))

    def size(self, rule: TableRule) -> int | None:  # noqa: ARG002 - known where rows are remembered
        """How many rows of a table are the person's, where that is known without asking."""
        return None

    def close(self) -> None:
        """Leave nothing behind, also when the connection lives on in somebody's pool."""

    def _key_columns(self, wanted: KeySet) -> list[ColumnElement[Any]]:
        table = self._search.schema.tables[wanted[0]]
        return [self._search.exactly(table.c[name]) for name in wanted[1]]

    def _referring(self, rule: TableRule) -> Iterable[ColumnElement[bool]]:
        table = self._search.schema.tables[rule.key]
        for reference in rule.references:
            yield self._within(table, reference.columns, self._keys[reference.table, reference.keys])

    def _within(self, table: Table, columns: tuple[str, ...], keys: FromClause) -> ColumnElement[bool]:
        compared = [self._search.exactly(table.c[name]) for name in columns]
        if len(compared) == 1:
            return compared[0].in_(select(keys.c.k0))
        return exists(select(literal(1)).select_from(keys).where(same_keys(keys, compared))).correlate(table)


class Nested(Reach):
    """The same rows as part of the statement that asks for them: for who only looks, where no tables form a ring."""

    def __init__(self, search: Search, roots: Mapping[str, ColumnElement[bool]], order: Iterable[str]) -> None:
        super().__init__(search, roots)
        referred = {(one.table, one.keys) for rule in search.declared.tables for one in rule.references}
        for name in order:
            rule = search.declared.table(name)
            assert rule is not None
            for wanted in sorted(known for known in referred if known[0] == name):
                columns = self._key_columns(wanted)
                named = [column.label(f"k{position}") for position, column in enumerate(columns)]
                found = select(*named).where(self.rows(rule), *(column.is_not(None) for column in columns))
                self._keys[wanted] = found.cte(f"cdp_keys_{len(self._keys)}")


class Remembered(Reach):
    """The same rows, in one transaction, kept in mind. Make it before anything changes."""

    def __init__(self, connection: Connection, search: Search, roots: Mapping[str, ColumnElement[bool]]) -> None:
        super().__init__(search, roots)
        self._connection = connection
        self._sizes: dict[KeySet, int] = {}
        for number, wanted in enumerate(self._wanted()):
            self._keys[wanted] = self._create(number, wanted)
        pending = list(self._keys)
        while pending:
            grown = pending.pop(0)
            if self._extend(grown):
                pending += [fed for fed in self._fed_by(grown) if fed not in pending]
        if connection.dialect.name == "postgresql":
            for number in range(len(self._keys)):
                connection.execute(text(f"ANALYZE {_name(number)}"))

    def rows_afterwards(self, rule: TableRule) -> ColumnElement[bool]:
        """The same rows once they were cut, whatever was cut: by primary key where there is one."""
        found = list(self._referring(rule))
        if (remembered := self.primary(rule)) is not None:
            found.append(self._within(self._search.schema.tables[rule.key], self._primary(rule.key)[1], remembered))
        # what still names the person in a kept row is looked for apart (``Search.exposed``)
        roots = self._search.named(rule) if rule.rows is Rows.DELETE else self._search.buried(rule)
        return or_(roots, *found)

    def primary(self, rule: TableRule) -> FromClause | None:
        """The primary keys of the person's rows of a table, where they are remembered."""
        return self._keys.get(self._primary(rule.key))

    def size(self, rule: TableRule) -> int | None:
        """How many primary keys of a table are remembered."""
        return self._sizes.get(self._primary(rule.key))

    def close(self) -> None:
        """Drop the temporary tables."""
        for number in range(len(self._keys)):
            self._connection.execute(text(f"DROP TABLE {_name(number)}"))

    def _wanted(self) -> list[KeySet]:
        """Keys other tables refer to, and primary keys of rows that change; in the mapping's order, parents first."""
        places = {rule.key: number for number, rule in enumerate(self._search.declared.tables)}
        wanted = {
            (reference.table, reference.keys) for rule in self._search.declared.tables for reference in rule.references
        }
        changing = {key for key, _ in delete_order(self._search.declared, self._search.schema).loosen}
        for rule in self._search.declared.tables:
            primary = self._primary(rule.key)
            if (rule.rows is Rows.KEEP or rule.key in changing) and primary[1]:
                wanted.add(primary)
        return sorted(wanted, key=lambda known: (places[known[0]], known[1]))

    def _primary(self, key: str) -> KeySet:
        return key, tuple(column.name for column in self._search.schema.tables[key].primary_key)

    def _fed_by(self, grown: KeySet) -> list[KeySet]:
        """Key sets of tables that are reached through another."""
        fed = {
            rule.key
            for rule in self._search.declared.tables
            if any((reference.table, reference.keys) == grown for reference in rule.references)
        }
        return [known for known in self._keys if known[0] in fed]

    def _create(self, number: int, wanted: KeySet) -> Table:
        """A table for keys; statements about the same one of the same schema are compiled once."""
        made = self._search.schema.made
        labelled = [column.label(f"k{place}") for place, column in enumerate(self._key_columns(wanted))]
        empty = self._search.reached(wanted, labelled, false()).where(false())
        known = (number, wanted, len(empty.selected_columns))
        if known not in made:
            statement = CreateTableAs(empty, _name(number), temporary=True)
            made[known] = (text(str(statement.compile(self._connection))), statement.table)
        creating, table = made[known]
        self._connection.execute(creating)
        return table

    def _extend(self, wanted: KeySet) -> bool:
        """Add the keys of every row reached by now; whether there were new ones."""
        rule = self._search.declared.table(wanted[0])
        assert rule is not None
        table, keys = self._search.schema.tables[rule.key], self._keys[wanted]
        assert isinstance(keys, Table)
        columns = self._key_columns(wanted)
        known = exists(select(literal(1)).where(same_keys(keys, columns)))
        found = self._search.reached(wanted, columns, self._roots[rule.key], *self._referring(rule)).where(
            *(column.is_not(None) for column in columns), ~known.correlate(table)
        )
        if wanted != self._primary(rule.key):
            found = found.distinct()
        adding = insert(keys).from_select([key.name for key in keys.c], found)
        before = self._sizes.get(wanted, 0)
        if self._search.schema.dialect in FUNCTIONS:
            size = before + self._connection.execute(adding, execution_options={"preserve_rowcount": True}).rowcount
        else:  # not every driver says how many rows an INSERT … SELECT wrote, and too few would end the walk early
            self._connection.execute(adding)
            size = int(self._connection.scalar(select(func.count()).select_from(keys)) or 0)
        self._sizes[wanted] = size
        return size > before


def _name(number: int) -> str:
    return f"cdp_keys_{number}"


def same_keys(keys: FromClause, columns: Iterable[ColumnElement[Any]]) -> ColumnElement[bool]:
    """Whether remembered keys are those of a row."""
    return and_(*(keys.c[f"k{place}"] == column for place, column in enumerate(columns)))


def sought(identity: IdentityRule, one: Identifier) -> tuple[str, ...]:
    """The values an identity column is searched by, in its normalised form; none where an identifier is not for it."""
    if one.type != identity.type or one.issuer != identity.issuer:
        return ()
    match identity.normalise:
        case Normalise.NONE:
            return _spelt(one.value)
        case Normalise.LOWER | Normalise.TRIMMED:
            return _spelt(one.value.lower())
        case Normalise.DIGITS:
            digits = digits_of(one.value)
            if len(digits) < MIN_DIGITS:
                return ()
            return _dialled(digits, one.value, identity.region) if one.type == IdentityType.PHONE else (digits,)


def _spelt(value: str) -> tuple[str, ...]:
    """A text in each form that Unicode takes for the same, an address also with its domain as name servers know it.

    Sources: https://www.unicode.org/reports/tr15/ and RFC 5891.
    """
    if value.isascii():
        return (value,)
    written = [value]
    with suppress(EmailNotValidError):
        read = validate_email(value, check_deliverability=False)
        written.append(f"{read.local_part}@{read.ascii_domain}")
    return tuple(dict.fromkeys(normalize(form, one) for one in written for form in ("NFC", "NFD")))


def _dialled(digits: str, number: str, region: str | None) -> tuple[str, ...]:
    """The digits of a number as people write it: with +, with 00; with +49 (0), and as it is dialled in its region."""
    written = [digits]
    if region is not None:
        with suppress(phonenumbers.NumberParseException):
            read = phonenumbers.parse(number)
            within = digits_of(phonenumbers.format_number(read, phonenumbers.PhoneNumberFormat.NATIONAL))
            written.append(f"{read.country_code}{within}")
            if phonenumbers.region_code_for_number(read) == region:
                return tuple(dict.fromkeys([*written, *(f"00{one}" for one in written), within]))
    return tuple(dict.fromkeys([*written, *(f"00{one}" for one in written)]))


def preserved(rule: TableRule, identity: IdentityRule) -> bool:
    """Whether an identifier stays in kept rows: a number that is nobody's without its table."""
    decided = rule.columns.get(identity.column)
    return rule.rows is Rows.KEEP and decided is not None and decided.strategy is Strategy.PRESERVE


def _typed(column: ColumnElement[Any], value: str) -> ColumnElement[Any] | None:
    """A value as the column's type takes it; None when no row can carry it."""
    if isinstance(column.type, Integer | Numeric):
        return literal(int(value), column.type) if value.isascii() and value.isdigit() and len(value) < 19 else None
    if isinstance(column.type, Uuid):
        compact = value.replace("-", "").lower()
        return literal(value, Uuid(as_uuid=False)) if len(compact) == 32 and _is_hex(compact) else None
    return literal(value)


def _is_hex(text_: str) -> bool:
    return all(character in "0123456789abcdef" for character in text_)
