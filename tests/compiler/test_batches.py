"""Calls that come at the same time share a statement, and nothing else: not their answers, failures or departures."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import pytest

from cdp.compiler.batches import MOST, UNDER_WAY, Batches
from cdp.compiler.cursors import CursorSeal
from cdp.compiler.plan import Plan, Slot
from cdp.compiler.pool import Pool
from cdp.core.db import Database, Role, asyncpg_arguments
from cdp.core.errors import InvalidInput

# Each call brings a number and a while to sleep, all of a kind have a name in common; 0 can not be answered, what is
# below it is withheld, and nobody covers a 7.
ANSWER = """
SELECT array(SELECT json_build_array(w.place, w.number < 0, CASE WHEN w.number > 0 THEN
    json_build_object('number', w.number, 'sixty', 60 / w.number, 'name', $3::text, 'comma', '], [', 'slept',
        pg_sleep(w.sleep)::text, 'statement', pg_backend_pid() || ' ' || statement_timestamp()) END)
  FROM unnest($1::int[], $2::float8[]) WITH ORDINALITY AS w(number, sleep, place)
 WHERE w.number <> 7 AND 60 / coalesce(nullif(w.number, -1), 1) IS NOT NULL), '{}'::json"""
SLEEPING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"


@pytest.fixture
async def pool(db: Database) -> AsyncIterator[Pool]:
    pool = Pool(db, Role.CUSTOMER, size=6, statement_timeout_s=20)
    yield pool
    await pool.close()


@pytest.fixture
def plan() -> Plan:
    slots = tuple(Slot(name, lambda _: None, (), name != "name") for name in ("number", "sleep", "name"))
    return Plan(ANSWER, ("one",), slots, (), (), CursorSeal(bytes(32)), is_shared=True, each=frozenset({"one"}))


class Crowd:
    """Calls of one plan."""

    def __init__(self, pool: Pool, plan: Plan) -> None:
        self.batches = Batches()
        self._pool = pool
        self._plan = plan

    async def ask(self, number: int, *, name: str = "Ada", sleep_s: float = 0.0) -> Any:
        part = await self.batches.read(self._pool, self._plan, [[number], [sleep_s], name])
        if part.withheld:
            return dict(part.withheld)
        return part.row[0] and json.loads(part.row[0])

    def start(self, number: int, *, name: str = "Ada", sleep_s: float = 0.0) -> "asyncio.Task[Any]":
        return asyncio.create_task(self.ask(number, name=name, sleep_s=sleep_s))


@pytest.fixture
def crowd(pool: Pool, plan: Plan) -> Crowd:
    return Crowd(pool, plan)


async def test_each_gets_their_own_answer_from_a_statement_they_share(crowd: Crowd) -> None:
    numbers = [1 + place % 60 for place in range(100)]
    found = await asyncio.gather(*(crowd.ask(number) for number in numbers))
    for number, answer in zip(numbers, found, strict=True):
        if number == 7:
            assert answer is None
        else:
            assert (answer["number"], answer["sixty"], answer["comma"]) == (number, 60 // number, "], [")
    shared = Counter(answer["statement"] for answer in found if answer)
    assert len(shared) < len(found) / 2
    assert max(shared.values()) <= MOST


async def test_what_is_not_shown_is_told_apart(crowd: Crowd) -> None:
    found = await asyncio.gather(*(crowd.ask(number) for number in (5, -1, 7, 6, 7, -1)))
    assert [one if one is None or "one" in one else one["number"] for one in found] == [
        5,
        {"one": 1},
        None,
        6,
        None,
        {"one": 1},
    ]


async def test_calls_of_two_kinds_never_share_a_statement(crowd: Crowd) -> None:
    names = ["Ada", "Bo"] * 30
    found = await asyncio.gather(*(crowd.ask(number % 5 + 1, name=name) for number, name in enumerate(names)))
    assert [one["name"] for one in found] == names
    ada, bo = [{one["statement"] for one in found if one["name"] == name} for name in ("Ada", "Bo")]
    assert not ada & bo


async def test_who_fails_fails_alone(crowd: Crowd) -> None:
    numbers = [1, 2, 0, 3, 0, 4, 5, 6]
    found = await asyncio.gather(*(crowd.ask(number) for number in numbers), return_exceptions=True)
    for number, answer in zip(numbers, found, strict=True):
        if isinstance(answer, BaseException):
            assert number == 0
            assert isinstance(answer, asyncpg.DataError | InvalidInput)
        else:
            assert answer["number"] == number


async def test_who_leaves_takes_nobody_along(crowd: Crowd) -> None:
    waiting = [crowd.start(number, sleep_s=0.05) for number in (1, 2, 3, 4, 5)]
    await asyncio.sleep(0.02)
    for one in waiting[:3]:
        one.cancel()
    assert [(await one)["number"] for one in waiting[3:]] == [4, 5]
    assert all(one.cancelled() for one in waiting[:3])
    assert (await crowd.ask(6))["number"] == 6


async def test_a_statement_nobody_waits_for_is_stopped(crowd: Crowd, db: Database) -> None:
    login = await asyncpg.connect(**asyncpg_arguments(db.url))  # which sees what its own connections do

    async def until(are_asleep: Callable[[int], bool]) -> None:
        for _ in range(500):
            if are_asleep(await login.fetchval(SLEEPING)):
                return
            await asyncio.sleep(0.01)
        pytest.fail("statements did not begin, or did not end")

    try:
        waiting = [crowd.start(number, sleep_s=15) for number in range(1, 5)]
        await until(lambda count: count >= UNDER_WAY)
        for one in waiting:
            one.cancel()
        await until(lambda count: count == 0)
    finally:
        await login.close()
    assert (await crowd.ask(3))["number"] == 3


async def test_nobody_waits_long_for_who_is_held_up(crowd: Crowd) -> None:
    slow = []
    for number in range(UNDER_WAY):
        slow.append(crowd.start(number + 1, sleep_s=15))
        await asyncio.sleep(0.02)
    assert [(await crowd.ask(number))["number"] for number in (3, 4)] == [3, 4]
    assert not any(one.done() for one in slow)
    for one in slow:
        one.cancel()
    await asyncio.gather(*slow, return_exceptions=True)
