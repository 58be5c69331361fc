"""Presence: who asked and went away has their read stopped, and with it the statement in the database.

Only what takes long is watched: a request signs in and out, which costs next to nothing, and one timer for all of them
looks now and then who has been here since its last look.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.types import Receive

LOOK_EVERY_S = 0.1


@dataclass(eq=False, slots=True)
class Guest:
    """One request under way: its task, how its client is heard, and whether it may be given up."""

    task: "asyncio.Task[object] | None"
    receive: Receive
    may_stop: Callable[[], bool]
    is_long: bool = False
    is_gone: bool = False
    watching: "asyncio.Task[None] | None" = None


class Attendance:
    """The requests under way in one process."""

    def __init__(self) -> None:
        self._here: dict[Guest, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    @contextmanager
    def of(self, receive: Receive, may_stop: Callable[[], bool]) -> Iterator[Guest]:
        """Watch over what is done within: it is cancelled when the client disconnects and ``may_stop`` says so then."""
        guest = Guest(asyncio.current_task(), receive, may_stop)
        self._here[guest] = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LOOK_EVERY_S, self._look)
        try:
            yield guest
        finally:
            del self._here[guest]
            if guest.watching is not None:
                guest.watching.cancel()
            if guest.is_gone and guest.task is not None:
                guest.task.uncancel()

    def _look(self) -> None:
        """Watch the clients of requests that were here at the last look already; rest once nobody is here."""
        loop = asyncio.get_running_loop()
        for guest in self._here:
            if guest.is_long and guest.watching is None:
                guest.watching = loop.create_task(_watch(guest))
            guest.is_long = True
        self._timer = loop.call_later(LOOK_EVERY_S, self._look) if self._here else None


async def _watch(guest: Guest) -> None:
    while (await guest.receive())["type"] != "http.disconnect":
        pass
    if guest.task is not None and guest.may_stop():
        guest.is_gone = True
        guest.task.cancel()
