"""Hold a task's lease while it is worked on.

A heartbeat extends it, losing it stops the work, being stopped gives it back.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError

from cdp.connectors.base import Outcome, State
from cdp.core.db import Role
from cdp.jobs.job import Workplace
from cdp.operations.requests import tasks
from cdp.operations.requests.tasks import Performed, Work
from cdp.tables.request import TaskStatus

log = structlog.get_logger()


@asynccontextmanager
async def leased(place: Workplace, task_id: UUID) -> AsyncIterator[Work | None]:
    """Claim a task for the time of a block; None when there is nothing to do."""
    settings = place.platform.settings
    async with place.platform.db.transaction(Role.WORKER) as tx:
        work = await tasks.claim(tx, task_id, owner=place.owner, settings=settings)
    if work is not None and work.is_poison(settings):
        await settle(place, work, Performed(Outcome(State.RETRY, tasks.LOST)))
        work = None
    if work is None:
        yield None
        return
    heartbeat = _Heartbeat(place, work)
    try:
        async with heartbeat:
            yield work
    except asyncio.CancelledError:
        if heartbeat.is_lost:
            return
        await asyncio.shield(_release(place, work))
        raise


async def settle(place: Workplace, work: Work, performed: Performed) -> None:
    """Settle a step in a transaction of its own; tidy up when it did not come to be done."""
    async with place.platform.db.transaction(Role.WORKER) as tx:
        status = await tasks.settle(tx, work, performed, settings=place.platform.settings)
    if performed.otherwise is not None and status is not TaskStatus.DONE:
        await performed.otherwise()


async def _release(place: Workplace, work: Work) -> None:
    async with place.platform.db.transaction(Role.WORKER) as tx:
        await tasks.release(tx, work)


class _Heartbeat:
    """Extends a lease every third of its length; cancels the work when it was taken by somebody else."""

    def __init__(self, place: Workplace, work: Work) -> None:
        self._place = place
        self._work = work
        self._task: asyncio.Task[None] | None = None
        self.is_lost = False

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._beat(asyncio.current_task()))

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _beat(self, worker: "asyncio.Task[object] | None") -> None:
        lease_s = self._place.platform.settings.lease_s
        while True:
            await asyncio.sleep(lease_s / 3)
            try:
                async with self._place.platform.db.transaction(Role.WORKER) as tx:
                    kept = await tasks.extend(tx, self._work, lease_s=lease_s)
            except (SQLAlchemyError, OSError):
                continue  # the lease still runs; the fence decides in the end
            if not kept:
                self.is_lost = True
                log.warning("task.lease_lost", task=str(self._work.id), fence=self._work.fence)
                if worker is not None:
                    worker.cancel()
                return
