"""Things done together: shared once, and alone where one of them is in trouble."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from cdp.jobs.gathering import MOST_TOGETHER, Together


class Clerk:
    """Answers twice the number; ``sick`` ones fail whoever is with them, ``absent`` ones are left out of several."""

    def __init__(self, *, sick: frozenset[int] = frozenset(), absent: frozenset[int] = frozenset()) -> None:
        self.sick, self.absent = sick, absent
        self.asked: list[list[int]] = []

    async def answer(self, numbers: Sequence[int]) -> Mapping[int, int]:
        self.asked.append(sorted(numbers))
        await asyncio.sleep(0)
        if self.sick & set(numbers):
            raise ZeroDivisionError
        left_out = self.absent if len(numbers) > 1 else frozenset()
        return {number: 2 * number for number in numbers if number not in left_out}


async def test_what_is_asked_within_a_moment_is_asked_together() -> None:
    clerk = Clerk()
    together = Together("test", clerk.answer)
    assert await asyncio.gather(*(together.ask(number) for number in (3, 1, 3, 2))) == [6, 2, 6, 4]
    assert clerk.asked == [[1, 2, 3]]
    assert await together.ask(5) == 10
    assert clerk.asked[1:] == [[5]]


async def test_never_more_than_one_transaction_takes() -> None:
    clerk = Clerk()
    together = Together("test", clerk.answer)
    assert (
        len(await asyncio.gather(*(together.ask(number) for number in range(MOST_TOGETHER + 3)))) == MOST_TOGETHER + 3
    )
    assert [len(batch) for batch in clerk.asked] == [MOST_TOGETHER, 3]


async def test_the_trouble_of_one_is_its_own() -> None:
    clerk = Clerk(sick=frozenset({2}))
    together = Together("test", clerk.answer)
    answers = await asyncio.gather(*(together.ask(number) for number in (1, 2, 3)), return_exceptions=True)
    assert [answers[0], answers[2]] == [2, 6]
    assert isinstance(answers[1], ZeroDivisionError)
    assert clerk.asked == [[1, 2, 3], [1], [2], [3]]


async def test_who_is_left_out_is_asked_alone() -> None:
    clerk = Clerk(absent=frozenset({2}))
    together = Together("test", clerk.answer)
    assert await asyncio.gather(*(together.ask(number) for number in (1, 2, 3))) == [2, 4, 6]
    assert clerk.asked == [[1, 2, 3], [2]]


async def test_who_stops_waiting_stops_nobody_else() -> None:
    together = Together("test", Clerk().answer)
    leaving, staying = (asyncio.create_task(together.ask(number)) for number in (1, 2))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert await staying == 4
