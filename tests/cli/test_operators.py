"""``cdp system`` and ``cdp request`` as an operator has them: a system tried before it counts, a request put right."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from cdp.core.db import Role
from cdp.core.settings import Settings
from cdp.operations import systems
from cdp.tables.request import RequestStatus
from cdp.tables.system import system
from tests.connectors.webhook_peer import SECRET, Peer, served
from tests.engine import QUICK, Engine, opened
from tests.population import make_person


@pytest.fixture
async def engine(fresh_settings: Settings) -> AsyncIterator[Engine]:
    async for one in opened(fresh_settings.model_copy(update={**QUICK, "redis_url": ""})):
        yield one


@pytest.fixture
def peer() -> Iterator[Peer]:
    with served() as one:
        yield one


async def cdp(settings: Settings, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "CDP_ENV": "test",
        "CDP_STATE_DIR": str(settings.state_dir),
        "CDP_DATABASE_URL": settings.database_url,
        "CDP_REDIS_URL": "unix:///nowhere/valkey.sock",
        "CDP_OBJECTS_URL": settings.objects_url,
        "CDP_ALLOW_PRIVATE_TARGETS": "true",
    }
    command = [sys.executable, "-m", "cdp", *map(str, arguments)]
    run = {"env": environment, "capture_output": True, "text": True, "timeout": 60, "check": False}
    return await asyncio.to_thread(subprocess.run, command, **run)


def described(folder: Path, peer: Peer, **changes: Any) -> Path:
    described = {
        "name": "newsletter",
        "title": "The newsletter",
        "kind": "webhook",
        "configuration": {"url": peer.url, "timeout_s": 2, "identifiers": ["email"]},
        "secrets": {"secret": SECRET},
    }
    file = folder / "system.yaml"
    file.write_text(json.dumps({**described, **changes}), encoding="utf-8")
    return file


async def test_a_system_is_tried_then_connected(engine: Engine, peer: Peer, tmp_path: Path) -> None:
    settings = engine.platform.settings
    added = await cdp(settings, "system", "add", described(tmp_path, peer), "--json")
    assert (added.returncode, json.loads(added.stdout)["name"]) == (0, "newsletter")
    listed = json.loads((await cdp(settings, "system", "list", "--json")).stdout)
    assert [one["name"] for one in listed] == ["newsletter", "own"]
    assert "secret" not in json.dumps(listed)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        row = await tx.first(system.select().where(system.c.name == "newsletter"))
    assert row is not None
    assert SECRET.encode() not in row.secrets_sealed
    again = await cdp(settings, "system", "add", described(tmp_path, peer))
    assert (again.returncode, "SYSTEM_EXISTS" in again.stderr) == (1, True)
    assert (await cdp(settings, "system", "check", "newsletter")).returncode == 0
    peer.answer = (500, {}, b"")
    down = await cdp(settings, "system", "check", "newsletter", "--json")
    assert (down.returncode, len(json.loads(down.stdout)) > 0) == (1, True)


async def test_a_system_that_does_not_work_is_not_connected(engine: Engine, peer: Peer, tmp_path: Path) -> None:
    settings = engine.platform.settings
    wrong = await cdp(settings, "system", "add", described(tmp_path, peer, secrets={"secret": "x" * 40}))
    assert (wrong.returncode, "SYSTEM_REFUSED" in wrong.stderr) == (3, True)
    nowhere = {"url": "http://127.0.0.1:1/hook", "identifiers": ["email"]}
    absent = await cdp(settings, "system", "add", described(tmp_path, peer, configuration=nowhere))
    assert absent.returncode == 3
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        assert [one.name for one in await systems.listed(tx)] == ["own"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"kind": "teapot"}, "SYSTEM_REFUSED"),
        ({"kind": "own"}, "SYSTEM_EXISTS"),
        ({"name": "../etc"}, "SYSTEM_NAME_INVALID"),
        ({"surprise": 1}, "SYSTEM_FILE_INVALID"),
        ({"configuration": []}, "SYSTEM_REFUSED"),
        ({"configuration": [1]}, "SYSTEM_FILE_INVALID"),
    ],
)
async def test_a_file_that_describes_no_system(engine: Engine, peer: Peer, tmp_path: Path, changes, code: str) -> None:
    refused = await cdp(engine.platform.settings, "system", "add", described(tmp_path, peer, **changes))
    assert refused.returncode != 0
    assert code in refused.stderr


async def test_a_request_is_found_looked_at_and_tried_again(engine: Engine, peer: Peer) -> None:
    settings = engine.platform.settings
    ada = await make_person(engine.platform.db)
    await engine.connect(peer)
    peer.answer = (500, {}, b"")
    erased = await engine.open_erasure(ada)
    await engine.work()
    listed = await cdp(settings, "request", "list", "--status", "needs_attention", "--json")
    assert [one["reference"] for one in json.loads(listed.stdout)] == [erased.reference]
    shown = await cdp(settings, "request", "show", erased.reference, "--json")
    tasks = {(one["system"], one["step"]): one["state"] for one in json.loads(shown.stdout)["tasks"]}
    assert tasks == {("own", "check"): "done", ("newsletter", "check"): "needs_attention"}
    assert ada.email not in shown.stdout + listed.stdout
    peer.answer = None
    assert (await cdp(settings, "request", "retry", erased.reference)).returncode == 0
    await engine.work()
    assert await engine.status(erased.reference) is RequestStatus.COMPLETED
    done = json.loads((await cdp(settings, "request", "show", erased.reference, "--json")).stdout)
    assert done["certificate"].startswith("CE-")
    nothing = await cdp(settings, "request", "retry", erased.reference)
    assert (nothing.returncode, "NOTHING_TO_RETRY" in nothing.stderr) == (1, True)
    unknown = await cdp(settings, "request", "show", "ER-2222-2222")
    assert (unknown.returncode, "UNKNOWN_REQUEST" in unknown.stderr) == (1, True)
