"""Hold the leases of tasks while they are worked on: a heartbeat extends them, losing one stops its work."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError

from cdp.connectors.base import Outcome, State
from cdp.core.db import Role
from cdp.core.platform import Platform
from cdp.operations.requests import tasks
from cdp.operations.requests.tasks import Performed, Work
from cdp.tables.request import TaskStatus

log = structlog.get_logger()


@asynccontextmanager
async def leased(platform: Platform, owner: str, task_id: UUID) -> AsyncIterator[Work | None]:
    """Claim one task for the time of a block; None when there is nothing to do. Being stopped gives it back."""
    async with platform.db.transaction(Role.WORKER) as tx:
        claimed = await tasks.claim(tx, [task_id], owner=owner, settings=platform.settings)
    work, worker = (claimed[0] if claimed else None), asyncio.current_task()
    if work is not None and work.is_poison(platform.settings):
        await settle(platform, work, poisoned())
        work = None
    if work is None or worker is None:
        yield None
        return
    heartbeat = Heartbeat(platform)
    heartbeat.add(work, worker)
    try:
        yield work
    except asyncio.CancelledError:
        if heartbeat.lost(work):
            return
        await asyncio.shield(release(platform, [work]))
        raise
    finally:
        heartbeat.remove(work)


class Heartbeat:
    """Extends leases every third of their length; cancels the work of each that somebody else took."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._held: dict[UUID, tuple[Work, asyncio.Task[Any] | None]] = {}
        self._lost: set[tuple[UUID, int]] = set()
        self._beating: asyncio.Task[None] | None = None

    def add(self, work: Work, working: asyncio.Task[Any]) -> None:
        """Keep the lease of this work from now on."""
        self._held[work.id] = (work, working)
        if self._beating is None or self._beating.done():
            self._beating = asyncio.create_task(self._beat())

    def settling(self, work: Work) -> None:
        """Keep its lease, but cancel nothing any more: one that is no longer ours may just have been settled by us."""
        held = self._held.get(work.id)
        if held is not None and held[0].fence == work.fence:
            self._held[work.id] = (work, None)

    def remove(self, work: Work) -> None:
        """Let go of it; the claim of somebody newer stays."""
        held = self._held.get(work.id)
        if held is not None and held[0].fence == work.fence:
            del self._held[work.id]
        self._lost.discard((work.id, work.fence))
        if not self._held and self._beating is not None:
            self._beating.cancel()

    def lost(self, work: Work) -> bool:
        """Whether somebody else has it now."""
        return (work.id, work.fence) in self._lost

    async def _beat(self) -> None:
        lease_s = self._platform.settings.lease_s
        while True:
            await asyncio.sleep(lease_s / 3)
            held = list(self._held.values())
            with suppress(SQLAlchemyError, OSError):  # the leases still run; the fence decides in the end
                async with self._platform.db.transaction(Role.WORKER) as tx:
                    kept = await tasks.extend(tx, [work for work, _ in held], lease_s=lease_s)
                for work, working in held:
                    is_lost = work.id not in kept and self._held.get(work.id) == (work, working)
                    if is_lost and working is not None and not working.done():
                        self._lost.add((work.id, work.fence))
                        log.warning("task.lease_lost", task=str(work.id), fence=work.fence)
                        working.cancel()


async def settle(platform: Platform, work: Work, performed: Performed) -> None:
    """Settle a step in a transaction of its own; tidy up when it did not come to be done."""
    async with platform.db.transaction(Role.WORKER) as tx:
        status = await tasks.settle(tx, work, performed, settings=platform.settings)
    if performed.otherwise is not None and status is not TaskStatus.DONE:
        await performed.otherwise()


async def release(platform: Platform, works: Sequence[Work]) -> None:
    """Give tasks back unworked."""
    async with platform.db.transaction(Role.WORKER) as tx:
        for work in works:
            await tasks.release(tx, work)


def poisoned() -> Performed:
    """What a task comes to whose workers died again and again."""
    return Performed(Outcome(State.RETRY, tasks.LOST))
