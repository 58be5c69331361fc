"""Hold the leases of tasks while they are worked on, those of one step at one system together.

A heartbeat extends them, losing one stops its work, being stopped gives them back.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeAlias
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError

from cdp.connectors.base import Outcome, State
from cdp.core.db import Role
from cdp.jobs.job import Workplace
from cdp.operations.requests import tasks
from cdp.operations.requests.tasks import Performed, Work
from cdp.tables.request import TaskStatus

# As many tasks of one step at one system are claimed, and settled, at once.
MOST_TOGETHER = 16
# Steps that end within this time of each other are settled in one transaction, seconds.
GATHER_S = 0.005

Perform: TypeAlias = Callable[[Work], Coroutine[Any, Any, Performed]]

log = structlog.get_logger()


async def work_on(place: Workplace, task_id: UUID, perform: Perform) -> None:
    """Claim the task and others like it, perform each, settle what came of them as they end."""
    if task_id in place.in_hand:
        return
    claimed = await _claim(place, task_id, most=MOST_TOGETHER)
    if not claimed:
        return
    mine = {work.id for work in claimed}
    place.in_hand.update(mine)
    try:
        await _Together(place, perform, claimed).finish()
    finally:
        place.in_hand.difference_update(mine)


@asynccontextmanager
async def leased(place: Workplace, task_id: UUID) -> AsyncIterator[Work | None]:
    """Claim one task for the time of a block; None when there is nothing to do."""
    claimed = await _claim(place, task_id, most=1)
    if not claimed:
        yield None
        return
    work, worker = claimed[0], asyncio.current_task()
    heartbeat = _Heartbeat(place, {worker: work} if worker is not None else {})
    try:
        async with heartbeat:
            yield work
    except asyncio.CancelledError:
        if work.id in heartbeat.lost:
            return
        await asyncio.shield(_release(place, [work]))
        raise


async def settle(place: Workplace, work: Work, performed: Performed) -> None:
    """Settle a step in a transaction of its own; tidy up when it did not come to be done."""
    async with place.platform.db.transaction(Role.WORKER) as tx:
        status = await tasks.settle(tx, work, performed, settings=place.platform.settings)
    if performed.otherwise is not None and status is not TaskStatus.DONE:
        await performed.otherwise()


async def _claim(place: Workplace, task_id: UUID, *, most: int) -> list[Work]:
    settings, owner = place.platform.settings, place.owner
    async with place.platform.db.transaction(Role.WORKER) as tx:
        first = await tasks.claim(tx, task_id, owner=owner, settings=settings)
        claimed = [first] if first is not None else []
        if first is not None and most > 1:
            claimed += await tasks.claim_more(tx, first, limit=most - 1, owner=owner, settings=settings)
    for work in claimed:
        if work.is_poison(settings):
            await settle(place, work, Performed(Outcome(State.RETRY, tasks.LOST)))
    return [work for work in claimed if not work.is_poison(settings)]


async def _release(place: Workplace, works: Sequence[Work]) -> None:
    async with place.platform.db.transaction(Role.WORKER) as tx:
        for work in works:
            await tasks.release(tx, work)


class _Together:
    """Tasks of one step at one system, each in an asyncio task of its own."""

    def __init__(self, place: Workplace, perform: Perform, claimed: Sequence[Work]) -> None:
        self._place = place
        self._running: dict[asyncio.Task[Any], Work] = {asyncio.create_task(perform(work)): work for work in claimed}
        self._heartbeat = _Heartbeat(place, self._running)

    async def finish(self) -> None:
        """Wait for all; those that end at about the same time are settled together."""
        try:
            async with self._heartbeat:
                while self._running:
                    await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
                    if len(self._running) > 1:
                        await asyncio.sleep(GATHER_S)
                    over = {one: work for one, work in self._running.items() if one.done()}
                    # Whoever rings for one of these from now on is heard: its neighbours may take a minute more.
                    self._place.in_hand.difference_update(work.id for work in over.values())
                    await self._settle([(work, one.result()) for one, work in over.items() if not one.cancelled()])
                    for one in over:
                        del self._running[one]
        finally:
            await self._stop()

    async def _settle(self, ended: Sequence[tuple[Work, Performed]]) -> None:
        """Those whose outcome needs a transaction of its own, each in one; then the others at once."""
        alone = [one for one in ended if one[1].then is not None or one[1].otherwise is not None]
        together = [one for one in ended if one not in alone]
        if len(together) > 1:
            try:
                async with self._place.platform.db.transaction(Role.WORKER) as tx:
                    outcomes = [(work, performed.outcome) for work, performed in together]
                    await tasks.settle_many(tx, outcomes, settings=self._place.platform.settings)
            except (SQLAlchemyError, OSError, ValueError):
                log.warning("task.not_settled_together", tasks=len(together))
            else:
                together = []
        for work, performed in (*alone, *together):
            try:
                await settle(self._place, work, performed)
            except Exception:  # one that can not be settled keeps its lease, and its tries run out; the others go on
                log.exception("task.not_settled", task=str(work.id))

    async def _stop(self) -> None:
        left = dict(self._running)
        for running in left:
            running.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        if left:
            await asyncio.shield(_release(self._place, list(left.values())))


class _Heartbeat:
    """Extends leases every third of their length; cancels the work of each that somebody else took."""

    def __init__(self, place: Workplace, working: Mapping[asyncio.Task[Any], Work]) -> None:
        self._place = place
        self._working = working
        self._task: asyncio.Task[None] | None = None
        self.lost: set[UUID] = set()

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._beat())

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._place.platform.settings.lease_s / 3)
            with suppress(SQLAlchemyError, OSError):  # the leases still run; the fence decides in the end
                for working, work in list(self._working.items()):
                    if work.id not in self.lost and not await self._extend(work) and working in self._working:
                        self._lose(working, work)

    async def _extend(self, work: Work) -> bool:
        async with self._place.platform.db.transaction(Role.WORKER) as tx:
            return await tasks.extend(tx, work, lease_s=self._place.platform.settings.lease_s)

    def _lose(self, working: asyncio.Task[Any], work: Work) -> None:
        self.lost.add(work.id)
        log.warning("task.lease_lost", task=str(work.id), fence=work.fence)
        working.cancel()
