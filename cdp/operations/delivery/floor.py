"""The floor of a worker where deals are carried out: packages begun, parts made, what came after told to acquirers.

It looks at the rows and needs no doorbell. Parts share nothing with bulk exports but the way they are written; they
have a slot of their own, so that neither keeps the other waiting.
"""

import asyncio
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
from cdp.operations.transfers import states

LOOK_EVERY_S = 0.5

log = structlog.get_logger()


class Floor:
    """One a worker. ``owner`` is the name its leases carry."""

    def __init__(self, platform: Platform, reader: Reader, owner: str) -> None:
        self._platform = platform
        self._owner = owner
        self._compiler = BulkCompiler(reader.graph, reader.limits)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop``; cancelled, it gives back what is in hand."""
        while not stop.is_set():
            try:
                is_busy = await self.look()
            except Exception:  # a database that is away for a moment must not end the floor
                log.exception("delivery.look_failed")
                is_busy = False
            if not is_busy:
                await _pause(stop)

    async def drain(self) -> None:
        """Do everything that is due, and everything that comes of it."""
        while await self.look():
            pass

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
        settings, db = self._platform.settings, self._platform.db
        async with db.transaction(Role.WORKER) as tx:
            work = await parts.claim(tx, owner=self._owner, settings=settings)
        if work is None:
            return False
        await making.make(self._platform, self._compiler, work)
        return True

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


async def _pause(stop: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(LOOK_EVERY_S):
            await stop.wait()
    except TimeoutError:
        return
