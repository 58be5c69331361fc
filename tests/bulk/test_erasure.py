"""Erasures reach exports: who asks meanwhile is out before release, who asks later is taken out of the files."""

import asyncio
import resource
from dataclasses import replace
from uuid import UUID

import pytest
from obstore.exceptions import BaseError as StoreError
from sqlalchemy import func, update

from cdp.connectors.own.rows import erase_rows
from cdp.core.db import Role
from cdp.core.sign import Verdict, check
from cdp.jobs.workplace import Workplace
from cdp.operations.bulk import reach, spares
from cdp.operations.requests import requests
from cdp.tables.bulk import BulkCompression, BulkFormat, BulkStatus, bulk_part
from cdp.tables.request import RequestStatus, privacy_request
from tests.bulk.factory import Bulk
from tests.bulk.test_export import PACKED
from tests.engine import QUICK, Engine, until
from tests.faults.mortal import Died, Life, MortalBlobs, MortalDatabase
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
    stored = await bulk.platform.blobs.all_keys(f"bulk/{made.row.id}/")
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


async def test_people_who_leave_together_are_all_taken_out(bulk: Bulk) -> None:
    """Two workers write the same file anew: one of them waits, and nobody's removal is lost."""
    people = [await make_person(bulk.platform.db) for _ in range(3)]
    made = await bulk.with_settings(bulk_part_rows=1_000).export(None, QUERY)
    gone = {await bulk.shown(made.row, one.customer_id) for one in people}
    asked = [(await ask_erasure(bulk, one), one) for one in people]

    async def leave(request: privacy_request, person: Person) -> None:
        await until(lambda: reach.forget(bulk.platform, request.id, person.customer_id))

    await asyncio.gather(*(leave(*one) for one in asked))
    after = await bulk.made(made.row.id)
    assert sorted(after.ids) == sorted(set(made.ids) - gone)
    await nothing_else_lies_there(bulk, made.row.id)
    for request, person in asked:
        await end(bulk, request, person)


async def test_a_rewriter_that_dies_at_any_moment_leaves_nothing(bulk: Bulk) -> None:
    """What it left goes with the next sweep, while the export lives on; nobody is in a file no manifest names."""
    await bulk.forget()  # one export, so that there are few moments
    people = [await make_person(bulk.platform.db) for _ in range(40)]
    made = await bulk.with_settings(bulk_part_rows=1_000).export(None, QUERY)
    for moment, person in enumerate(people, 1):
        request = await ask_erasure(bulk, person)
        died = await rewrite_and_die(bulk, moment, request, person)
        async with bulk.platform.db.transaction(Role.WORKER) as tx:  # its leases run out
            left = update(bulk_part).where(bulk_part.c.spare_key.is_not(None))
            await tx.execute(left.values(spare_until=func.now()))
        await bulk.floor.drain()
        await nothing_else_lies_there(bulk, made.row.id)
        assert await reach.forget(bulk.platform, request.id, person.customer_id)
        await nothing_else_lies_there(bulk, made.row.id)
        assert await bulk.shown(made.row, person.customer_id) not in (await bulk.made(made.row.id)).ids
        if not died:
            break
    assert not died, "it takes more moments than that"
    assert moment > 10, "it never got that far"
    await bulk.forget()


async def rewrite_and_die(bulk: Bulk, moments: int, request: privacy_request, person: Person) -> bool:
    life = Life(moments)
    platform = replace(
        bulk.platform,
        db=MortalDatabase(bulk.platform.db.url, life),
        blobs=MortalBlobs(bulk.platform.blobs.url, life),
    )
    try:
        await reach.forget(platform, request.id, person.customer_id)
    except Died:
        return True
    finally:
        await platform.db.close()
    return False


async def end(bulk: Bulk, request: privacy_request, person: Person) -> None:
    """The erasure is over for those who come later."""
    async with bulk.platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(
            update(privacy_request)
            .where(privacy_request.c.id == request.id)
            .values(status=RequestStatus.CANCELLED, settled_at=func.now())
        )
        await erase_rows(tx, person.customer_id)


async def nothing_else_lies_there(bulk: Bulk, export_id: UUID) -> None:
    named = {part.object_key for part in await bulk.parts(export_id)} | {f"bulk/{export_id}/manifest.json"}
    assert set(await bulk.platform.blobs.all_keys(f"bulk/{export_id}/")) == named


async def test_a_rewriter_whose_lease_ran_out_changes_nothing(bulk: Bulk) -> None:
    made = await bulk.export(None, QUERY)
    part = (await bulk.parts(made.row.id))[0]
    late = f"{part.object_key}.late"
    async with bulk.platform.db.transaction(Role.WORKER) as tx:
        assert await spares.claim(tx, part.id, part.object_key, late, lease_s=30)
        assert not await spares.claim(tx, part.id, part.object_key, "other", lease_s=30)
        assert await spares.extend(tx, part.id, late, lease_s=0)
    await bulk.platform.blobs.put(late, b"half")
    async with bulk.platform.db.transaction(Role.WORKER) as tx:
        assert not await spares.swap(tx, part.id, part.object_key, late, {})
        assert not await spares.extend(tx, part.id, late, lease_s=30)
    await bulk.floor.drain()
    await nothing_else_lies_there(bulk, made.row.id)
    assert (await bulk.made(made.row.id)).files == made.files


async def test_a_disk_that_is_full_keeps_the_export_and_the_erasure_waiting(bulk: Bulk) -> None:
    ada, bystander = await make_person(bulk.platform.db), await make_person(bulk.platform.db)
    made = await bulk.with_settings(bulk_part_rows=1_000).export(None, QUERY)
    request = await ask_erasure(bulk, ada)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))  # the kernel makes no file longer than this
    try:
        with pytest.raises((StoreError, OSError)):
            await reach.forget(bulk.platform, request.id, ada.customer_id)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (await bulk.made(made.row.id)).files == made.files
    await nothing_else_lies_there(bulk, made.row.id)
    assert await reach.forget(bulk.platform, request.id, ada.customer_id)
    after = await bulk.made(made.row.id)
    assert await bulk.shown(made.row, ada.customer_id) not in after.ids
    assert await bulk.shown(made.row, bystander.customer_id) in after.ids
    await nothing_else_lies_there(bulk, made.row.id)
    await end(bulk, request, ada)
