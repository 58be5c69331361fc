"""What there is to look through: every column of text or JSON of every table, as the database's own catalogue has it.

No list is kept by hand, so a table that a migration adds is looked through from its first day. A table whose rows the
worker's role could not all see stops the pass: what is hidden can not be called clean.
Source: https://www.postgresql.org/docs/18/catalogs.html
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import asyncpg

from cdp.core.db import Role
from cdp.operations.residual.haystack import CELL, OWNER_DIGITS, OWNER_LETTERS, ROW

# Leaves of partitioned tables stand for their parents. A policy that hides nothing says exactly ``true``.
_TABLES = """
SELECT c.relname AS name, c.relrowsecurity AS walled,
       has_table_privilege($1, c.oid, 'SELECT') AND (NOT c.relrowsecurity OR (
           EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polpermissive AND p.polcmd IN ('r', '*')
                      AND $1::regrole = ANY (p.polroles) AND pg_get_expr(p.polqual, p.polrelid) = 'true')
           AND NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND NOT p.polpermissive))) AS visible,
       (SELECT a.attname FROM pg_attribute a WHERE a.attrelid = c.oid AND a.atttypid = 'uuid'::regtype
           AND NOT a.attisdropped AND (a.attname = 'customer_id' OR (c.relname = 'customer' AND a.attname = 'id'))
       ) AS owner,
       (SELECT coalesce(array_agg(ARRAY[a.attname::text, CASE
                  WHEN t.typcategory = 'A' THEN 'list'
                  WHEN coalesce(b.typname, t.typname) IN ('json', 'jsonb', 'hstore') THEN 'json' ELSE 'text' END]
                  ORDER BY a.attnum), '{}')
          FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_type b ON b.oid = t.typbasetype
          LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
         WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
           AND (coalesce(b.typcategory, t.typcategory) = 'S' OR e.typcategory = 'S'
                OR coalesce(e.typname, b.typname, t.typname)
                   IN ('json', 'jsonb', 'hstore', 'xml', 'tsvector', 'citext'))
       ) AS columns
  FROM pg_class c
 WHERE c.relnamespace = 'public'::regnamespace AND c.relpersistence <> 't' AND c.relkind IN ('r', 'm')
 ORDER BY c.relname
"""


class Family(StrEnum):
    """How a column's value becomes text."""

    TEXT = "text"
    JSON = "json"
    LIST = "list"


@dataclass(frozen=True)
class Column:
    """One column to look through."""

    name: str
    family: Family


@dataclass(frozen=True)
class Target:
    """One table. ``walled``: row-level security is on; ``owner``: the column that says whose a row is."""

    name: str
    walled: bool
    visible: bool
    owner: str | None
    columns: tuple[Column, ...]

    @property
    def kinds(self) -> frozenset[tuple[bool, Family]]:
        """The classes of this table: how its rows could be hidden, and how its values are read."""
        return frozenset((self.walled, column.family) for column in self.columns)


async def targets(connection: asyncpg.Connection) -> list[Target]:
    """Every table of ours, also those without any text."""
    rows = await connection.fetch(_TABLES, Role.WORKER.value)
    return [
        Target(
            row["name"],
            row["walled"],
            bool(row["visible"]),
            row["owner"],
            tuple(Column(name, Family(family)) for name, family in row["columns"]),
        )
        for row in rows
    ]


def query(found: Sequence[Target]) -> str:
    """All rows of all tables in one scan each: ROW, the table's number, whose the row is, then its cells after CELL."""
    return " UNION ALL ".join(_select(number, target) for number, target in enumerate(found))


def _select(number: int, target: Target) -> str:
    owner = "''"
    if target.owner is not None:
        digits, letters = _text(OWNER_DIGITS), _text(OWNER_LETTERS)
        owner = f"coalesce(translate({_name(target.owner)}::text, {digits}, {letters}), '')"
    head = _text(f"{ROW}{number}{CELL}")
    cells = "".join(f" || {_text(CELL)} || coalesce({_read(column)}, '')" for column in target.columns)
    return f"SELECT {head} || {owner}{cells} FROM {_name(target.name)}"  # noqa: S608 - names of the catalogue


def hidden(found: Sequence[Target]) -> list[str]:
    """Names of tables of which the role may not see every row."""
    return [target.name for target in found if not target.visible]


def _read(column: Column) -> str:
    """A value as text. JSON's own marks for line ends and quotes would stick to the words beside them."""
    name = _name(column.name)
    if column.family is Family.JSON:
        plain = f"{name}::text::jsonb::text"
        for mark in (r"\n", r"\t", r"\r", r"\""):
            plain = f"replace({plain}, {_text(mark)}, ' ')"
        return plain
    return f"{name}::text"


def _name(name: str) -> str:
    quoted = name.replace('"', '""')
    return f'"{quoted}"'


def _text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"E'{escaped}'"
