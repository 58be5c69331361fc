"""Before a process serves or works: what has to hold first, looked at as soon as the database answers.

A database that is away when a process begins is no reason to end: it comes back, and so does what needs it. Until then
nothing is served, since only the database knows whether every erasure of the journal has been done (``replay``).
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from cdp.core.db import Database, DatabaseUnreachable, Role
from cdp.core.errors import PlatformError, Unavailable
from cdp.core.platform import Platform
from cdp.core.settings import Settings
from cdp.operations import production
from cdp.operations.backups import replay
from cdp.operations.reference import ensure_reference
from cdp.operations.secrets import stores

RETRY_S = 1.0
ASK_AGAIN_S = 2
AWAY = (OperationalError, InterfaceError, ConnectionError)

log = structlog.get_logger()

Prepare = Callable[[], Awaitable[None]]


def is_away(error: Exception) -> bool:
    """Whether this is what comes of a database that went away, here while we connect or under an open transaction."""
    return isinstance(error, ConnectionError) or (isinstance(error, DBAPIError) and error.connection_invalidated)


async def prepare(platform: Platform) -> None:
    """Refuse what must not be served, and write the rows everything points at.

    Raises ProductionRefused, KeyStoreDiffers, ReplayNeeded.
    """
    await production.check(platform)
    await stores.check(platform)
    await replay.check(platform)
    async with platform.db.transaction(Role.WORKER) as tx:
        await ensure_reference(tx)


async def await_database(settings: Settings) -> None:
    """Wait until the database answers."""
    db, is_told = Database(settings.database_url), False
    try:
        while True:
            try:
                async with db.transaction(Role.WORKER) as tx:
                    await tx.execute(text("SELECT 1"))
            except AWAY as error:
                if not is_told:
                    log.warning("database.awaited", reason=type(error).__name__)
                is_told = True
                await asyncio.sleep(RETRY_S)
            else:
                return
    finally:
        await db.close()


class Standby:
    """Why a process does not serve yet: ``reason`` is None once it does."""

    def __init__(self) -> None:
        self.reason: PlatformError | None = None
        self._waiting: asyncio.Task[None] | None = None

    async def open(self, first: Prepare) -> None:
        """Do what comes first, or while the database is away begin to wait for it. Raises what ``first`` refuses."""
        try:
            await first()
        except AWAY:
            self._say(DatabaseUnreachable(retryAfterS=ASK_AGAIN_S))
            self._waiting = asyncio.create_task(self._wait(first), name="standby")
        except PlatformError as error:  # the server's own trace names no code
            log.critical("start.refused", code=error.code, reason=str(error))
            raise

    async def _wait(self, first: Prepare) -> None:
        while self.reason is not None:
            await asyncio.sleep(RETRY_S)
            try:
                await first()
            except AWAY:
                self._say(DatabaseUnreachable(retryAfterS=ASK_AGAIN_S))
            except PlatformError as error:
                self._say(error)
            except Exception:  # a database that comes back in pieces must not end the waiting
                log.exception("start.failed")
                self._say(Unavailable(retryAfterS=ASK_AGAIN_S))
            else:
                self.reason = None
        log.info("start.ready")

    def _say(self, error: PlatformError) -> None:
        if self.reason is None or self.reason.code != error.code:
            log.warning("start.waiting", code=error.code)
        self.reason = error

    async def close(self) -> None:
        """Wait no longer."""
        if self._waiting is not None:
            self._waiting.cancel()
            with suppress(asyncio.CancelledError):
                await self._waiting
