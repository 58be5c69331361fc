"""Masks as SQL: the same text for the same value, short, and never null where there is a value."""

from typing import Any

from sqlalchemy import ColumnElement, Text, cast, func, literal_column

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


def _first(value: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.left(value, literal_column("1"), type_=Text)
