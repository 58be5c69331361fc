"""Watching requests: every stream sees each state, all share one poller, and nothing runs when nobody watches."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import insert, update

from cdp.core.db import Database, Role
from cdp.core.ids import new_id, new_reference
from cdp.operations.requests.watch import RequestWatch, Version
from cdp.tables.request import RequestStatus, RequestType, privacy_request
from tests.population import NOW, make_person


@pytest.fixture
async def watch(db: Database) -> AsyncIterator[RequestWatch]:
    poller = RequestWatch(db, tick_s=0.02)
    yield poller
    await poller.close()


async def open_request(db: Database) -> UUID:
    person, request_id = await make_person(db), new_id()
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
                due_at=NOW + timedelta(days=30),
            )
        )
    return request_id


async def move(db: Database, request_id: UUID, status: RequestStatus) -> None:
    async with db.transaction(Role.WORKER) as tx:
        mine = privacy_request.c.id == request_id
        bump = privacy_request.c.version + 1
        await tx.execute(update(privacy_request).where(mine).values(status=status, version=bump))


async def follow(watch: RequestWatch, request_id: UUID, seen: asyncio.Queue[Version]) -> None:
    async with aclosing(watch.versions(request_id)) as versions:
        async for version in versions:
            seen.put_nowait(version)


async def test_streams_share_a_poller_and_end_when_the_request_settles(db: Database, watch: RequestWatch):
    request_id, other_id = await open_request(db), await open_request(db)
    queues = [asyncio.Queue[Version]() for _ in range(20)]
    streams = [asyncio.create_task(follow(watch, request_id, queue)) for queue in queues]
    other = asyncio.create_task(follow(watch, other_id, asyncio.Queue()))
    assert {await queue.get() for queue in queues} == {Version(1, is_settled=False)}
    assert watch.polls <= 3
    await move(db, request_id, RequestStatus.COLLECTING)
    assert {await queue.get() for queue in queues} == {Version(2, is_settled=False)}
    await move(db, request_id, RequestStatus.CANCELLED)
    assert {await queue.get() for queue in queues} == {Version(3, is_settled=True)}
    await asyncio.gather(*streams)
    assert not other.done()
    other.cancel()
    await asyncio.wait([other])
    at_rest = watch.polls
    await asyncio.sleep(0.1)
    assert watch.polls == at_rest


async def test_a_settled_request_has_one_version_and_an_unknown_one_none(db: Database, watch: RequestWatch):
    request_id = await open_request(db)
    await move(db, request_id, RequestStatus.CANCELLED)
    assert [version async for version in watch.versions(request_id)] == [Version(2, is_settled=True)]
    assert [version async for version in watch.versions(new_id())] == []


async def test_closing_ends_every_stream(db: Database, watch: RequestWatch):
    request_id = await open_request(db)
    queue = asyncio.Queue[Version]()
    stream = asyncio.create_task(follow(watch, request_id, queue))
    await queue.get()
    await watch.close()
    await asyncio.wait_for(stream, 5)
