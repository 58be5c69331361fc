"""What stands around the mapped tables and would keep something of a person that no statement of ours reaches.

Nobody forgets a table on purpose. What points to people, is called like what finds them, or takes copies of their rows
has to be mapped, or named as unrelated, before an erasure here can be believed.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Inspector,
    TextClause,
    exists,
    inspect,
    not_,
    select,
    text,
)

from cdp.connectors.base import Problem
from cdp.connectors.sql.database import MARIADB, Functions, functions
from cdp.connectors.sql.mapping import Declared, IdentityRule, Normalise, Rows
from cdp.connectors.sql.schema import SYSTEM_SCHEMAS, Schema, is_text
from cdp.connectors.sql.strategies import buries, normalised
from cdp.tables.customer import IdentityType

AT = "mapping.tables"
# Names of columns that say the same wherever they stand; a number or a user name may be anybody's.
_TELLING = frozenset({IdentityType.EMAIL, IdentityType.PHONE})
_WRITES = re.compile(
    r"\b(?:INSERT\s+(?:OR\s+\w+\s+|IGNORE\s+)?INTO|REPLACE\s+INTO)\s+((?:[\w$]+|[`\"\[][^`\"\]]+[`\"\]]|\.)+)",
    re.IGNORECASE,
)
# So many values of a column are looked at for whether they are written as they are compared.
LOOKED_AT = 100_000
_E164 = r"^\+[1-9][0-9]{5,14}$"
_ADVICE = {
    IdentityType.EMAIL: "normalise lower, or trimmed where there are blanks",
    IdentityType.PHONE: "normalise digits, with the region of numbers without a country code",
}
_QUOTES = str.maketrans("", "", '`"[]')
_INHERITED = text("""
SELECT cn.nspname, c.relname, pn.nspname, p.relname FROM pg_inherits i
JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_namespace cn ON cn.oid = c.relnamespace
JOIN pg_class p ON p.oid = i.inhparent JOIN pg_namespace pn ON pn.oid = p.relnamespace
""")
_MATERIALISED = text("""
SELECT DISTINCT vn.nspname, v.relname, tn.nspname, t.relname FROM pg_depend d
JOIN pg_rewrite r ON r.oid = d.objid AND d.classid = 'pg_rewrite'::regclass
JOIN pg_class v ON v.oid = r.ev_class AND v.relkind = 'm' JOIN pg_namespace vn ON vn.oid = v.relnamespace
JOIN pg_class t ON t.oid = d.refobjid AND d.refclassid = 'pg_class'::regclass AND t.oid <> v.oid
JOIN pg_namespace tn ON tn.oid = t.relnamespace
""")
_TRIGGERS: Mapping[str, TextClause] = {
    "postgresql": text("""
SELECT n.nspname, c.relname, p.prosrc FROM pg_trigger g JOIN pg_proc p ON p.oid = g.tgfoid
JOIN pg_class c ON c.oid = g.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE NOT g.tgisinternal
"""),
    "sqlite": text("SELECT 'main', tbl_name, sql FROM sqlite_master WHERE type = 'trigger'"),
    **dict.fromkeys(
        MARIADB,
        text("SELECT event_object_schema, event_object_table, action_statement FROM information_schema.triggers"),
    ),
}


class Place(NamedTuple):
    """A table or view by schema and name."""

    schema: str
    name: str

    def key(self, home: str) -> str:
        """As a mapping calls it."""
        return self.name if self.schema == home else f"{self.schema}.{self.name}"


@dataclass(frozen=True)
class _Around:
    """A database as seen from the mapped tables; parts of a mapped table are mapped with it."""

    connection: Connection
    inspector: Inspector
    declared: Declared
    home: str
    mapped: frozenset[Place]

    def is_forgotten(self, place: Place) -> bool:
        """Whether nobody said anything about it."""
        return place not in self.mapped and place.key(self.home) not in self.declared.unrelated

    def schemas(self) -> list[str]:
        return [one for one in self.inspector.get_schema_names() if one not in SYSTEM_SCHEMAS]


def misspelt(connection: Connection, declared: Declared, schema: Schema) -> Iterator[Problem]:
    """Identity columns with values that are written otherwise than they are compared: nobody is found by those."""
    known = functions(schema.dialect)
    for number, rule in enumerate(declared.tables):
        for place, identity in enumerate(rule.identities):
            column = schema.tables[rule.key].c[identity.column]
            some = select(column.label("value")).where(column.is_not(None)).limit(LOOKED_AT).subquery()
            odd = _odd(some.c.value, identity, known) if is_text(column) else None
            if odd is not None and connection.scalar(select(exists(select(some.c.value).where(odd)))):
                why = (
                    f"{rule.key}.{identity.column} has values that no {identity.type} equals: {_ADVICE[identity.type]}"
                )
                yield Problem("IDENTITY_NOT_NORMAL", f"mapping.tables[{number}].identities[{place}]", why)


def _odd(value: ColumnElement[Any], identity: IdentityRule, known: Functions) -> ColumnElement[bool] | None:
    """Whether a value is in no form that is looked for; None where anything may be."""
    match identity.type, identity.normalise:
        case IdentityType.EMAIL, Normalise.NONE | Normalise.LOWER:
            plain, form = normalised(value, identity.normalise, known), normalised(value, Normalise.TRIMMED, known)
            return plain != form if known.exact is None else known.exact(plain) != known.exact(form)
        case IdentityType.PHONE, Normalise.NONE:
            return not_(value.regexp_match(_E164)) & not_(buries(value))
        case IdentityType.PHONE, Normalise.DIGITS if identity.region is None:
            digits = normalised(value, Normalise.DIGITS, known)
            return digits.like("0%") & digits.not_like("00%") & not_(buries(value))
        case _:
            return None


def undeclared(connection: Connection, declared: Declared) -> Iterator[Problem]:
    """Everything outside a mapping that would keep something of a person, or make the erasure fail."""
    inspector = inspect(connection)
    home = inspector.default_schema_name or "main"
    mapped = {Place(rule.schema or home, rule.name) for rule in declared.tables}
    around = _Around(connection, inspector, declared, home, frozenset(mapped | _parts(connection, mapped)))
    yield from dict.fromkeys([*_references(around), *_namesakes(around), *_copies(around)])


def _parts(connection: Connection, mapped: set[Place]) -> set[Place]:
    """Partitions of mapped tables, and tables that inherit from them: a statement about one is about these too."""
    if connection.dialect.name != "postgresql":
        return set()
    pairs = [(Place(row[0], row[1]), Place(row[2], row[3])) for row in connection.execute(_INHERITED)]
    parts: set[Place] = set()
    while more := {child for child, parent in pairs if parent in mapped | parts} - parts:
        parts |= more
    return parts


def _references(around: _Around) -> Iterator[Problem]:
    """Tables that point to rows that go, so that the erasure fails on them or cascades unseen; or to kept ones."""
    going = {Place(r.schema or around.home, r.name) for r in around.declared.tables if r.rows is Rows.DELETE}
    for schema in around.schemas():
        for (_, name), constraints in around.inspector.get_multi_foreign_keys(schema=schema).items():
            place = Place(schema, name)
            for one in constraints:
                target = Place(one["referred_schema"] or schema, one["referred_table"])
                if target in going and place not in around.mapped:
                    why = f"{place.key(around.home)} points to {target.name}, whose rows go: declare it"
                    yield Problem("REFERENCE_UNDECLARED", AT, why)
                elif target in around.mapped - going and around.is_forgotten(place):
                    why = (
                        f"{place.key(around.home)} points to people in {target.name}: declare it, or name it unrelated"
                    )
                    yield Problem("REFERENCE_UNDECLARED", AT, why)


def _namesakes(around: _Around) -> Iterator[Problem]:
    """Tables with a column of the name under which people are found in a mapped one."""
    told = {one.column.casefold() for rule in around.declared.tables for one in rule.identities if one.type in _TELLING}
    for schema in around.schemas() if told else ():
        for (_, name), columns in around.inspector.get_multi_columns(schema=schema).items():
            place = Place(schema, name)
            same = sorted(one["name"] for one in columns if one["name"].casefold() in told)
            if same and around.is_forgotten(place):
                column = f"{place.key(around.home)}.{same[0]}"
                why = f"{column} is called like what finds people: declare its table, or name it unrelated"
                yield Problem("IDENTITY_UNDECLARED", AT, why)


def _copies(around: _Around) -> Iterator[Problem]:
    """What takes copies of mapped rows: materialised views, and triggers that write into other tables."""
    dialect = around.connection.dialect.name
    if dialect == "postgresql":
        for row in around.connection.execute(_MATERIALISED):
            view, source = Place(row[0], row[1]), Place(row[2], row[3])
            if source in around.mapped and around.is_forgotten(view):
                why = f"{view.key(around.home)} keeps a copy of {source.name} until it is refreshed: name it unrelated"
                yield Problem("COPY_UNDECLARED", AT, why)
    for row in around.connection.execute(_TRIGGERS[dialect]) if dialect in _TRIGGERS else ():
        source = Place(row[0], row[1])
        for found in _WRITES.findall(row[2]) if source in around.mapped else ():
            schema, _, name = found.translate(_QUOTES).rpartition(".")
            if _is_forgotten_by_name(around, schema, name):
                why = f"A trigger on {source.name} writes into {name}: declare it, or name it unrelated"
                yield Problem("COPY_UNDECLARED", AT, why)


def _is_forgotten_by_name(around: _Around, schema: str, name: str) -> bool:
    """A trigger's text does not always say in which schema it writes, nor keep to a table's case."""
    known = {(one.schema.casefold(), one.name.casefold()) for one in around.mapped}
    if schema:
        is_mapped = (schema.casefold(), name.casefold()) in known
    else:
        is_mapped = name.casefold() in {one for _, one in known}
    said = {one.casefold().rpartition(".")[2] for one in around.declared.unrelated}
    return not is_mapped and name.casefold() not in said
