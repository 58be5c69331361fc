"""The Chinook sample database imports completely, to the cent, and a second import changes nothing."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from sqlalchemy import func, select

from cdp.core.db import Database, Role
from cdp.tables.contact import email_address, phone_number, postal_address
from cdp.tables.customer import CustomerKind, customer, identity
from cdp.tables.order import sales_order, sales_order_item
from tests import peers
from tests.imports.conftest import Importer

PROJECT = Path(__file__).parents[2]
SOURCE = PROJECT.parent / "shared" / "data" / "chinook" / "Chinook_Sqlite.sqlite"
MAPPING = yaml.safe_load((PROJECT / "examples" / "mappings" / "chinook-import.yaml").read_text())


@pytest.fixture
def chinook() -> Iterator[sqlite3.Connection]:
    if not SOURCE.is_file():
        peers.missing("chinook", f"put the Chinook database at {SOURCE}")
    with closing(sqlite3.connect(f"{SOURCE.as_uri()}?mode=ro", uri=True)) as connection:
        peers.took_part(f"sqlite {sqlite3.sqlite_version} (Chinook)")
        yield connection


async def test_everything_arrives(chinook: sqlite3.Connection, importer: Importer, fresh_database: Database):
    report = await importer(f"sqlite:///{SOURCE}", MAPPING, is_strict=True)
    assert [report.counts(s)["created"] for s in ("customers", "orders", "items")] == [59, 412, 2240]
    assert report.is_clean
    assert report.notices == {"PHONE_NOT_E164": 3}
    async with fresh_database.transaction(Role.WORKER) as tx:
        counts = [
            await tx.scalar(select(func.count()).select_from(table))
            for table in (customer, email_address, phone_number, postal_address, sales_order, sales_order_item)
        ]
        assert counts == [59, 59, 58 + 12 - _same_fax(chinook), 59, 412, 2240]
        kinds = await tx.all(select(customer.c.kind, func.count()).group_by(customer.c.kind))
        assert dict(tuple(row) for row in kinds) == {CustomerKind.PERSON: 49, CustomerKind.ORGANISATION: 10}


def _same_fax(chinook: sqlite3.Connection) -> int:
    """A fax that is the phone is one number."""
    return int(chinook.execute("SELECT count(*) FROM Customer WHERE Fax = Phone").fetchone()[0])


async def test_every_total_equals_the_source_to_the_cent(
    chinook: sqlite3.Connection, importer: Importer, fresh_database: Database
):
    await importer(f"sqlite:///{SOURCE}", MAPPING)
    theirs = {
        f"CHINOOK-{number}": Decimal(str(total)).quantize(Decimal("0.01"))
        for number, total in chinook.execute("SELECT InvoiceId, Total FROM Invoice")
    }
    lines = {
        (f"CHINOOK-{number}", f"TRACK-{track}"): (title, quantity, Decimal(str(price)))
        for number, track, title, quantity, price in chinook.execute(
            "SELECT InvoiceId, TrackId, t.Name, Quantity, l.UnitPrice FROM InvoiceLine l JOIN Track t USING (TrackId)"
        )
    }
    async with fresh_database.transaction(Role.WORKER) as tx:
        ours = await tx.all(select(sales_order.c.number, sales_order.c.total))
        items = await tx.all(select(sales_order.c.number, sales_order_item).join_from(sales_order_item, sales_order))
        assert await tx.scalar(select(func.sum(sales_order.c.total))) == Decimal("2328.60")
        amount = func.sum(sales_order_item.c.unit_price * sales_order_item.c.quantity)
        assert await tx.scalar(select(amount)) == Decimal("2328.60")
    assert {row.number: row.total for row in ours} == theirs
    assert {(row.number, row.sku): (row.title, row.quantity, row.unit_price) for row in items} == lines


async def test_a_company_keeps_its_contact_person(
    chinook: sqlite3.Connection, importer: Importer, fresh_database: Database
):
    await importer(f"sqlite:///{SOURCE}", MAPPING)
    async with fresh_database.transaction(Role.WORKER) as tx:
        row = await tx.first(
            select(customer)
            .join(identity, identity.c.customer_id == customer.c.id)
            .where(identity.c.issuer == "chinook", identity.c.value == "5")
        )
    assert row is not None
    assert (row.kind, row.organisation_name, row.given_name, row.family_name, row.country) == (
        CustomerKind.ORGANISATION,
        "JetBrains s.r.o.",
        "František",
        "Wichterlová",
        "CZ",
    )


async def test_a_second_import_changes_nothing(chinook: sqlite3.Connection, importer: Importer):
    await importer(f"sqlite:///{SOURCE}", MAPPING)
    report = await importer(f"sqlite:///{SOURCE}", MAPPING)
    assert [report.counts(s)["unchanged"] for s in ("customers", "orders", "items")] == [59, 412, 2240]


async def test_the_file_itself_will_do(chinook: sqlite3.Connection, importer: Importer):
    report = await importer(str(SOURCE), MAPPING, is_strict=True)
    wanted = [chinook.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in ("Customer", "Invoice")]
    assert [report.counts(name)["created"] for name in ("customers", "orders")] == wanted
