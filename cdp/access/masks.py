"""Masks as SQL: the same text for the same value, short, and never null where there is a value; and what lifts them."""

from typing import Any

from sqlalchemy import ColumnElement, DateTime, Text, any_, cast, func, literal_column, select

from cdp.tables.base import Category
from cdp.tables.reveal import reveal

_STARS = literal_column("'***'", Text)


def email(value: ColumnElement[Any]) -> ColumnElement[Any]:
    """``jane@example.org`` becomes ``j***@e***.org``."""
    text = cast(value, Text)
    domain = func.split_part(text, literal_column("'@'"), literal_column("2"), type_=Text)
    last = func.split_part(domain, literal_column("'.'"), literal_column("-1"), type_=Text)
    return _first(text) + literal_column("'***@'", Text) + _first(domain) + literal_column("'***.'", Text) + last


def phone(value: ColumnElement[Any]) -> ColumnElement[Any]:
    """``+49 30 1234567`` becomes ``***67``."""
    return _STARS + func.right(cast(value, Text), literal_column("2"), type_=Text)


def text(value: ColumnElement[Any]) -> ColumnElement[Any]:
    """``12 Long Road`` becomes ``1***``."""
    return _first(cast(value, Text)) + _STARS


def is_revealed(category: Category, subject: ColumnElement[Any], staff: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether this member of staff sees this category of this customer clear, by the database's clock.

    One look for a whole list: who is revealed does not depend on the row.
    """
    now: ColumnElement[Any] = func.statement_timestamp(type_=DateTime(timezone=True))
    revealed = select(reveal.c.customer_id).where(
        reveal.c.staff_id == staff,
        reveal.c.expires_at > now,
        literal_column(f"'{category.value}'", Text) == any_(reveal.c.categories),
    )
    return subject.in_(revealed)


def _first(value: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.left(value, literal_column("1"), type_=Text)
