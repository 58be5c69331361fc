"""The data map, derived from the columns and never kept by hand: what is personal, why, and what an erasure does to it.

Source: GDPR art. 30 and art. 17; the completeness test walks table metadata, as sentry's deletion tests do.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from uuid import UUID

from sqlalchemy import Column, Table

from cdp.tables.base import Category, Erase, Identifies, Personal, Retention, Structural, metadata


@dataclass(frozen=True)
class Entry:
    """One personal column."""

    table: str
    column: str
    category: Category
    erase: Erase
    export: bool
    basis: str | None


def personal_tables() -> Iterator[Table]:
    """Tables whose rows belong to a customer, ``customer`` itself included; parents before children."""
    return iter(_personal(len(metadata.tables)))


@lru_cache(maxsize=1)
def _personal(count: int) -> tuple[Table, ...]:  # noqa: ARG001 - a table more is another answer
    """Sorting takes milliseconds, and every erasure asks."""
    return tuple(filter(_is_personal, metadata.sorted_tables))


def _is_personal(table: Table) -> bool:
    return table.name == "customer" or "customer_id" in table.columns


def entries() -> Iterator[Entry]:
    """Every personal column with its decisions."""
    for table in personal_tables():
        for column in table.columns:
            declared = column.info.get("datamap")
            if isinstance(declared, Personal):
                yield Entry(
                    table.name,
                    column.name,
                    declared.category,
                    declared.erase,
                    declared.export,
                    declared.basis,
                )


def identity_columns() -> Iterator[tuple[Column[str], Identifies]]:
    """Every column that holds identifiers, with their types."""
    for table in personal_tables():
        for column in table.columns:
            declared = column.info.get("identifies")
            if isinstance(declared, Identifies):
                yield column, declared


def retention(table: Table) -> Retention | None:
    """The law under which rows of this table outlive an erasure, if any."""
    declared = table.info.get("retention")
    return declared if isinstance(declared, Retention) else None


@cache
def keeps_rows(table: Table) -> bool:
    """Whether rows stay after an erasure (with some columns cut) instead of going."""
    declared = (column.info.get("datamap") for column in table.columns)
    return _is_personal(table) and any(one.erase is not Erase.DELETE for one in declared if isinstance(one, Personal))


@cache
def categories(table: Table) -> frozenset[Category]:
    """The data categories of a table's columns."""
    declared = (column.info.get("datamap") for column in table.columns)
    return frozenset(entry.category for entry in declared if isinstance(entry, Personal))


def row_category(table: Table) -> Column[Category] | None:
    """The column that says what category a row is of, where not all rows of the table are of the same."""
    named = table.info.get("row_category")
    return table.columns[named] if isinstance(named, str) else None


def gaps() -> list[str]:
    """What is undeclared or contradictory; empty when the map is complete."""
    found: list[str] = []
    for table in personal_tables():
        declared = {column.name: column.info.get("datamap") for column in table.columns if not column.primary_key}
        found += [f"{table.name}.{name}: says nothing" for name, value in declared.items() if value is None]
        decisions = {value.erase for value in declared.values() if isinstance(value, Personal)}
        if decisions and Erase.DELETE in decisions and len(decisions) > 1:
            found.append(f"{table.name}: some columns want the row gone, others want it kept")
        if table.name != "customer" and keeps_rows(table) and not table.columns["customer_id"].nullable:
            found.append(f"{table.name}: rows are kept but customer_id can not be cut")
        found += [
            f"{table.name}.{name}: must go to NULL but is NOT NULL"
            for name, value in declared.items()
            if isinstance(value, Personal) and value.erase is Erase.NULL and not table.columns[name].nullable
        ]
    found += [f"{table.name}: points to a customer without customer_id" for table in _orphans()]
    return found


def _orphans() -> Iterator[Table]:
    for table in metadata.sorted_tables:
        points = any(key.column.table.name == "customer" for key in table.foreign_keys)
        if points and table.name != "customer" and "customer_id" not in table.columns:
            yield table


def subject_column(table: Table) -> Column[UUID]:
    """The column that names the customer: ``customer.id`` or ``customer_id``."""
    return table.columns["id"] if table.name == "customer" else table.columns["customer_id"]


def reference() -> str:
    """The page ``docs/data-map.md``: every personal column, what happens to it, and the laws that keep rows."""
    lines = [
        "# Data map",
        "",
        "Written by `cdp.tables.datamap.reference()` from the columns themselves; a test compares this page with them.",
        "An erasure deletes rows, except in tables that a law keeps: there it cuts the link to the person and every",
        "column marked *null*. What is exported goes into the customer's own package.",
        "",
    ]
    for table in sorted(personal_tables(), key=lambda table: table.name):
        found = [entry for entry in entries() if entry.table == table.name]
        lines += [f"## {table.name}", ""]
        kept = retention(table)
        if kept is not None:
            lines += [f"Rows stay {kept.years} years after `{kept.since}` under: {kept.basis}.", ""]
        lines += ["| column | category | erasure | exported | basis |", "|---|---|---|---|---|"]
        lines += [
            f"| {e.column} | {e.category} | {e.erase} | {'yes' if e.export else 'no'} | {e.basis or ''} |"
            for e in found
        ]
        lines.append("")
    return "\n".join(lines)


__all__ = [
    "Entry",
    "Structural",
    "categories",
    "entries",
    "gaps",
    "identity_columns",
    "keeps_rows",
    "personal_tables",
    "reference",
    "retention",
    "row_category",
    "subject_column",
]
