"""An answer that must be recorded leaves once its record is on disk, and not at all where that can not be known."""

import asyncio
import json
from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy import make_url

from cdp.compiler.durability import Durability
from cdp.compiler.pool import Pool
from cdp.core.db import Database, Role, asyncpg_arguments
from cdp.core.errors import Unavailable
from cdp.core.settings import Settings

# A record, and how far the log had come when it was written.
WRITE = """
WITH written AS (
  INSERT INTO audit_event (id, action, outcome, actor_kind)
  SELECT uuidv7(), 'customer.read', 'ok', 'staff' RETURNING id)
SELECT to_json(pg_current_wal_insert_lsn()::text || coalesce(pg_sleep($1)::text, '')) FROM written"""
REACHED = "SELECT pg_current_wal_flush_lsn() >= $1::text::pg_lsn"
ENDED = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
 WHERE datname = current_database() AND application_name = 'cdp/cdp_customer'"""


@pytest.fixture
async def owner(fresh_settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    """The owner of a database whose commits wait for the log, as in production; those of other tests do not."""
    connection = await asyncpg.connect(**asyncpg_arguments(fresh_settings.database_owner_url))
    name = make_url(fresh_settings.database_owner_url).database
    await connection.execute(f'ALTER DATABASE "{name}" SET synchronous_commit = on')
    yield connection
    await connection.close()


@pytest.fixture
async def database(owner: asyncpg.Connection, fresh_settings: Settings) -> AsyncIterator[Database]:
    database = Database(fresh_settings.database_url)
    yield database
    await database.close()


@pytest.fixture
async def recording(database: Database) -> AsyncIterator[Pool]:
    durability = Durability(database, timeout_s=5)
    pool = Pool(database, Role.STAFF, size=3, statement_timeout_s=5, leaves_traces=True, durability=durability)
    yield pool
    await pool.close()
    await durability.close()


async def _write(pool: Pool, sleep_s: float = 0.0) -> str:
    (answer,) = await pool.traced_row(WRITE, [sleep_s])
    assert answer is not None
    return str(json.loads(answer))


async def test_many_answers_wait_for_their_records_together(recording: Pool, owner: asyncpg.Connection) -> None:
    async def ask() -> None:
        position = await _write(recording)
        assert await owner_at(position)

    lock = asyncio.Lock()

    async def owner_at(position: str) -> bool:
        async with lock:
            return bool(await owner.fetchval(REACHED, position))

    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(ask())
    assert await owner.fetchval("SELECT count(*) FROM audit_event WHERE action = 'customer.read'") == 20


async def test_a_pool_without_a_line_commits_on_disk(database: Database, owner: asyncpg.Connection) -> None:
    pool = Pool(database, Role.STAFF, size=3, statement_timeout_s=5, leaves_traces=True)
    try:
        for _ in range(5):
            assert await owner.fetchval(REACHED, await _write(pool))
    finally:
        await pool.close()


async def test_nobody_is_answered_whose_flush_was_lost(
    recording: Pool, database: Database, owner: asyncpg.Connection
) -> None:
    await _write(recording)
    reading = asyncio.create_task(_write(recording, 0.5))
    await asyncio.sleep(0.1)
    login = await asyncpg.connect(**asyncpg_arguments(database.url))  # which may end what is its own
    assert await login.fetchval(ENDED) == 1
    await login.close()
    with pytest.raises(Unavailable):
        await reading
    # The next one opens a connection of its own before it reads.
    assert await owner.fetchval(REACHED, await _write(recording))


async def test_who_leaves_takes_nobody_along(recording: Pool) -> None:
    await _write(recording)
    both = [asyncio.create_task(_write(recording, 0.05)) for _ in range(2)]
    await asyncio.sleep(0.06)
    both[0].cancel()
    assert await both[1]
