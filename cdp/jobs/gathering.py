"""Things that come one by one and are done together a moment later: what they share is paid for once."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeAlias, TypeVar
from uuid import UUID

import structlog

# What comes within this time of each other is done together, seconds.
GATHER_S = 0.005
# As many as one transaction takes; each holds the lock of its request until it commits.
MOST_TOGETHER = 64

Over: TypeAlias = "asyncio.Future[None]"

log = structlog.get_logger()


class Awaited(Protocol):
    """Something somebody waits for."""

    @property
    def over(self) -> Over:
        """Resolved once it is done."""


Thing = TypeVar("Thing", bound=Awaited)


def future() -> Over:
    """A future of the loop that runs."""
    return asyncio.get_running_loop().create_future()


def resolve(over: Over, error: BaseException | None = None) -> None:
    """Let those who wait go on, or fail; once."""
    if over.done():
        return
    if error is None:
        over.set_result(None)
    else:
        over.set_exception(error)


class Gathering(Generic[Thing]):
    """Hands things on together a moment after they came; one batch at a time, as far as there is ``room``."""

    def __init__(
        self, take: Callable[[Sequence[Thing]], Awaitable[None]], room: Callable[[], int] = lambda: MOST_TOGETHER
    ) -> None:
        self._take: Callable[[Sequence[Thing]], Awaitable[None]] = take
        self._room = room
        self._waiting: list[Thing] = []
        self._taking: asyncio.Task[None] | None = None

    def add(self, thing: Thing) -> None:
        """Have it done with those that come now."""
        self._waiting.append(thing)
        self.go_on()

    def go_on(self) -> None:
        """Begin with what waits, if that has not begun and there is room."""
        if not self._waiting or self._room() <= 0:
            return
        if self._taking is None or self._taking.done():
            self._taking = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while self._waiting and self._room() > 0:
            await asyncio.sleep(GATHER_S)
            most = min(MOST_TOGETHER, self._room())
            together, self._waiting = self._waiting[:most], self._waiting[most:]
            try:
                await self._take(together)
            except BaseException as error:  # noqa: BLE001 - whoever waits for it must not wait for ever
                for thing in together:
                    resolve(thing.over, error)


@dataclass(eq=False)
class _Row:
    id: UUID
    over: Over = field(default_factory=future)


class Together:
    """Rows of one kind that are worked on together.

    ``work`` answers which of several it left out; those, and all where it failed, are worked on again, each by itself:
    one row's trouble costs its neighbours no more than a moment.
    """

    def __init__(self, name: str, work: Callable[[Sequence[UUID]], Awaitable[Collection[UUID]]]) -> None:
        self._name, self._work = name, work
        self._rows: Gathering[_Row] = Gathering(self._take)
        self._alone: set[asyncio.Task[None]] = set()

    async def work_on(self, row_id: UUID) -> None:
        """Work on this row with those that are asked for now; raises what it fails with by itself."""
        row = _Row(row_id)
        self._rows.add(row)
        await row.over

    async def _take(self, rows: Sequence[_Row]) -> None:
        left: Collection[UUID] = [row.id for row in rows]
        if len(rows) > 1:
            try:
                left = await self._work([row.id for row in rows])
            except Exception as error:  # noqa: BLE001 - each by itself says what is wrong with it
                log.warning("rows.not_together", kind=self._name, rows=len(rows), reason=type(error).__name__)
        for row in rows:
            if row.id in left:
                begun = asyncio.create_task(self._work_alone(row))
                self._alone.add(begun)
                begun.add_done_callback(self._alone.discard)
            else:
                resolve(row.over)

    async def _work_alone(self, row: _Row) -> None:
        try:
            await self._work([row.id])
        except BaseException as error:  # noqa: BLE001 - raised where it was asked for
            resolve(row.over, error)
        else:
            resolve(row.over)
