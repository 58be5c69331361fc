"""One person, written in many ways: what is the same is found, and what could not be found is refused beforehand."""

from copy import deepcopy
from typing import Any

import pytest

from cdp.connectors.base import Identifier, State, Subject
from cdp.core.ids import CustomerId, RequestId, new_id
from tests.connectors.conformance import SECRET, steps
from tests.connectors.test_sql import Shop, either_shop, mariadb_shop, postgres_shop, sqlite_shop
from tests.connectors.test_sql_surroundings import execute, found

__all__ = ["either_shop", "mariadb_shop", "postgres_shop", "sqlite_shop"]

BYSTANDERS = ("jose@example.com", "joséphine@example.com", "+49 171 7654321", "0170 7654322")


def mapping_of(*identities: dict[str, Any], rows: str = "delete") -> Any:
    rule: dict[str, Any] = {"name": "guest", "rows": rows, "identities": list(identities)}
    if rows == "keep":
        rule |= {"columns": {"id": "preserve", "said": "keyed_hash"}, "retention": {"basis": "Hotel register"}}
    return {"tables": [rule]}


def email(normalise: str) -> dict[str, Any]:
    return {"type": "email", "column": "said", "normalise": normalise}


def phone(normalise: str, **more: str) -> dict[str, Any]:
    return {"type": "phone", "column": "said", "normalise": normalise, **more}


def somebody(kind: str, value: str) -> Subject:
    known = (Identifier(kind, value, verified=True),)
    return Subject(RequestId(new_id()), CustomerId(new_id()), new_id(), known, SECRET)


def guests(where: Shop, *said: object, of: str = "VARCHAR(120)") -> None:
    collate = " COLLATE utf8mb4_bin" if where.url.get_backend_name() == "mariadb" and of.startswith("VAR") else ""
    execute(where, f"CREATE TABLE guest (id INTEGER PRIMARY KEY, said {of}{collate})")
    with where.engine.begin() as connection:
        mark = "?" if where.url.get_backend_name() == "sqlite" else "%s"
        for number, one in enumerate(said):
            connection.exec_driver_sql(f"INSERT INTO guest VALUES ({number}, {mark})", (one,))


def left(where: Shop) -> list[Any]:
    with where.engine.begin() as connection:
        return [row[0] for row in connection.exec_driver_sql("SELECT said FROM guest ORDER BY id")]


@pytest.mark.parametrize(
    ("identity", "kind", "value", "written", "rows"),
    [
        (email("none"), "email", "josé@example.com", ["josé@example.com", "jose\u0301@example.com"], "delete"),
        (email("lower"), "email", "josé@example.com", ["José@example.com", "Jose\u0301@example.com"], "keep"),
        (email("trimmed"), "email", "josé@example.com", [" José@Example.com ", "jose\u0301@example.com "], "keep"),
        (email("lower"), "email", "zoe@bücher.example", ["Zoe@xn--bcher-kva.example", "zoe@bücher.example"], "keep"),
        (phone("digits"), "phone", "+491707654321", ["+49 170 7654321", "0049 (170) 765-43-21"], "delete"),
        (phone("digits", region="DE"), "phone", "+491707654321", ["0170/7654321", "+49 (0) 170 7654321"], "keep"),
    ],
    ids=["composed", "capitals", "blanks", "domain", "dialled", "national"],
)
async def test_every_spelling_is_found(
    either_shop: Shop, identity: dict[str, Any], kind: str, value: str, written: list[str], rows: str
) -> None:
    guests(either_shop, *written, *BYSTANDERS)
    outcomes = await steps(
        either_shop.connect_to(either_shop.url, mapping_of(identity, rows=rows)), somebody(kind, value)
    )
    assert [outcome.state for outcome in outcomes] == [State.DONE] * 3
    after = left(either_shop)
    assert after[-len(BYSTANDERS) :] == list(BYSTANDERS)
    gone = after[: -len(BYSTANDERS)]
    assert [one.startswith("erased-") for one in gone] == ([True] * len(written) if rows == "keep" else [])
    assert outcomes[2].retained == outcomes[1].retained


async def test_numbers_that_are_stored_as_numbers(either_shop: Shop) -> None:
    guests(either_shop, 491707654321, 1707654321, 491707654322, of="BIGINT")
    mapping = mapping_of(phone("digits", region="DE"))
    assert await found(either_shop, mapping) == []
    outcomes = await steps(either_shop.connect_to(either_shop.url, mapping), somebody("phone", "+491707654321"))
    assert [outcome.state for outcome in outcomes] == [State.DONE] * 3
    assert left(either_shop) == [491707654322]


@pytest.mark.parametrize(
    ("identity", "said", "fit"),
    [
        (email("none"), "Zoe@example.com", email("lower")),
        (email("lower"), " zoe@example.com", email("trimmed")),
        (phone("none"), "+49 170 7654321", phone("digits")),
        (phone("digits"), "0170 7654321", phone("digits", region="DE")),
    ],
    ids=["capitals", "blanks", "punctuation", "national"],
)
async def test_a_column_that_is_written_otherwise_than_compared(
    either_shop: Shop, identity: dict[str, Any], said: str, fit: dict[str, Any]
) -> None:
    guests(either_shop, None, "zoe@example.com" if "email" in identity["type"] else "+491707654321", said)
    assert await found(either_shop, mapping_of(identity)) == ["IDENTITY_NOT_NORMAL"]
    assert await found(either_shop, mapping_of(fit)) == []


@pytest.mark.parametrize(
    ("identity", "code"),
    [
        (email("none"), "COLUMN_TYPE"),
        (phone("none"), "COLUMN_TYPE"),
        (email("digits"), "VALUE_INVALID"),
        (email("none") | {"region": "DE"}, "VALUE_INVALID"),
        (phone("digits", region="XX"), "VALUE_UNKNOWN"),
    ],
    ids=str,
)
async def test_a_comparison_that_can_never_be_true(sqlite_shop: Shop, identity: dict[str, Any], code: str) -> None:
    guests(sqlite_shop, 1, of="BIGINT")
    assert await found(sqlite_shop, deepcopy(mapping_of(identity))) == [code]
