"""A bulk export from the wish to the signed manifest: in every format, complete, counted, naming nobody by default."""

import hashlib
import json
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import insert, update

from cdp.access.viewer import SYSTEM, Viewer
from cdp.core.clock import iso
from cdp.core.db import Role
from cdp.core.ids import global_id, new_id
from cdp.core.sign import Verdict, check
from cdp.tables.bulk import BulkCompression, BulkFormat, BulkStatus
from cdp.tables.consent import Channel, ConsentAction, consent, preference
from cdp.tables.customer import customer
from cdp.tables.request import ObjectionStatus, RequestStatus, RequestType, objection, privacy_request
from tests.bulk.factory import QUERY, Bulk
from tests.population import NOW, Person, make_person, picture

NASTY = 'a "quoted", \\. \x01\x02 \n \t €𝄞 $1 %s \\n =cmd()'
PACKED = [
    (BulkFormat.NDJSON, BulkCompression.NONE),
    (BulkFormat.NDJSON, BulkCompression.GZIP),
    (BulkFormat.NDJSON, BulkCompression.ZSTD),
    (BulkFormat.CSV, BulkCompression.NONE),
    (BulkFormat.CSV, BulkCompression.ZSTD),
    (BulkFormat.PARQUET, BulkCompression.NONE),
]
TYPED = """{ customers { nodes { key: id country createdAt status
  orders { totalCount nodes { total placedAt items { quantity unitPrice } } }
  preferences { key value } currentConsents { purpose { needsConsent } } } } }"""


@pytest.fixture(scope="module")
async def people(bulk: Bulk) -> list[Person]:
    return [await make_person(bulk.platform.db) for _ in range(8)]


@pytest.fixture(scope="module")
async def analyst(bulk: Bulk) -> Viewer:
    return await bulk.member("analyst")


async def test_everybody_is_in_it_once_and_the_manifest_proves_it(
    bulk: Bulk, people: list[Person], analyst: Viewer
) -> None:
    before = await picture(bulk.platform.db, people[0])
    asked = await bulk.ask(analyst)
    assert await bulk.status(asked.id) is BulkStatus.QUEUED
    await bulk.floor.drain()
    made = await bulk.made(asked.id)
    assert sorted(made.ids) == sorted([await bulk.shown(made.row, one.customer_id) for one in people])
    assert check(made.manifest, bulk.platform.signer.keys()) is Verdict.VALID
    assert len(made.manifest["output"]) > 1
    for said in made.manifest["output"]:
        body = made.files[said["url"].rpartition("/")[2]]
        assert (said["bytes"], said["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())
        assert said["count"] == body.count(b"\n")
    assert made.manifest["selected"] == made.manifest["exported"] == len(people)
    assert made.manifest["transactionTime"] == iso(made.row.snapshot_at)
    assert await bulk.platform.blobs.get(f"bulk/{asked.id}/manifest.json") == made.row.manifest.encode()
    actions = await bulk.audited(asked.id)
    assert actions[0] == "bulk_export.requested"
    assert actions[-1] == "bulk_export.completed"
    assert actions.count("bulk_part.done") == made.row.part_count
    assert await picture(bulk.platform.db, people[0]) == before


async def test_a_line_is_what_a_live_read_says(bulk: Bulk, people: list[Person], analyst: Viewer) -> None:
    made = await bulk.export(analyst)
    key = await bulk.shown(made.row, people[3].customer_id)
    row = next(row for row in made.rows if row["id"] == key)
    live = json.loads(
        await bulk.reader.execute(
            """query Q($id: ID!) { customer(id: $id) { country createdAt
              orders { nodes { total placedAt items { sku quantity } } } currentConsents { purposeCode action } } }""",
            SYSTEM,
            {"id": global_id("Customer", people[3].customer_id)},
        )
    )["data"]["customer"]
    assert {**row, "id": None} == {"id": None, **live}


@pytest.mark.parametrize(("format_", "compression"), PACKED)
async def test_every_format_and_packing_says_the_same(
    bulk: Bulk, people: list[Person], analyst: Viewer, format_: BulkFormat, compression: BulkCompression
) -> None:
    person = people[1]
    async with bulk.platform.db.transaction(Role.WORKER) as tx:
        mine = update(preference).where(preference.c.customer_id == person.customer_id)
        await tx.execute(mine.values(value={"text": NASTY, "list": [1, None]}))
    made = await bulk.export(analyst, TYPED, format=format_, compression=compression)
    plain = await bulk.export(analyst, TYPED)
    assert made.manifest["exported"] == len(people)
    assert sorted(made.ids) == sorted(plain.ids)
    key = await bulk.shown(made.row, person.customer_id)
    found = next(row for row in made.rows if row["id"] == key)
    said = next(row for row in plain.rows if row["id"] == key)
    match format_:
        case BulkFormat.NDJSON:
            assert found == said
            assert found["preferences"] == [{"key": "theme", "value": {"text": NASTY, "list": [1, None]}}]
        case BulkFormat.CSV:
            assert found["orders.totalCount"] == "1"
            assert json.loads(found["orders.nodes"]) == said["orders"]["nodes"]
            assert json.loads(json.loads(found["preferences"])[0]["value"])["text"] == NASTY
        case BulkFormat.PARQUET:
            order = found["orders"]["nodes"][0]
            assert order["total"] == Decimal("20.50")
            assert order["placedAt"].isoformat() == "2026-01-15T09:00:00+00:00"
            assert order["items"] == [{"quantity": 1, "unitPrice": Decimal("10.25")}] * 2
            assert json.loads(found["preferences"][0]["value"])["text"] == NASTY
            assert found["currentConsents"] == [{"purpose": {"needsConsent": True}}]


async def test_csv_cells_start_no_formula(bulk: Bulk, people: list[Person], analyst: Viewer) -> None:
    async with bulk.platform.db.transaction(Role.WORKER) as tx:
        mine = update(customer).where(customer.c.id == people[2].customer_id)
        await tx.execute(mine.values(locale="=1+1", country="@A"))
    made = await bulk.export(analyst, "{ customers { nodes { id locale country } } }", format=BulkFormat.CSV)
    key = await bulk.shown(made.row, people[2].customer_id)
    assert next(row for row in made.rows if row["id"] == key)["locale"] == "'=1+1"


async def test_values_of_callers_stay_values(bulk: Bulk, people: list[Person], analyst: Viewer) -> None:
    query = "query Q($c: String) { customers(filter: {country: {eq: $c}}) { nodes { id country } } }"
    for value in ("'; DROP TABLE customer; --", "$1", "\\'", "x' OR '1'='1", "E'\\''", NASTY.replace("\x01", "")):
        made = await bulk.export(analyst, query, variables={"c": value})
        assert made.rows == []
        assert made.manifest["selected"] == 0
    here = await bulk.export(analyst, query, variables={"c": "DE"})
    assert len(here.rows) == len(people) - 1  # one has another country by now


async def test_pseudonyms_are_stable_for_a_recipient_and_differ_between_recipients(
    bulk: Bulk, people: list[Person], analyst: Viewer
) -> None:
    other = await bulk.member("analyst")
    first = await bulk.export(analyst, recipient="warehouse")
    again = await bulk.export(analyst, recipient="warehouse")
    apart = await bulk.export(analyst, recipient="agency")
    others = await bulk.export(other, recipient="warehouse")
    assert sorted(first.ids) == sorted(again.ids)
    assert not set(first.ids) & set(apart.ids)
    assert not set(first.ids) & set(others.ids)
    known = {str(one.customer_id) for one in people} | {global_id("Customer", one.customer_id) for one in people}
    for body in first.files.values():
        assert not any(name.encode() in body for name in known)


async def test_who_may_not_be_used_is_left_out_and_counted(bulk: Bulk, analyst: Viewer) -> None:
    erasing, restricted, objected, withdrawn, fine = [
        await make_person(bulk.platform.db, country="XA") for _ in range(5)
    ]
    async with bulk.platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(insert(privacy_request).values(**_request(erasing, RequestType.ERASURE)))
        mine = update(customer).where(customer.c.id == restricted.customer_id)
        await tx.execute(mine.values(restricted_at=NOW))
        request = _request(objected, RequestType.OBJECTION)
        await tx.execute(insert(privacy_request).values(**request))
        await tx.execute(
            insert(objection).values(
                id=new_id(),
                **objected.origin,
                request_id=request["id"],
                purpose="promotions",
                status=ObjectionStatus.WEIGHED,
            )
        )
        await tx.execute(insert(consent).values(id=new_id(), **withdrawn.origin, **_no(Channel.EMAIL)))
    query = '{ customers(filter: {country: {eq: "XA"}}) { nodes { id } } }'
    wanted = await bulk.export(analyst, query, purpose="promotions")
    assert wanted.excluded == {"erasing": 1, "restricted": 1, "objected": 1, "no_consent": 1}
    assert wanted.ids == [await bulk.shown(wanted.row, fine.customer_id)]
    assert wanted.manifest["selected"] == 5 == wanted.manifest["exported"] + sum(wanted.excluded.values())
    others = await bulk.export(analyst, query, purpose="orders")
    assert others.excluded == {"erasing": 1, "restricted": 1}


def _request(person: Person, kind: RequestType) -> dict[str, Any]:
    return {
        "id": new_id(),
        "customer_id": person.customer_id,
        "reference": f"T-{person.email[4:14]}",
        "type": kind,
        "status": RequestStatus.RECEIVED,
        "subject_ref": person.audit_ref,
        "channel": "account",
        "due_at": NOW,
    }


def _no(channel: Channel) -> dict[str, Any]:
    return {
        "purpose": "promotions",
        "channel": channel,
        "action": ConsentAction.WITHDRAWN,
        "wording": "No.",
        "recorded_at": NOW,
    }


async def test_a_program_exports_with_its_own_scope(bulk: Bulk, people: list[Person]) -> None:
    program = await bulk.program()
    made = await bulk.export(program, QUERY)
    assert len(made.rows) == made.manifest["exported"] >= len(people)
    assert made.row.owner == f"client:{program.client_id}"
