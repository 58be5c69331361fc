"""What is asked for and who may ask: everything wrong is said at once; personal exports need a second person."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from cdp.access.bulk import APPROVE_SCOPE, EXPORT_SCOPE, IDENTIFYING
from cdp.access.rules import MASKED
from cdp.access.viewer import ANONYMOUS, SYSTEM, Actor, Viewer
from cdp.core.db import Role
from cdp.core.errors import PlatformError
from cdp.core.ids import global_id
from cdp.operations.bulk import control
from cdp.tables.bulk import BulkCompression, BulkFormat, BulkStatus
from cdp.tables.staff import staff
from tests.bulk.factory import QUERY, Bulk
from tests.population import Person, make_person

PERSONAL = "{ customers { nodes { id givenName contacts { emails { address } } } } }"


@pytest.fixture(scope="module")
async def analyst(bulk: Bulk) -> Viewer:
    return await bulk.member("analyst")


@pytest.fixture(scope="module")
async def officer(bulk: Bulk) -> Viewer:
    return await bulk.member("privacy_officer")


@pytest.fixture(scope="module")
async def ada(bulk: Bulk) -> Person:
    return await make_person(bulk.platform.db)


REFUSED: list[tuple[str, str, dict[str, Any]]] = [
    ("PURPOSE_REQUIRED", QUERY, {"purpose": None}),
    ("PURPOSE_UNKNOWN", QUERY, {"purpose": "world_domination"}),
    ("BULK_QUERY_REFUSED", "{ a: customers { nodes { id } } b: customers { nodes { id } } }", {}),
    ("BULK_QUERY_REFUSED", "{ customers { nodes { id } } viewer { kind } }", {}),
    ("BULK_QUERY_REFUSED", "{ viewer { kind } }", {}),
    ("BULK_QUERY_REFUSED", "{ customers { totalCount } }", {}),
    ("BULK_QUERY_REFUSED", "{ customers(first: 3) { nodes { id } } }", {}),
    ("BULK_QUERY_REFUSED", "{ customers(orderBy: {field: NAME}) { nodes { id } } }", {}),
    ("BULK_QUERY_REFUSED", "{ customers { nodes { orders { pageInfo { hasNextPage } } } } }", {}),
    ("BULK_QUERY_REFUSED", "{ customers { nodes { orders { edges { cursor } } } } }", {}),
    ("BULK_QUERY_REFUSED", '{ customers { nodes { orders(after: "x") { nodes { id } } } } }', {}),
    ("BULK_QUERY_REFUSED", "{ customers { nodes { id: country } } }", {}),
    ("BULK_QUERY_REFUSED", 'mutation { cancelRequest(input: {id: "x"}) { clientMutationId } }', {}),
    ("BULK_QUERY_REFUSED", 'subscription { bulkExportProgress(id: "x") { id } }', {}),
    ("GRAPHQL_PARSE_FAILED", "{ customers {", {}),
    ("GRAPHQL_VALIDATION_FAILED", "{ customers { nodes { shoeSize } } }", {}),
    ("DOCUMENT_TOO_COMPLEX", "{ customers { nodes " + "{ brand " * 20 + "{ id }" + " }" * 20 + " } }", {}),
    ("PAGE_TOO_LARGE", "{ customers { nodes { orders(first: 100000) { nodes { id } } } } }", {}),
    ("BAD_USER_INPUT", "query Q($c: String!) { customers(filter: {country: {eq: $c}}) { nodes { id } } }", {}),
    ("PERSONAL_FIELDS_REFUSED", PERSONAL, {}),
    ("PERSONAL_FIELDS_REFUSED", '{ customers(filter: {email: {eq: "a@b.c"}}) { nodes { id } } }', {}),
    ("FORBIDDEN", "{ customers { nodes { requests { nodes { reference } } } } }", {}),
    ("COMPRESSION_REFUSED", QUERY, {"format": BulkFormat.PARQUET, "compression": BulkCompression.GZIP}),
    ("NOTIFY_URL_REFUSED", QUERY, {"notify_url": "file:///etc/passwd"}),
]


@pytest.mark.parametrize(("code", "query", "more"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
async def test_what_is_wrong_is_said_at_once(
    bulk: Bulk, analyst: Viewer, code: str, query: str, more: dict[str, Any]
) -> None:
    with pytest.raises(PlatformError) as refused:
        await bulk.ask(analyst, query, **more)
    assert refused.value.code == code


async def test_only_who_may_export_exports(bulk: Bulk, analyst: Viewer, ada: Person) -> None:
    cases = [
        (ANONYMOUS, "INSUFFICIENT_SCOPE"),
        (ada.viewer(EXPORT_SCOPE), "FORBIDDEN"),
        (replace(analyst, scopes=frozenset()), "INSUFFICIENT_SCOPE"),
        (await bulk.member("agent"), "FORBIDDEN"),
        (await bulk.member("privacy_officer"), "FORBIDDEN"),
        (Viewer(Actor.CLIENT, client_id="x"), "INSUFFICIENT_SCOPE"),
    ]
    for viewer, code in cases:
        with pytest.raises(PlatformError) as refused:
            await bulk.ask(viewer)
        assert refused.value.code == code
    assert (await bulk.ask(SYSTEM)).is_new


async def test_the_same_wish_with_the_same_key_is_one_export(bulk: Bulk, analyst: Viewer) -> None:
    asked = await asyncio.gather(*(bulk.ask(analyst, idempotency_key="tonight") for _ in range(4)))
    assert len({one.id for one in asked}) == 1
    assert sum(one.is_new for one in asked) == 1
    with pytest.raises(PlatformError) as refused:
        await bulk.ask(analyst, idempotency_key="tonight", format=BulkFormat.CSV)
    assert refused.value.code == "IDEMPOTENCY_CONFLICT"
    assert (await bulk.ask(await bulk.member("analyst"), idempotency_key="tonight")).is_new


async def test_a_personal_export_waits_for_a_second_person(
    bulk: Bulk, analyst: Viewer, officer: Viewer, ada: Person
) -> None:
    asked = await bulk.ask(analyst, PERSONAL, personal=True)
    await bulk.floor.drain()
    assert await bulk.status(asked.id) is BulkStatus.AWAITING_APPROVAL
    both = replace(analyst, roles=frozenset({"analyst", "privacy_officer"}))
    stale = replace(officer, authenticated_at=bulk.platform.clock() - timedelta(hours=1))
    for viewer, code in [
        (analyst, "FORBIDDEN"),
        (both, "SECOND_PERSON_NEEDED"),
        (stale, "STEP_UP_REQUIRED"),
        (replace(officer, scopes=frozenset({EXPORT_SCOPE})), "INSUFFICIENT_SCOPE"),
        (SYSTEM, "INSUFFICIENT_SCOPE"),
        (ada.viewer(APPROVE_SCOPE), "FORBIDDEN"),
    ]:
        with pytest.raises(PlatformError) as refused:
            await control.approve(bulk.platform, viewer, asked.id)
        assert refused.value.code == code
    await control.approve(bulk.platform, officer, asked.id)
    await bulk.floor.drain()
    made = await bulk.made(asked.id)
    assert made.row.approver_id == officer.staff_id
    row = next(one for one in made.rows if one["id"] == global_id("Customer", ada.customer_id))
    assert row["givenName"] == "Ada"
    assert row["contacts"]["emails"][0]["address"] == ada.email
    assert "bulk_export.queued" in await bulk.audited(asked.id)
    with pytest.raises(PlatformError) as refused:
        await control.approve(bulk.platform, officer, asked.id)
    assert refused.value.code == "BULK_EXPORT_MOVED"


async def test_a_refused_personal_export_is_over(bulk: Bulk, analyst: Viewer, officer: Viewer) -> None:
    asked = await bulk.ask(analyst, PERSONAL, personal=True)
    await control.refuse(bulk.platform, officer, asked.id)
    row = await bulk.row(asked.id)
    assert (row.status, row.code) == (BulkStatus.CANCELLED, "APPROVAL_REFUSED")


def test_what_is_masked_live_identifies_people() -> None:
    for type_name, fields in MASKED.items():
        assert set(fields) <= set(IDENTIFYING[type_name].split()), type_name


@pytest.mark.parametrize("change", [{"active": False}, {"roles": ["agent"]}], ids=["left", "changed roles"])
async def test_who_may_no_longer_export_gets_nothing(bulk: Bulk, change: dict[str, Any]) -> None:
    member, bystander = await bulk.member("analyst"), await bulk.member("analyst")
    asked, other = await bulk.ask(member), await bulk.ask(bystander)
    async with bulk.platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(update(staff).where(staff.c.id == member.staff_id).values(change))
    await bulk.floor.drain()
    row = await bulk.row(asked.id)
    assert (row.status, row.code, row.manifest) == (BulkStatus.FAILED, "OWNER_GONE", None)
    assert (await bulk.audited(asked.id))[-1] == "bulk_export.failed"
    assert await bulk.status(other.id) is BulkStatus.COMPLETED


async def test_who_leaves_while_it_is_made_gets_nothing(bulk: Bulk, ada: Person) -> None:
    member = await bulk.member("analyst")
    asked = await bulk.ask(member)
    slow = bulk.with_settings(bulk_max_bytes_per_s=1_000)
    making = asyncio.create_task(slow.floor.drain())
    await bulk.snapshot(asked.id)
    async with bulk.platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(update(staff).where(staff.c.id == member.staff_id).values(active=False))
    await making
    await bulk.floor.drain()
    row = await bulk.row(asked.id)
    assert (row.status, row.code, row.manifest) == (BulkStatus.FAILED, "OWNER_GONE", None)
    assert await bulk.platform.blobs.keys(f"bulk/{asked.id}/") == []
