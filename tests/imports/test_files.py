"""Imports of files: what arrives, twice the same, changes, bad rows, and what is refused before anything is written."""

import json
from collections.abc import Callable
from copy import deepcopy
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import func, select

from cdp.access.viewer import SYSTEM
from cdp.core.clock import utc_now
from cdp.core.db import Database, Role
from cdp.core.errors import PlatformError
from cdp.core.ids import new_id
from cdp.core.platform import Platform, open_keys
from cdp.core.seal import Pepper
from cdp.core.settings import Settings
from cdp.operations.accounts.accounts import Registration, register
from cdp.operations.imports import mapping
from cdp.operations.imports.run import ImportRefused, Order, run
from cdp.operations.imports.sources import SourceUnreadable, TableMissing
from cdp.operations.imports.staging import ColumnMissing
from cdp.operations.reference import ensure_reference
from cdp.tables import metadata
from cdp.tables.audit import audit_event
from cdp.tables.certificate import suppression
from cdp.tables.consent import preference
from cdp.tables.contact import email_address, phone_number, postal_address
from cdp.tables.customer import CustomerStatus, customer, identity
from cdp.tables.order import OrderStatus, sales_order, sales_order_item
from cdp.tables.policy import CollectionPoint, collection
from cdp.tables.request import RequestStatus, RequestType, privacy_request
from tests.imports.conftest import ITEMS, ORDERS, PEOPLE, SHOP, Importer, write_csv

Shop = Callable[..., Path]


async def _all(db: Database, *statement) -> list:
    async with db.transaction(Role.WORKER) as tx:
        return list(await tx.all(*statement))


async def _counts(db: Database) -> dict[str, int]:
    tables = [table for table in metadata.sorted_tables if table.name not in {"audit_event", "audit_pending"}]
    async with db.transaction(Role.WORKER) as tx:
        return {table.name: await tx.scalar(select(func.count()).select_from(table)) for table in tables}


def _changed(rows: list[dict[str, str]], index: int, **cells: str) -> list[dict[str, str]]:
    return [{**row, **cells} if place == index else row for place, row in enumerate(rows)]


async def test_every_field_arrives_in_its_form(importer: Importer, shop: Shop, fresh_database: Database):
    report = await importer(shop())
    assert [report.counts(s)["created"] for s in ("customers", "orders", "items")] == [2, 3, 4]
    assert report.is_clean
    ada, bo = await _all(fresh_database, select(customer).order_by(customer.c.given_name))
    assert (ada.given_name, ada.family_name, ada.country, bo.country) == ("Ada", "Berg", "DE", "GB")
    (mail,) = await _all(fresh_database, select(email_address).where(email_address.c.customer_id == ada.id))
    assert (mail.address, mail.normalized, mail.is_primary, mail.verified_at) == (
        "Ada@example.com",
        "ada@example.com",
        True,
        None,
    )
    (phone,) = await _all(fresh_database, select(phone_number))
    assert (phone.number, phone.e164) == ("030 5550123", "+49305550123")
    (address,) = await _all(fresh_database, select(postal_address))
    assert (address.line1, address.city, address.country, address.is_primary) == ("Weg 1", "Berlin", "DE", True)
    (chosen,) = await _all(fresh_database, select(preference))
    assert (chosen.key, chosen.value) == ("newsletter", True)
    first, second, _ = await _all(fresh_database, select(sales_order).order_by(sales_order.c.number))
    assert (first.number, first.status, first.total) == ("SHOP-100", OrderStatus.COMPLETED, Decimal("1005.25"))
    assert first.placed_at.isoformat() == "2026-07-01T10:00:00+00:00"
    assert second.status is OrderStatus.SHIPPED
    lines = await _all(
        fresh_database,
        select(sales_order_item).where(sales_order_item.c.order_id == first.id).order_by(sales_order_item.c.position),
    )
    assert [(line.position, line.sku, line.quantity, line.unit_price) for line in lines] == [
        (1, "A", 2, Decimal("1.50")),
        (2, "B", 1, Decimal("1002.25")),
    ]


async def test_every_row_says_where_it_came_from(importer: Importer, shop: Shop, fresh_database: Database):
    await importer(shop())
    origins = {row.id: row for row in await _all(fresh_database, select(collection))}
    assert len(origins) == 2
    assert {(row.point, row.source) for row in origins.values()} == {(CollectionPoint.IMPORT, "shop")}
    numbers = {
        row.customer_id: row.id
        for row in await _all(fresh_database, select(identity).where(identity.c.issuer == "shop"))
    }
    for table in (customer, identity, email_address, phone_number, postal_address, preference, sales_order):
        owner = table.c.id if table is customer else table.c.customer_id
        for row in await _all(fresh_database, select(owner, table.c.collection_id, table.c.origin_identity_id)):
            assert origins[row.collection_id].customer_id == row[0]
            assert row.origin_identity_id == numbers[row[0]]


async def test_the_run_is_audited_with_counts_and_no_values(importer: Importer, shop: Shop, fresh_database: Database):
    report = await importer(shop())
    statement = select(audit_event).where(audit_event.c.object_id == report.run_id).order_by(audit_event.c.id)
    started, finished = await _all(fresh_database, statement)
    assert (started.action, finished.action) == ("import.started", "import.finished")
    assert finished.details["sections"]["customers"]["created"] == 2
    assert "ada" not in json.dumps(finished.details).lower()


async def test_a_second_import_changes_nothing(importer: Importer, shop: Shop, fresh_database: Database):
    folder = shop()
    await importer(folder)
    before = await _counts(fresh_database)
    report = await importer(folder)
    assert [report.counts(s)["unchanged"] for s in ("customers", "orders", "items")] == [2, 3, 4]
    assert await _counts(fresh_database) == before
    versions = await _all(fresh_database, select(customer.c.version))
    assert {row.version for row in versions} == {1}


async def test_what_changed_at_the_source_is_taken_over(importer: Importer, shop: Shop, fresh_database: Database):
    await importer(shop())
    people = _changed(PEOPLE, 0, last="Berg-Lund", mail="ada@example.net", news="no")
    items = _changed(ITEMS, 0, count="3")[:1] + ITEMS[2:]
    report = await importer(shop(people=people, orders=_changed(ORDERS, 1, state="done"), items=items))
    assert [report.counts(s)["updated"] for s in ("customers", "orders", "items")] == [1, 2, 1]
    ada, bo = await _all(fresh_database, select(customer).order_by(customer.c.given_name))
    assert (ada.family_name, ada.version, bo.version) == ("Berg-Lund", 2, 1)
    mails = await _all(fresh_database, select(email_address).order_by(email_address.c.id))
    mine = [(mail.normalized, mail.is_primary) for mail in mails if mail.customer_id == ada.id]
    assert mine == [("ada@example.com", True), ("ada@example.net", False)]
    (chosen,) = await _all(fresh_database, select(preference))
    assert chosen.value is False
    lines = await _all(fresh_database, select(sales_order_item).where(sales_order_item.c.sku.in_(["A", "B"])))
    assert sorted((line.sku, line.quantity) for line in lines) == [("A", 1), ("A", 3)]
    total = await _all(fresh_database, select(sales_order.c.total).where(sales_order.c.number == "SHOP-100"))
    assert total[0].total == Decimal("4.50")


async def test_what_the_customer_entered_wins_over_a_later_import(
    importer: Importer, shop: Shop, fresh_database: Database
):
    await importer(shop())
    async with fresh_database.transaction(Role.WORKER) as tx:
        ada = await tx.first(select(customer).where(customer.c.given_name == "Ada"))
        assert ada is not None
        own = new_id()
        origin = await tx.first(select(collection).where(collection.c.id == ada.collection_id))
        assert origin is not None
        await tx.execute(
            collection.insert().values(
                **{**origin._mapping, "id": own, "point": CollectionPoint.ACCOUNT_PAGE, "source": "account page"}
            )
        )
        await tx.execute(
            customer.update().where(customer.c.id == ada.id).values(family_name="Own", country=None, collection_id=own)
        )
    report = await importer(shop(people=_changed(PEOPLE, 0, last="Other")))
    assert report.counts("customers")["updated"] == 1
    ada, bo = await _all(fresh_database, select(customer).order_by(customer.c.given_name))
    assert (ada.family_name, ada.country, bo.family_name) == ("Own", "DE", "Carr")


@pytest.mark.parametrize(
    ("section", "index", "cells", "code", "field"),
    [
        ("people", 0, {"mail": "no address"}, "INVALID_EMAIL", "identities.1.value"),
        ("people", 0, {"country": "Atlantis"}, "INVALID_COUNTRY", "fields.country"),
        ("people", 0, {"first": "x" * 101}, "INVALID_TEXT", "fields.given_name"),
        ("people", 0, {"first": "a\x00b"}, "INVALID_TEXT", "fields.given_name"),
        ("people", 0, {"id": ""}, "KEY_MISSING", "customers.key"),
        ("people", 0, {"news": "perhaps"}, "INVALID_BOOLEAN", "preferences.0.value"),
        ("orders", 0, {"state": "lost"}, "NOT_IN_CHOICES", "fields.status"),
        ("orders", 0, {"day": "yesterday"}, "INVALID_TIMESTAMP", "fields.placed_at"),
        ("orders", 0, {"day": ""}, "VALUE_MISSING", "fields.placed_at"),
        ("orders", 0, {"number": ""}, "KEY_MISSING", "orders.key"),
        ("items", 0, {"count": "0"}, "INVALID_INTEGER", "fields.quantity"),
        ("items", 0, {"count": "1,5"}, "INVALID_DECIMAL", "fields.quantity"),
        ("items", 0, {"price": "NaN"}, "INVALID_DECIMAL", "fields.unit_price"),
        ("items", 0, {"price": "1e30"}, "INVALID_DECIMAL", "fields.unit_price"),
        ("items", 0, {"price": "0,001"}, "TOO_MANY_DECIMALS", "fields.unit_price"),
    ],
)
async def test_a_bad_row_takes_its_customer_and_nobody_else(
    importer: Importer, shop: Shop, fresh_database: Database, section, index, cells, code, field
):
    rows = {"people": PEOPLE, "orders": ORDERS, "items": ITEMS}
    folder = shop(**{section: _changed(rows[section], index, **cells)})
    report = await importer(folder)
    assert (code, field) in {(entry.code, entry.field) for entry in report.rejects}
    assert [row.given_name for row in await _all(fresh_database, select(customer))] == ["Bo"]
    for name in ("customers", "orders", "items"):
        counts = report.counts(name)
        assert counts["read"] == counts["created"] + counts["invalid"]
        assert counts["invalid"] > 0
    written = json.dumps(report.document())
    assert not [value for value in cells.values() if len(value) > 3 and value in written]


async def test_a_key_given_twice_belongs_to_the_first(importer: Importer, shop: Shop, fresh_database: Database):
    report = await importer(shop(people=[PEOPLE[0], {**PEOPLE[1], "id": "1"}]))
    assert {(e.section, e.row, e.code) for e in report.rejects} == {
        ("customers", 2, "DUPLICATE_KEY"),
        ("orders", 3, "ORDER_WITHOUT_CUSTOMER"),
    }
    assert [row.given_name for row in await _all(fresh_database, select(customer))] == ["Ada"]


async def test_a_strict_import_writes_all_or_nothing(importer: Importer, shop: Shop, fresh_database: Database):
    before = await _counts(fresh_database)
    with pytest.raises(ImportRefused) as refusal:
        await importer(shop(items=_changed(ITEMS, 3, price="free")), is_strict=True)
    assert refusal.value.report.rejected_by_code == {"INVALID_DECIMAL": 1}
    assert await _counts(fresh_database) == before
    assert await _all(fresh_database, select(audit_event)) == []
    report = await importer(shop(), is_strict=True)
    assert report.counts("customers")["created"] == 2


async def test_a_dry_run_counts_and_writes_nothing(importer: Importer, shop: Shop, fresh_database: Database):
    before = await _counts(fresh_database)
    report = await importer(shop(), is_dry_run=True)
    assert report.counts("customers")["created"] == 2
    assert await _counts(fresh_database) == before


async def test_rows_that_belong_to_nobody_are_rejected(importer: Importer, shop: Shop):
    orders = [*ORDERS, {"number": "103", "person": "9", "state": "done", "day": "01.01.2026 00:00"}]
    items = [*ITEMS, {"number": "999", "sku": "X", "title": "Lost", "count": "1", "price": "1"}]
    report = await importer(shop(orders=orders, items=items))
    assert {(entry.section, entry.row, entry.code) for entry in report.rejects} == {
        ("orders", 4, "ORDER_WITHOUT_CUSTOMER"),
        ("items", 5, "ITEM_WITHOUT_ORDER"),
    }
    assert report.counts("orders") == {
        "read": 4, "created": 3, "updated": 0, "unchanged": 0, "suppressed": 0, "frozen": 0, "invalid": 1,
    }  # fmt: skip


async def _suppress(db: Database, pepper: Pepper, kind: str, value: str) -> None:
    hashed = pepper.hash(kind, value)
    request_id = new_id()
    async with db.transaction(Role.WORKER) as tx:
        await tx.execute(
            privacy_request.insert().values(
                id=request_id,
                reference=f"ER-{str(request_id)[-8:]}",
                type=RequestType.ERASURE,
                status=RequestStatus.COMPLETED,
                subject_ref=new_id(),
                channel="test",
                due_at=func.now(),
            )
        )
        await tx.execute(
            suppression.insert().values(
                id=new_id(),
                identity_type=kind,
                value_hash=hashed.value,
                key_version=hashed.key_version,
                request_id=request_id,
            )
        )


@pytest.mark.parametrize(("kind", "value"), [("email", "ada@example.com"), ("phone", "+49305550123")])
async def test_a_suppressed_person_stays_out(
    importer: Importer, shop: Shop, fresh_database: Database, pepper: Pepper, kind: str, value: str
):
    await _suppress(fresh_database, pepper, kind, value)
    report = await importer(shop())
    assert [report.counts(s)["suppressed"] for s in ("customers", "orders", "items")] == [1, 2, 3]
    assert report.is_clean
    assert [row.given_name for row in await _all(fresh_database, select(customer))] == ["Bo"]
    async with fresh_database.transaction(Role.WORKER) as tx:
        await tx.execute(suppression.update().values(lifted_at=func.now()))
    report = await importer(shop())
    assert report.counts("customers")["created"] == 1


async def test_suppression_holds_under_older_keys(shop: Shop, fresh_database: Database, fresh_settings: Settings):
    store, _ = open_keys(fresh_settings)
    await _suppress(fresh_database, Pepper(store), "email", "ada@example.com")
    store.create("pepper-0002")
    newer = Pepper(store)
    assert newer.current == 2
    order = Order(str(shop()), mapping.MappingFile(mapping.parse(SHOP), ""))
    report = await run(fresh_database, newer, SYSTEM, order, now=utc_now())
    assert report.counts("customers")["suppressed"] == 1


async def test_a_frozen_customer_is_left_alone(importer: Importer, shop: Shop, fresh_database: Database):
    await importer(shop())
    async with fresh_database.transaction(Role.WORKER) as tx:
        await tx.execute(customer.update().where(customer.c.given_name == "Ada").values(status=CustomerStatus.FROZEN))
    report = await importer(shop(people=_changed(_changed(PEOPLE, 0, last="New"), 1, last="New")))
    assert (report.counts("customers")["frozen"], report.counts("orders")["frozen"]) == (1, 2)
    rows = await _all(fresh_database, select(customer.c.family_name).order_by(customer.c.given_name))
    assert [row.family_name for row in rows] == ["Berg", "New"]


async def test_two_people_of_the_source_are_never_made_one(importer: Importer, shop: Shop, fresh_database: Database):
    await importer(shop())
    people = [*PEOPLE, {**PEOPLE[0], "id": "3"}]
    report = await importer(shop(people=people))
    assert {(e.section, e.row, e.code) for e in report.rejects} == {("customers", 3, "DUPLICATE_IDENTITY")}
    report = await importer(shop(people=[{**PEOPLE[0], "id": "3"}, PEOPLE[1]]))
    assert ("customers", 1, "IDENTITY_CONFLICT") in {(e.section, e.row, e.code) for e in report.rejects}
    assert len(await _all(fresh_database, select(customer))) == 2


async def test_registering_with_somebodys_address_does_not_bring_their_orders(
    importer: Importer, shop: Shop, fresh_database: Database, fresh_settings: Settings
):
    platform = Platform.open(fresh_settings)
    async with fresh_database.transaction(Role.WORKER) as tx:
        await ensure_reference(tx)
    stranger = await register(platform, Registration("ada@example.com", "violet tandem orbit 73", True))
    await platform.close()
    for outcome in ("created", "unchanged"):
        report = await importer(shop())
        assert report.counts("customers")[outcome] == 2
        assert report.is_clean
        owners = await _all(fresh_database, select(sales_order.c.customer_id))
        assert stranger not in {row.customer_id for row in owners}
    only_email = {**SHOP["customers"], "identities": SHOP["customers"]["identities"][1:]}
    report = await importer(shop(), {**SHOP, "name": "other", "customers": only_email})
    assert {(e.row, e.code) for e in report.rejects if e.section == "customers"} == {(1, "IDENTITY_UNPROVEN")}


async def test_an_order_number_of_somebody_else_is_refused(importer: Importer, shop: Shop, fresh_database: Database):
    await importer(shop())
    people = [{**PEOPLE[0], "id": "7", "mail": "new@example.com"}]
    orders = [{**ORDERS[0], "person": "7"}]
    report = await importer(shop(people=people, orders=orders, items=ITEMS[:2]))
    assert {(e.section, e.row, e.code) for e in report.rejects} == {("orders", 1, "ORDER_NUMBER_TAKEN")}
    assert len(await _all(fresh_database, select(customer))) == 2


@pytest.mark.parametrize(
    ("path", "column"),
    [
        (("customers", "fields", "given_name"), "nope"),
        (("customers", "key"), "nope"),
        (("orders", "customer"), "nope"),
        (("items", "fields", "title"), {"first": ["title", "nope"]}),
    ],
)
async def test_a_missing_column_is_refused_before_anything_is_written(
    importer: Importer, shop: Shop, fresh_database: Database, path, column
):
    document = deepcopy(SHOP)
    place = document
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = column
    before = await _counts(fresh_database)
    with pytest.raises(ColumnMissing) as refusal:
        await importer(shop(), document)
    assert refusal.value.code == "MAPPING_COLUMN_MISSING"
    assert refusal.value.extensions == {"section": path[0], "columns": ["nope"]}
    assert await _counts(fresh_database) == before


@pytest.mark.parametrize("name", ["absent.csv", "../people.csv", "."])
async def test_a_missing_file_is_refused(importer: Importer, shop: Shop, name: str):
    folder = shop()
    inner = folder / "inner"
    inner.mkdir()
    write_csv(inner / "orders.csv", ORDERS)
    write_csv(inner / "items.csv", ITEMS)
    document = deepcopy(SHOP)
    document["customers"]["from"] = name
    with pytest.raises(TableMissing):
        await importer(inner, document)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "NO_HEADER"),
        (b"id,id,first\n", "DUPLICATE_COLUMN"),
        (b'id,first\n"1,Ada\n', "NOT_CSV"),
        (b"id,first\n1,\xff\n", "WRONG_ENCODING"),
    ],
)
async def test_a_file_that_is_no_csv_is_refused(
    importer: Importer, tmp_path: Path, fresh_database: Database, text: bytes, reason: str
):
    (tmp_path / "people.csv").write_bytes(text)
    fields = {"given_name": "first"}
    number = {"type": "customer_number", "issuer": "shop", "value": "id"}
    document = {"version": 1, "name": "shop", "customers": {"key": "id", "fields": fields, "identities": [number]}}
    with pytest.raises(SourceUnreadable) as refusal:
        await importer(tmp_path / "people.csv", document)
    assert refusal.value.extensions == {"reason": reason}
    assert await _all(fresh_database, select(customer)) == []


async def test_rows_of_the_wrong_width_are_rejected_by_number(importer: Importer, tmp_path: Path):
    (tmp_path / "people.csv").write_text("id;first\n1;Ada\n2;Bo;extra\n\n3\n4;Cy\n")
    number = {"type": "customer_number", "issuer": "shop", "value": "id"}
    customers = {"key": "id", "fields": {"given_name": "first"}, "identities": [number]}
    document = {"version": 1, "name": "shop", "files": {"delimiter": ";"}, "customers": customers}
    report = await importer(tmp_path / "people.csv", document)
    assert [(entry.row, entry.code) for entry in report.rejects] == [
        (2, "WRONG_NUMBER_OF_CELLS"),
        (3, "WRONG_NUMBER_OF_CELLS"),
    ]
    assert report.counts("customers")["created"] == 2


NESTED = {
    "version": 1,
    "name": "app",
    "customers": {
        "key": "id",
        "fields": {"given_name": "name.first", "country": "home.country"},
        "identities": [{"type": "email", "value": "mail"}],
    },
    "orders": {
        "each": ["orders"],
        "key": "no",
        "customer": "parent.id",
        "fields": {
            "number": "no",
            "status": {"constant": "completed"},
            "placed_at": "at",
            "currency": "currency",
            "total": "total",
        },
    },
    "items": {
        "each": ["orders", "lines"],
        "order": "parent.no",
        "fields": {"sku": "sku", "title": "title", "unit_price": "price"},
    },
}


def _person(number: int, **more: object) -> dict[str, object]:
    lines = [{"sku": "A", "title": "Apple", "price": 0.1}, {"sku": "B", "title": "Bread", "price": "0.20"}]
    order = {"no": f"N{number}", "at": "2026-02-03T04:05:06Z", "currency": "eur", "total": 0.30, "lines": lines}
    first = {"id": number, "mail": f"p{number}@example.com", "name": {"first": f"P{number}"}}
    return {**first, "home": {"country": "FR"}, "orders": [order], **more}


async def test_nested_json_arrives_whole(importer: Importer, tmp_path: Path, fresh_database: Database):
    path = tmp_path / "app.ndjson"
    lines = [json.dumps(_person(1)), "{broken", "[1]", "", json.dumps(_person(2, orders=[])), json.dumps(_person(3))]
    path.write_text("\n".join(lines))
    report = await importer(path, NESTED)
    assert [(entry.section, entry.row, entry.code) for entry in report.rejects] == [
        ("customers", 2, "NOT_JSON"),
        ("customers", 3, "NOT_AN_OBJECT"),
    ]
    assert [report.counts(s)["created"] for s in ("customers", "orders", "items")] == [3, 2, 4]
    totals = await _all(fresh_database, select(sales_order.c.total, sales_order.c.currency))
    assert {(row.total, row.currency) for row in totals} == {(Decimal("0.30"), "EUR")}
    again = await importer(path, NESTED)
    assert [again.counts(s)["unchanged"] for s in ("customers", "orders", "items")] == [3, 2, 4]


async def test_a_column_no_record_has_is_missing(importer: Importer, tmp_path: Path, fresh_database: Database):
    path = tmp_path / "app.jsonl"
    path.write_text("\n".join(json.dumps(_person(number)) for number in range(3)))
    document = deepcopy(NESTED)
    document["customers"]["fields"]["family_name"] = "name.last"
    with pytest.raises(ColumnMissing):
        await importer(path, document)
    assert await _all(fresh_database, select(customer)) == []


async def test_many_batches_make_one_import(importer: Importer, tmp_path: Path, fresh_database: Database):
    path = tmp_path / "app.ndjson"
    path.write_text("\n".join(json.dumps(_person(number)) for number in range(1300)))
    report = await importer(path, NESTED)
    assert [report.counts(s)["created"] for s in ("customers", "orders", "items")] == [1300, 1300, 2600]
    assert (await importer(path, NESTED)).counts("items")["unchanged"] == 2600


async def test_an_unknown_brand_is_refused(importer: Importer, shop: Shop, fresh_database: Database):
    with pytest.raises(PlatformError) as refusal:
        await importer(shop(), {**SHOP, "brand": "other"})
    assert refusal.value.code == "BRAND_UNKNOWN"
    assert await _all(fresh_database, select(customer)) == []
