"""Imports from databases: a second Postgres database, SQLite, and the ways a database can fail."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import func, select

from cdp.core.db import Database, Role
from cdp.core.settings import Settings
from cdp.operations.imports.run import ImportRefused
from cdp.operations.imports.sources import SourceUnreadable, TableMissing
from cdp.operations.imports.staging import ColumnMissing
from cdp.tables.audit import audit_event
from cdp.tables.customer import customer, identity
from cdp.tables.order import sales_order
from tests.conftest import drop_database
from tests.imports.conftest import PEOPLE, Importer

CRM = {
    "version": 1,
    "name": "crm",
    "customers": {
        "from": "crm.people",
        "key": "id",
        "fields": {"given_name": "Name"},
        "identities": [{"type": "email", "value": "mail"}],
    },
    "orders": {
        "from": "crm.orders",
        "key": "id",
        "customer": "person",
        "fields": {
            "number": {"join": [{"constant": "CRM"}, "id"], "separator": "-"},
            "status": "state",
            "placed_at": "at",
            "currency": "currency",
            "total": "total",
        },
    },
}
TABLES = """
CREATE SCHEMA crm;
CREATE TABLE crm.people (id uuid PRIMARY KEY, "Name" text, mail text);
CREATE TABLE crm.orders (id bigint PRIMARY KEY, person uuid, state text, at timestamptz, currency char(3),
                         total numeric(20, 6));
INSERT INTO crm.people SELECT gen_random_uuid(), 'N' || n, 'n' || n || '@example.com' FROM generate_series(1, 700) n;
INSERT INTO crm.orders
SELECT row_number() OVER (), id, 'shipped', '2026-05-05 12:00+02', 'SEK', 10.25 FROM crm.people, generate_series(1, 3);
"""


@pytest.fixture
def crm(running: Settings, worker_name: str) -> Iterator[str]:
    """A second Postgres database with somebody else's customers."""
    name = f"crm_{worker_name}"
    owner = running.database_owner_url
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name}")
        connection.execute(f"CREATE DATABASE {name}")
        info = connection.info
        url = f"postgresql://{info.user}:{info.password}@/{name}?host={info.host}&port={info.port}"
        with psycopg.connect(url) as inside:
            inside.execute(TABLES)
        yield url
        drop_database(connection, name)


async def test_another_postgres_is_streamed(crm: str, importer: Importer, fresh_database: Database):
    report = await importer(crm, CRM)
    assert [report.counts(s)["created"] for s in ("customers", "orders")] == [700, 2100]
    async with fresh_database.transaction(Role.WORKER) as tx:
        assert await tx.scalar(select(func.sum(sales_order.c.total))) == Decimal("21525.00")
        placed = await tx.scalar(select(sales_order.c.placed_at).limit(1))
    assert placed.isoformat() == "2026-05-05T10:00:00+00:00"
    assert (await importer(crm, CRM)).counts("orders")["unchanged"] == 2100


async def test_a_table_or_column_that_is_not_there_is_refused(crm: str, importer: Importer, fresh_database: Database):
    with pytest.raises(TableMissing):
        await importer(crm, {**CRM, "customers": {**CRM["customers"], "from": "crm.absent"}})
    with pytest.raises(ColumnMissing) as refusal:
        await importer(crm, {**CRM, "customers": {**CRM["customers"], "key": "name"}})
    assert refusal.value.extensions["columns"] == ["name"]
    async with fresh_database.transaction(Role.WORKER) as tx:
        assert await tx.scalar(select(func.count()).select_from(audit_event)) == 0


async def test_lists_are_for_ndjson_alone(crm: str, importer: Importer):
    with pytest.raises(SourceUnreadable):
        await importer(crm, {**CRM, "orders": {**CRM["orders"], "each": ["orders"]}})


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("sqlite:////absent/absent.db", "NO_SUCH_FILE"),
        ("nosuchdialect://host/x", "UNKNOWN_DATABASE"),
        ("postgresql://nobody:secret@127.0.0.1:1/x", "OperationalError"),
        ("://", "UNKNOWN_DATABASE"),
        ("/absent/file.csv", "NO_SUCH_FILE"),
        ("tests/imports/test_databases.py", "UNKNOWN_FORMAT"),
    ],
)
async def test_a_source_that_cannot_be_read_is_refused_without_its_secrets(
    importer: Importer, location: str, reason: str
):
    section = {**CRM["customers"], "from": "people"}
    if "://" not in location:
        section.pop("from")
    with pytest.raises(SourceUnreadable) as refusal:
        await importer(location, {"version": 1, "name": "crm", "customers": section})
    assert refusal.value.extensions == {"reason": reason}
    assert "secret" not in str(refusal.value)


async def test_a_source_is_never_written(tmp_path: Path, importer: Importer):
    absent = tmp_path / "absent.db"
    with pytest.raises(SourceUnreadable):
        await importer(f"sqlite:///{absent}", CRM)
    assert not absent.exists()
    garbage = tmp_path / "garbage.db"
    garbage.write_bytes(b"this is no database" * 100)
    with pytest.raises(SourceUnreadable):
        await importer(f"sqlite:///{garbage}", {**CRM, "customers": {**CRM["customers"], "from": "people"}})


async def test_bytes_and_numbers_of_sqlite_are_taken_as_they_are(tmp_path: Path, importer: Importer):
    path = tmp_path / "crm.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE people (id REAL, Name BLOB, mail TEXT)")
        connection.execute("INSERT INTO people VALUES (1.5, x'00ff', 'a@example.com'), (2.5, 12, 'b@example.com')")
        connection.commit()
    report = await importer(f"sqlite:///{path}", {"version": 1, "name": "crm", "customers": {
        **CRM["customers"], "from": "people",
    }})  # fmt: skip
    assert report.counts("customers")["created"] == 2


async def test_two_imports_at_once_make_no_twins(
    shop: Callable[..., Path], importer: Importer, fresh_database: Database
):
    people = [{**PEOPLE[1], "id": str(n), "mail": f"p{n}@example.com"} for n in range(1200)]
    folder = shop(people=people, orders=[{"number": "1", "person": "0", "state": "done", "day": "01.07.2026 12:00"}])
    one, other = await asyncio.gather(importer(folder), importer(folder))
    created = one.counts("customers")["created"] + other.counts("customers")["created"]
    unchanged = one.counts("customers")["unchanged"] + other.counts("customers")["unchanged"]
    assert (created, unchanged) == (1200, 1200)
    async with fresh_database.transaction(Role.WORKER) as tx:
        assert await tx.scalar(select(func.count()).select_from(customer)) == 1200
        assert await tx.scalar(select(func.count()).select_from(identity)) == 2400


async def test_a_strict_import_of_a_database_refuses_whole(crm: str, importer: Importer, fresh_database: Database):
    with psycopg.connect(crm) as connection:
        connection.execute("UPDATE crm.orders SET currency = 'XQX' WHERE id = 2100")
    with pytest.raises(ImportRefused):
        await importer(crm, CRM, is_strict=True)
    async with fresh_database.transaction(Role.WORKER) as tx:
        assert await tx.scalar(select(func.count()).select_from(customer)) == 0
    assert (await importer(crm, CRM)).counts("customers")["created"] == 699
