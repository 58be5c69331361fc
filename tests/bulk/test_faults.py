"""What may go wrong while an export is made: workers die, stores fail, people cancel; nothing half is called whole."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from sqlalchemy import select, update

from cdp.access.viewer import Viewer
from cdp.connectors.own.rows import erase_rows
from cdp.core.blobs import Blobs
from cdp.core.db import Role
from cdp.core.ids import new_id
from cdp.core.settings import Settings
from cdp.operations.bulk import control, holding, parts
from cdp.operations.bulk.finishing import finish
from cdp.operations.bulk.making import make
from cdp.operations.bulk.states import BulkExportNotReady
from cdp.tables.bulk import BulkFormat, BulkStatus, PartStatus, bulk_export
from cdp.tables.consent import preference
from cdp.tables.customer import customer
from tests.bulk.factory import Bulk, opened
from tests.bulk.unwell import Unwell, unwell
from tests.conftest import fresh_place
from tests.faults.mortal import Died, Life, MortalBlobs, MortalDatabase
from tests.population import Person, make_person
from tests.seaweed import Seaweed, seaweed

# Every moment takes long: the gate takes one in so many, from a start that moves with the day; the soak takes them all.
STRIDE = int(os.environ.get("CDP_TEST_STRIDE", "40"))
START = 1 + datetime.now(UTC).toordinal() % STRIDE


@pytest.fixture(scope="module")
async def people(bulk: Bulk) -> list[Person]:
    return [await make_person(bulk.platform.db) for _ in range(7)]


@pytest.fixture(scope="module")
async def analyst(bulk: Bulk) -> Viewer:
    return await bulk.member("analyst")


async def whole(bulk: Bulk, export_id: object, people: list[Person]) -> None:
    """It is complete, once, and nothing else lies in the store."""
    made = await bulk.made(export_id)
    assert sorted(made.ids) == sorted([await bulk.shown(made.row, one.customer_id) for one in people])
    kept = {part.object_key for part in await bulk.parts(export_id)} | {f"bulk/{export_id}/manifest.json"}
    assert set(await bulk.platform.blobs.all_keys(f"bulk/{export_id}/")) == kept
    assert (await bulk.audited(export_id)).count("bulk_export.completed") == 1


async def live(bulk: Bulk, moments: int) -> bool:
    """Work through a platform that dies after so many moments; whether it died."""
    life = Life(moments)
    platform = replace(
        bulk.platform,
        db=MortalDatabase(bulk.platform.db.url, life),
        blobs=MortalBlobs(bulk.platform.blobs.url, life),
    )
    before = asyncio.all_tasks()
    try:
        await bulk.on(platform, "mortal").floor.drain()
    except Died:
        return True
    finally:
        orphans = asyncio.all_tasks() - before
        for orphan in orphans:
            orphan.cancel()
        await asyncio.gather(*orphans, return_exceptions=True)
        await platform.db.close()
    return life.left <= 0


@pytest.mark.faults
async def test_an_export_survives_death_at_every_moment(bulk: Bulk, people: list[Person], analyst: Viewer) -> None:
    moment, died = START, True
    while died:
        asked = await bulk.ask(analyst)
        died = await live(bulk, moment)
        await bulk.expire_leases()
        await bulk.floor.drain()
        await whole(bulk, asked.id, people)
        moment += STRIDE
    print(f"walked {moment} moments from {START} by {STRIDE}")


async def test_a_part_whose_worker_died_is_redone_and_the_others_are_kept(
    bulk: Bulk, people: list[Person], analyst: Viewer
) -> None:
    asked = await bulk.ask(analyst)
    holding_ = asyncio.create_task(_hold(bulk))
    await bulk.snapshot(asked.id)
    short = bulk.platform.settings.model_copy(update={"lease_s": 0.5})
    async with bulk.platform.db.transaction(Role.WORKER) as tx:
        lost = await parts.claim(tx, owner="dead", settings=short)
    async with bulk.platform.db.transaction(Role.WORKER) as tx:
        done = await parts.claim(tx, owner="alive", settings=bulk.platform.settings)
    assert lost is not None
    assert done is not None
    await make(bulk.platform, bulk.plans, done, nullcontext())
    before = {part.id: part for part in await bulk.parts(asked.id)}
    async with asyncio.timeout(60):
        while not holding_.done():  # the lease of the dead one runs out meanwhile
            await bulk.floor.drain()
            await asyncio.sleep(0.05)
    await whole(bulk, asked.id, people)
    after = {part.id: part for part in await bulk.parts(asked.id)}
    assert (after[done.id].fence, after[done.id].object_key) == (1, before[done.id].object_key)
    assert after[lost.id].fence == 2
    async with bulk.platform.db.transaction(Role.WORKER) as tx:  # the dead one comes back
        stale = parts.Written("bulk/x", 1, 1, b"\0" * 32, {})
        assert not await parts.settle(tx, lost, stale)
    assert (await bulk.row(asked.id)).epoch == 1


async def _hold(bulk: Bulk) -> None:
    async with bulk.platform.db.transaction(Role.WORKER) as tx:
        held = await holding.claim(tx, owner="holder", settings=bulk.platform.settings)
    assert held is not None
    await holding.hold(bulk.platform, held)


async def test_when_the_holder_dies_all_parts_start_anew_under_one_snapshot(
    bulk: Bulk, people: list[Person], analyst: Viewer
) -> None:
    asked = await bulk.ask(analyst)
    holder = asyncio.create_task(_hold(bulk))
    await bulk.snapshot(asked.id)
    async with bulk.platform.db.transaction(Role.WORKER) as tx:
        early = await parts.claim(tx, owner="early", settings=bulk.platform.settings)
    assert early is not None
    await make(bulk.platform, bulk.plans, early, nullcontext())
    holder.cancel()
    await asyncio.gather(holder, return_exceptions=True)
    async with bulk.platform.db.transaction(Role.WORKER) as tx:
        assert await parts.claim(tx, owner="late", settings=bulk.platform.settings) is None
        mine = update(customer).where(customer.c.id == people[0].customer_id)
        await tx.execute(mine.values(locale="new"))
    await bulk.floor.drain()
    await whole(bulk, asked.id, people)
    assert {part.epoch for part in await bulk.parts(asked.id)} == {2}
    assert not await finish(bulk.platform, asked.id, 1)  # the first holder comes back


async def test_a_snapshot_that_is_gone_costs_a_part_no_try(bulk: Bulk, analyst: Viewer) -> None:
    asked = await bulk.ask(analyst)
    holder = asyncio.create_task(_hold(bulk))
    await bulk.snapshot(asked.id)
    async with bulk.platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(update(bulk_export).where(bulk_export.c.id == asked.id).values(snapshot_name="00000003-0-1"))
        work = await parts.claim(tx, owner="x", settings=bulk.platform.settings)
    assert work is not None
    await make(bulk.platform, bulk.plans, work, nullcontext())
    assert {part.attempt for part in await bulk.parts(asked.id)} == {0}
    async with bulk.platform.db.transaction(Role.WORKER) as tx:
        await control.cancel(tx, analyst, asked.id)
    await asyncio.gather(holder)
    await bulk.floor.drain()


@pytest.mark.parametrize("moment", ["awaiting_approval", "queued", "running", "completed"])
async def test_cancelling_at_every_step_leaves_nothing(
    bulk: Bulk, people: list[Person], analyst: Viewer, moment: str
) -> None:
    bystander = await bulk.export(analyst)
    asked = await bulk.ask(analyst, personal=moment == "awaiting_approval")
    working = None
    if moment == "running":
        working = asyncio.create_task(bulk.with_settings(bulk_max_bytes_per_s=200, lease_s=0.6).floor.drain())
        await bulk.snapshot(asked.id)
    if moment == "completed":
        await bulk.floor.drain()
    async with bulk.platform.db.transaction(Role.WORKER) as tx:
        if moment != "completed":
            with pytest.raises(BulkExportNotReady):
                await control.manifest(tx, analyst, asked.id)
        await control.cancel(tx, analyst, asked.id)
        await control.cancel(tx, analyst, asked.id)  # twice is fine
    await bulk.floor.drain()
    if working is not None:
        await working
    await bulk.floor.drain()
    row = await bulk.row(asked.id)
    assert row.status is (BulkStatus.DESTROYED if moment == "completed" else BulkStatus.CANCELLED)
    assert (row.manifest, row.swept_at is not None) == (None, True)
    assert await bulk.platform.blobs.all_keys(f"bulk/{asked.id}/") == []
    assert (await bulk.made(bystander.row.id)).files == bystander.files


async def test_a_stuck_export_keeps_nobody_waiting_and_exports_take_turns(
    bulk: Bulk, people: list[Person], analyst: Viewer
) -> None:
    bulk = bulk.with_settings(lease_s=60.0)  # busy machines let short leases go
    stuck = await bulk.ask(analyst)
    holder = asyncio.create_task(_hold(bulk))
    await bulk.snapshot(stuck.id)
    async with bulk.platform.db.transaction(Role.WORKER) as tx:
        held = await parts.claim(tx, owner="stuck", settings=bulk.platform.settings)
    assert held is not None
    first, second = await bulk.ask(analyst), await bulk.ask(analyst)
    both = asyncio.create_task(bulk.on(bulk.platform).floor.drain())
    async with asyncio.timeout(60):
        while {await bulk.status(first.id), await bulk.status(second.id)} != {BulkStatus.COMPLETED}:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert await bulk.status(stuck.id) is BulkStatus.RUNNING
    begun = [(part.started_at, one.id) for one in (first, second) for part in await bulk.parts(one.id)]
    order = [export_id for _, export_id in sorted(begun)]
    assert order != sorted(order, key=order.index), "one after the other is no turn"
    async with bulk.platform.db.transaction(Role.WORKER) as tx:
        await control.cancel(tx, analyst, stuck.id)
        await parts.give_back(tx, held)
    await asyncio.gather(holder, both)
    await bulk.floor.drain()
    assert await bulk.status(stuck.id) is BulkStatus.CANCELLED


async def test_a_store_that_refuses_ends_in_a_clear_state(bulk: Bulk, people: list[Person], analyst: Viewer) -> None:
    objects = Path(unquote(urlsplit(bulk.platform.blobs.url).path))
    broken = objects.parent / f"broken-{new_id().hex}"
    broken.mkdir()
    (broken / "bulk").write_bytes(b"in the way")
    platform = replace(bulk.platform, blobs=Blobs(broken.as_uri()))
    asked = await bulk.ask(analyst)
    await bulk.on(platform).floor.drain()
    row = await bulk.row(asked.id)
    assert (row.status, row.code, row.manifest) == (BulkStatus.FAILED, "STORE_FAILED", None)
    assert "bulk_part.failed" in await bulk.audited(asked.id)


async def test_an_export_that_is_over_goes_with_its_files(bulk: Bulk, people: list[Person], analyst: Viewer) -> None:
    made = await bulk.export(analyst)
    async with bulk.platform.db.transaction(Role.WORKER) as tx:
        mine = update(bulk_export).where(bulk_export.c.id == made.row.id)
        await tx.execute(mine.values(expires_at=made.row.completed_at))
    await bulk.floor.drain()
    row = await bulk.row(made.row.id)
    assert (row.status, row.variables, row.manifest) == (BulkStatus.DESTROYED, None, None)
    assert await bulk.platform.blobs.all_keys(f"bulk/{made.row.id}/") == []
    actions = await bulk.audited(made.row.id)
    assert actions[-2:] == ["bulk_export.expired", "bulk_export.destroyed"]


@pytest.fixture(scope="module")
def weed() -> Iterator[Seaweed]:
    with seaweed() as one:
        yield one


@pytest.fixture(scope="module")
async def proxy(weed: Seaweed) -> AsyncIterator[Unwell]:
    async with unwell(weed.port) as one:
        yield one


@pytest.fixture(scope="module")
async def on_s3(running: Settings, worker_name: str, weed: Seaweed, proxy: Unwell) -> AsyncIterator[Bulk]:
    weed.bucket("exports")
    known = {
        "AWS_ENDPOINT": proxy.url,
        "AWS_ACCESS_KEY_ID": weed.access_key_id,
        "AWS_SECRET_ACCESS_KEY": weed.secret_access_key,
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }
    before = dict(os.environ)
    os.environ.update(known)
    try:
        with fresh_place(running, worker_name) as place:
            async for one in opened(place.model_copy(update={"objects_url": "s3://exports/bulk-tests"})):
                yield one
    finally:
        os.environ.clear()
        os.environ.update(before)


async def test_on_s3_and_while_it_is_away(on_s3: Bulk, weed: Seaweed) -> None:
    people = [await make_person(on_s3.platform.db) for _ in range(4)]
    asked = await on_s3.ask(await on_s3.member("analyst"), format=BulkFormat.PARQUET)
    weed.stop()
    working = asyncio.create_task(on_s3.floor.drain())
    await on_s3.snapshot(asked.id)
    await asyncio.to_thread(weed.start)
    await working
    await whole(on_s3, asked.id, people)
    assert {"bulk-tests" in one["path"] for one in weed.store("exports").list(prefix="bulk-tests").collect()} == {True}


async def test_a_store_that_answers_5xx_in_the_middle_loses_nothing(on_s3: Bulk, proxy: Unwell) -> None:
    before = proxy.refused
    noise = os.urandom(1024 * 1024)

    async def chunks() -> AsyncIterator[bytes]:
        for number in range(20):  # more than one part of a multipart upload
            if number == 12:
                proxy.fall_ill(3)
            yield noise

    assert await on_s3.platform.blobs.put_stream("middle", chunks()) == 20 * len(noise)
    assert proxy.refused > before
    digest = hashlib.sha256()
    async for chunk in on_s3.platform.blobs.stream("middle"):
        digest.update(chunk)
    assert digest.digest() == hashlib.sha256(noise * 20).digest()
    await on_s3.platform.blobs.delete("middle")


async def test_an_export_goes_on_when_the_store_is_well_again(on_s3: Bulk, proxy: Unwell) -> None:
    people = [await make_person(on_s3.platform.db, country="XS") for _ in range(4)]
    query = '{ customers(filter: {country: {eq: "XS"}}) { nodes { id } } }'
    asked = await on_s3.ask(await on_s3.member("analyst"), query)
    proxy.fall_ill(4)
    await on_s3.floor.drain()
    await whole(on_s3, asked.id, people)


@pytest.fixture
async def impatient(on_s3: Bulk, proxy: Unwell) -> AsyncIterator[Bulk]:
    """Six people of four megabytes each, about three to a part, for a store that is asked again only for a moment."""
    async with on_s3.platform.db.transaction(Role.WORKER) as tx:
        for row in await tx.all(select(customer.c.id)):
            await erase_rows(tx, row.id)
    people = [await make_person(on_s3.platform.db) for _ in range(6)]
    async with on_s3.platform.db.transaction(Role.WORKER) as tx:
        mine = update(preference).where(preference.c.customer_id.in_([one.customer_id for one in people]))
        await tx.execute(mine.values(value="a" * 4_000_000))
    brief = replace(on_s3.platform, blobs=Blobs(on_s3.platform.blobs.url, retry_s=0.2))
    yield on_s3.on(brief)
    proxy.recover()
    await on_s3.forget()
    async with on_s3.platform.db.transaction(Role.WORKER) as tx:
        for one in people:
            await erase_rows(tx, one.customer_id)


LARGE = "{ customers { nodes { id preferences { value } } } }"
MIDDLE_BYTES = 10_000_000  # of twelve: the first piece of a part is there, the second is on its way


async def _offered(bulk: Bulk, weed: Seaweed, export_id: object) -> list[str]:
    """What the store itself shows of an export, the proxy aside."""
    listed = weed.store("exports").list(prefix=f"bulk-tests/bulk/{export_id}/").collect()
    return [one["path"].rpartition("/")[2] for one in listed]


async def test_a_store_that_is_away_for_longer_than_its_tries_costs_a_part_another_one(
    impatient: Bulk, weed: Seaweed, proxy: Unwell
) -> None:
    viewer = await impatient.member("analyst")
    asked = await impatient.ask(viewer, LARGE)
    holder = asyncio.create_task(_hold(impatient))
    await impatient.snapshot(asked.id)
    claimed = []
    for is_well in (True, False):
        async with impatient.platform.db.transaction(Role.WORKER) as tx:
            work = await parts.claim(tx, owner="worker", settings=impatient.platform.settings)
        assert work is not None
        claimed.append(work.id)
        proxy.bearable = None if is_well else MIDDLE_BYTES
        await make(impatient.platform, impatient.plans, work, nullcontext())
    assert proxy.refused > 1  # it was asked again
    before = {part.id: part for part in await impatient.parts(asked.id)}
    made, tried = (before[one] for one in claimed)
    assert (made.status, tried.status) == (PartStatus.DONE, PartStatus.PENDING)
    assert (tried.code, tried.object_key, tried.attempt) == ("STORE_FAILED", None, 1)
    assert await _offered(impatient, weed, asked.id) == [made.object_key.rpartition("/")[2]]
    assert (await impatient.row(asked.id)).manifest is None
    async with impatient.platform.db.transaction(Role.WORKER) as tx:
        with pytest.raises(BulkExportNotReady):
            await control.manifest(tx, viewer, asked.id)
    proxy.recover()
    await impatient.floor.drain()
    await holder
    after = {part.id: part for part in await impatient.parts(asked.id)}
    assert (after[made.id].fence, after[tried.id].fence) == (1, 2)
    assert len((await impatient.made(asked.id)).ids) == 6
    assert len(await _offered(impatient, weed, asked.id)) == len(after) + 1  # the manifest
    assert (await impatient.audited(asked.id)).count("bulk_part.retrying") == 1


async def test_a_store_that_does_not_come_back_ends_in_a_clear_state(
    impatient: Bulk, weed: Seaweed, proxy: Unwell
) -> None:
    asked = await impatient.ask(await impatient.member("analyst"), LARGE)
    proxy.bearable = MIDDLE_BYTES
    await impatient.floor.drain()
    row = await impatient.row(asked.id)
    assert (row.status, row.code, row.manifest) == (BulkStatus.FAILED, "STORE_FAILED", None)
    actions = await impatient.audited(asked.id)
    most = impatient.platform.settings.max_attempts
    assert max(part.attempt for part in await impatient.parts(asked.id)) == most
    assert actions.count("bulk_part.retrying") >= most - 1
    assert "bulk_part.failed" in actions
    assert "bulk_export.completed" not in actions
    proxy.recover()
    await impatient.floor.drain()
    assert (await impatient.row(asked.id)).swept_at is not None
    assert await _offered(impatient, weed, asked.id) == []
