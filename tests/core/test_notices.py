"""Notices over a real Postgres: told by the commit to everybody who waits; a lost connection is mended."""

import asyncio

import asyncpg
import pytest

from cdp.core.db import Database, Role, asyncpg_arguments
from cdp.core.notices import within

SOON_S, NEVER_S = 20.0, 0.2


async def quiet(event: asyncio.Event) -> None:
    """Wait for the wake-up that comes with each new connection, and forget it."""
    assert await within(event, SOON_S)
    event.clear()


async def test_a_commit_wakes_everybody_who_waits_and_nobody_else(db: Database, database_url: str) -> None:
    elsewhere = Database(database_url)
    try:
        async with (
            db.notices.heard("one") as first,
            db.notices.heard("one") as second,
            elsewhere.notices.heard("one") as third,
            db.notices.heard("another") as bystander,
        ):
            for event in (first, second, third, bystander):
                await quiet(event)
            async with db.transaction(Role.WORKER) as tx:
                await tx.tell("one")
                assert not await within(first, NEVER_S), "it has not committed"
            for event in (first, second, third):
                assert await within(event, SOON_S)
            assert not bystander.is_set()
    finally:
        await elsewhere.close()


async def test_what_is_rolled_back_is_not_told(db: Database) -> None:
    async with db.notices.heard("one") as event:
        await quiet(event)
        with pytest.raises(ZeroDivisionError):
            await _fail_after_telling(db)
        async with db.transaction(Role.WORKER) as tx:
            await tx.tell("other")
        assert not await within(event, NEVER_S)


async def test_a_new_connection_wakes_everybody_since_something_may_have_been_missed(
    db: Database, database_url: str
) -> None:
    async with db.notices.heard("one") as event:
        await quiet(event)
        assert await _listeners(database_url, "pg_terminate_backend(pid)") == 1
        await quiet(event)
        async with db.transaction(Role.WORKER) as tx:
            await tx.tell("one")
        assert await within(event, SOON_S)


async def test_nobody_listens_once_nobody_waits(db: Database, database_url: str) -> None:
    async with db.notices.heard("one") as event:
        await quiet(event)
    for _ in range(100):
        if not await _listeners(database_url, "true"):
            return
        await asyncio.sleep(0.05)
    raise AssertionError("a connection still listens")


async def _fail_after_telling(db: Database) -> None:
    async with db.transaction(Role.WORKER) as tx:
        await tx.tell("one")
        raise ZeroDivisionError


async def _listeners(url: str, doing: str) -> int:
    """Connections of this database that listen, with something done to each."""
    connection = await asyncpg.connect(**asyncpg_arguments(url))
    try:
        found = f"SELECT {doing} FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN %'"
        return len(await connection.fetch(found))
    finally:
        await connection.close()
