"""Many people erased at once from one database, and a schema that is read anew only when it changed."""

import hmac
import secrets
from dataclasses import replace

import pytest
from sqlalchemy import func, text

from cdp.connectors.base import Identifier, State, Subject
from cdp.connectors.sql.connector import Sql
from cdp.connectors.sql.database import hmac_of, keyed
from tests.connectors.conformance import key_of, steps
from tests.connectors.shop import ledger
from tests.connectors.test_sql import DEAF, Shop, either_shop, mariadb_shop, postgres_shop, sqlite_shop

__all__ = ["either_shop", "mariadb_shop", "postgres_shop", "sqlite_shop"]


@pytest.fixture(params=["sqlite", "postgres"])
def crowded(request: pytest.FixtureRequest) -> Shop:
    return request.getfixturevalue(f"{request.param}_shop")


def sql_of(harness: Shop) -> Sql:
    assert isinstance(harness.connector, Sql)
    return harness.connector


async def people(harness: Shop, count: int) -> list[Subject]:
    """Each with the secret of a request of their own."""
    return [replace(await harness.person(), secret=secrets.token_bytes(32)) for _ in range(count)]


async def test_a_crowd_goes_and_each_is_verified_alone(crowded: Shop) -> None:
    bystander = await crowded.person()
    others = await crowded.held(bystander)
    alone, *leaving = await people(crowded, 8)
    _, single, _ = await steps(crowded.connector, alone)
    outcome = await sql_of(crowded).erase_many(leaving)
    assert (outcome.state, outcome.code) == (State.DONE, "ERASED")
    assert outcome.records == {name: 7 * count for name, count in single.records.items()}
    for subject in leaving:
        assert not await crowded.held(subject)
        verify = await crowded.connector.verify(subject, key_of(subject, "verify"))
        assert (verify.state, verify.code) == (State.DONE, "NOTHING_LEFT")
        assert {(kept.collection, kept.records) for kept in verify.retained} == {("ledger", 1), ("ledger_line", 2)}
    assert others
    assert await crowded.held(bystander) == others
    after = await crowded.everything()
    again = await sql_of(crowded).erase_many(leaving)
    assert (again.state, sum(again.records.values())) == (State.DONE, 0)
    assert await crowded.everything() == after


@pytest.mark.parametrize("way", ["delete", "update", "undo"])
async def test_all_of_them_go_or_nobody(crowded: Shop, way: str) -> None:
    leaving = await people(crowded, 3)
    with crowded.engine.begin() as connection:
        connection.exec_driver_sql(DEAF[crowded.url.get_backend_name()][way])
    before = await crowded.everything()
    outcome = await sql_of(crowded).erase_many(leaving)
    assert (outcome.state, outcome.code) == (State.FAILED, "LEFT_BEHIND")
    assert await crowded.everything() == before


@pytest.mark.parametrize("length", [0, 1, 32, 63, 64, 65, 200])
def test_tombstones_are_what_everybody_calls_hmac(length: int) -> None:
    key = bytes(number * 37 % 256 for number in range(length))
    for message in (b"", b"somebody@example.com", "Zoë\0".encode() * 99):
        assert keyed(key, message) == hmac.digest(key, message, "sha256")
        assert hmac_of(key, message.decode()) == hmac.digest(key, message, "sha256").hex()


async def test_one_who_can_not_be_looked_for_keeps_the_crowd(crowded: Shop) -> None:
    *others, claimed = await people(crowded, 3)
    claimed = replace(claimed, identifiers=tuple(replace(one, verified=False) for one in claimed.identifiers))
    before = await crowded.everything()
    outcome = await sql_of(crowded).erase_many([*others, claimed])
    assert (outcome.state, outcome.code) == (State.UNSUPPORTED, "NO_IDENTIFIER")
    assert await crowded.everything() == before


async def test_names_are_found_whatever_is_in_them(crowded: Shop) -> None:
    """Backslashes and tabs mean something on the way into a database, quotes and per cent signs in a statement."""
    named, other = await people(crowded, 2)
    strange = "zo\\e\\t'\t\"%s\n\\.@example.com"
    with crowded.engine.begin() as connection:
        old = next(one.value for one in named.identifiers if one.type == "email")
        connection.execute(ledger.update().where(func.lower(ledger.c.payer) == old).values(payer=strange))
    unknown = replace(other, identifiers=(Identifier("email", strange, verified=True),))
    outcome = await sql_of(crowded).erase_many([unknown])
    assert (outcome.state, dict(outcome.records)) == (State.DONE, {"ledger": 1, "ledger_line": 2})
    verify = await crowded.connector.verify(unknown, key_of(unknown, "verify"))
    assert (verify.state, sum(kept.records for kept in verify.retained)) == (State.DONE, 3)


async def test_a_name_the_database_can_not_take_is_a_failure(crowded: Shop) -> None:
    one, other = await people(crowded, 2)
    impossible = replace(one, identifiers=(Identifier("email", "nobody\0@example.com", verified=True),))
    before = await crowded.everything()
    outcome = await sql_of(crowded).erase_many([other, impossible])
    if crowded.url.get_backend_name() == "postgresql":
        assert (outcome.state, outcome.code) == (State.FAILED, "STATEMENT_FAILED")
        assert await crowded.everything() == before
    else:
        assert (outcome.state, outcome.code) == (State.DONE, "ERASED")


async def test_two_who_share_an_address_are_both_gone(crowded: Shop) -> None:
    """Whose tombstone the row takes is open; that nothing of either is left is not."""
    first, second = await people(crowded, 2)
    shared = replace(second, identifiers=(*first.identifiers, *second.identifiers))
    outcome = await sql_of(crowded).erase_many([first, shared])
    assert (outcome.state, outcome.records["ledger"]) == (State.DONE, 2)
    for subject in (first, shared):
        assert not await crowded.held(subject)
        verify = await crowded.connector.verify(subject, key_of(subject, "verify"))
        assert (verify.state, verify.code) == (State.DONE, "NOTHING_LEFT")


async def test_kept_rows_with_tombstones_and_no_key_go_one_by_one(crowded: Shop) -> None:
    leaving = await people(crowded, 2)
    mapping = {
        "tables": [
            {
                "name": "keyless",
                "rows": "keep",
                "identities": [{"type": "email", "column": "email"}],
                "columns": {"email": "keyed_hash"},
                "retention": {"basis": "Accounting records"},
            }
        ]
    }
    with crowded.engine.begin() as connection:
        connection.execute(text("CREATE TABLE keyless (email VARCHAR(120))"))
        named = [{"email": one.value} for person in leaving for one in person.identifiers if one.type == "email"]
        connection.execute(text("INSERT INTO keyless VALUES (:email)"), named)
    keyless = crowded.connect_to(crowded.url, mapping)
    assert isinstance(keyless, Sql)
    outcome = await keyless.erase_many(leaving)
    assert (outcome.state, outcome.code) == (State.UNSUPPORTED, "NOT_OFFERED")
    erased = await keyless.erase(leaving[0], key_of(leaving[0], "erase"))
    assert (erased.state, dict(erased.records)) == (State.DONE, {"keyless": 1})


async def test_a_database_that_needs_them_one_by_one_says_so(mariadb_shop: Shop) -> None:
    leaving = await people(mariadb_shop, 2)
    before = await mariadb_shop.everything()
    outcome = await sql_of(mariadb_shop).erase_many(leaving)
    assert (outcome.state, outcome.code) == (State.UNSUPPORTED, "NOT_OFFERED")
    assert await mariadb_shop.everything() == before


CHANGES = {
    "another column": "ALTER TABLE ledger ADD COLUMN nickname TEXT",
    "a renamed column": "ALTER TABLE ledger RENAME COLUMN iban TO account",
    "another table in its place": "DROP TABLE visit; CREATE TABLE visit (guest VARCHAR(120), page TEXT)",
    "no table": "DROP TABLE visit",
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_after_the_last_step_stops_the_next(either_shop: Shop, change: str) -> None:
    subject = await either_shop.person()
    check = await either_shop.connector.check(subject, key_of(subject, "check"))
    assert check.state is State.DONE
    with either_shop.engine.begin() as connection:
        for statement in CHANGES[change].split(";"):
            connection.execute(text(statement))
    erase = await either_shop.connector.erase(subject, key_of(subject, "erase"))
    assert (erase.state, erase.code) == (State.FAILED, "MAPPING_MISMATCH")


async def test_a_constraint_that_appears_later_is_seen(crowded: Shop) -> None:
    """A constant in a column that became unique would let the second person collide."""
    subject = await crowded.person()
    assert (await crowded.connector.check(subject, key_of(subject, "check"))).state is State.DONE
    with crowded.engine.begin() as connection:
        connection.execute(text("CREATE UNIQUE INDEX one_name ON ledger (name)"))
    erase = await crowded.connector.erase(subject, key_of(subject, "erase"))
    assert (erase.state, erase.code) == (State.FAILED, "MAPPING_MISMATCH")
