"""The pool of held connections: who waits is served in order, and nothing gets lost on the way."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from cdp.compiler.pool import HELD_STATEMENTS, Pool
from cdp.core.db import Database, Role

SOON = "SELECT to_json(pg_sleep(0.02)::text)"


@pytest.fixture
async def narrow(db: Database) -> AsyncIterator[Pool]:
    pool = Pool(db, Role.CUSTOMER, size=1, statement_timeout_s=5)
    yield pool
    await pool.close()


async def test_who_comes_back_at_once_does_not_overtake_who_waits(narrow: Pool) -> None:
    served: list[str] = []

    async def ask(*names: str) -> None:
        for name in names:
            await narrow.row(SOON, [])
            served.append(name)

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(ask("greedy", "greedy again"))
        group.create_task(ask("second"))
        group.create_task(ask("third"))
    assert served == ["greedy", "second", "third", "greedy again"]


async def test_a_connection_handed_to_somebody_who_left_reaches_the_next(narrow: Pool) -> None:
    async def ask_and_send_away(other: list[asyncio.Task[object]]) -> None:
        await narrow.row(SOON, [])
        other[0].cancel()  # the connection is theirs already, and they have not run yet

    waiting: list[asyncio.Task[object]] = []
    first = asyncio.create_task(ask_and_send_away(waiting))
    await asyncio.sleep(0)
    waiting += [asyncio.create_task(narrow.row(SOON, [])) for _ in range(2)]
    async with asyncio.timeout(10):
        await first
        assert await waiting[1] == (b'""',)
    with pytest.raises(asyncio.CancelledError):
        await waiting[0]


async def test_statements_are_prepared_once_and_the_oldest_leave_the_server(narrow: Pool) -> None:
    for _ in range(3):
        await narrow.row("SELECT '0'::json", [])
    ours = "SELECT json_build_array(count(*), max(generic_plans)) FROM pg_prepared_statements WHERE name LIKE 'held%'"
    assert await narrow.row(ours, []) == (b"[2, 3]",)
    for number in range(HELD_STATEMENTS + 20):
        await narrow.row(f"SELECT '{number}'::json /* more */", [])
    count, _ = (await narrow.row(ours, []))[0].strip(b"[]").split(b", ")
    assert int(count) <= HELD_STATEMENTS + 1
