"""Erasures reach exports: who asks meanwhile is out before release, who asks later is taken out of the files."""

import asyncio

import pytest

from cdp.core.db import Role
from cdp.core.sign import Verdict, check
from cdp.jobs.job import Workplace
from cdp.operations.bulk import reach
from cdp.operations.requests import requests
from cdp.tables.bulk import BulkCompression, BulkFormat, BulkStatus
from cdp.tables.request import RequestStatus, privacy_request
from tests.bulk.factory import Bulk
from tests.bulk.test_export import PACKED
from tests.engine import QUICK, Engine
from tests.population import Person, make_person

QUERY = "{ customers { nodes { id country orders { nodes { total } } } } }"


async def ask_erasure(bulk: Bulk, person: Person) -> privacy_request:
    viewer = person.viewer(authenticated_at=bulk.platform.clock())
    async with bulk.platform.db.transaction(Role.CUSTOMER, subject=person.customer_id) as tx:
        return await requests.open_erasure(tx, viewer, bulk.platform)


@pytest.mark.parametrize(("format_", "compression"), PACKED)
async def test_a_finished_export_is_rewritten_without_the_person(
    bulk: Bulk, format_: BulkFormat, compression: BulkCompression
) -> None:
    ada, bystander = await make_person(bulk.platform.db), await make_person(bulk.platform.db)
    made = await bulk.export(None, QUERY, format=format_, compression=compression)
    gone = await bulk.shown(made.row, ada.customer_id)
    assert gone in made.ids
    opened = await ask_erasure(bulk, ada)
    assert await reach.forget(bulk.platform, opened.id, ada.customer_id)
    after = await bulk.made(made.row.id)
    assert sorted(after.ids) == sorted(set(made.ids) - {gone})
    assert await bulk.shown(made.row, bystander.customer_id) in after.ids
    assert after.manifest["revision"] == 2
    assert after.excluded["erasing"] == made.excluded.get("erasing", 0) + 1
    assert after.manifest["selected"] == made.manifest["selected"]
    assert check(after.manifest, bulk.platform.signer.keys()) is Verdict.VALID
    stored = await bulk.platform.blobs.keys(f"bulk/{made.row.id}/")
    assert len(stored) == len(after.files) + 1
    for key in stored:
        body = await bulk.platform.blobs.get(key)
        assert gone.encode() not in body
    same = {name for name in made.files if made.files[name] == after.files.get(name)}
    assert len(same) == len(made.files) - 1
    assert (await bulk.audited(made.row.id))[-1] == "bulk_export.reissued"
    assert await reach.forget(bulk.platform, opened.id, ada.customer_id)
    assert (await bulk.row(made.row.id)).revision == 2


async def test_who_asks_while_it_is_made_is_out_before_release(bulk: Bulk) -> None:
    ada = await make_person(bulk.platform.db)
    asked = await bulk.ask(await bulk.member("analyst"), QUERY)
    held = bulk.with_settings(bulk_slots=1)
    working = asyncio.create_task(held.floor.drain())
    await bulk.snapshot(asked.id)
    opened = await ask_erasure(bulk, ada)
    await working
    made = await bulk.made(asked.id)
    assert await bulk.shown(made.row, ada.customer_id) not in made.ids
    assert made.excluded["erasing"] >= 1
    assert made.manifest["selected"] == made.manifest["exported"] + sum(made.excluded.values())
    assert await reach.forget(bulk.platform, opened.id, ada.customer_id)


async def test_an_export_in_the_making_is_waited_for(bulk: Bulk) -> None:
    ada = await make_person(bulk.platform.db)
    asked = await bulk.ask(await bulk.member("analyst"), QUERY)
    holder = asyncio.create_task(bulk.with_settings(bulk_slots=1, bulk_max_bytes_per_s=200).floor.drain())
    await bulk.snapshot(asked.id)
    opened = await ask_erasure(bulk, ada)
    assert not await reach.forget(bulk.platform, opened.id, ada.customer_id)
    holder.cancel()
    await asyncio.gather(holder, return_exceptions=True)
    await bulk.expire_leases()
    await bulk.floor.drain()
    assert await bulk.status(asked.id) is BulkStatus.COMPLETED
    assert await reach.forget(bulk.platform, opened.id, ada.customer_id)


async def test_an_erasure_completes_only_once_no_file_has_the_person(bulk: Bulk) -> None:
    ada = await make_person(bulk.platform.db)
    made = await bulk.export(None, QUERY)
    gone = await bulk.shown(made.row, ada.customer_id)
    engine = Engine(bulk.platform, Workplace(bulk.platform, bulk.reader, "tests")).with_settings(**QUICK)
    opened = await engine.open_erasure(ada)
    await engine.work()
    assert await engine.status(opened.reference) is RequestStatus.COMPLETED
    after = await bulk.made(made.row.id)
    assert sorted(after.ids) == sorted(set(made.ids) - {gone})
    assert after.manifest["revision"] == 2
