"""The doorbell of a worker: what its own work rings for it does itself, as far as it has room; others hear the rest.

A deletion is some twenty rings, each from the transaction before it. Going through Valkey costs each a few round trips
and a poll, and buys nothing while this worker has room; one that dies loses rings, which the sweepers make up for.
"""

import asyncio
from collections.abc import Mapping, Sequence

from cdp.core.db import Doorbell, Ring
from cdp.jobs import JOBS
from cdp.jobs.job import Job
from cdp.jobs.workplace import Workplace

_JOBS: Mapping[str, Job] = {job.__name__: job for job in JOBS}


class NearDoorbell:
    """Rings here first. A ring for later, or beyond ``most`` of its job under way, goes to ``far``.

    Each job has room of its own: many tasks at slow systems leave the requests room to move on.
    """

    def __init__(self, place: Workplace, far: Doorbell, *, most: int) -> None:
        self._place, self._far, self._most = place, far, most
        self._under_way: dict[str, set[asyncio.Task[None]]] = {name: set() for name in _JOBS}

    async def ring(self, rings: Sequence[Ring]) -> None:
        """Begin what is due and has room, in tasks of its own; never raises."""
        for_others = []
        for ring in dict.fromkeys(rings):
            job = _JOBS.get(ring.job)
            if job is None or ring.defer_s > 0 or len(self._under_way[ring.job]) >= self._most:
                for_others.append(ring)
                continue
            begun = asyncio.create_task(job({"workplace": self._place}, str(ring.row_id)))
            self._under_way[ring.job].add(begun)
            begun.add_done_callback(self._under_way[ring.job].discard)
        if for_others:
            await self._far.ring(for_others)

    async def run(self, stop: asyncio.Event) -> None:
        """Be the doorbell of this process until ``stop``; then finish what is under way. Cancelling gives it back."""
        self._place.platform.db.doorbell = self
        try:
            await stop.wait()
            self._place.platform.db.doorbell = self._far
            while left := self._left():
                await asyncio.wait(left)
        finally:
            self._place.platform.db.doorbell = self._far
            left = self._left()
            for one in left:
                one.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    def _left(self) -> list[asyncio.Task[None]]:
        return [one for of_job in self._under_way.values() for one in of_job]
