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
from cdp.operations.floors import WorkFloor

MOST_HELD = 8
"""Exports one worker holds snapshots for: a connection each."""
AHEAD = 1
"""Parts made ready while others take up the slots, so that Postgres does not wait for us between two of them."""
LOOK_EVERY_S = 0.5
BATCH = 100

log = structlog.get_logger()


class Floor(WorkFloor):
    """One a worker. ``owner`` is the name its leases carry."""

    def __init__(self, platform: Platform, reader: Reader, owner: str) -> None:
        super().__init__(platform, WAITING, look_every_s=LOOK_EVERY_S)
        self._owner = owner
        self._plans = Plans(BulkCompiler(reader.graph, reader.limits))
        self._slots = asyncio.Semaphore(platform.settings.bulk_slots)
        self._held: set[asyncio.Task[None]] = set()
        self._made: set[asyncio.Task[None]] = set()
        self._tidied_at = float("-inf")
        self._is_draining = False

    async def drain(self) -> None:
        """Do everything that is due, and everything that comes of it."""
        self._is_draining = True
        try:
            await super().drain()
        finally:
            self._is_draining = False

    async def look(self) -> bool:
        """Take what is due into free places; whether there was anything to do."""
        settings, db = self._platform.settings, self._platform.db
        found = await self._tidy()
        while settings.bulk_slots and len(self._held) < MOST_HELD:
            async with db.transaction(Role.WORKER) as tx:
                held = await holding.claim(tx, owner=self._owner, settings=settings)
            if held is None:
                break
            self._start(holding.hold(self._platform, held, self._waiting.set), self._held)
            found = True
        while settings.bulk_slots and len(self._made) < settings.bulk_slots + AHEAD:
            async with db.transaction(Role.WORKER) as tx:
                work = await parts.claim(tx, owner=self._owner, settings=settings)
            if work is None:
                break
            self._start(making.make(self._platform, self._plans, work, self._slots), self._made)
            found = True
        return found

    async def _tidy(self) -> bool:
        """End what is over and remove its files."""
        clock = asyncio.get_running_loop().time
        if not self._is_draining and clock() - self._tidied_at < self._platform.settings.sweep_s:
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
