"""Find the work nobody rang for, and do it: lost doorbells, dead workers, times that have come.

It runs beside arq, not in it, so everything goes on, slower, while Valkey is away. Each find is claimed like any other,
so sweeping in several workers at once is fine. Work that makes more work is found in the next round, at once.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import structlog

from cdp.core.db import Role
from cdp.jobs.advance_request import advance_request
from cdp.jobs.announce_logout import announce_logout
from cdp.jobs.call_controller import call_controller
from cdp.jobs.close_request import close_request
from cdp.jobs.job import Job
from cdp.jobs.pack_export import pack_export
from cdp.jobs.remove_export import remove_export
from cdp.jobs.run_task import run_task
from cdp.jobs.send_message import send_message
from cdp.jobs.work_on_asked import work_on_asked
from cdp.jobs.workplace import Workplace
from cdp.operations import expired, messages, suppression
from cdp.operations.holds import holds
from cdp.operations.oauth import backchannel_logout
from cdp.operations.partners import grants, offers, orders
from cdp.operations.providers.opendsr import calls, working
from cdp.operations.requests import closing, exports, guests, phases, retries, tasks
from cdp.operations.transfers import ending, notices
from cdp.tables.request import TaskStep

BATCH = 100
ROUNDS = 20
PEOPLE = 1_000
TIDY_EVERY_S = 60.0
# What became due this long ago and was not begun has lost its ring, seconds.
RESTED_S = 1.0
Find = tuple[Job, UUID]

log = structlog.get_logger()


class Sweeper:
    """Sweeps until it is stopped. It never waits for a slow system longer than until the next sweep.

    So what a dead worker left is begun within ``sweep_s`` of the end of its lease, whatever else is in hand.
    """

    def __init__(self, place: Workplace, *, concurrency: int) -> None:
        self._place = place
        self._concurrency = concurrency
        self._in_hand: dict[Find, asyncio.Task[None]] = {}
        self._tidy_at = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Sweep, now and every ``sweep_s``; at once again when all that was begun is done and there was something new.

        A row that waits for something else (a request for its last letter) is found again and again: that is not new.
        """
        before: list[Find] = []
        try:
            while not stop.is_set():
                found = await self._look()
                begun = self._begin(found)
                is_new, before = found != before, found
                await self._pause(stop, begun if begun and is_new else ())
            await asyncio.gather(*self._in_hand.values())
        finally:
            await self._give_back()

    async def _look(self) -> list[Find]:
        try:
            if time.monotonic() >= self._tidy_at:
                await tidy(self._place)
                self._tidy_at = time.monotonic() + TIDY_EVERY_S
            rested_s = min(RESTED_S, self._place.platform.settings.sweep_s)
            found = await _find(self._place, rested_s=rested_s)
        except Exception:  # a database that is away for a moment must not end the sweeper
            log.exception("sweep.failed")
            return []
        return [one for one in found if one not in self._in_hand]

    def _begin(self, found: list[Find]) -> list[asyncio.Task[None]]:
        begun = []
        for one in found[: self._concurrency - len(self._in_hand)]:
            self._in_hand[one] = asyncio.create_task(self._work(one))
            begun.append(self._in_hand[one])
        return begun

    async def _work(self, one: Find) -> None:
        job, row_id = one
        try:
            await job({"workplace": self._place}, str(row_id))
        finally:
            del self._in_hand[one]

    async def _pause(self, stop: asyncio.Event, begun: Sequence[asyncio.Task[None]]) -> None:
        """Until the next sweep is due or ``stop`` is set; or until all that was begun is done, if that is sooner."""
        stopping = asyncio.create_task(stop.wait())
        waiting: list[asyncio.Future[Any]] = [stopping]
        if begun:
            waiting.append(asyncio.gather(*begun, return_exceptions=True))
        try:
            sweep_s = self._place.platform.settings.sweep_s
            await asyncio.wait(waiting, timeout=sweep_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()

    async def _give_back(self) -> None:
        left = list(self._in_hand.values())
        for one in left:
            one.cancel()
        await asyncio.gather(*left, return_exceptions=True)


async def sweep(place: Workplace, *, concurrency: int) -> int:
    """Do everything that is due, round by round until a round finds what the last one left; returns how much was done.

    A row that waits for something else (a request for its last letter) stays and ends the sweep, not the next one.
    """
    worked, before = 0, None
    await tidy(place)
    for _ in range(ROUNDS):
        found = await _find(place)
        if not found or found == before:
            break
        limit = asyncio.Semaphore(concurrency)
        await asyncio.gather(*(_within(limit, place, one) for one in found))
        worked, before = worked + len(found), found
    return worked


async def _within(limit: asyncio.Semaphore, place: Workplace, one: Find) -> None:
    job, row_id = one
    async with limit:
        await job({"workplace": place}, str(row_id))


async def tidy(place: Workplace) -> None:
    """Remove what is over and in nobody's way, and note which notices arrived: there is no hurry for either."""
    async with place.platform.db.transaction(Role.WORKER) as tx:
        await expired.forget(tx, limit=BATCH)
        await guests.forget(tx, limit=BATCH)
        await notices.settle_due(tx, limit=BATCH)
        await grants.expire_due(tx, now=place.platform.clock(), limit=BATCH)
        await orders.tell_due(tx, limit=BATCH)
        await retries.open_due(tx, place.platform, limit=BATCH)
        await ending.undo_due(tx, limit=BATCH)
    await send_offers(place)
    await _look_up(place)


async def send_offers(place: Workplace) -> None:
    """Send what was approved of partners' offers, a batch a transaction; the rest when it is tidied up again."""
    for _ in range(ROUNDS):
        async with place.platform.db.transaction(Role.WORKER) as tx:
            if not await offers.send_due(tx, place.platform):
                return


async def _look_up(place: Workplace) -> None:
    """Look up who may be on the suppression list, as many as a sweep bears."""
    for _ in range(ROUNDS):
        async with place.platform.db.transaction(Role.WORKER) as tx:
            if await suppression.look_up(tx, place.platform.pepper, limit=PEOPLE) < PEOPLE:
                return


async def _find(place: Workplace, *, rested_s: float = 0.0) -> list[Find]:
    """Everything due, one statement a kind; what is not lost, only once it has been due for ``rested_s``."""
    async with place.platform.db.transaction(Role.WORKER) as tx:
        await tasks.forget_orphans(tx)
        await exports.expire_due(tx, limit=BATCH)
        await holds.expire_due(tx, limit=BATCH)
        due = await tasks.due(tx, limit=BATCH, per_system=place.platform.settings.system_concurrency, rested_s=rested_s)
        still = await phases.standing_still(tx, limit=BATCH, rested_s=rested_s)
        unsent = await messages.due(tx, limit=BATCH, rested_s=rested_s)
        untold = await backchannel_logout.due(tx, limit=BATCH)
        unclosed = await closing.unclosed(tx, limit=BATCH, rested_s=rested_s)
        over = await exports.removable(tx, limit=BATCH)
        asked = await working.due(tx, limit=BATCH)
        uncalled = await calls.due(tx, limit=BATCH)
    found: list[Find] = [(pack_export if s is TaskStep.PACK else run_task, one) for one, s in due]
    found += [(send_message, one) for one in unsent]
    found += [(announce_logout, one) for one in untold]
    found += [(advance_request, one) for one in still]
    found += [(close_request, one) for one in unclosed]
    found += [(remove_export, one) for one in over]
    found += [(work_on_asked, one) for one in asked]
    found += [(call_controller, one) for one in uncalled]
    return found
