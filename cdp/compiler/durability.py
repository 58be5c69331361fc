"""When what a read has written is on disk: one wait for all answers that are ready meanwhile.

A read that must be recorded commits its record with it, without waiting for the log; its answer is held back until
a later commit of this process has been flushed, and with it everything before. So a connection is free as soon as it
has read, and one flush serves every answer that waits. Nothing leaves before its record would outlive a crash: a
flush that fails, or that another connection would have to repeat after the server went away, fails these answers.
Source: https://www.postgresql.org/docs/18/wal-async-commit.html
"""

import asyncio
from typing import Any

import asyncpg
import structlog
from asyncpg.prepared_stmt import PreparedStatement

from cdp.core.db import NOT_NOW, Database, Role
from cdp.core.errors import Unavailable

# A commit that writes: what is flushed with it, and confirmed by standbys where the server asks them, came before it.
FLUSH = "SELECT pg_logical_emit_message(true, 'cdp', '')"

# While so many more are reading, a flush waits this long for them: as commit_siblings and commit_delay of the server.
SIBLINGS = 4
DELAY_S = 0.001

_log = structlog.get_logger()


class Line:
    """One connection that flushes. What was read before it was opened, it can not vouch for."""

    def __init__(
        self, connection: asyncpg.Connection, statement: "PreparedStatement[Any]", *, timeout_s: float
    ) -> None:
        self._connection = connection
        self._statement = statement
        self._timeout_s = timeout_s
        self._waiting: list[asyncio.Future[None]] = []
        self._flushing: asyncio.Task[None] | None = None
        self.reading = 0
        """How many are reading whose record is about to be written."""

    @property
    def is_open(self) -> bool:
        """Whether it can still flush."""
        return not self._connection.is_closed()

    async def settle(self) -> None:
        """Return once everything committed by now is on disk. Raises Unavailable where that can not be known."""
        if not self.is_open:
            raise Unavailable
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush())
        await waiter

    async def _flush(self) -> None:
        """Flush for who waits, and again for who came meanwhile."""
        batch: list[asyncio.Future[None]] = []
        try:
            while self._waiting:
                if self.reading >= SIBLINGS:
                    await asyncio.sleep(DELAY_S)
                batch, self._waiting = self._waiting, []
                await self._statement.fetchval(timeout=self._timeout_s)
                for waiter in batch:
                    if not waiter.done():
                        waiter.set_result(None)
        except Exception as error:  # noqa: BLE001  # whatever went wrong, nobody may be answered
            _log.warning("durability.failed", error=type(error).__name__)
            self._fail(batch + self._waiting)
        finally:
            self._flushing = None

    def _fail(self, waiters: list[asyncio.Future[None]]) -> None:
        self._connection.terminate()
        self._waiting = []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(Unavailable())

    async def close(self) -> None:
        """End the connection once nobody waits."""
        if self._flushing is not None:
            await self._flushing
        if self.is_open:
            await self._connection.close()


class Durability:
    """The line of this process at hand."""

    def __init__(self, database: Database, *, timeout_s: float) -> None:
        self._database = database
        self._timeout_s = timeout_s
        self._line: Line | None = None
        self._opening = asyncio.Lock()

    async def line(self) -> Line:
        """The line that is to vouch for a read about to begin. Raises Unavailable."""
        line = self._line
        if line is not None and line.is_open:
            return line
        async with self._opening:
            if self._line is None or not self._line.is_open:
                self._line = await self._open()
            return self._line

    async def _open(self) -> Line:
        try:
            # As who sees no row.
            connection = await self._database.connect_raw(Role.CUSTOMER)
            statement = await connection.prepare(FLUSH, name="flush")
        except (*NOT_NOW, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise Unavailable from error
        return Line(connection, statement, timeout_s=self._timeout_s)

    async def close(self) -> None:
        """Close the connection."""
        if self._line is not None:
            await self._line.close()
