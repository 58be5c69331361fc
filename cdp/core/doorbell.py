"""The doorbell: arq jobs that carry ids of rows and nothing else (https://arq-docs.helpmanual.io).

A ring may be lost, may ring twice, and never fails its caller: rows in Postgres are the truth, the sweeper finds what
nobody rang for. After a failure the bell stays silent for a while, so that a dead Valkey costs no time.
"""

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any
from uuid import uuid4

import structlog
from arq import create_pool
from arq.connections import ArqRedis, RedisSettings
from arq.constants import expires_extra_ms, job_key_prefix
from arq.jobs import serialize_job
from arq.utils import timestamp_ms
from redis.exceptions import RedisError

from cdp.core.db import Ring

QUEUE = "cdp:jobs"
PATIENCE_S = 1.0
SILENCE_S = 2.0
ROWS_TOGETHER = 8

log = structlog.get_logger()


def redis_settings(url: str) -> RedisSettings:
    """Read ``redis://``, ``rediss://`` or ``unix:///socket`` for arq."""
    settings = RedisSettings.from_dsn(url.replace("valkey://", "redis://"))
    settings.conn_timeout = 1
    settings.conn_retries = 0
    return settings


def serialize(job: dict[str, Any]) -> bytes:
    """Jobs are JSON, never pickle."""
    return json.dumps(job).encode()


def deserialize(raw: bytes) -> dict[str, Any]:
    """Read a job."""
    job: dict[str, Any] = json.loads(raw)
    return job


class ArqDoorbell:
    """Rings arq workers; connects on first use and again after a failure."""

    def __init__(self, url: str) -> None:
        self._settings = redis_settings(url)
        self._pool: ArqRedis | None = None
        self._connecting = asyncio.Lock()
        self._silent_until = 0.0

    @property
    def is_silent(self) -> bool:
        """Whether the bell rests after a failure."""
        return time.monotonic() < self._silent_until

    async def ring(self, rings: Sequence[Ring]) -> None:
        """Press the bell for each row; swallow and log every trouble of Valkey, silence included."""
        if self.is_silent:
            return
        try:
            async with asyncio.timeout(PATIENCE_S):
                await _enqueue(await self._connected(), rings)
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            self._silent_until = time.monotonic() + SILENCE_S
            log.warning("doorbell.silent", reason=type(error).__name__, rings=len(rings))
            await self.close()

    async def _connected(self) -> ArqRedis:
        async with self._connecting:
            if self._pool is None:
                self._pool = await create_pool(
                    self._settings,
                    job_serializer=serialize,
                    job_deserializer=deserialize,
                    default_queue_name=QUEUE,
                )
            return self._pool

    async def close(self) -> None:
        """Let go of the connection."""
        pool, self._pool = self._pool, None
        if pool is not None:
            with suppress(RedisError, OSError):
                async with asyncio.timeout(PATIENCE_S):
                    await pool.aclose()


def _few_together(rings: Sequence[Ring]) -> Iterator[tuple[tuple[str, int], tuple[str, ...]]]:
    alike: dict[tuple[str, int], dict[str, None]] = {}
    for ring in rings:
        alike.setdefault((ring.job, int(ring.defer_s * 1000)), {})[str(ring.row_id)] = None
    for what, rows in alike.items():
        ids = tuple(rows)
        yield from ((what, ids[start : start + ROWS_TOGETHER]) for start in range(0, len(ids), ROWS_TOGETHER))


async def _enqueue(pool: ArqRedis, rings: Sequence[Ring]) -> None:
    """Write the jobs as arq's ``enqueue_job`` would, all in one round trip: a request may ring for fifty systems.

    Rows that are rung for together by one transaction are few to a job, so that several workers share them.
    """
    now_ms = timestamp_ms()
    async with pool.pipeline(transaction=True) as pipe:
        for (name, defer_ms), rows in _few_together(rings):
            job_id = uuid4().hex
            job = serialize_job(name, rows, {}, None, now_ms, serializer=serialize)
            pipe.psetex(job_key_prefix + job_id, defer_ms + expires_extra_ms, job)
            pipe.zadd(QUEUE, {job_id: now_ms + defer_ms})
        await pipe.execute()
