"""How what we hold is shown: lists with columns, the values of a cell, and categories with their reasons."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from sqlalchemy import Table

from cdp.operations.reference import PURPOSES, Purpose
from cdp.tables.policy import LegalBasis

Cell: TypeAlias = "str | bool | int | datetime | list[str] | None"
Row: TypeAlias = Mapping[str, Any]
Read: TypeAlias = Callable[[Row], Cell]

BASIS: Mapping[LegalBasis, str] = {
    LegalBasis.CONTRACT: "our contract with you, GDPR art. 6(1)(b)",
    LegalBasis.CONSENT: "your consent, GDPR art. 6(1)(a)",
    LegalBasis.LEGITIMATE_INTEREST: "our legitimate interest, GDPR art. 6(1)(f)",
    LegalBasis.LEGAL_OBLIGATION: "the law, GDPR art. 6(1)(c)",
}


@dataclass(frozen=True)
class Column:
    """One column of a listing."""

    label: str
    read: Read


@dataclass(frozen=True)
class Listing:
    """One list: where its rows are in the customer's answer, and its columns. ``paged`` ones may be long.

    ``table`` is where the rows live, by whose name they are counted. Rows of a ``correctable`` one have values
    that can be corrected.
    """

    slug: str
    title: str
    table: Table
    path: tuple[str, ...]
    columns: tuple[Column, ...]
    empty: str
    paged: bool = True
    correctable: bool = False

    def of(self, customer: Row) -> Any:  # noqa: ANN401
        """The list, or the connection, or the one object."""
        found: Any = customer
        for name in self.path:
            found = found[name]
        return found

    def rows(self, customer: Row) -> list[Row]:
        """The rows that were read."""
        found = self.of(customer)
        if self.paged:
            return list(found["nodes"])
        if isinstance(found, list):
            return found
        return [found] if found else []

    def total(self, customer: Row) -> int:
        """How many there are in all."""
        return int(self.of(customer)["totalCount"]) if self.paged else len(self.rows(customer))


@dataclass(frozen=True)
class Category:
    """One category: what people call it, why we hold it, until when."""

    slug: str
    title: str
    what: str
    purposes: tuple[Purpose, ...]
    kept: str
    listings: tuple[Listing, ...]

    @property
    def why(self) -> list[tuple[str, str]]:
        """Legal bases, each with the purposes that rest on it."""
        found: dict[LegalBasis, list[str]] = {}
        for text in PURPOSES:
            if text.code in self.purposes:
                found.setdefault(text.basis, []).append(text.title)
        return [("; ".join(titles), BASIS[basis]) for basis, titles in found.items()]


def plain(name: str) -> Read:
    """A value as it is."""
    return lambda row: row[name]


def word(name: str) -> Read:
    """A member of a closed set, as a word."""
    return lambda row: str(row[name]).capitalize().replace("_", " ") if row[name] else None


def lines(*names: str) -> Read:
    """Several values, a line each; those without one are left out."""
    return lambda row: [str(row[name]) for name in names if row[name]]


def money(row: Row) -> Cell:
    """A sum with its currency."""
    return f"{row['total']} {row['currency']}"


def items(row: Row) -> Cell:
    """What an order is about, a line each."""
    return [f"{item['quantity']} × {item['title']}, {item['unitPrice']} {row['currency']}" for item in row["items"]]


def members(name: str) -> Read:
    """A value of any shape, a line for each of its members."""

    def read(row: Row) -> Cell:
        match row[name]:
            case dict() as found:
                return [f"{key}: {_text(value)}" for key, value in found.items()]
            case list() as found:
                return [_text(value) for value in found]
            case value:
                return None if value is None else _text(value)

    return read


def _text(value: object) -> str:
    match value:
        case str():
            return value
        case datetime():
            return value.isoformat()
    return json.dumps(value, ensure_ascii=False, default=str)


def purpose(row: Row) -> Cell:
    """What something was done for."""
    return str(row["purpose"]["title"]) if row["purpose"] else None


def seconds(row: Row) -> Cell:
    """A time on a page, in whole seconds."""
    milliseconds = row["timeOnPageMs"]
    return None if milliseconds is None else f"{milliseconds / 1000:.0f} s"
