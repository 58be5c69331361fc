"""Chinook, a real sample shop: one of its 59 customers is erased, 58 and everything else stay as they were.

The mapping is the one that ships in ``examples/mappings``. Runs on the original SQLite file and on the same tables in
Postgres and MariaDB; without ``../shared/data`` it is skipped and named in the closing table.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, MetaData, NullPool, create_engine, inspect, make_url, select, text

from cdp.connectors.base import Identifier, State, Subject
from cdp.connectors.registry import connect
from cdp.core.ids import CustomerId, RequestId, new_id
from cdp.core.platform import Platform
from tests import peers
from tests.connectors.conformance import SECRET, key_of, records_of, steps
from tests.connectors.test_sql import system_for

ROOT = Path(__file__).parents[2]
ORIGINAL = ROOT.parent / "shared" / "data" / "chinook" / "Chinook_Sqlite.sqlite"
MAPPING = json.loads((ROOT / "examples" / "mappings" / "chinook.json").read_text(encoding="utf-8"))
WHO = 5  # František Wichterlová, seven invoices

Tables = dict[str, list[tuple[Any, ...]]]


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    if not ORIGINAL.exists():
        peers.missing("chinook", "put Chinook_Sqlite.sqlite into ../shared/data/chinook")
    copy = tmp_path / "chinook.sqlite"
    shutil.copyfile(ORIGINAL, copy)
    peers.took_part("chinook")
    return f"sqlite:///{copy}"


DRIVERS = {"postgresql": "postgresql+psycopg", "mariadb": "mariadb+pymysql", "sqlite": "sqlite"}


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def url(request: pytest.FixtureRequest, sqlite_url: str) -> str:
    if request.param == "sqlite":
        return sqlite_url
    name = {"postgres": "foreign_postgres_url", "mariadb": "mariadb_url"}[request.param]
    target = make_url(request.getfixturevalue(name))
    backend = target.get_backend_name()
    source = create_engine(sqlite_url, poolclass=NullPool)
    engine = create_engine(target.set(drivername=DRIVERS[backend]), poolclass=NullPool)
    metadata = MetaData()
    with source.begin() as reading, engine.begin() as writing:
        metadata.reflect(reading)
        _empty(writing)
        for column in (column for table in metadata.tables.values() for column in table.columns):
            column.type = column.type.as_generic()
        metadata.create_all(writing)
        for table in metadata.sorted_tables:
            writing.execute(table.insert(), [dict(row) for row in reading.execute(select(table)).mappings()])
    return target.set(drivername=backend).render_as_string(hide_password=False)


def _empty(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
        return
    connection.execute(text("SET foreign_key_checks = 0"))
    for name in inspect(connection).get_table_names():
        connection.exec_driver_sql(f"DROP TABLE `{name}`")
    connection.execute(text("SET foreign_key_checks = 1"))


def everything(url: str) -> Tables:
    """Every row of every table, by name, ordered by its first column."""
    parsed = make_url(url)
    engine: Engine = create_engine(parsed.set(drivername=DRIVERS[parsed.get_backend_name()]), poolclass=NullPool)
    metadata = MetaData()
    with engine.begin() as connection:
        metadata.reflect(connection)
        return {
            table.name: [tuple(row) for row in connection.execute(select(table).order_by(*list(table.c)[:2]))]
            for table in metadata.sorted_tables
        }


def subject_of(*identifiers: Identifier) -> Subject:
    return Subject(RequestId(new_id()), CustomerId(new_id()), new_id(), identifiers, SECRET)


@pytest.mark.parametrize(
    "known",
    [
        Identifier("email", "frantisekw@jetbrains.com", verified=True),
        Identifier("customer_number", str(WHO), issuer="chinook", verified=True),
    ],
    ids=["by e-mail", "by number"],
)
async def test_one_customer_is_erased_and_58_stay(url: str, platform: Platform, known: Identifier) -> None:
    connector = connect(system_for(platform, make_url(url), MAPPING), platform)
    assert await connector.probe() == ()
    subject = subject_of(known)
    before = everything(url)
    copied = await records_of(connector, subject)
    assert {name: len(rows) for name, rows in copied.items()} == {"Customer": 1, "Invoice": 7, "InvoiceLine": 38}
    assert copied["Customer"][0]["LastName"] == "Wichterlová"

    check, erase, verify = await steps(connector, subject)
    assert (check.records, erase.records) == ({}, {"Customer": 1, "Invoice": 7})
    assert check.evidence["tables"] == erase.evidence["tables"] == {"Customer": {"cut": 1}, "Invoice": {"cut": 7}}
    assert {held.collection: held.records for held in check.retained} == {
        "Customer": 1,
        "Invoice": 7,
        "InvoiceLine": 38,
    }
    assert {held.collection: held.records for held in verify.retained} == {
        "Customer": 1,
        "Invoice": 7,
        "InvoiceLine": 38,
    }
    assert (verify.state, verify.code) == (State.DONE, "NOTHING_LEFT")

    after = everything(url)
    assert [row for row in after["Customer"] if row[0] != WHO] == [row for row in before["Customer"] if row[0] != WHO]
    assert len(after["Customer"]) == 59
    assert [row for row in after["Invoice"] if row[1] != WHO] == [row for row in before["Invoice"] if row[1] != WHO]
    untouched = set(before) - {"Customer", "Invoice"}
    assert {name: after[name] for name in untouched} == {name: before[name] for name in untouched}
    for old, new in zip(before["Invoice"], after["Invoice"], strict=True):
        if old[1] == WHO:
            kept = (0, 1, 2, 6, 8)  # InvoiceId, CustomerId, InvoiceDate, BillingCountry, Total
            assert [new[n] for n in kept] == [old[n] for n in kept]
            assert [new[n] for n in (3, 4, 5, 7)] == [None] * 4
    # The city alone is not a person's: an employee or a namesake may live there.
    gone = ("František", "Wichterlová", "frantisekw", "Klanova", "4172 5555")
    assert [part for part in gone if part in repr(after)] == []
    assert [part for part in gone if part not in repr(before)] == []


async def test_everybody_else_erased_too_leaves_no_address(sqlite_url: str, platform: Platform) -> None:
    connector = connect(system_for(platform, make_url(sqlite_url), MAPPING), platform)
    emails = [row[11] for row in everything(sqlite_url)["Customer"]]
    for email in emails:
        subject = subject_of(Identifier("email", email.lower(), verified=True))
        assert (await connector.erase(subject, key_of(subject, "erase"))).state is State.DONE
        assert (await connector.verify(subject, key_of(subject, "verify"))).state is State.DONE
    after = everything(sqlite_url)
    assert len({row[11] for row in after["Customer"]}) == 59
    assert all(row[11].startswith("erased-") for row in after["Customer"])
    assert len(after["Invoice"]) == 412
    assert {row[3] for row in after["Invoice"]} == {None}
