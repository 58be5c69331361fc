"""Notices: processes tell each other that there is something to look at, through Postgres alone (LISTEN and NOTIFY).

A notice goes out when its transaction commits, to everybody who listens; the doorbell wakes one worker for one row.
Like a ring it may be lost, so whoever waits for one looks now and then anyway: losing it costs time, never work. One
connection a process hears all topics, as long as anybody waits.
Source: https://www.postgresql.org/docs/18/sql-notify.html
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg
import structlog

CHANNEL = "cdp"
AGAIN_S = 2.0
"""How long to wait before the next connection."""
PING_EVERY_S, PING_WITHIN_S = 30.0, 5.0
_LOST = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)

log = structlog.get_logger()


class Notices:
    """What one process hears. ``connect`` opens a connection of its own."""

    def __init__(self, connect: Callable[[], Awaitable[asyncpg.Connection]]) -> None:
        self._connect = connect
        self._waiting: dict[str, list[asyncio.Event]] = {}
        self._listening: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def heard(self, topic: str) -> AsyncIterator[asyncio.Event]:
        """An event that is set when something was told about a topic; whoever waits clears it before looking."""
        event = asyncio.Event()
        self._waiting.setdefault(topic, []).append(event)
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen())
        try:
            yield event
        finally:
            self._waiting[topic].remove(event)
            if not any(self._waiting.values()):
                await self.close()

    async def close(self) -> None:
        """Stop listening."""
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def _listen(self) -> None:
        while True:
            try:
                connection = await self._connect()
            except _LOST as error:
                log.warning("notices.unheard", reason=type(error).__name__)
            else:
                await self._hear(connection)
            await asyncio.sleep(AGAIN_S)

    async def _hear(self, connection: asyncpg.Connection) -> None:
        """Pass on what comes until the connection is lost."""
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        try:
            await connection.add_listener(CHANNEL, lambda *told: self._wake(str(told[-1])))
            for topic in self._waiting:  # what was told until now went unheard
                self._wake(topic)
            while not await within(lost, PING_EVERY_S):
                await connection.execute("SELECT 1", timeout=PING_WITHIN_S)
        except _LOST as error:
            log.warning("notices.unheard", reason=type(error).__name__)
        finally:
            connection.terminate()

    def _wake(self, topic: str) -> None:
        for event in self._waiting.get(topic, ()):
            event.set()


async def within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event so long; whether it came."""
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False
