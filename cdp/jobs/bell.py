"""The doorbell of a worker: what its own work rings for it does itself, as far as it has room; others hear the rest.

A deletion is some twenty rings, each from the transaction before it. Going through Valkey costs each a few round trips
and a poll, and buys nothing while this worker has room; one that dies loses rings, which the sweepers make up for.
"""

import asyncio
from collections.abc import Mapping, Sequence

from cdp.core.db import Doorbell, Ring
from cdp.jobs import JOBS
from cdp.jobs.job import Job, Workplace

_JOBS: Mapping[str, Job] = {job.__name__: job for job in JOBS}


class NearDoorbell:
    """Rings here first. A ring for later, or beyond ``most`` under way, goes to ``far``."""

    def __init__(self, place: Workplace, far: Doorbell, *, most: int) -> None:
        self._place, self._far, self._most = place, far, most
        self._under_way: set[asyncio.Task[None]] = set()

    async def ring(self, rings: Sequence[Ring]) -> None:
        """Begin what is due and has room, in tasks of its own; never raises."""
        for_others = []
        for ring in dict.fromkeys(rings):
            job = _JOBS.get(ring.job)
            if job is None or ring.defer_s > 0 or len(self._under_way) >= self._most:
                for_others.append(ring)
                continue
            begun = asyncio.create_task(job({"workplace": self._place}, str(ring.row_id)))
            self._under_way.add(begun)
            begun.add_done_callback(self._under_way.discard)
        if for_others:
            await self._far.ring(for_others)

    async def run(self, stop: asyncio.Event) -> None:
        """Be the doorbell of this process until ``stop``; then finish what is under way. Cancelling gives it back."""
        self._place.platform.db.doorbell = self
        try:
            await stop.wait()
            self._place.platform.db.doorbell = self._far
            while self._under_way:
                await asyncio.wait(self._under_way)
        finally:
            self._place.platform.db.doorbell = self._far
            left = list(self._under_way)
            for one in left:
                one.cancel()
            await asyncio.gather(*left, return_exceptions=True)
