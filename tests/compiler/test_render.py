"""JSON made inside Postgres has the formats that Python gives."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import ColumnElement, DateTime, Numeric, Text, Uuid, bindparam, literal_column, select

from cdp.access import masks
from cdp.compiler.graph import Kind
from cdp.compiler.render import constant, global_id, json_object, moment, quoted, scalar
from cdp.core.clock import iso
from cdp.core.db import Database, Role
from cdp.core.ids import global_id as python_id
from tests.twin.formulas import MASKS


async def value_of(db: Database, expression: ColumnElement[Any]) -> Any:
    async with db.transaction(Role.CUSTOMER) as tx:
        return await tx.scalar(select(expression))


async def test_ids_of_types_with_names_of_any_length(db: Database) -> None:
    """Base64 pads and breaks lines by length."""
    row_id = uuid4()
    wanted = bindparam("row_id", row_id, type_=Uuid())
    for length in range(1, 60):
        name = "T" * length
        assert await value_of(db, global_id(name, wanted)) == python_id(name, row_id)


@pytest.mark.parametrize(
    "when",
    [
        datetime(2026, 1, 31, 12, tzinfo=UTC),
        datetime(1900, 1, 1, tzinfo=UTC),
        datetime(2999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2024, 2, 29, 23, 59, 59, 1, tzinfo=UTC),
    ],
)
async def test_moments(db: Database, when: datetime) -> None:
    wanted = moment(bindparam("when", when, type_=DateTime(timezone=True)))
    assert await value_of(db, wanted) == iso(when)


@pytest.mark.parametrize("text", ["0", "0.00", "-1.50", "123456789012345678.99", "1E+3"])
async def test_decimals_are_strings_of_all_digits(db: Database, text: str) -> None:
    literal = literal_column(f"'{text}'::numeric", Numeric)
    found = await value_of(db, scalar(literal, Kind.DECIMAL))
    assert isinstance(found, str)
    assert float(found) == float(text)
    assert "E" not in found


@pytest.mark.parametrize("count", [0, 1, 49, 50, 51, 100, 101, 150])
async def test_objects_of_any_number_of_keys(db: Database, count: int) -> None:
    pairs = [(f"k{n}", quoted(f"it's {n}") if n % 2 else constant(None)) for n in range(count)]
    found = await value_of(db, json_object(pairs))
    found = json.loads(found) if isinstance(found, str) else found
    assert list(found.items()) == [(f"k{n}", f"it's {n}" if n % 2 else None) for n in range(count)]


@pytest.mark.parametrize("value", ["it's", 'a"b', "\\", "ü", ["a'b"], {"k": None}, True, 1.5, None])
async def test_constants_are_quoted(db: Database, value: object) -> None:
    found = await value_of(db, constant(value))
    assert found == value or json.loads(found) == value


@pytest.mark.parametrize("text", ["ann@example.org", "a@b", "odd", "ü@x.y.z", "", "@", "a@b@c.d", "x" * 300])
@pytest.mark.parametrize("mask", [masks.email, masks.phone, masks.text], ids=lambda one: one.__name__)
async def test_masks(db: Database, mask: Any, text: str) -> None:
    found = await value_of(db, mask(bindparam("given", text, type_=Text())))
    assert found == MASKS[mask.__name__](text)
    assert len(found) <= max(len(text), 12)


@pytest.mark.parametrize("mask", [masks.email, masks.phone, masks.text], ids=lambda one: one.__name__)
async def test_no_value_stays_none(db: Database, mask: Any) -> None:
    assert await value_of(db, mask(bindparam("given", None, type_=Text()))) is None
