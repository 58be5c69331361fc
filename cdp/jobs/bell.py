"""The doorbell of a worker: what its own work rings for it does itself, as far as it has room; others hear the rest.

A deletion is some twenty rings, each from the transaction before it. Going through Valkey costs each a few round trips
and a poll, and buys nothing while this worker has room; one that dies loses rings, which the sweepers make up for.
"""

import asyncio
from collections.abc import Mapping, Sequence

from cdp.core.db import Doorbell, Ring
from cdp.jobs import JOBS
from cdp.jobs.hands import SLOW_S
from cdp.jobs.job import Job
from cdp.jobs.workplace import Workplace

_JOBS: Mapping[str, Job] = {job.__name__: job for job in JOBS}


class NearDoorbell:
    """Rings here first. A ring for later, or while ``most`` of its job are under way, goes to ``far``.

    Each job has room of its own, and what takes longer than ``slow_s`` takes none: systems that hang leave the others
    theirs.
    """

    def __init__(self, place: Workplace, far: Doorbell, *, most: int, slow_s: float = SLOW_S) -> None:
        self._place, self._far, self._slow_s = place, far, slow_s
        self._room = {name: asyncio.Semaphore(most) for name in _JOBS}
        self._under_way: set[asyncio.Task[None]] = set()
        self._is_open = False

    async def ring(self, rings: Sequence[Ring]) -> None:
        """Begin what is due and has room, in tasks of its own; never raises."""
        for_others = []
        for ring in dict.fromkeys(rings):
            room = self._room.get(ring.job)
            if room is None or ring.defer_s > 0 or room.locked():
                for_others.append(ring)
            else:
                await room.acquire()
                self._begin(ring, room)
        if for_others:
            await self._far.ring(for_others)

    async def take(self, rings: Sequence[Ring]) -> None:
        """Begin what somebody else rang for, each as soon as there is room; when this worker stops, others hear it."""
        for ring in rings:
            room = self._room[ring.job]
            await room.acquire()
            if self._is_open:
                self._begin(ring, room)
            else:
                room.release()
                await self._far.ring([ring])

    def _begin(self, ring: Ring, room: asyncio.Semaphore) -> None:
        begun = asyncio.create_task(_JOBS[ring.job]({"workplace": self._place}, str(ring.row_id)))
        self._under_way.add(begun)
        begun.add_done_callback(self._under_way.discard)
        loop = asyncio.get_running_loop()
        slow = loop.call_later(self._slow_s, room.release)

        def over(_: object) -> None:
            if slow.when() > loop.time():
                slow.cancel()
                room.release()

        begun.add_done_callback(over)

    async def run(self, stop: asyncio.Event) -> None:
        """Be the doorbell of this process until ``stop``; then finish what is under way. Cancelling gives it back."""
        self._place.platform.db.doorbell = self
        self._is_open = True
        try:
            await stop.wait()
            self._close()
            while self._under_way:
                await asyncio.wait(self._under_way)
        finally:
            self._close()
            left = list(self._under_way)
            for one in left:
                one.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    def _close(self) -> None:
        self._is_open = False
        self._place.platform.db.doorbell = self._far
