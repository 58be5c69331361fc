"""The worker process: it does what its own work rings for, arq listens to the doorbell of all, the sweeper works
through what nobody rang for.

arq ends when Valkey goes away; it is started again with a growing pause, and until then the sweeper alone goes on.
SIGTERM stops picking up work, lets what runs finish for a moment, and gives the rest back.
"""

import asyncio
import os
import signal
import socket
from contextlib import suppress
from typing import Any
from uuid import UUID

import structlog
import uvloop
from arq import func
from arq.typing import WorkerCoroutine
from arq.worker import Worker
from redis.exceptions import RedisError

from cdp.core import log as logging
from cdp.core.db import Ring, Role
from cdp.core.doorbell import QUEUE, deserialize, redis_settings, serialize
from cdp.core.platform import Platform
from cdp.core.settings import Settings
from cdp.jobs import JOBS
from cdp.jobs.bell import NearDoorbell
from cdp.jobs.purge import purge
from cdp.jobs.sweep import Sweeper
from cdp.jobs.workplace import Workplace
from cdp.operations import journal, signing_keys
from cdp.operations.audit import sequencer, witness
from cdp.operations.bulk.floor import Floor
from cdp.operations.canary import runs as canary
from cdp.operations.delivery.floor import Floor as DeliveryFloor
from cdp.operations.residual import passes
from cdp.operations.retention import purges as retention
from cdp.operations.starting import prepare
from cdp.schema.schema import open_reader

GRACE_S = 5.0
POLL_S = 0.05
# Jobs of arq that wait for room here; the others wait in Valkey, for whichever worker has room first.
MOST_WAITING = 8
CANARY_POLL_S = 5.0
LONGEST_JOB_S = 24 * 3600
LONGEST_PAUSE_S = 10.0
PURGE_POLL_S = 60.0

log = structlog.get_logger()


def run(settings: Settings) -> None:
    """Work until SIGTERM or SIGINT."""
    logging.configure(settings.log_format, settings.log_level)
    uvloop.run(_run(settings))


async def _run(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    platform = Platform.open(settings)
    try:
        await serve(platform, stop)
    finally:
        await platform.close()


async def serve(platform: Platform, stop: asyncio.Event) -> None:
    """Work until ``stop`` is set; then finish or give back what is in hand."""
    await prepare(platform)
    signing_keys.publish(platform)
    reader = open_reader(platform)
    try:
        await _work(Workplace(platform, reader, f"{socket.gethostname()}:{os.getpid()}"), stop)
    finally:
        await reader.close()


async def _work(place: Workplace, stop: asyncio.Event) -> None:
    floor = Floor(place.platform, place.reader, place.owner)
    most = place.platform.settings.worker_concurrency
    bell = NearDoorbell(place, place.platform.db.doorbell, most=most)
    loops = [
        asyncio.create_task(bell.run(stop)),
        asyncio.create_task(Sweeper(place, concurrency=most).run(stop)),
        asyncio.create_task(_sequencing(place.platform, stop)),
        asyncio.create_task(_looking(place.platform, stop)),
        asyncio.create_task(_trying(place.platform, stop)),
        asyncio.create_task(floor.run(stop)),
        asyncio.create_task(DeliveryFloor(place.platform, place.reader, place.owner).run(stop)),
        asyncio.create_task(_purging(place, stop)),
    ]
    if place.platform.settings.redis_url:
        loops.append(asyncio.create_task(_listening(place, bell, stop)))
    log.info("worker.started", owner=place.owner)
    await stop.wait()
    _, late = await asyncio.wait(loops, timeout=GRACE_S)
    for one in late:
        one.cancel()
    await asyncio.gather(*loops, return_exceptions=True)
    log.info("worker.stopped", owner=place.owner)


async def _sequencing(platform: Platform, stop: asyncio.Event) -> None:
    while not stop.is_set():
        try:
            await sequencer.sequence(platform)
            await witness.send_due(platform)
            await journal.publish(platform)
        except Exception:  # a database that is away for a moment must not end it
            log.exception("audit.sequencing_failed")
        await _pause(stop, platform.settings.audit_sequence_s)


async def _looking(platform: Platform, stop: asyncio.Event) -> None:
    """Look for what is left of erased people; beside the sweeper, since a pass over much data takes its time."""
    while not stop.is_set():
        try:
            await passes.run_due(platform)
        except Exception:  # see _sweeping
            log.exception("residual.pass_failed")
        await _pause(stop, platform.settings.sweep_s)


async def _purging(place: Workplace, stop: asyncio.Event) -> None:
    while not stop.is_set():
        try:
            async with place.platform.db.transaction(Role.WORKER) as tx:
                due = await retention.due(tx)
            for run_id in due:
                await purge({"workplace": place}, str(run_id))
        except Exception:  # see _sequencing
            log.exception("retention.scheduling_failed")
        await _pause(stop, PURGE_POLL_S)


async def _trying(platform: Platform, stop: asyncio.Event) -> None:
    """See by the canary, now and then, that an erasure still works everywhere."""
    while not stop.is_set():
        try:
            await canary.turn(platform)
        except Exception:  # see _sequencing
            log.exception("canary.failed")
        await _pause(stop, CANARY_POLL_S)


async def _listening(place: Workplace, bell: NearDoorbell, stop: asyncio.Event) -> None:
    pause_s, clock = POLL_S, asyncio.get_running_loop().time
    while not stop.is_set():
        listener, began = _Listener(place, bell), clock()
        try:
            await listener.listen(stop)
        except (RedisError, OSError) as error:
            log.warning("worker.doorbell_away", reason=type(error).__name__, pause_s=pause_s)
        finally:
            await listener.close()
        await _pause(stop, pause_s)
        pause_s = POLL_S if clock() - began > LONGEST_PAUSE_S else min(LONGEST_PAUSE_S, pause_s * 2)


def _taking(bell: NearDoorbell, name: str) -> WorkerCoroutine:
    """A job of arq is over once its rows have begun here: arq asks Valkey about every job in hand at each poll."""

    async def take(ctx: dict[Any, Any], *row_ids: str, **_: object) -> None:  # noqa: ARG001 - arq's form
        await bell.take([Ring(name, UUID(row_id)) for row_id in row_ids])

    return take


class _Listener:
    """One life of an arq worker: from the first connection to the loss of Valkey, or to the end of ours."""

    def __init__(self, place: Workplace, bell: NearDoorbell) -> None:
        self._arq = Worker(
            functions=[func(_taking(bell, job.__name__), name=job.__name__) for job in JOBS],
            queue_name=QUEUE,
            redis_settings=redis_settings(place.platform.settings.redis_url),
            handle_signals=False,
            max_jobs=MOST_WAITING,
            job_timeout=LONGEST_JOB_S,
            keep_result=0,
            poll_delay=POLL_S,
            job_serializer=serialize,
            job_deserializer=deserialize,
            log_results=False,
        )

    async def listen(self, stop: asyncio.Event) -> None:
        """Take jobs until ``stop``, then wait for those in hand. Raises RedisError or OSError when Valkey is away."""
        working = asyncio.create_task(self._arq.async_run())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                await working
            self._arq.allow_pick_jobs = False
            await asyncio.gather(*self._arq.tasks.values(), return_exceptions=True)
        finally:
            working.cancel()
            stopping.cancel()
            await asyncio.gather(working, stopping, return_exceptions=True)

    async def close(self) -> None:
        """Stop what still runs, which gives its rows back, and let go of the connections."""
        running = list(self._arq.tasks.values())
        for one in running:
            one.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        if self._arq._pool is not None:  # noqa: SLF001 - arq's close() would raise while Valkey is away
            with suppress(RedisError, OSError):
                await self._arq.pool.aclose(close_connection_pool=True)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
