"""A real worker process: rung through Valkey, without Valkey, stopped in the middle, and its queue."""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis

from cdp.core.doorbell import QUEUE, ArqDoorbell
from cdp.core.settings import Settings
from cdp.tables.request import RequestStatus, TaskStatus
from tests.connectors.webhook_peer import Peer, served
from tests.engine import QUICK, Engine, opened, until
from tests.population import Person, make_person, picture
from tests.processes import Valkey, worker


@pytest.fixture
async def engine(fresh_settings: Settings) -> AsyncIterator[Engine]:
    """An engine whose rings reach Valkey; the work is left to real workers."""
    async for one in opened(fresh_settings.model_copy(update={**QUICK, "lease_s": 2.0, "sweep_s": 0.5})):
        yield one


@pytest.fixture
def peer() -> Iterator[Peer]:
    with served() as one:
        yield one


async def known(engine: Engine, peer: Peer) -> Person:
    ada = await make_person(engine.platform.db)
    peer.people[ada.email] = {"profile": [{"email": ada.email}]}
    return ada


async def test_rung_through_valkey(engine: Engine, peer: Peer, tmp_path: Path) -> None:
    settings = engine.platform.settings
    await engine.connect(peer)
    ada, bystander = await known(engine, peer), await known(engine, peer)
    before = await picture(engine.platform.db, bystander)
    slow_sweep = settings.model_copy(update={"sweep_s": 300.0})
    with redis.Redis.from_url(settings.redis_url) as client, worker(slow_sweep, tmp_path / "log") as one:
        await asyncio.sleep(0.3)
        erased = await engine.open_erasure(ada)

        async def all_rung() -> bool:
            return await engine.status(erased.reference) is RequestStatus.COMPLETED and client.zcard(QUEUE) == 0

        await until(all_rung)
        assert one.stop() == 0
    assert peer.people.keys() == {bystander.email}
    assert await picture(engine.platform.db, bystander) == before
    with redis.Redis.from_url(settings.redis_url) as client:
        left = [key.decode() for key in client.keys("*")]
        assert client.zcard(QUEUE) == 0
    assert not [key for key in left if key.startswith(("arq:result:", "arq:job:"))]
    said = one.said()
    assert ada.email not in said
    assert str(ada.customer_id) not in said


async def test_jobs_in_the_queue_carry_ids_only(engine: Engine) -> None:
    ada = await make_person(engine.platform.db)
    opened_ = await engine.open_erasure(ada)
    with redis.Redis.from_url(engine.platform.settings.redis_url) as client:
        jobs = [json.loads(client.get(key)) for key in client.keys("arq:job:*")]
    assert {job["f"] for job in jobs} == {"run_task", "send_message", "advance_request"}
    assert all(len(job["a"]) == 1 and len(job["a"][0]) == 36 and job["k"] == {} for job in jobs)
    assert opened_.status_key not in json.dumps(jobs)


async def test_without_valkey_everything_works_slower(engine: Engine, peer: Peer, tmp_path: Path) -> None:
    await engine.connect(peer)
    ada = await known(engine, peer)
    away = engine.platform.settings.model_copy(update={"redis_url": f"unix://{tmp_path}/nobody.sock"})
    deaf = engine.with_settings(redis_url=away.redis_url)
    deaf.platform.db.doorbell = ArqDoorbell(away.redis_url)
    with worker(away, tmp_path / "log") as one:
        erased = await deaf.open_erasure(ada)
        await engine.closed(erased.reference)
        assert one.is_running
        assert one.stop() == 0
    assert "worker.doorbell_away" in one.said()
    assert peer.people == {}


async def test_a_flushed_and_a_restarted_valkey_cost_nothing(engine: Engine, peer: Peer) -> None:
    await engine.connect(peer)
    with tempfile.TemporaryDirectory() as folder:  # sockets have short paths
        valkey = Valkey(Path(folder))
        settings = engine.platform.settings.model_copy(update={"redis_url": valkey.url, "sweep_s": 1.0})
        engine.platform.db.doorbell = ArqDoorbell(valkey.url)
        try:
            with worker(settings, Path(folder) / "log") as one:
                references = []
                for trouble in ("flush", "stop", "start", "none"):
                    references.append((await engine.open_erasure(await known(engine, peer))).reference)
                    if trouble == "flush":
                        with redis.Redis.from_url(valkey.url) as client:
                            client.flushall()
                    if trouble == "stop":
                        valkey.stop()
                    if trouble == "start":
                        valkey.start()
                    await asyncio.sleep(0.3)
                await engine.closed(*references)
                assert one.is_running
        finally:
            valkey.stop()
    assert peer.people == {}
    assert set(peer.effects.values()) == {1}


async def test_a_stopped_worker_gives_back_what_it_holds(engine: Engine, peer: Peer, tmp_path: Path) -> None:
    settings = engine.platform.settings.model_copy(update={"task_timeout_s": 30.0, "lease_s": 60.0})
    await engine.connect(peer, timeout_s=60)
    ada = await known(engine, peer)
    peer.mode = "hanging"
    with worker(settings, tmp_path / "log") as one:
        erased = await engine.open_erasure(ada)

        async def asked() -> bool:
            return any(call["step"] == "check" for call in peer.calls)

        await until(asked)
        assert one.stop() == 0
    task = (await engine.tasks(erased.reference))["newsletter", "check"]
    assert (task.status, task.attempt, task.lease_owner) == (TaskStatus.RETRYING, 0, None)
    peer.mode = "honest"
    with worker(settings, tmp_path / "log2"):
        await engine.closed(erased.reference)
    assert peer.people == {}


async def test_an_export_by_a_real_worker(engine: Engine, peer: Peer, tmp_path: Path) -> None:
    await engine.connect(peer)
    ada = await known(engine, peer)
    with worker(engine.platform.settings, tmp_path / "log") as one:
        taken = await engine.open_export(ada)
        await engine.closed(taken.reference)
        package = await engine.package(ada, taken.reference)
        assert one.stop() == 0
    assert "systems/newsletter/profile.json" in package.namelist()
    pinned = json.loads((engine.platform.settings.state_dir / "verify-keys.json").read_bytes())
    assert pinned["keys"] == engine.platform.signer.keys()
