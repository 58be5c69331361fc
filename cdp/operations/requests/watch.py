"""Watching requests: one poller per process over the versions of those somebody watches, shared by all streams.

Every stream of a process, of pages and of subscriptions alike, costs one indexed row of one statement a tick. Nothing
is polled while nobody watches. What a version means is read elsewhere, by the compiler, as the viewer who watches.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from uuid import UUID

import structlog
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from cdp.core.db import Database, Role
from cdp.tables.request import SETTLED, privacy_request

TICK_S = 0.25

log = structlog.get_logger()


@dataclass(frozen=True)
class Version:
    """Where a request stands; ``is_settled`` when it will never move again."""

    number: int
    is_settled: bool


@dataclass
class _Watched:
    """One request that somebody watches. ``is_polled`` once a poll has asked for it; ``version`` None: it is gone."""

    watchers: int = 0
    is_polled: bool = False
    version: Version | None = None


class RequestWatch:
    """The poller of one process; the roots build one and close it. ``polls`` counts its statements."""

    def __init__(self, db: Database, *, tick_s: float = TICK_S) -> None:
        self.polls = 0
        self._db = db
        self._tick_s = tick_s
        self._watched: dict[UUID, _Watched] = {}
        self._moved = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    async def versions(self, request_id: UUID) -> AsyncGenerator[Version, None]:
        """Yield the version now and each later one; versions in quick succession are one. Ends after a settled one."""
        watched = self._watched.setdefault(request_id, _Watched())
        watched.watchers += 1
        self._task = self._task or asyncio.create_task(self._run(), name="request-watch")
        seen: Version | None = None
        try:
            while seen is None or not seen.is_settled:
                await self._wait(watched, seen)
                if self._is_closed or watched.version is None:
                    return
                seen = watched.version
                yield seen
        finally:
            self._leave(request_id, watched)

    async def _wait(self, watched: _Watched, seen: Version | None) -> None:
        def is_news() -> bool:
            return self._is_closed or (watched.is_polled and (watched.version is None or watched.version != seen))

        async with self._moved:
            await self._moved.wait_for(is_news)

    def _leave(self, request_id: UUID, watched: _Watched) -> None:
        watched.watchers -= 1
        if not watched.watchers:
            del self._watched[request_id]
        if not self._watched and self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        while True:
            try:
                await self._poll(dict(self._watched))
            except (SQLAlchemyError, OSError) as error:
                log.warning("watch.failed", error=type(error).__name__)
            await asyncio.sleep(self._tick_s)

    async def _poll(self, asked: dict[UUID, _Watched]) -> None:
        found = await self._read(asked)
        self.polls += 1
        is_news = False
        for request_id, watched in asked.items():
            version = found.get(request_id)
            is_news = is_news or not watched.is_polled or watched.version != version
            watched.is_polled, watched.version = True, version
        if is_news:
            async with self._moved:
                self._moved.notify_all()

    async def _read(self, request_ids: Iterable[UUID]) -> dict[UUID, Version]:
        table = privacy_request.c
        async with self._db.transaction(Role.WORKER) as tx:
            rows = await tx.all(select(table.id, table.version, table.status).where(table.id.in_(request_ids)))
        return {row.id: Version(row.version, row.status in SETTLED) for row in rows}

    async def close(self) -> None:
        """Stop polling; every stream ends."""
        self._is_closed = True
        async with self._moved:
            self._moved.notify_all()
        if self._task is not None:
            self._task.cancel()
            self._task = None
