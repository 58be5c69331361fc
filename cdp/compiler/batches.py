"""Reads of one partner that are asked at the same time, answered by one statement.

To begin, commit and answer a statement costs more than the person it reads. So a read that finds others of its kind
under way waits, some milliseconds at most, and shares the next statement with everybody who came meanwhile; one that
comes alone goes at once. Of a kind are reads of one plan whose every parameter is equal, the
grant among them, but for what each call brings of its own: whom it names, and its record. Row-level security knows one
grant a statement, so one statement never serves two.

A statement begins after the last of its calls has come: none is answered by what was known before it asked. One that
fails is run again for each call alone, so that nobody's failure is another's.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import asyncpg

from cdp.compiler.plan import Plan
from cdp.compiler.pool import Pool, QueryTimedOut
from cdp.core.errors import InvalidInput

MOST = 16
"""How many calls a statement serves at most."""
UNDER_WAY = 2
"""How many statements of a kind are under way before anybody loses patience: one runs while another is answered."""
PATIENCE_S = 0.005
"""How long anybody waits for them: one may be held up by a lock that is none of the others' concern."""

_SINGLY = (asyncpg.PostgresError, QueryTimedOut, InvalidInput)


@dataclass(frozen=True)
class Part:
    """What a statement answers one call: its columns, and of how many people each root field was kept back."""

    row: Sequence[bytes | str | None]
    withheld: Mapping[str, int]


def parts(plan: Plan, row: Sequence[Any], count: int) -> list[Part]:
    """The answer of a statement that served so many calls, by call in their order.

    A column of ``plan.each`` is a list of JSON ``[place, is_withheld, value]``; whom it lacks, no grant covers.
    """
    columns: list[list[bytes | str | None]] = []
    withheld: list[dict[str, int]] = [{} for _ in range(count)]
    keys: list[str | None] = [*plan.keys, *[None] * (len(row) - len(plan.keys))]
    for key, column in zip(keys, row, strict=True):
        if key not in plan.each:
            columns.append([column] * count)
            continue
        values: list[bytes | str | None] = [None] * count
        for one in column or ():
            text = one if isinstance(one, bytes) else one.encode()
            place, is_withheld, value = text[1:-1].split(b", ", 2)
            if is_withheld == b"false":
                values[int(place) - 1] = value
            else:
                withheld[int(place) - 1][key] = 1
        columns.append(values)
    return [Part(one, kept_back) for one, kept_back in zip(zip(*columns, strict=True), withheld, strict=True)]


@dataclass(eq=False, slots=True)
class _Waiter:
    """One call: its parameters, who waits for its answer, and the statement that is to bring it, once it runs."""

    arguments: Sequence[Any]
    answer: "asyncio.Future[Part]"
    statement: "asyncio.Task[None] | None" = None


@dataclass(eq=False, slots=True)
class _Lane:
    """Calls of one kind; ``forget`` is called once there are none."""

    pool: Pool
    plan: Plan
    forget: Callable[[], object]
    waiting: deque[_Waiter] = field(default_factory=deque)
    running: dict["asyncio.Task[None]", Sequence[_Waiter]] = field(default_factory=dict)
    is_starting: bool = False
    """Whether a statement is about to take along whoever waits."""
    patience: asyncio.TimerHandle | None = None

    def join(self, waiter: _Waiter) -> None:
        self.waiting.append(waiter)
        self._arrange()

    def leave(self, waiter: _Waiter) -> None:
        """Stop the statement of somebody who went away, if nobody else waits for it."""
        task = waiter.statement
        if task is not None and all(one.answer.done() for one in self.running.get(task, ())):
            task.cancel()

    def _arrange(self) -> None:
        """See to it that whoever waits is served: now, after a statement under way, or when that takes too long."""
        if self.is_starting or not self.waiting:
            return
        # Of equal size, statements take turns; a small one beside a large one would only make the next one larger.
        is_enough = len(self.waiting) * len(self.running) >= self._served
        if len(self.running) < UNDER_WAY and is_enough:
            self._start()
        elif self.patience is None:
            self.patience = asyncio.get_running_loop().call_later(PATIENCE_S, self._start)

    @property
    def _served(self) -> int:
        """How many calls the statements under way serve."""
        return sum(map(len, self.running.values()))

    def _start(self) -> None:
        if self.patience is not None:
            self.patience.cancel()
            self.patience = None
        self.is_starting = True
        # In a context of its own: it is nobody's request.
        task = asyncio.get_running_loop().create_task(self._run(), context=Context())
        self.running[task] = ()
        task.add_done_callback(self._end)

    def _end(self, task: "asyncio.Task[None]") -> None:
        del self.running[task]
        self._arrange()
        if not self.running:
            self.forget()

    async def _run(self) -> None:
        """One statement, for who came before it is sent."""
        self.is_starting = False
        task = asyncio.current_task()
        assert task is not None
        waiters: list[_Waiter] = []
        share = -(-(len(self.waiting) + self._served) // UNDER_WAY)
        while self.waiting and len(waiters) < min(share, MOST):
            waiter = self.waiting.popleft()
            if not waiter.answer.done():
                waiter.statement = task
                waiters.append(waiter)
        self.running[task] = waiters
        self._arrange()
        if waiters:
            await self._serve(waiters)

    async def _serve(self, waiters: Sequence[_Waiter]) -> None:
        try:
            pool, plan = self.pool, self.plan
            row = await (pool.traced_row if plan.leaves_traces else pool.row)(plan.sql, self._joined(waiters))
            found = parts(plan, row, len(waiters))
        except _SINGLY as error:
            if len(waiters) == 1:
                _fail(waiters, error)
            else:
                await asyncio.gather(*(self._serve([waiter]) for waiter in waiters))
        except Exception as error:  # noqa: BLE001  # whatever it was, it is theirs to tell
            _fail(waiters, error)
        else:
            for waiter, part in zip(waiters, found, strict=True):
                if not waiter.answer.done():
                    waiter.answer.set_result(part)

    def _joined(self, waiters: Sequence[_Waiter]) -> Sequence[Any]:
        """The parameters of one statement for all of them."""
        first = waiters[0].arguments
        if len(waiters) == 1:
            return first
        given = zip(self.plan.slots, zip(*(waiter.arguments for waiter in waiters), strict=True), strict=True)
        return [[one for (one,) in values] if slot.is_each else values[0] for slot, values in given]


class Batches:
    """Who reads together in this process."""

    def __init__(self) -> None:
        self._lanes: dict[Hashable, _Lane] = {}

    async def read(self, pool: Pool, plan: Plan, arguments: Sequence[Any]) -> Part:
        """The answer to one call of a plan that ``serves_many``. Raises what ``Pool.traced_row`` raises."""
        kind = _kind(plan, arguments)
        lane = self._lanes.get(kind)
        if lane is None:
            lane = self._lanes[kind] = _Lane(pool, plan, partial(self._lanes.pop, kind))
        waiter = _Waiter(arguments, asyncio.get_running_loop().create_future())
        lane.join(waiter)
        try:
            return await waiter.answer
        except asyncio.CancelledError:
            lane.leave(waiter)
            raise


def _kind(plan: Plan, arguments: Sequence[Any]) -> Hashable:
    """What calls that share a statement have in common: all but what is each call's own."""
    common = (value for slot, value in zip(plan.slots, arguments, strict=True) if not slot.is_each)
    return plan.sql, tuple(tuple(value) if isinstance(value, list) else value for value in common)


def _fail(waiters: Sequence[_Waiter], error: Exception) -> None:
    for waiter in waiters:
        if not waiter.answer.done():
            waiter.answer.set_exception(error)
