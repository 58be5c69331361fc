"""Masks as SQL: the same text for the same value, short, and never null where there is a value."""

from typing import Any

from sqlalchemy import ColumnElement, Text, cast, func, literal_column

_STARS = literal_column("'***'", Text)


def email(value: ColumnElement[Any]) -> ColumnElement[Any]:
    """``jane@example.org`` becomes ``j***@e***.org``."""
    text = cast(value, Text)
    domain = func.split_part(text, literal_column("'@'"), literal_column("2"))
    last = func.split_part(domain, literal_column("'.'"), literal_column("-1"))
    return (
        func.left(text, literal_column("1"))
        + literal_column("'***@'")
        + func.left(domain, literal_column("1"))
        + literal_column("'***.'")
        + last
    )


def phone(value: ColumnElement[Any]) -> ColumnElement[Any]:
    """``+49 30 1234567`` becomes ``***67``."""
    return _STARS + func.right(cast(value, Text), literal_column("2"))


def text(value: ColumnElement[Any]) -> ColumnElement[Any]:
    """``12 Long Road`` becomes ``1***``."""
    return func.left(cast(value, Text), literal_column("1")) + _STARS
