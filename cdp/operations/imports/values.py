"""Raw values of a source turned into what a column holds; the column decides the form.

A refusal is a code. It never repeats the value: reports of an import are read by people who may not see customers.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from zoneinfo import ZoneInfo

import pycountry
from sqlalchemy import Column, DateTime, Enum, Integer, Numeric, SmallInteger, String
from sqlalchemy.types import TypeEngine

from cdp.core.errors import InvalidInput
from cdp.operations import values
from cdp.operations.imports.countries import code_of
from cdp.operations.imports.mapping import Value
from cdp.operations.imports.sources import Record

CENT = Decimal("0.01")
LARGEST = Decimal(10) ** 15
GROUPED = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?")
BREAKS = re.compile(r"[\t\r\n]+")
TRUE = frozenset({"true", "t", "yes", "y", "1"})
FALSE = frozenset({"false", "f", "no", "n", "0"})

Converter = Callable[[object, Value], object]


class RowInvalid(InvalidInput):
    """A value of this row does not fit."""

    def __init__(self, reason: str, field: str | None = None) -> None:
        self.reason = reason
        self.field = field
        super().__init__()


def raw(value: Value, record: Record) -> object:
    """Evaluate where a value comes from; None where the source has nothing. Raises RowInvalid."""
    found = _origin(value, record)
    if isinstance(found, str) and not found.strip():
        found = None
    if isinstance(found, list | dict):
        raise RowInvalid("NOT_A_SCALAR")
    if value.present is not None:
        found = value.absent if found is None else value.present
    if value.choices is not None and found is not None:
        found = value.choices.get(str(found).strip(), value.default)
        if found is None:
            raise RowInvalid("NOT_IN_CHOICES")
    return value.default if found is None else found


def _origin(value: Value, record: Record) -> object:
    if value.column is not None:
        return record.get(value.column)
    if value.join is not None:
        parts = [str(part).strip() for inner in value.join if (part := raw(inner, record)) is not None]
        return value.separator.join(parts)
    if value.first is not None:
        return next((found for inner in value.first if (found := raw(inner, record)) is not None), None)
    return value.constant


def converter_of(column: Column[object]) -> Converter:
    """The converter that makes values of this column."""
    return NAMED.get(column.name) or _converter_of_type(column.type)


def _converter_of_type(kind: TypeEngine[object]) -> Converter:
    if isinstance(kind, Enum) and kind.enum_class is not None and issubclass(kind.enum_class, StrEnum):
        return _member_of(kind.enum_class)
    if isinstance(kind, DateTime):
        return moment
    if isinstance(kind, SmallInteger):
        return _whole(1, 32_767)
    if isinstance(kind, Integer):
        return _whole(1, 2_147_483_647)
    if isinstance(kind, Numeric):
        return money
    if isinstance(kind, String) and kind.length:
        return text(kind.length)
    raise TypeError(f"no import makes a {type(kind).__name__}")


def text(longest: int) -> Converter:
    """One line of text; line breaks and tabs become spaces, everything else stays as it is."""

    def convert(found: object, _: Value) -> str:
        try:
            return values.text(BREAKS.sub(" ", str(found)), "", longest=longest)
        except values.InvalidText as error:
            raise RowInvalid(values.InvalidText.code) from error

    return convert


def country(found: object, _: Value) -> str:
    """A country by code or name."""
    code = code_of(str(found))
    if code is None:
        raise RowInvalid(values.InvalidCountry.code)
    return code


def currency(found: object, _: Value) -> str:
    """A currency of ISO 4217 by its three letters."""
    code = str(found).strip().upper()
    if pycountry.currencies.get(alpha_3=code) is None:
        raise RowInvalid("INVALID_CURRENCY")
    return code


def locale(found: object, _: Value) -> str:
    """A language tag; ``de_AT`` is read as ``de-AT``."""
    try:
        return values.locale(str(found).replace("_", "-"))
    except values.InvalidLocale as error:
        raise RowInvalid(values.InvalidLocale.code) from error


def _member_of(kind: type[StrEnum]) -> Converter:
    def convert(found: object, _: Value) -> StrEnum:
        try:
            return kind(str(found).strip().lower())
        except ValueError as error:
            raise RowInvalid("NOT_IN_CHOICES") from error

    return convert


def moment(found: object, value: Value) -> datetime:
    """A moment: ISO 8601 or ``format``; without an offset it is local to ``zone`` (UTC unless mapped)."""
    written = str(found).strip()
    try:
        read = datetime.strptime(written, value.format) if value.format else datetime.fromisoformat(written)  # noqa: DTZ007
        if read.tzinfo is None:
            read = read.replace(tzinfo=ZoneInfo(value.zone) if value.zone else UTC)
        return read.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise RowInvalid("INVALID_TIMESTAMP") from error


def decimal(found: object, value: Value) -> Decimal:
    """A finite decimal number; groups of thousands only where they cannot be mistaken for decimals."""
    written = re.sub(r"[\s'’]", "", str(found))
    if value.decimal_mark == ",":
        written = written.replace(".", "").replace(",", ".")
    elif GROUPED.fullmatch(written):
        written = written.replace(",", "")
    try:
        number = Decimal(written)
    except InvalidOperation as error:
        raise RowInvalid("INVALID_DECIMAL") from error
    if not number.is_finite() or abs(number) >= LARGEST or "_" in written:
        raise RowInvalid("INVALID_DECIMAL")
    return number


def money(found: object, value: Value) -> Decimal:
    """An amount with at most two decimals; a binary float may be off by its own imprecision."""
    number = decimal(found, value)
    rounded = number.quantize(CENT)
    if rounded != number and not (isinstance(found, float) and abs(rounded - number) < Decimal("1e-6")):
        raise RowInvalid("TOO_MANY_DECIMALS")
    return rounded


def _whole(least: int, most: int) -> Converter:
    def convert(found: object, value: Value) -> int:
        number = decimal(found, value)
        if number != number.to_integral_value() or not least <= number <= most:
            raise RowInvalid("INVALID_INTEGER")
        return int(number)

    return convert


def boolean(found: object, _: Value) -> bool:
    """Yes or no."""
    written = str(found).strip().lower()
    if written in TRUE:
        return True
    if written in FALSE:
        return False
    raise RowInvalid("INVALID_BOOLEAN")


def number(found: object, value: Value) -> int | float:
    """A number as JSON has it."""
    read = decimal(found, value)
    return int(read) if read == read.to_integral_value() else float(read)


NAMED: dict[str, Converter] = {
    "country": country,
    "billing_country": country,
    "currency": currency,
    "locale": locale,
}
