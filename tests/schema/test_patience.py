"""What takes too long: the server stops it, a client that goes away stops it, and streams are counted."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import psycopg
import pytest

from cdp.core.db import Role
from cdp.core.platform import Platform
from cdp.core.settings import Settings
from cdp.operations.oauth.clients import ensure_command_line
from cdp.operations.oauth.grants import open_grant
from cdp.operations.oauth.tokens import issuer_of
from tests.conftest import fresh_place
from tests.engine import until
from tests.population import make_person
from tests.site import listening

SLOW = "{ policies { title } }"
WATCHED = "SELECT count(*) FROM pg_locks WHERE relation = 'policy_version'::regclass AND NOT granted"


@dataclass(frozen=True)
class Place:
    """A running server, a token for it, and a second way into its database."""

    url: str
    token: str
    platform: Platform
    owner_url: str

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}", "content-type": "application/json"}

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[psycopg.AsyncConnection]:
        """Nobody can read policies: every statement about them waits."""
        async with await psycopg.AsyncConnection.connect(self.owner_url) as connection:
            await connection.execute("LOCK TABLE policy_version IN ACCESS EXCLUSIVE MODE")
            yield connection
            await connection.rollback()

    async def waiting(self, connection: psycopg.AsyncConnection) -> int:
        found = await (await connection.execute(WATCHED)).fetchone()
        assert found is not None
        return int(found[0])


@asynccontextmanager
async def served(running: Settings, worker_name: str, **changes: object) -> AsyncIterator[Place]:
    with fresh_place(running, worker_name) as settings:
        async with listening(settings.model_copy(update=changes)) as (url, platform):
            person, now = await make_person(platform.db), platform.clock()
            async with platform.db.transaction(Role.WORKER) as tx:
                client = await ensure_command_line(tx)
                scope = "profile:read privacy:read"
                grant = await open_grant(tx, person.viewer(authenticated_at=now), client, scope, now=now)
            yield Place(url, issuer_of(platform).access_token(grant, scope), platform, settings.database_owner_url)


@pytest.fixture(scope="module")
async def place(running: Settings, worker_name: str) -> AsyncIterator[Place]:
    async with served(running, worker_name, statement_timeout_s=60.0, graphql_streams_per_viewer=2) as one:
        yield one


async def test_the_server_stops_what_takes_too_long(running: Settings, worker_name: str):
    async with served(running, worker_name, statement_timeout_s=0.4) as place:
        async with place.locked() as connection, httpx.AsyncClient(headers=place.headers, timeout=30) as client:
            answer = await client.post(f"{place.url}/graphql", json={"query": "{ viewer { kind } " + SLOW[1:]})
            assert await place.waiting(connection) == 0
        body = answer.json()
        assert body["data"] == {"viewer": {"kind": "CUSTOMER"}, "policies": None}
        [error] = body["errors"]
        assert (error["extensions"]["code"], error["path"]) == ("TIMEOUT", ["policies"])
        assert body["extensions"]["requestId"] == answer.headers["x-request-id"]
        assert "policy_version" not in answer.text


async def test_who_goes_away_leaves_no_statement_behind(place: Place):
    body = json.dumps({"query": SLOW}).encode()
    host, port = place.url.removeprefix("http://").split(":")
    lines = ["POST /graphql HTTP/1.1", f"host: {host}", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in place.headers.items()]
    async with place.locked() as connection:
        _, writer = await asyncio.open_connection("127.0.0.1", int(port))
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        await writer.drain()

        async def waits() -> bool:
            return await place.waiting(connection) == 1

        async def is_gone() -> bool:
            return await place.waiting(connection) == 0

        await until(waits, within_s=30)
        writer.close()
        await until(is_gone, within_s=30)
    async with httpx.AsyncClient(headers=place.headers) as client:
        answer = await client.post(f"{place.url}/graphql", json={"query": SLOW})
        assert answer.json()["data"]["policies"]


async def test_streams_are_counted_per_viewer(place: Place):
    query = {"query": SLOW}
    headers = {**place.headers, "accept": "text/event-stream"}
    async with place.locked(), httpx.AsyncClient(headers=headers, timeout=30) as client:
        url = f"{place.url}/graphql"
        async with client.stream("POST", url, json=query) as one, client.stream("POST", url, json=query) as two:
            assert (one.status_code, two.status_code) == (200, 200)
            refused = await client.post(url, json=query)
            assert refused.status_code == 429
            assert refused.headers["retry-after"] == "30"
            assert [error["extensions"]["code"] for error in refused.json()["errors"]] == ["TOO_MANY_STREAMS"]

    async def are_free() -> bool:
        async with httpx.AsyncClient(headers=headers, timeout=30) as client:
            return (await client.post(f"{place.url}/graphql", json=query)).status_code == 200

    await until(are_free, within_s=30)
