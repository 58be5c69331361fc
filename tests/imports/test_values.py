"""Values of a source in the many forms they are written in."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from cdp.operations.imports import values
from cdp.operations.imports.countries import code_of
from cdp.operations.imports.mapping import Value
from cdp.operations.imports.values import RowInvalid

PLAIN = Value(column="x")
COMMA = Value(column="x", decimal_mark=",")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("USA", "US"), ("uk", "GB"), ("Czech Republic", "CZ"), ("de", "DE"), ("Deutschland", "DE"),
        ("Brésil", "BR"), ("ÖSTERREICH", "AT"), ("  Côte d’Ivoire ", "CI"), ("Polska", "PL"), ("日本", "JP"),
        ("DEU", "DE"), ("Atlantis", None), ("", None), ("D", None),
    ],
)  # fmt: skip
def test_countries_by_any_name(name: str, code: str | None):
    assert code_of(name) == code


@pytest.mark.parametrize(
    ("value", "written", "amount"),
    [
        (PLAIN, "1234.5", "1234.50"), (PLAIN, "1,234.50", "1234.50"), (PLAIN, 13.860000000000001, "13.86"),
        (PLAIN, 7, "7.00"), (PLAIN, "-3.10", "-3.10"), (COMMA, "1.234,5", "1234.50"), (COMMA, "1 234,56", "1234.56"),
    ],
)  # fmt: skip
def test_amounts(value: Value, written: object, amount: str):
    assert values.money(written, value) == Decimal(amount)


@pytest.mark.parametrize("written", ["1,5", "1,23,456", "", "€5", "1e99", "inf", "NaN", "1_000", "0.005", "١٢x"])
def test_what_is_no_amount(written: str):
    with pytest.raises(RowInvalid):
        values.money(written, PLAIN)


@pytest.mark.parametrize(
    ("value", "written", "moment"),
    [
        (PLAIN, "2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)),
        (PLAIN, "2026-03-01T10:00:00+02:00", datetime(2026, 3, 1, 8, tzinfo=UTC)),
        (Value(column="x", zone="America/New_York"), "2026-07-01 08:00:00", datetime(2026, 7, 1, 12, tzinfo=UTC)),
        (Value(column="x", format="%d/%m/%y"), "31/12/25", datetime(2025, 12, 31, tzinfo=UTC)),
    ],
)
def test_moments(value: Value, written: str, moment: datetime):
    assert values.moment(written, value) == moment


@pytest.mark.parametrize("written", ["31.12.2026", "2026-02-30", "0001-01-01T00:00:00+14:00", "now"])
def test_what_is_no_moment(written: str):
    with pytest.raises(RowInvalid):
        values.moment(written, PLAIN)


def test_values_are_joined_chosen_and_filled():
    record = {"a": " x ", "b": "", "c": None, "d": 4}
    joined = Value.model_validate({"join": ["a", "b", "c", "d"], "separator": "/"})
    assert values.raw(joined, record) == "x/4"
    assert values.raw(Value.model_validate({"first": ["c", "b", "d"]}), record) == 4
    assert values.raw(Value(column="b", default="z"), record) == "z"
    assert values.raw(Value(column="b", present="yes", absent="no"), record) == "no"
    assert values.raw(Value(column="d", choices={"4": "four"}), record) == "four"
    with pytest.raises(RowInvalid):
        values.raw(Value(column="d", choices={"5": "five"}), record)
    with pytest.raises(RowInvalid):
        values.raw(Value(column="d"), {"d": [1]})
