"""The package a customer takes out: complete, readable, safe to open, and exactly what its manifest says."""

import csv
import hashlib
import io
import json
import zipfile
from typing import Any

import jsonschema
import pytest
from sqlalchemy import insert, update

from cdp.access.viewer import SYSTEM
from cdp.core.db import Role
from cdp.core.ids import new_id
from cdp.operations import moves
from cdp.operations.packages import subject_access
from cdp.operations.packages.choices import Choices, ExportCategory
from cdp.operations.packages.spreadsheets import cell
from cdp.operations.requests import evidence
from cdp.operations.requests.evidence import File, Given
from cdp.tables.customer import customer
from cdp.tables.event import event
from cdp.tables.order import sales_order
from cdp.tables.request import EvidenceKind, RequestStatus
from tests.connectors.webhook_peer import Peer, served
from tests.engine import Engine
from tests.population import LONG_AGO, Person, make_person, picture


@pytest.fixture
def peer():
    with served() as one:
        yield one


async def taken(engine: Engine, person: Person) -> zipfile.ZipFile:
    opened = await engine.open_export(person)
    await engine.work()
    assert await engine.status(opened.reference) is RequestStatus.COMPLETED
    return await engine.package(person, opened.reference)


def data(package: zipfile.ZipFile, path: str) -> Any:
    return json.loads(package.read(path))


def table(package: zipfile.ZipFile, path: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(package.read(path).decode("utf-8-sig"))))


async def test_it_holds_everything_in_every_form(engine: Engine, peer: Peer) -> None:
    ada, bystander = await make_person(engine.platform.db), await make_person(engine.platform.db, given_name="Bo")
    peer.people[ada.email] = {"profile": [{"email": ada.email, "score": 1.5}], "mailings": [{"subject": "Hi"}] * 3}
    peer.people[bystander.email] = {"profile": [{"email": bystander.email}]}
    await engine.connect(peer)
    before = await picture(engine.platform.db, bystander)
    package = await taken(engine, ada)

    (profile,) = data(package, "data/profile.json")
    assert (profile["givenName"], profile["collection"]["point"]) == ("Ada", "REGISTRATION")
    (email,) = data(package, "data/emails.json")
    assert (email["address"], email["isVerified"]) == (ada.email, True)
    (order,) = data(package, "data/orders.json")
    assert [item["sku"] for item in order["items"]] == ["B-1", "B-2"]
    assert data(package, "systems/newsletter/profile.json") == [{"email": ada.email, "score": 1.5}]
    assert len(data(package, "systems/newsletter/mailings.json")) == 3
    assert data(package, "missing.json") == []
    names = package.namelist()
    assert names[-2:] == ["manifest.json", "manifest.sig"]
    assert {"index.html", "schema.json", "README.txt", "data/requests.json", "data/consents.json"} <= set(names)
    whole = b"".join(package.read(name) for name in names)
    assert bystander.email.encode() not in whole
    assert await picture(engine.platform.db, bystander) == before


async def test_the_manifest_says_exactly_what_is_there(engine: Engine) -> None:
    package = await taken(engine, await make_person(engine.platform.db))
    manifest = data(package, "manifest.json")
    assert {entry["path"] for entry in manifest["files"]} == set(package.namelist()) - {"manifest.json", "manifest.sig"}
    for entry in manifest["files"]:
        raw = package.read(entry["path"])
        assert (entry["bytes"], entry["sha256"]) == (len(raw), hashlib.sha256(raw).hexdigest())
        if entry["path"].endswith(".json") and entry["records"] is not None:
            assert len(json.loads(raw)) == entry["records"]


async def test_csv_tables_join(engine: Engine) -> None:
    package = await taken(engine, await make_person(engine.platform.db))
    (order,) = table(package, "data/orders.csv")
    items = table(package, "data/orders_items.csv")
    assert [item["_parent"] for item in items] == [order["_record"]] * 2
    assert order["collection.source"] == "tests"
    assert [item["unitPrice"] for item in items] == ["10.25", "10.25"]


async def test_hostile_values_stay_text(engine: Engine) -> None:
    ada = await make_person(engine.platform.db)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        formula = '=HYPERLINK("http://evil.example","click")'
        await tx.execute(update(customer).values(given_name=formula, family_name="<script>alert(1)</script>"))
        await tx.execute(update(sales_order).values(purchase_order_number="-2+3"))
    package = await taken(engine, ada)
    (profile,) = table(package, "data/profile.csv")
    assert profile["givenName"].startswith("'=")
    assert data(package, "data/profile.json")[0]["givenName"] == formula
    page = package.read("index.html").decode()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "default-src 'none'" in page
    assert "http" not in page.replace("http-equiv", "").replace("http://evil.example", "")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("=1+1", "'=1+1"),
        ("+49 30", "'+49 30"),
        ("@sum", "'@sum"),
        ("\tx", "'\tx"),
        ("  =1", "'  =1"),
        ("-12.50", "-12.50"),
        ("-2+3", "'-2+3"),
        (True, "true"),
        (None, ""),
        (1.5, "1.5"),
        ("plain", "plain"),
    ],
)
def test_cells(value: object, shown: str) -> None:
    assert cell(value) == shown


async def test_a_system_that_is_down_is_missing_and_said_so(engine: Engine, peer: Peer) -> None:
    ada = await make_person(engine.platform.db)
    await engine.connect(peer)
    peer.answer = (500, {}, b"")
    package = await taken(engine, ada)
    (missing,) = data(package, "missing.json")
    assert (missing["system"], missing["state"]) == ("newsletter", "needs_attention")
    assert missing["tries"] >= 1
    assert missing["retriedAt"] is not None
    assert "by ourselves on" in missing["note"]
    assert data(package, "manifest.json")["missing"] == 1
    assert "could not give us your data" in package.read("index.html").decode()
    assert not [name for name in package.namelist() if name.startswith("systems/")]


async def test_it_speaks_the_customers_language(engine: Engine) -> None:
    ada = await make_person(engine.platform.db)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(update(customer).values(locale="de-AT"))
    package = await taken(engine, ada)
    assert "Ihre Datenkopie" in package.read("README.txt").decode()
    assert '<html lang="de">' in package.read("index.html").decode()


async def test_the_schema_describes_every_json_file(engine: Engine) -> None:
    package = await taken(engine, await make_person(engine.platform.db))
    schema = data(package, "schema.json")
    files = {name for name in package.namelist() if name.startswith("data/") and name.endswith(".json")}
    assert set(schema["$defs"]) == files
    assert schema["$defs"]["data/orders.json"]["items"]["properties"]["items"]["items"]["type"] == "object"
    for name in files:
        validator = jsonschema.Draft202012Validator(schema["$defs"][name])
        assert not list(validator.iter_errors(data(package, name))), name


async def test_one_snapshot_for_everything(engine: Engine) -> None:
    """Two reads of one snapshot see the same, whatever is written between them."""
    ada = await make_person(engine.platform.db)
    snapshot = subject_access.Snapshot(engine.place.reader, engine.platform.db, ada.customer_id)
    pages = {}
    async for page in snapshot.pages():
        pages.setdefault(page.collection, []).extend(page.records)
        async with engine.platform.db.transaction(Role.WORKER) as tx:
            await tx.execute(update(sales_order).values(status="cancelled"))
    assert pages["orders"][0]["status"] == "COMPLETED"
    assert snapshot.at is not None


async def test_long_collections_come_page_by_page(engine: Engine) -> None:
    ada = await make_person(engine.platform.db)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        rows = [
            {"id": new_id(), **ada.origin, "type": "page", "page": f"/{n}", "occurred_at": LONG_AGO} for n in range(650)
        ]
        await tx.execute(insert(event), rows)
    package = await taken(engine, ada)
    activity = data(package, "data/activity.json")
    assert len({one["id"] for one in activity}) == 651
    page = package.read("index.html").decode()
    assert "The first 500 of 651 are shown" in page


async def test_what_systems_said_and_documents_about_requests_are_in_it(engine: Engine) -> None:
    ada = await make_person(engine.platform.db)
    first = await engine.open_export(ada)
    given = Given(EvidenceKind.IDENTITY, "passport seen", file=File("pass port.txt", "text/plain", b"seen by me"))
    async with evidence.stored(engine.platform, given) as stored, engine.platform.db.transaction(Role.WORKER) as tx:
        request = await moves.lock(tx, first.id)
        assert request is not None
        await evidence.record(tx, SYSTEM, request, stored)
    await engine.work()
    package = await taken(engine, ada)
    assert package.read("documents/001-pass_port.txt") == b"seen by me"
    earlier = next(one for one in data(package, "data/requests.json") if one["reference"] == first.reference)
    assert any("records" in (task["evidence"] or {}) for task in earlier["tasks"])
    assert earlier["evidence"][0]["note"] == "passport seen"
    chosen = await engine.open_export(ada, Choices(frozenset({ExportCategory.ORDERS})))
    await engine.work()
    names = (await engine.package(ada, chosen.reference)).namelist()
    assert not [name for name in names if name.startswith("documents/")]
