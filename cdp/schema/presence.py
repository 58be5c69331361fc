"""Presence: who asked and went away has their read stopped, and with it the statement in the database.

Only what takes long is watched at all: setting a timer costs next to nothing, watching every request would not.
"""

import asyncio
from collections.abc import Callable
from types import TracebackType

from starlette.types import Receive

WATCH_AFTER_S = 0.1


class Presence:
    """Cancels the task it is entered in when the client disconnects, if ``may_stop`` says so at that moment."""

    def __init__(self, receive: Receive, may_stop: Callable[[], bool]) -> None:
        self.is_gone = False
        self._receive = receive
        self._may_stop = may_stop
        self._task: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._watching: asyncio.Task[None] | None = None

    def __enter__(self) -> "Presence":
        self._task = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(WATCH_AFTER_S, self._begin)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._watching is not None:
            self._watching.cancel()
        if self.is_gone and self._task is not None:
            self._task.uncancel()

    def _begin(self) -> None:
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self._task is not None and self._may_stop():
            self.is_gone = True
            self._task.cancel()
