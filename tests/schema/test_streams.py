"""Subscriptions by server-sent events: what a browser's EventSource sees, and every way a stream ends."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import pytest
from sqlalchemy import insert, update
from starlette.applications import Starlette

from cdp.core.db import Database, Role
from cdp.core.ids import global_id, new_id, new_reference
from cdp.core.platform import Platform
from cdp.operations.oauth import grants
from cdp.operations.oauth.tokens import ENDED_EVERY_S, issuer_of
from cdp.tables.request import RequestStatus, RequestType, privacy_request
from tests.population import Person, make_person
from tests.schema.conftest import TokenOf

PROGRESS = "subscription($id: ID!) { progress: privacyRequestProgress(id: $id) { reference status isSettled version } }"
WAIT_S = 20


class Stream:
    """One event stream, read event by event; an ASGI client of its own, since httpx waits for the end of an answer."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.gone = asyncio.Event()

    async def start(self) -> dict[str, Any]:
        return await asyncio.wait_for(self.messages.get(), WAIT_S)

    async def next(self) -> tuple[str, Any]:
        """Name and data of the next event; comments are skipped."""
        message = await asyncio.wait_for(self.messages.get(), WAIT_S)
        text = message["body"].decode()
        if text.startswith(":"):
            return await self.next()
        events = [dict(line.split(":", 1) for line in event.split("\n")) for event in text.split("\n\n") if event]
        [(name, value), *more] = [(event["event"].strip(), event["data"].strip()) for event in events]
        assert not more or more == [("complete", "")]
        return name, json.loads(value) if value else None


@asynccontextmanager
async def stream(
    app: Starlette, token: str, query: str, *, method: str = "POST", accept: str = "text/event-stream", **variables: Any
) -> AsyncIterator[Stream]:
    found = Stream()
    asked = {"query": query, "variables": variables}
    body = json.dumps(asked).encode() if method == "POST" else b""
    requests = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if requests:
            return requests.pop()
        await found.gone.wait()
        return {"type": "http.disconnect"}

    headers = {
        "authorization": f"Bearer {token}",
        "content-type": "application/json",
        "accept": accept,
        "host": "localhost",
    }
    query_string = "" if method == "POST" else urlencode({"query": query, "variables": json.dumps(variables)})
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": "/graphql",
        "raw_path": b"/graphql",
        "query_string": query_string.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("192.0.2.7", 1),
        "server": ("localhost", 8000),
    }
    answering = asyncio.create_task(app(scope, receive, found.messages.put))
    try:
        yield found
    finally:
        found.gone.set()
        await asyncio.wait_for(answering, WAIT_S)


@pytest.fixture
async def person(db: Database) -> Person:
    return await make_person(db)


async def open_request(db: Database, person: Person) -> UUID:
    request_id = new_id()
    async with db.transaction(Role.WORKER) as tx:
        await tx.execute(
            insert(privacy_request).values(
                id=request_id,
                customer_id=person.customer_id,
                reference=new_reference("TE"),
                type=RequestType.ACCESS,
                status=RequestStatus.RECEIVED,
                subject_ref=person.audit_ref,
                channel="tests",
                due_at=datetime.now(UTC) + timedelta(days=30),
            )
        )
    return request_id


async def move(db: Database, request_id: UUID, status: RequestStatus) -> None:
    async with db.transaction(Role.WORKER) as tx:
        mine = privacy_request.c.id == request_id
        await tx.execute(
            update(privacy_request).where(mine).values(status=status, version=privacy_request.c.version + 1)
        )


async def test_a_request_is_followed_to_its_end(app: Starlette, db: Database, person: Person, token_of: TokenOf):
    request_id = await open_request(db, person)
    async with stream(app, await token_of(person), PROGRESS, id=global_id("PrivacyRequest", request_id)) as found:
        start = await found.start()
        headers = dict(start["headers"])
        assert (start["status"], headers[b"content-type"]) == (200, b"text/event-stream; charset=utf-8")
        assert headers[b"cache-control"] == b"no-store"
        seen = []
        for status in (RequestStatus.COLLECTING, RequestStatus.PACKING, RequestStatus.COMPLETED):
            seen.append(await found.next())
            await move(db, request_id, status)
        seen += [await found.next(), await found.next()]
    states = [(name, data and data["data"]["progress"]["status"]) for name, data in seen]
    assert states == [
        ("next", "RECEIVED"),
        ("next", "COLLECTING"),
        ("next", "PACKING"),
        ("next", "COMPLETED"),
        ("complete", None),
    ]
    assert seen[3][1]["data"]["progress"]["isSettled"] is True


async def test_an_event_source_asks_by_get(app: Starlette, db: Database, person: Person, token_of: TokenOf):
    request_id = await open_request(db, person)
    await move(db, request_id, RequestStatus.CANCELLED)
    mine = global_id("PrivacyRequest", request_id)
    async with stream(app, await token_of(person), PROGRESS, method="GET", id=mine) as found:
        await found.start()
        assert (await found.next())[1]["data"]["progress"]["status"] == "CANCELLED"
        assert await found.next() == ("complete", None)


async def test_a_client_that_accepts_both_gets_a_stream_only_for_a_subscription(
    app: Starlette, db: Database, person: Person, token_of: TokenOf
):
    token, accept = await token_of(person), "application/json, text/event-stream"
    request_id = await open_request(db, person)
    await move(db, request_id, RequestStatus.CANCELLED)
    mine = global_id("PrivacyRequest", request_id)
    async with stream(app, token, PROGRESS, accept=accept, id=mine) as found:
        assert dict((await found.start())["headers"])[b"content-type"].startswith(b"text/event-stream")
    async with stream(app, token, "{ viewer { kind } }", accept=accept) as found:
        assert dict((await found.start())["headers"])[b"content-type"].startswith(b"application/json")
    async with stream(app, token, PROGRESS, accept="application/json", id=mine) as found:
        assert (await found.start())["status"] == 406
        assert b"STREAM_NEEDED" in (await found.messages.get())["body"]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("{ viewer { kind } }", None),
        ("{ nothing }", "GRAPHQL_VALIDATION_FAILED"),
        ('subscription { privacyRequestProgress(id: "x") { id } }', "INVALID_ID"),
        ("subscription { a: privacyRequestProgress(id: 1) { nothing } }", "GRAPHQL_VALIDATION_FAILED"),
    ],
)
async def test_anything_else_is_one_event(
    app: Starlette, person: Person, token_of: TokenOf, query: str, code: str | None
):
    async with stream(app, await token_of(person), query) as found:
        start = await found.start()
        name, data = await found.next()
        assert (start["status"], name) == (200, "next")
        if code is None:
            assert data == {"data": {"viewer": {"kind": "CUSTOMER"}}}
        else:
            assert [error["extensions"]["code"] for error in data["errors"]] == [code]
            assert data["extensions"]["requestId"] == dict(start["headers"])[b"x-request-id"].decode()
        assert await found.next() == ("complete", None)


async def test_requests_of_somebody_else_can_not_be_watched(
    app: Starlette, db: Database, person: Person, token_of: TokenOf
):
    other = await open_request(db, await make_person(db))
    for request_id in (other, new_id()):
        mine = global_id("PrivacyRequest", request_id)
        async with stream(app, await token_of(person), PROGRESS, id=mine) as found:
            await found.start()
            _, data = await found.next()
            assert [error["extensions"]["code"] for error in data["errors"]] == ["NOT_FOUND"]
            assert await found.next() == ("complete", None)
    mine = global_id("PrivacyRequest", await open_request(db, person))
    async with stream(app, await token_of(person, "openid"), PROGRESS, id=mine) as found:
        await found.start()
        _, data = await found.next()
        assert [error["extensions"]["code"] for error in data["errors"]] == ["INSUFFICIENT_SCOPE"]


async def test_an_ended_token_ends_its_stream(
    app: Starlette, db: Database, platform: Platform, person: Person, token_of: TokenOf
):
    request_id, token = await open_request(db, person), await token_of(person)
    async with stream(app, token, PROGRESS, id=global_id("PrivacyRequest", request_id)) as found:
        await found.start()
        await found.next()
        grant_id = (await issuer_of(platform).check(token)).grant_id
        async with db.transaction(Role.WORKER) as tx:
            await grants.end(tx, grant_id, now=datetime.now(UTC))
        await asyncio.sleep(ENDED_EVERY_S + 0.1)
        await move(db, request_id, RequestStatus.COLLECTING)
        name, data = await found.next()
        assert (name, data["errors"][0]["extensions"]["code"]) == ("next", "TOKEN_INVALID")
        assert "data" not in data


async def test_nothing_is_polled_once_the_client_is_gone(
    app: Starlette, db: Database, person: Person, token_of: TokenOf
):
    request_id, watch = await open_request(db, person), app.state.watch
    async with stream(app, await token_of(person), PROGRESS, id=global_id("PrivacyRequest", request_id)) as found:
        await found.start()
        await found.next()
    polls = watch.polls
    await asyncio.sleep(0.6)
    assert watch.polls == polls
