"""API and worker begin before Postgres does, and lose it later: each comes up by itself, and says what it waits for.

Nothing is served before every erasure of the journal was replayed.
"""

import socket
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from cdp.access.viewer import Actor
from cdp.core.db import Role
from cdp.operations import journal
from cdp.operations.accounts.sessions import cookie_name
from cdp.tables.request import RequestStatus
from tests.engine import QUICK, Engine, opened, until
from tests.faults.house import PostgresServer, own_postgres
from tests.population import make_person
from tests.processes import Api, Worker

pytestmark = pytest.mark.faults
LIVELY = {**QUICK, "lease_s": 2.0, "sweep_s": 0.5, "redis_url": "unix:///nowhere/valkey.sock"}


@pytest.fixture
def postgres(stack_folder: Path) -> Iterator[PostgresServer]:
    with own_postgres(stack_folder) as server:
        yield server


@pytest.fixture
async def engine(postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[Engine]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    here = {"state_dir": tmp_path / "state", "objects_url": (tmp_path / "objects").as_uri(), "port": port}
    async for one in opened(postgres.settings.model_copy(update=LIVELY | here)):
        yield one


async def answer(api: Api, url: str, path: str, **headers: str) -> tuple[int, str]:
    """Status of an answer and its code; (0, "") while nobody listens."""
    assert api.is_running, api.said()
    async with httpx.AsyncClient(base_url=url, timeout=20, trust_env=False) as client:
        try:
            found = await client.get(path, headers={"accept": "application/json", **headers})
        except httpx.TransportError:
            return 0, ""
    return found.status_code, found.json()["code"] if found.status_code >= 400 else ""


async def test_both_begin_before_postgres_and_outlive_it(
    engine: Engine, postgres: PostgresServer, tmp_path: Path
) -> None:
    settings, blobs = engine.platform.settings, engine.platform.blobs
    ada = await make_person(engine.platform.db)
    asked = await engine.open_erasure(ada)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        unknown = journal.object_key((await journal.head(tx)).sequence + 1)
    postgres.stop_immediately()
    await blobs.put(unknown, b"{}")  # Postgres comes back as an older backup: the journal knows more than it does
    api, worker = Api(settings, tmp_path / "api"), None
    away = (503, "DATABASE_UNREACHABLE")

    async def says(status: int, code: str) -> bool:
        return await answer(api, settings.url, "/readyz") == (status, code)

    try:
        await until(partial(says, *away))
        assert await answer(api, settings.url, "/livez") == (200, "")
        for path in ("/account/sign-in", "/graphql?query={viewer{kind}}", "/.well-known/openid-configuration"):
            assert await answer(api, settings.url, path) == away
        postgres.start_again()
        await until(partial(says, 503, "REPLAY_NEEDED"))
        assert await answer(api, settings.url, "/account/sign-in") == (503, "REPLAY_NEEDED")
        await blobs.delete(unknown)
        await until(partial(says, 200, ""))
        assert await answer(api, settings.url, "/account/sign-in") == (200, "")
        postgres.stop_immediately()
        worker = Worker(settings, tmp_path / "worker", is_patient=False)
        await until(partial(says, *away))
        assert await answer(api, settings.url, "/account", cookie=f"{cookie_name(settings, Actor.CUSTOMER)}=x") == away
        worker.await_word("database.awaited")
        postgres.start_again()
        await until(partial(says, 200, ""))
        await engine.closed(asked.reference)
        assert await engine.status(asked.reference) is RequestStatus.COMPLETED
    finally:
        for one in (api, worker):
            if one is not None and one.is_running:
                one.kill()
    assert "Traceback" not in api.said()
