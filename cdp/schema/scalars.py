"""Scalars in the formats that compiled and resolved fields share, and the Strawberry configuration that knows them.

DateTime is UTC with microseconds (RFC 3339), Decimal and BigInt are strings, because JSON numbers lose digits beyond
2^53 in many clients.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import NewType

import strawberry
from strawberry.schema.config import StrawberryConfig
from strawberry.types.scalar import ScalarDefinition

from cdp.core.clock import iso

BigInt = NewType("BigInt", int)


def _moment(value: object) -> datetime:
    moment = datetime.fromisoformat(value if isinstance(value, str) else "")
    if moment.tzinfo is None:
        raise ValueError("a DateTime names its offset, Z for UTC")
    return moment.astimezone(UTC)


def _decimal(value: object) -> Decimal:
    try:
        number = Decimal(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else None
    except InvalidOperation as error:
        raise ValueError("not a decimal number") from error
    if number is None or not number.is_finite():
        raise ValueError("a Decimal is a string of digits")
    return number


def _big(value: object) -> int:
    return int(value if isinstance(value, str | int) and not isinstance(value, bool) else "")


SCALARS: Mapping[object, ScalarDefinition] = {
    datetime: strawberry.scalar(
        name="DateTime",
        description="A moment in UTC with microseconds, `2026-01-31T12:00:00.000000Z` (RFC 3339).",
        serialize=iso,
        parse_value=_moment,
    ),
    Decimal: strawberry.scalar(
        name="Decimal",
        description="A decimal number as a string, so that no digit is lost.",
        serialize=str,
        parse_value=_decimal,
    ),
    BigInt: strawberry.scalar(
        name="BigInt",
        description="A whole number that may exceed 2^53, as a string.",
        serialize=str,
        parse_value=_big,
    ),
}


def schema_config() -> StrawberryConfig:
    """The configuration every schema of the platform is built with."""
    return StrawberryConfig(scalar_map=SCALARS, disable_field_suggestions=True)
