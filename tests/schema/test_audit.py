"""The audit of npm ``graphql-http``, run against the real server: every MUST and every SHOULD."""

import asyncio
import json
import subprocess
from pathlib import Path

import pytest

from cdp.core.db import Role
from cdp.core.settings import Settings
from cdp.operations.oauth.clients import ensure_command_line
from cdp.operations.oauth.grants import open_grant
from cdp.operations.oauth.tokens import issuer_of
from tests import node
from tests.conftest import fresh_place
from tests.population import make_person
from tests.site import listening

FOLDER = Path(__file__).parent / "audit"
AUDITS = 60


@pytest.fixture(scope="module")
async def findings(running: Settings, worker_name: str) -> dict[str, dict[str, str]]:
    """What each audit says, by its id."""
    await asyncio.to_thread(node.install, FOLDER, "graphql-http")
    with fresh_place(running, worker_name) as settings:
        async with listening(settings) as (url, platform):
            person = await make_person(platform.db)
            now = platform.clock()
            async with platform.db.transaction(Role.WORKER) as tx:
                client = await ensure_command_line(tx)
                grant = await open_grant(tx, person.viewer(authenticated_at=now), client, "profile:read", now=now)
            token = issuer_of(platform).access_token(grant, "profile:read")
            process = await asyncio.create_subprocess_exec(
                node.BINARY,
                str(FOLDER / "audit.mjs"),
                f"{url}/graphql",
                token,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            out, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, errors.decode()
    return {one["id"]: one for one in map(json.loads, out.splitlines())}


async def test_every_must_and_every_should_holds(findings: dict[str, dict[str, str]]):
    assert len(findings) >= AUDITS
    wrong = [one for one in findings.values() if one["status"] != "ok" and not one["name"].startswith("MAY")]
    assert wrong == []
