"""Workers killed with SIGKILL in the middle of a deletion; several of them, with peers that fail on their own."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from cdp.core.settings import Settings
from cdp.core.sign import Verdict, check
from cdp.tables.request import RequestStatus
from tests.connectors.webhook_peer import Peer, served
from tests.engine import QUICK, Engine, opened, until
from tests.population import Person, make_person, picture
from tests.processes import worker

SEED = 5
DELETIONS = 12

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]


@pytest.fixture
async def engine(fresh_settings: Settings) -> AsyncIterator[Engine]:
    lively = {**QUICK, "lease_s": 1.5, "sweep_s": 0.5, "max_attempts": 50, "retry_base_s": 0.2}
    async for one in opened(fresh_settings.model_copy(update=lively)):
        yield one


@pytest.fixture
def peer() -> Iterator[Peer]:
    with served() as one:
        yield one


async def known(engine: Engine, peer: Peer) -> Person:
    ada = await make_person(engine.platform.db)
    peer.people[ada.email] = {"profile": [{"email": ada.email}]}
    return ada


async def assert_erased(engine: Engine, peer: Peer, person: Person, reference: str) -> None:
    row = await engine.request(reference)
    assert row.status is RequestStatus.COMPLETED
    assert {table for table, rows in (await picture(engine.platform.db, person)).items() if rows} == {"audit_event"}
    assert person.email not in peer.people
    assert peer.effects[f"{row.id}:newsletter:erase"] == 1
    issued = await engine.certificate(reference)
    assert check(engine.document(issued), engine.platform.signer.keys()) is Verdict.VALID


async def test_killed_while_a_system_erases(engine: Engine, peer: Peer, tmp_path: Path) -> None:
    settings = engine.platform.settings
    await engine.connect(peer)
    ada, bystander = await known(engine, peer), await known(engine, peer)
    before = await picture(engine.platform.db, bystander)
    peer.mode = "hanging"
    with worker(settings.model_copy(update={"task_timeout_s": 30.0}), tmp_path / "first") as first:
        erased = await engine.open_erasure(ada)
        peer.mode = "honest"

        async def checked() -> bool:
            return await engine.status(erased.reference) is not RequestStatus.CHECKING

        async def under_way() -> bool:
            return any(call["step"] in ("erase", "verify") for call in peer.calls)

        await until(checked)
        peer.mode = "hanging"
        await until(under_way)
        first.kill()
    assert await engine.status(erased.reference) in {RequestStatus.ERASING, RequestStatus.VERIFYING}
    peer.mode = "honest"
    with worker(settings, tmp_path / "second") as second:
        await engine.closed(erased.reference)
        assert second.stop() == 0
    await assert_erased(engine, peer, ada, erased.reference)
    assert await picture(engine.platform.db, bystander) == before


async def test_many_deletions_while_workers_are_killed(engine: Engine, peer: Peer, tmp_path: Path) -> None:
    settings, chance = engine.platform.settings, random.Random(SEED)
    await engine.connect(peer)
    bystander = await known(engine, peer)
    before = await picture(engine.platform.db, bystander)
    people = [await known(engine, peer) for _ in range(DELETIONS)]
    peer.mode = "dropping"
    print(f"seed {SEED}")
    logs = (tmp_path / f"log{number}" for number in range(100))
    with worker(settings, next(logs)) as steady:
        references = [(await engine.open_erasure(person)).reference for person in people]
        for _ in range(3):
            with worker(settings, next(logs)) as doomed:
                await asyncio.sleep(chance.uniform(0.2, 1.0))
                doomed.kill()
        await engine.closed(*references)
        assert steady.is_running
    for person, reference in zip(people, references, strict=True):
        await assert_erased(engine, peer, person, reference)
    assert peer.people.keys() == {bystander.email}
    assert await picture(engine.platform.db, bystander) == before
    assert engine.keys("request-") == []
