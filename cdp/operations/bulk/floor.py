"""The floor of a worker where bulk exports are made: snapshots are held beside, parts take its slots in turn.

It looks at the rows when it is told that something waits, and every half second. It has slots of its own, so that an
export never keeps a request waiting, and holders take none, so that a stuck export never keeps another one waiting.
"""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

import structlog
from obstore.exceptions import BaseError as StoreError

from cdp.compiler.bulk import BulkCompiler
from cdp.compiler.reader import Reader
from cdp.core.db import Role
from cdp.core.platform import Platform
from cdp.operations.bulk import finishing, holding, making, notifying, parts, spares
from cdp.operations.bulk.queries import Plans
from cdp.operations.bulk.states import WAITING

MOST_HELD = 8
"""Exports one worker holds snapshots for: a connection each."""
AHEAD = 1
"""Parts made ready while others take up the slots, so that Postgres does not wait for us between two of them."""
LOOK_EVERY_S, DRAIN_EVERY_S = 0.5, 0.1
BATCH = 100

log = structlog.get_logger()


class Floor:
    """One a worker. ``owner`` is the name its leases carry."""

    def __init__(self, platform: Platform, reader: Reader, owner: str) -> None:
        self._platform = platform
        self._owner = owner
        self._plans = Plans(BulkCompiler(reader.graph, reader.limits))
        self._slots = asyncio.Semaphore(platform.settings.bulk_slots)
        self._waiting = asyncio.Event()
        self._held: set[asyncio.Task[None]] = set()
        self._made: set[asyncio.Task[None]] = set()
        self._tidied_at = float("-inf")

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop``; then give back what is in hand."""
        async with self._platform.db.notices.heard(WAITING) as self._waiting:
            try:
                while not stop.is_set():
                    try:
                        await self._look()
                    except Exception:  # a database that is away for a moment must not end the floor
                        log.exception("bulk.look_failed")
                    await self._wait(stop, LOOK_EVERY_S)
            finally:
                await self.close()

    async def drain(self) -> None:
        """Do everything that is due, and everything that comes of it."""
        while True:
            self._tidied_at = float("-inf")
            was_busy = bool(self._held | self._made)  # what ends meanwhile may leave something to do
            if not await self._look() and not was_busy:
                return
            await self._wait(asyncio.Event(), DRAIN_EVERY_S)

    async def close(self) -> None:
        """Stop what runs, which gives its rows back."""
        running = self._held | self._made
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _wait(self, stop: asyncio.Event, seconds: float) -> None:
        """Until one of ours is done, something waits, it is time to look again, or to stop."""
        woken = [asyncio.create_task(event.wait()) for event in (stop, self._waiting)]
        running = self._made | self._held
        await asyncio.wait({*woken, *running}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for one in woken:
            one.cancel()
        await asyncio.gather(*woken, return_exceptions=True)

    async def _look(self) -> bool:
        """Take what is due into free places; whether there was anything to do."""
        settings, db = self._platform.settings, self._platform.db
        self._waiting.clear()
        found = await self._tidy()
        while settings.bulk_slots and len(self._held) < MOST_HELD:
            async with db.transaction(Role.WORKER) as tx:
                held = await holding.claim(tx, owner=self._owner, settings=settings)
            if held is None:
                break
            self._start(self._held, holding.hold(self._platform, held, self._waiting.set))
            found = True
        while settings.bulk_slots and len(self._made) < settings.bulk_slots + AHEAD:
            async with db.transaction(Role.WORKER) as tx:
                work = await parts.claim(tx, owner=self._owner, settings=settings)
            if work is None:
                break
            self._start(self._made, making.make(self._platform, self._plans, work, self._slots))
            found = True
        return found

    def _start(self, place: set[asyncio.Task[None]], work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        place.add(task)
        task.add_done_callback(place.discard)

    async def _tidy(self) -> bool:
        """End what is over and remove its files."""
        clock = asyncio.get_running_loop().time
        if clock() - self._tidied_at < self._platform.settings.sweep_s:
            return False
        self._tidied_at = clock()
        async with self._platform.db.transaction(Role.WORKER) as tx:
            done = await finishing.settle_cancelling(tx, limit=BATCH)
            done += await finishing.expire_due(tx, limit=BATCH)
            done += await finishing.forget_changes(tx, self._platform)
            over = await finishing.unswept(tx, limit=BATCH)
            unseen = await finishing.unpublished(tx, limit=BATCH)
            spare = await spares.due(tx, limit=BATCH)
            untold = await notifying.due(tx, limit=BATCH)
        await asyncio.gather(*(notifying.tell(self._platform, export_id) for export_id in untold))
        published = [await self._in_store(finishing.publish, export_id) for export_id in unseen]
        removed = [await self._in_store(finishing.remove_files, export_id) for export_id in over]
        removed += [await self._in_store(spares.remove, part_id) for part_id in spare]
        return bool(untold or done + sum(published) + sum(removed))

    async def _in_store(self, act: Callable[[Platform, UUID], Awaitable[object]], row_id: UUID) -> bool:
        """Do this to the files of one; a store that is away keeps nobody else waiting, and is asked again."""
        try:
            await act(self._platform, row_id)
        except (StoreError, OSError) as error:
            log.warning("bulk_export.not_swept", row=str(row_id), reason=type(error).__name__)
            return False
        return True
