"""A floor of a worker: it looks for work when told that some waits, and now and then anyway, and does it in tasks.

What is told may be lost (``core.notices``), so the rows are looked at all the same; losing it costs time, never work.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable

import structlog

from cdp.core.platform import Platform

DRAIN_EVERY_S = 0.1

log = structlog.get_logger()


class WorkFloor(ABC):
    """What floors have in common. ``topic`` is what they are told about."""

    def __init__(self, platform: Platform, topic: str, *, look_every_s: float) -> None:
        self._platform = platform
        self._topic = topic
        self._look_every_s = look_every_s
        self._waiting = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()

    @abstractmethod
    async def look(self) -> bool:
        """Take what is due into free places; whether there was anything to do."""

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop``; then give back what is in hand."""
        async with self._platform.db.notices.heard(self._topic) as self._waiting:
            try:
                while not stop.is_set():
                    try:
                        await self._look()
                    except Exception:  # a database that is away for a moment must not end the floor
                        log.exception("floor.look_failed", topic=self._topic)
                    await self._wait(stop, self._look_every_s)
            finally:
                await self.close()

    async def drain(self) -> None:
        """Do everything that is due, and everything that comes of it."""
        while True:
            was_busy = bool(self._running)  # what ends meanwhile may leave something to do
            if not await self._look() and not was_busy:
                return
            if self._running:
                await self._wait(asyncio.Event(), DRAIN_EVERY_S)

    async def _look(self) -> bool:
        self._waiting.clear()
        return await self.look()

    async def close(self) -> None:
        """Stop what runs, which gives its rows back."""
        running = [*self._running]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _start(self, work: Awaitable[None], place: set[asyncio.Task[None]] | None = None) -> None:
        """Do some work beside, as one of ``place`` while it runs."""
        task = asyncio.ensure_future(work)
        for one in (self._running, place):
            if one is not None:
                one.add(task)
                task.add_done_callback(one.discard)

    async def _wait(self, stop: asyncio.Event, seconds: float) -> None:
        """Until one of ours is done, something waits, it is time to look again, or to stop."""
        woken = [asyncio.create_task(event.wait()) for event in (stop, self._waiting)]
        await asyncio.wait({*woken, *self._running}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for one in woken:
            one.cancel()
        await asyncio.gather(*woken, return_exceptions=True)
