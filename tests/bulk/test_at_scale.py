"""Bulk exports of a whole population: made by real workers that are killed, on a disk that fills, among writers.

The gate takes 20,000 customers, the soak as many as ``CDP_TEST_CUSTOMERS`` says: of a line only a hash is kept.
"""

import asyncio
import hashlib
import json
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import delete, func, insert, select, update

from cdp.access.viewer import SYSTEM
from cdp.connectors.own.rows import erase_rows
from cdp.core.db import Role
from cdp.core.ids import new_id
from cdp.core.settings import Settings
from cdp.operations.bulk import folders, holding
from cdp.operations.population.seed import seed
from cdp.tables.bulk import BulkStatus, PartStatus, bulk_part
from cdp.tables.consent import Channel, ConsentAction, consent
from cdp.tables.customer import customer
from cdp.tables.order import sales_order_item
from tests.bulk.factory import Bulk, opened, read
from tests.conftest import fresh_place
from tests.engine import until
from tests.population import NOW, make_person
from tests.processes import worker

CUSTOMERS = int(os.environ.get("CDP_TEST_CUSTOMERS", "20000"))
PARTS = 8
QUERY = """{ customers { nodes { id country preferences { key } currentConsents { purposeCode action }
  orders { nodes { total items { id quantity } } } } } }"""


@pytest.fixture(scope="module")
async def crowd(running: Settings, worker_name: str) -> AsyncIterator[Bulk]:
    with fresh_place(running, worker_name) as place:
        async for one in opened(place):
            platform = one.platform
            now = platform.clock()
            await seed(platform.settings, platform.db, SYSTEM, customers=CUSTOMERS, seed_number=1, now=now)
            yield one.with_settings(bulk_part_rows=CUSTOMERS // PARTS)


@contextmanager
def slow_worker(bulk: Bulk, log: Path, *, pace: int = 1500) -> Iterator[Any]:
    """A worker process that takes a while for each part: some hundred bytes of each customer a second."""
    wanted = {
        "lease_s": 2.0,
        "bulk_max_bytes_per_s": pace * CUSTOMERS // PARTS,
        "redis_url": "unix:///nowhere/valkey.sock",
    }
    with worker(bulk.platform.settings.model_copy(update=wanted), log) as process:
        yield process


async def held(bulk: Bulk) -> asyncio.Task[None]:
    """Hold the export that is due, in this process."""
    async with bulk.platform.db.transaction(Role.WORKER) as tx:
        claimed = await holding.claim(tx, owner="holder", settings=bulk.platform.settings)
    assert claimed is not None
    return asyncio.create_task(holding.hold(bulk.platform, claimed))


async def standing(bulk: Bulk, export_id: UUID) -> dict[PartStatus, int]:
    async with bulk.platform.db.transaction(Role.WORKER) as tx:
        mine = select(bulk_part.c.status, func.count()).where(bulk_part.c.bulk_export_id == export_id)
        return {row[0]: row[1] for row in await tx.all(mine.group_by(bulk_part.c.status))}


@dataclass(frozen=True)
class Offered:
    """A finished export as its manifest offers it: a hash of everybody's line, and who is to be forgotten."""

    manifest: dict[str, Any]
    lines: dict[str, bytes]
    tombstones: set[str]


async def offered(bulk: Bulk, export_id: UUID) -> Offered:
    """Read every file the manifest names, a few megabytes at a time."""
    _, manifest, keys = await bulk.offered(export_id)
    lines: dict[str, bytes] = {}
    tombstones: set[str] = set()
    for name, key in keys.items():
        if name.startswith("deleted"):
            tombstones |= {one["id"] for one in read(name, await bulk.platform.blobs.get(key))}
            continue
        async for line in lines_of(bulk, key):
            who = json.loads(line[: line.index(b",")] + b"}")["id"]
            assert who not in lines
            lines[who] = hashlib.blake2b(line, digest_size=16).digest()
    assert len(lines) == manifest["exported"]
    return Offered(manifest, lines, tombstones)


async def lines_of(bulk: Bulk, key: str) -> AsyncIterator[bytes]:
    rest = b""
    async for chunk in bulk.platform.blobs.stream(key):
        *found, rest = (rest + chunk).split(b"\n")
        for line in found:
            yield line
    assert rest == b""


async def whole(bulk: Bulk, export_id: UUID) -> None:
    """Everybody is in it once; nothing lies in the store that its one manifest does not name."""
    assert len((await offered(bulk, export_id)).lines) == CUSTOMERS
    kept = {part.object_key for part in await bulk.parts(export_id)} | {f"bulk/{export_id}/manifest.json"}
    assert set(await bulk.platform.blobs.all_keys(f"bulk/{export_id}/")) == kept
    assert (await bulk.audited(export_id)).count("bulk_export.completed") == 1


@pytest.mark.faults
async def test_a_worker_killed_in_the_middle_and_a_disk_that_is_full(crowd: Bulk, tmp_path: Path) -> None:
    asked = await crowd.ask(await crowd.member("analyst"), QUERY)
    holder = await held(crowd)
    await crowd.snapshot(asked.id)
    with slow_worker(crowd, tmp_path / "first.log", pace=500) as first:

        async def is_amidst() -> bool:
            found = await standing(crowd, asked.id)
            return found.get(PartStatus.DONE, 0) >= 1 and found.get(PartStatus.RUNNING, 0) == 1

        await until(is_amidst)
        first.kill()
    before = {part.id: part for part in await crowd.parts(asked.id)}
    done = [part.id for part in before.values() if part.status is PartStatus.DONE]
    (lost,) = [part.id for part in before.values() if part.status is PartStatus.RUNNING]
    with slow_worker(crowd, tmp_path / "second.log") as second:
        second.limit_files(64 * 1024)

        async def is_refused() -> bool:
            return "bulk_part.retrying" in await crowd.audited(asked.id)

        await until(is_refused)
        assert await crowd.status(asked.id) is BulkStatus.RUNNING
        kept = {part.object_key for part in await crowd.parts(asked.id)} - {None}
        assert kept == {before[one].object_key for one in done}
        second.limit_files(-1)
        await holder
    after = {part.id: part for part in await crowd.parts(asked.id)}
    assert {one: (after[one].fence, after[one].object_key) for one in done} == {
        one: (1, before[one].object_key) for one in done
    }
    assert after[lost].fence > 1
    assert {part.epoch for part in after.values()} == {1}
    await whole(crowd, asked.id)
    out = tmp_path / "export"
    await folders.download(crowd.platform, SYSTEM, asked.id, out, lambda _: None)
    assert folders.verify_folder(out, crowd.platform.signer.keys()).is_valid


async def write(bulk: Bulk, stop: asyncio.Event, place: int) -> int:
    """Change children and consents, erase people and add some, until told to stop; how many changes."""
    async with bulk.platform.db.transaction(Role.WORKER) as tx:
        known = [*(await tx.execute(select(customer.c.id))).scalars()][place::2]
        origin = (await tx.first(select(consent.c.origin_identity_id, consent.c.collection_id).limit(1)))._mapping
    number = 0
    while not stop.is_set():
        number += 1
        place = secrets.randbelow(len(known))
        one = known[place]
        async with bulk.platform.db.transaction(Role.WORKER) as tx:
            mine = sales_order_item.c.customer_id == one
            match number % 4:
                case 0:
                    await tx.execute(delete(sales_order_item).where(mine))
                case 1:
                    known[place] = known[-1]
                    known.pop()
                    await erase_rows(tx, one)
                case 2:
                    said = {"purpose": "promotions", "channel": Channel.EMAIL, "action": ConsentAction.WITHDRAWN}
                    values = {**origin, **said, "wording": "No.", "recorded_at": NOW}
                    await tx.execute(insert(consent).values(id=new_id(), customer_id=one, **values))
                case _:
                    await tx.execute(update(sales_order_item).where(mine).values(quantity=number))
            await asyncio.sleep(0.01)  # stay open while somebody takes a snapshot
        if number % 5 == 0:
            await make_person(bulk.platform.db, country="XX")
    return number


async def test_a_population_twice_with_writers_running(crowd: Bulk) -> None:
    viewer = await crowd.member("analyst")

    async def export(**more: Any) -> Offered:
        asked = await crowd.ask(viewer, QUERY, **more)
        await crowd.floor.drain()
        return await offered(crowd, asked.id)

    stop = asyncio.Event()
    writers = [asyncio.create_task(write(crowd, stop, place)) for place in (0, 1)]
    await asyncio.sleep(0.2)
    first = await export()
    second = await export(since=first.manifest["watermark"])
    stop.set()
    assert sum(await asyncio.gather(*writers)) > 10
    assert 0 < len(second.lines) < len(first.lines)
    assert second.tombstones
    last = await export(since=second.manifest["watermark"])
    union: dict[str, bytes] = {}
    for made in (first, second, last):
        assert not made.lines.keys() & made.tombstones
        union |= made.lines
        for name in made.tombstones:
            union.pop(name, None)
    everybody = await export()
    assert union == everybody.lines
    async with crowd.platform.db.transaction(Role.WORKER) as tx:
        known = await tx.scalar(select(func.count()).select_from(customer))
    assert len(union) + sum(one["count"] for one in everybody.manifest["excluded"]) == known
