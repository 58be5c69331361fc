"""Fetching a package: one's own, freshly signed in, whole or in part, counted; and gone when it is gone."""

import random
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from cdp.access.viewer import MissingScope
from cdp.core.db import Role
from cdp.core.errors import NotFound, StepUpRequired, Unauthenticated
from cdp.core.seal import CHUNK_BYTES, Unsealable
from cdp.jobs.claim import leased, settle
from cdp.operations.requests import exports, phases, steps
from cdp.operations.requests.exports import ExportGone, ExportNotReady, RangeInvalid
from cdp.tables.consent import preference
from cdp.tables.customer import customer
from cdp.tables.export import ExportStatus, export
from cdp.tables.request import TaskStep
from tests.engine import Engine
from tests.population import Person, make_person


@pytest.fixture
async def ada(engine: Engine) -> Person:
    return await make_person(engine.platform.db)


@pytest.fixture
async def reference(engine: Engine, ada: Person) -> str:
    opened = await engine.open_export(ada)
    await engine.work()
    return opened.reference


async def part(engine: Engine, person: Person, reference: str, start: int, end: int | None) -> bytes:
    found = await exports.download(engine.platform, engine.viewer(person), reference, start=start, end=end)
    return b"".join([chunk async for chunk in found.chunks])


async def row(engine: Engine):
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        found = await tx.first(select(export))
    assert found is not None
    return found


async def test_it_is_sealed_at_rest(engine: Engine, ada: Person, reference: str) -> None:
    (object_key,) = await engine.objects("exports/")
    stored = await engine.platform.blobs.get(object_key)
    plain = await engine.download(ada, reference)
    assert plain.startswith(b"PK")
    assert b"PK\x03\x04" not in stored
    assert await engine.objects("requests/") == []
    assert len(plain) == (await row(engine)).size_bytes


async def test_parts_add_up(engine: Engine, ada: Person, reference: str) -> None:
    whole = await engine.download(ada, reference)
    size = len(whole)
    for start, end in ((0, 1), (0, size), (1, 2), (size - 1, size), (100, size - 7), (5, size + 100)):
        assert await part(engine, ada, reference, start, end) == whole[start:end]
    assert await part(engine, ada, reference, 10, None) == whole[10:]


async def test_parts_of_a_package_of_many_chunks(engine: Engine, ada: Person) -> None:
    noise = random.Random(7)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        texts = "".join(chr(noise.randrange(0x4E00, 0x9FFF)) for _ in range(120_000))
        await tx.execute(update(preference).values(value=texts))
    opened = await engine.open_export(ada)
    await engine.work()
    whole = await engine.download(ada, opened.reference)
    assert len(whole) > 4 * CHUNK_BYTES
    for edge in (CHUNK_BYTES, 2 * CHUNK_BYTES, 3 * CHUNK_BYTES):
        for start, end in ((edge - 1, edge + 1), (edge, edge + 1), (edge - 1, edge), (3, edge)):
            assert await part(engine, ada, opened.reference, start, end) == whole[start:end]


@pytest.mark.parametrize(("start", "end"), [(-1, 5), (5, 5), (9, 3), (10**12, None)])
async def test_parts_that_are_not_there(engine: Engine, ada: Person, reference: str, start, end) -> None:
    with pytest.raises(RangeInvalid):
        await part(engine, ada, reference, start, end)


async def test_downloads_are_counted_and_audited(engine: Engine, ada: Person, reference: str) -> None:
    await engine.download(ada, reference)
    await part(engine, ada, reference, 10, 20)
    await engine.download(ada, reference)
    assert (await row(engine)).download_count == 2
    assert (await engine.audited(ada)).count("export.downloaded") == 3


async def test_nobody_fetches_somebody_elses(engine: Engine, ada: Person, reference: str) -> None:
    eve = await make_person(engine.platform.db)
    with pytest.raises(NotFound):
        await exports.download(engine.platform, engine.viewer(eve), reference)
    with pytest.raises(MissingScope):
        await exports.download(engine.platform, engine.viewer(ada, "profile:read"), reference)
    stale = replace(engine.viewer(ada), authenticated_at=engine.platform.clock() - timedelta(seconds=601))
    with pytest.raises(StepUpRequired):
        await exports.download(engine.platform, stale, reference)
    with pytest.raises(Unauthenticated):
        await exports.download(engine.platform, replace(stale, customer_id=None), reference)
    assert (await row(engine)).download_count == 0


async def test_it_expires_and_its_key_dies(engine: Engine, ada: Person, reference: str) -> None:
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(update(export).values(expires_at=func.now()))
    with pytest.raises(ExportGone):
        await engine.download(ada, reference)
    await engine.work()
    assert ((await row(engine)).status, engine.keys("export-")) == (ExportStatus.EXPIRED, [])
    assert await engine.objects("exports/") == []
    assert "export.expired" in await engine.audited(ada)
    with pytest.raises(ExportGone):
        await engine.download(ada, reference)


async def test_it_can_be_removed_now(engine: Engine, ada: Person, reference: str) -> None:
    eve = await make_person(engine.platform.db)
    with pytest.raises(NotFound):
        async with engine.platform.db.transaction(Role.CUSTOMER, subject=eve.customer_id) as tx:
            await exports.revoke(tx, engine.viewer(eve), reference)
    async with engine.platform.db.transaction(Role.CUSTOMER, subject=ada.customer_id) as tx:
        await exports.revoke(tx, engine.viewer(ada), reference)
    with pytest.raises(ExportGone):
        await engine.download(ada, reference)
    await engine.work()
    assert (engine.keys("export-"), await engine.objects("exports/")) == ([], [])


async def test_not_ready_is_said(engine: Engine, ada: Person) -> None:
    opened = await engine.open_export(ada)
    with pytest.raises(ExportNotReady):
        await engine.download(ada, opened.reference)


async def test_a_changed_file_is_noticed(engine: Engine, ada: Person, reference: str) -> None:
    (object_key,) = await engine.objects("exports/")
    stored = bytearray(await engine.platform.blobs.get(object_key))
    stored[len(stored) // 2] ^= 1
    await engine.platform.blobs.put(object_key, bytes(stored))
    with pytest.raises(Unsealable):
        await engine.download(ada, reference)


async def test_a_backup_is_worth_nothing_without_its_key(engine: Engine, ada: Person, reference: str) -> None:
    (object_key,) = await engine.objects("exports/")
    backup = await engine.platform.blobs.get(object_key)
    async with engine.platform.db.transaction(Role.CUSTOMER, subject=ada.customer_id) as tx:
        await exports.revoke(tx, engine.viewer(ada), reference)
    await engine.work()
    await engine.platform.blobs.put(object_key, backup)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        old = {
            "status": ExportStatus.READY,
            "object_key": object_key,
            "key_id": exports.key_name((await row(engine)).id),
        }
        await tx.execute(update(export).values(**old))
    with pytest.raises(ExportGone):
        await engine.download(ada, reference)


async def test_withdrawn_while_packing_leaves_nothing(engine: Engine, ada: Person) -> None:
    """The package of a person whose erasure overtakes the packing never becomes ready."""
    opened = await engine.open_export(ada)
    platform, owner = engine.platform, engine.place.owner
    async with leased(platform, owner, (await engine.tasks(opened.reference))["own", TaskStep.READ].id) as work:
        assert work is not None
        await settle(engine.platform, work, await steps.perform(engine.platform, engine.place.reader, work))
    await phases.advance(engine.platform, opened.id)
    async with leased(platform, owner, (await engine.tasks(opened.reference))["own", TaskStep.PACK].id) as work:
        assert work is not None
        performed = await steps.perform(engine.platform, engine.place.reader, work)
        assert len(await engine.objects("exports/")) == 1
        await engine.cancel(ada, opened.reference)
        await settle(engine.platform, work, performed)
    await engine.work()
    assert (engine.keys("export-"), engine.keys("request-")) == ([], [])
    assert [name for name in await engine.objects() if name.startswith(("exports/", "requests/"))] == []
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        assert await tx.scalar(select(func.count()).select_from(customer)) == 1
