"""A walk of one request, one job at a time, with a fault at every step: crash, duplicate, late answer, lost doorbell.

Nobody rings: each step is what the sweeper would find, so every walk also loses every doorbell.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import select, update

from cdp.core.db import Role
from cdp.jobs.advance_request import advance_request
from cdp.jobs.claim import settle
from cdp.jobs.close_request import close_request
from cdp.jobs.job import Job, job
from cdp.jobs.pack_export import pack_export
from cdp.jobs.run_task import run_task
from cdp.jobs.send_message import send_message
from cdp.jobs.workplace import Workplace
from cdp.operations import messages
from cdp.operations.requests import closing, phases, steps, tasks
from cdp.operations.residual import checks, passes
from cdp.tables.audit import audit_event
from cdp.tables.request import TRANSITIONS, RequestStatus, TaskStep, privacy_request, request_task
from tests.engine import Engine
from tests.faults.mortal import mortally

MOST_STEPS = 400
Edge = tuple[RequestStatus, RequestStatus]


class Fault(StrEnum):
    """What goes wrong at every step."""

    LOST_DOORBELL = "lost_doorbell"
    DUPLICATE = "duplicate"
    LATE_ANSWER = "late_answer"
    CRASH = "crash"


@job
async def make_pass(place: Workplace, _: UUID) -> None:
    """The residual pass, which a loop of the worker's makes; the key of an erasure dies after it."""
    await passes.run_due(place.platform)


@dataclass
class Walk:
    """One request on its way; ``seen`` collects the states in which the fault struck."""

    engine: Engine
    fault: Fault
    seen: set[RequestStatus]
    check: Callable[[], Awaitable[None]]
    request_id: UUID = field(default_factory=lambda: UUID(int=0))
    _moments: dict[tuple[object, ...], int] = field(default_factory=dict)

    async def until(self, *wanted: RequestStatus) -> RequestStatus:
        """Step until the request stands in one of these states, or nothing is left to do; the walk must end."""
        for _ in range(MOST_STEPS):
            status = await self.status()
            if status in wanted:
                return status
            if not await self.step():
                return status
        raise AssertionError(f"{await self.status()} never ended")

    async def finish(self) -> RequestStatus:
        """Step until nothing is left to do."""
        return await self.until()

    async def status(self) -> RequestStatus:
        async with self.engine.platform.db.transaction(Role.WORKER) as tx:
            found: RequestStatus = await tx.scalar(
                select(privacy_request.c.status).where(privacy_request.c.id == self.request_id)
            )
        return found

    async def step(self) -> bool:
        """Do one job with its fault; False when nothing is due."""
        due = await self.due()
        if not due:
            return False
        (job, row_id), status = due[0], await self.status()
        self.seen.add(status)
        await getattr(self, f"_{self.fault.value}")(job, row_id, status)
        await self.check()
        return True

    async def due(self) -> list[tuple[Job, UUID]]:
        """What a sweep would find about this request, and the pass once there is nothing else."""
        mine = self.request_id
        async with self.engine.platform.db.transaction(Role.WORKER) as tx:
            await tasks.forget_orphans(tx)
            ours = {row.id for row in await tx.all(select(request_task.c.id).where(request_task.c.request_id == mine))}
            found: list[tuple[Job, UUID]] = [
                (pack_export if step is TaskStep.PACK else run_task, one)
                for one, step in await tasks.due(tx, limit=100, per_system=8)
                if one in ours
            ]
            found += [(send_message, one) for one in await messages.due(tx, limit=100)]
            found += [(advance_request, one) for one in await phases.standing_still(tx, limit=100) if one == mine]
            found += [(close_request, one) for one in await closing.unclosed(tx, limit=100) if one == mine]
            looked_for = await checks.due(tx, self.engine.platform.settings.residual_every)
        return [*found, (make_pass, looked_for)] if looked_for and not found else found

    async def _lost_doorbell(self, job: Job, row_id: UUID, _: RequestStatus) -> None:
        await job({"workplace": self.engine.place}, str(row_id))

    async def _duplicate(self, job: Job, row_id: UUID, _: RequestStatus) -> None:
        context = {"workplace": self.engine.place}
        await asyncio.gather(job(context, str(row_id)), job(context, str(row_id)))
        await job(context, str(row_id))

    async def _late_answer(self, job: Job, row_id: UUID, _: RequestStatus) -> None:
        """A worker answers after its lease ran out and another one did the work."""
        if job not in (run_task, pack_export):
            await job({"workplace": self.engine.place}, str(row_id))
            return
        place = self.engine.place
        async with place.platform.db.transaction(Role.WORKER) as tx:
            (work,) = await tasks.claim(tx, [row_id], owner="slow", settings=place.platform.settings)
        late = await steps.perform(place.platform, place.reader, work)
        await self.engine.expire_leases()
        await job({"workplace": place}, str(row_id))
        before = await self._picture()
        await settle(place.platform, work, late)
        assert await self._picture() == before, "a stale claim settled something"

    async def _crash(self, job: Job, row_id: UUID, status: RequestStatus) -> None:
        """Die at the first moment of this step, next time at the second, until it gets through."""
        key = (status, job.__name__, row_id)
        self._moments[key] = self._moments.get(key, 0) + 1
        died = await mortally(self.engine, self._moments[key], lambda place: job({"workplace": place}, str(row_id)))
        if died:
            await self._fresh_start()

    async def _fresh_start(self) -> None:
        """Another worker takes over; that this one died again and again is the test's doing."""
        await self.engine.expire_leases()
        async with self.engine.platform.db.transaction(Role.WORKER) as tx:
            await tx.execute(update(request_task).where(request_task.c.request_id == self.request_id).values(attempt=0))

    async def _picture(self) -> list[tuple[Any, ...]]:
        async with self.engine.platform.db.transaction(Role.WORKER) as tx:
            mine = request_task.c.request_id == self.request_id
            return [tuple(row) for row in await tx.all(select(request_task).where(mine).order_by(request_task.c.id))]


async def edges(engine: Engine) -> set[Edge]:
    """Every move of every request that the audit log tells of; each must be one of TRANSITIONS."""
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        rows = await tx.all(select(audit_event.c.action, audit_event.c.details))
    found = set()
    for row in rows:
        noun, _, verb = row.action.partition(".")
        if noun == "request" and "from" in (row.details or {}):
            found.add((RequestStatus(row.details["from"]), RequestStatus(verb)))
    assert all(new in TRANSITIONS[old] for old, new in found)
    return found
