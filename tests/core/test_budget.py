"""Budgets: what is spent comes back with time, processes share it through Valkey, and nothing stops without it."""

import pytest

from cdp.core.budget import PIECES, SILENCE_S, Budget, BudgetSpent

CAPACITY, PER_S = 1_000, 100
PIECE = CAPACITY // PIECES


class Hand:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def alone(clock: Hand) -> Budget:
    return Budget("", capacity=CAPACITY, per_s=PER_S, prefix="", clock=clock)


async def spend(budget: Budget, cost: int, name: tuple[object, ...] = ("a",)) -> None:
    if not budget.spend(name, cost):
        await budget.draw(name, cost)


async def test_what_is_spent_comes_back_with_time():
    clock = Hand()
    budget = alone(clock)
    await spend(budget, 900)
    await spend(budget, 100)
    with pytest.raises(BudgetSpent) as refused:
        await spend(budget, 250)
    assert refused.value.extensions == {"retryAfterS": 3}
    await spend(budget, CAPACITY, ("b",))
    clock.now += 3
    await spend(budget, 250)
    assert await budget.left(("a",)) == 50
    clock.now += 3600
    assert await budget.left(("a",)) == CAPACITY


async def test_more_than_the_whole_budget_can_be_asked_when_it_is_full():
    budget = alone(Hand())
    await spend(budget, 5 * CAPACITY)
    with pytest.raises(BudgetSpent):
        await spend(budget, 1)


async def test_without_a_capacity_nobody_counts():
    budget = Budget("", capacity=0, per_s=1, prefix="")
    assert all(budget.spend(("a",), 10**9) for _ in range(10))
    await budget.draw(("a",), 10**9)


async def test_processes_share_one_budget_and_ask_only_for_pieces(redis_url: str, worker_name: str):
    clock = Hand()
    one, other = (
        Budget(redis_url, capacity=CAPACITY, per_s=PER_S, prefix=f"{worker_name}:{id(clock)}:", clock=clock)
        for _ in range(2)
    )
    spent = [0, 0]
    try:
        for number, budget in enumerate((one, other)):
            while True:
                try:
                    await spend(budget, 10)
                except BudgetSpent:
                    break
                spent[number] += 10
        # Their own pieces beside the shared bucket; the shared one runs by the server's clock and fills a little.
        assert CAPACITY <= sum(spent) <= CAPACITY + 2 * PIECE + 200
        assert spent[1] < CAPACITY / 2
        assert one.spend(("b",), PIECE)
        assert not one.spend(("b",), 1)
    finally:
        await one.close()
        await other.close()


async def test_an_ordinary_request_asks_nobody(redis_url: str):
    """A bucket nobody could reach serves the first piece all the same."""
    budget = Budget("redis://127.0.0.1:1/0", capacity=CAPACITY, per_s=PER_S, prefix="x:")
    assert budget.spend(("a",), PIECE)
    await budget.close()


async def test_without_valkey_each_process_counts_by_itself(redis_url: str):
    clock = Hand()
    budget = Budget("redis://127.0.0.1:1/0", capacity=CAPACITY, per_s=PER_S, prefix="x:", clock=clock)
    try:
        for _ in range((CAPACITY + PIECE) // 10):
            await spend(budget, 10)
        with pytest.raises(BudgetSpent):
            await spend(budget, 10)
        clock.now += SILENCE_S + 5
        await spend(budget, 10)
    finally:
        await budget.close()
