"""What import tests share: an importer over a fresh platform, and a small source in files."""

import csv
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import pytest

from cdp.access.viewer import SYSTEM
from cdp.core.clock import utc_now
from cdp.core.db import Database
from cdp.core.platform import open_keys
from cdp.core.seal import Pepper
from cdp.core.settings import Settings
from cdp.operations.imports import mapping
from cdp.operations.imports.report import Report
from cdp.operations.imports.run import Order, run

Importer = Callable[..., Awaitable[Report]]

SHOP = {
    "version": 1,
    "name": "shop",
    "customers": {
        "from": "people.csv",
        "key": "id",
        "fields": {"given_name": "first", "family_name": "last", "country": "country"},
        "identities": [
            {"type": "customer_number", "issuer": "shop", "value": "id"},
            {"type": "email", "value": "mail"},
        ],
        "emails": [{"address": "mail"}],
        "phones": [{"number": "phone", "country": "country"}],
        "addresses": [{"kind": "home", "line1": "street", "city": "town", "country": "country"}],
        "preferences": [{"key": "newsletter", "value": "news", "form": "boolean"}],
    },
    "orders": {
        "from": "orders.csv",
        "key": "number",
        "customer": "person",
        "fields": {
            "number": {"join": [{"constant": "SHOP"}, "number"], "separator": "-"},
            "status": {"column": "state", "choices": {"done": "completed", "sent": "shipped"}},
            "placed_at": {"column": "day", "format": "%d.%m.%Y %H:%M", "zone": "Europe/Berlin"},
            "currency": {"constant": "EUR"},
        },
    },
    "items": {
        "from": "items.csv",
        "order": "number",
        "fields": {
            "sku": "sku",
            "title": "title",
            "quantity": "count",
            "unit_price": {"column": "price", "decimal_mark": ","},
        },
    },
}

PEOPLE = [
    {"id": "1", "first": "Ada", "last": "Berg", "country": "Deutschland", "mail": "Ada@example.com",
     "phone": "030 5550123", "street": "Weg 1", "town": "Berlin", "news": "yes"},
    {"id": "2", "first": "Bo", "last": "Carr", "country": "UK", "mail": "bo@example.org",
     "phone": "", "street": "", "town": "", "news": ""},
]  # fmt: skip
ORDERS = [
    {"number": "100", "person": "1", "state": "done", "day": "01.07.2026 12:00"},
    {"number": "101", "person": "1", "state": "sent", "day": "02.07.2026 12:00"},
    {"number": "102", "person": "2", "state": "sent", "day": "03.01.2026 12:00"},
]
ITEMS = [
    {"number": "100", "sku": "A", "title": "Apple", "count": "2", "price": "1,50"},
    {"number": "100", "sku": "B", "title": "Bread", "count": "1", "price": "1.002,25"},
    {"number": "101", "sku": "A", "title": "Apple", "count": "1", "price": "1,50"},
    {"number": "102", "sku": "C", "title": "Cake", "count": "3", "price": "7"},
]

Rows = Sequence[Mapping[str, str]]


def write_csv(path: Path, rows: Rows) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def shop(tmp_path: Path) -> Callable[..., Path]:
    """Write the shop's three files, with other rows where given, and answer their folder."""

    def write(people: Rows = PEOPLE, orders: Rows = ORDERS, items: Rows = ITEMS) -> Path:
        write_csv(tmp_path / "people.csv", people)
        write_csv(tmp_path / "orders.csv", orders)
        write_csv(tmp_path / "items.csv", items)
        return tmp_path

    return write


@pytest.fixture
def pepper(fresh_settings: Settings) -> Pepper:
    return Pepper(open_keys(fresh_settings)[0])


@pytest.fixture
def importer(fresh_database: Database, pepper: Pepper) -> Importer:
    async def start(location: Path | str, document: object = SHOP, **how: bool) -> Report:
        file = mapping.MappingFile(mapping.parse(document), "0" * 64)
        return await run(fresh_database, pepper, SYSTEM, Order(str(location), file, **how), now=utc_now())

    return start
