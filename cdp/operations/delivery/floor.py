"""The floor of a worker where deals are carried out: packages begun, parts made, what came after told to acquirers.

Parts share nothing with bulk exports but the way they are written; they have places of their own, so that neither
keeps the other waiting.
"""

from uuid import UUID

import structlog
from obstore.exceptions import BaseError as StoreError

from cdp.access.viewer import SYSTEM
from cdp.compiler.bulk import BulkCompiler
from cdp.compiler.reader import Reader
from cdp.core.db import Role
from cdp.core.errors import PlatformError
from cdp.core.platform import Platform
from cdp.operations.delivery import deltas, making, packages, parts
from cdp.operations.delivery.selection import Plans
from cdp.operations.delivery.writing import Places
from cdp.operations.floors import WorkFloor
from cdp.operations.transfers import states

MOST_MADE = 2
"""Parts in hand: one is made ready while the other is made, so that Postgres does not wait for us between them."""
LOOK_EVERY_S = 2.0
"""What was not told, or went unheard, waits no longer."""

log = structlog.get_logger()


class Floor(WorkFloor):
    """One a worker. ``owner`` is the name its leases carry."""

    def __init__(self, platform: Platform, reader: Reader, owner: str, *, look_every_s: float = LOOK_EVERY_S) -> None:
        super().__init__(platform, states.MOVED, look_every_s=look_every_s)
        self._owner = owner
        self._plans = Plans(BulkCompiler(reader.graph, reader.limits))
        self._places = Places()

    async def look(self) -> bool:
        """Begin, make, issue and tell what is due; whether there was anything to do."""
        platform = self._platform
        async with platform.db.transaction(Role.WORKER) as tx:
            approved, making_ = await packages.due(tx)
        for deal_id in approved:
            async with platform.db.transaction(Role.WORKER) as tx:
                await packages.lay_out(tx, deal_id, platform)
        made = await self._make() if making_ or approved else False
        issued = [await self._issue(deal_id) for deal_id in making_]
        told = await deltas.tell_due(platform)
        cleared = await self._clear()
        return bool(approved) or made or any(issued) or told or cleared

    async def _clear(self) -> bool:
        """Remove what is over; a store that is away is asked again."""
        try:
            return await packages.clear_over(self._platform)
        except (StoreError, OSError) as error:
            log.warning("delivery.not_cleared", reason=type(error).__name__)
            return False

    async def _make(self) -> bool:
        """Take parts into free places; whether there were any."""
        settings, db, found = self._platform.settings, self._platform.db, False
        while len(self._running) < MOST_MADE:
            async with db.transaction(Role.WORKER) as tx:
                work = await parts.claim(tx, owner=self._owner, settings=settings)
            if work is None:
                break
            self._start(making.make(self._platform, self._plans, work, self._places))
            found = True
        return found

    async def _issue(self, deal_id: UUID) -> bool:
        """Issue a package that is whole; one that does not add up is recorded once and waits for somebody."""
        try:
            return await packages.issue(self._platform, deal_id)
        except (StoreError, OSError) as error:
            log.warning("delivery.not_tidied", transfer=str(deal_id), reason=type(error).__name__)
            return False
        except PlatformError as error:
            async with self._platform.db.transaction(Role.WORKER) as tx:
                if await packages.stop(tx, deal_id, error.code):
                    await states.note(tx, SYSTEM, "transfer.package_stopped", deal_id, code=error.code)
            return False
