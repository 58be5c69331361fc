"""Find the work nobody rang for, and do it: lost doorbells, dead workers, times that have come.

It runs beside arq, not in it, so everything goes on, slower, while Valkey is away. Each find is claimed like any other,
so sweeping in several workers at once is fine. Work that makes more work is found in the next round, at once.
"""

import asyncio
from collections.abc import Awaitable
from uuid import UUID

from cdp.core.db import Role
from cdp.jobs.advance_request import advance_request
from cdp.jobs.announce_logout import announce_logout
from cdp.jobs.close_request import close_request
from cdp.jobs.job import Job, Workplace
from cdp.jobs.pack_export import pack_export
from cdp.jobs.remove_export import remove_export
from cdp.jobs.run_task import run_task
from cdp.jobs.send_message import send_message
from cdp.operations import expired, messages
from cdp.operations.oauth import backchannel_logout
from cdp.operations.requests import closing, exports, guests, phases, tasks
from cdp.tables.request import TaskStep

BATCH = 100
ROUNDS = 20


async def sweep(place: Workplace, *, concurrency: int) -> int:
    """Do everything that is due, round by round until a round finds what the last one left; returns how much was done.

    A row that waits for something else (a request for its last letter) stays and ends the sweep, not the next one.
    """
    worked, before = 0, None
    for _ in range(ROUNDS):
        found = await _find(place)
        if not found or found == before:
            break
        limit = asyncio.Semaphore(concurrency)
        await asyncio.gather(*(_within(limit, job({"workplace": place}, str(row_id))) for job, row_id in found))
        worked, before = worked + len(found), found
    return worked


async def _within(limit: asyncio.Semaphore, work: Awaitable[None]) -> None:
    async with limit:
        await work


async def _find(place: Workplace) -> list[tuple[Job, UUID]]:
    """Everything due, one statement a kind."""
    async with place.platform.db.transaction(Role.WORKER) as tx:
        await tasks.forget_orphans(tx)
        await exports.expire_due(tx, limit=BATCH)
        await expired.forget(tx, limit=BATCH)
        await guests.forget(tx, limit=BATCH)
        due = await tasks.due(tx, limit=BATCH, per_system=place.platform.settings.system_concurrency)
        still = await phases.standing_still(tx, limit=BATCH)
        unsent = await messages.due(tx, limit=BATCH)
        untold = await backchannel_logout.due(tx, limit=BATCH)
        unclosed = await closing.unclosed(tx, limit=BATCH)
        over = await exports.removable(tx, limit=BATCH)
    found: list[tuple[Job, UUID]] = [(pack_export if s is TaskStep.PACK else run_task, one) for one, s in due]
    found += [(send_message, one) for one in unsent]
    found += [(announce_logout, one) for one in untold]
    found += [(advance_request, one) for one in still]
    found += [(close_request, one) for one in unclosed]
    found += [(remove_export, one) for one in over]
    return found
