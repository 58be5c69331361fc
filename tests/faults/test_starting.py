"""API and worker begin before Postgres does, and lose it later: each comes up by itself, and says what it waits for."""

import os
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from cdp.core.db import Role
from cdp.operations import journal
from cdp.tables.request import RequestStatus
from tests.conftest import TESTS_STATE
from tests.engine import QUICK, Engine, opened, until
from tests.faults.house import PostgresServer, own_postgres
from tests.population import make_person
from tests.processes import Api, Worker

pytestmark = pytest.mark.faults
LIVELY = {**QUICK, "lease_s": 2.0, "sweep_s": 0.5, "redis_url": "unix:///nowhere/valkey.sock"}


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with own_postgres(TESTS_STATE / f"start-{os.getpid()}") as server:
        yield server


@pytest.fixture
async def engine(postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[Engine]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    here = {"state_dir": tmp_path / "state", "objects_url": (tmp_path / "objects").as_uri(), "port": port}
    async for one in opened(postgres.settings.model_copy(update=LIVELY | here)):
        yield one


async def answer(api: Api, url: str, path: str) -> tuple[int, str]:
    """Status of an answer and its code; (0, "") while nobody listens."""
    assert api.is_running, api.said()
    async with httpx.AsyncClient(base_url=url, timeout=20, trust_env=False) as client:
        try:
            found = await client.get(path, headers={"accept": "application/json"})
        except httpx.TransportError:
            return 0, ""
    return found.status_code, found.json()["code"] if found.status_code >= 400 else ""


async def test_both_begin_before_postgres_and_outlive_it(
    engine: Engine, postgres: PostgresServer, tmp_path: Path
) -> None:
    settings = engine.platform.settings
    ada = await make_person(engine.platform.db)
    asked = await engine.open_erasure(ada)
    postgres.stop_immediately()
    api, worker = Api(settings, tmp_path / "api"), Worker(settings, tmp_path / "worker", is_patient=False)
    away = (503, "DATABASE_UNREACHABLE")

    async def is_away() -> bool:
        return await answer(api, settings.url, "/readyz") == away

    async def is_ready() -> bool:
        return await answer(api, settings.url, "/readyz") == (200, "")

    try:
        await until(is_away)
        assert await answer(api, settings.url, "/livez") == (200, "")
        for path in ("/account/sign-in", "/graphql?query={viewer{kind}}", "/.well-known/openid-configuration"):
            assert await answer(api, settings.url, path) == away
        worker.await_word("database.awaited")
        assert worker.is_running
        postgres.start_again()
        await until(is_ready)
        assert await answer(api, settings.url, "/account/sign-in") == (200, "")
        await engine.closed(asked.reference)
        assert await engine.status(asked.reference) is RequestStatus.COMPLETED
        postgres.stop_immediately()
        await until(is_away)
        postgres.start_again()
        await until(is_ready)
        assert worker.is_running
        assert worker.stop() == 0
    finally:
        for one in (api, worker):
            if one.is_running:
                one.kill()
    assert "Traceback" not in api.said()


async def test_nothing_is_served_before_every_erasure_is_replayed(
    engine: Engine, postgres: PostgresServer, tmp_path: Path
) -> None:
    """Postgres comes back as an older backup: the journal knows more than it does."""
    settings = engine.platform.settings
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        known = await journal.head(tx)
    await engine.platform.blobs.put(journal.object_key(known.sequence + 1), b"{}")
    postgres.stop_immediately()
    api = Api(settings, tmp_path / "api")

    async def says(code: str) -> bool:
        return (await answer(api, settings.url, "/readyz"))[1] == code

    try:
        await until(lambda: says("DATABASE_UNREACHABLE"))
        postgres.start_again()
        await until(lambda: says("REPLAY_NEEDED"))
        assert await answer(api, settings.url, "/account/sign-in") == (503, "REPLAY_NEEDED")
    finally:
        api.kill()
