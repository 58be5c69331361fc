"""Budgets: a token bucket for everybody who asks, shared through Valkey and leased to processes in pieces.

A process spends from a small bucket of its own, without asking anybody; only who has emptied that leases the next piece
from the shared one, in one round trip. So an ordinary request costs no call, and all processes together can overspend
by their own pieces at most. Without Valkey, or while it is silent, each process keeps whole buckets by itself.
Source: https://en.wikipedia.org/wiki/Token_bucket; scripts: https://valkey.io/topics/eval-intro/
"""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeAlias

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from cdp.core.errors import RateLimited

Name: TypeAlias = tuple[object, ...]
PIECES = 20
"""A process's own bucket is this part of the shared one, in size and in speed."""
MOST_KEPT = 20_000
PATIENCE_S = 0.25
SILENCE_S = 2.0
# KEYS 1: the bucket; ARGV: capacity, tokens a second, wanted, least. Answers with what is granted, what is left, and
# when nothing is granted the milliseconds until the least is there.
_LEASE: Final = """
local now = redis.call('TIME')
local at = now[1] * 1000 + math.floor(now[2] / 1000)
local capacity, rate = tonumber(ARGV[1]), tonumber(ARGV[2])
local wanted, least = tonumber(ARGV[3]), tonumber(ARGV[4])
local held = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = capacity
if held[1] then tokens = math.min(capacity, tonumber(held[1]) + math.max(0, at - tonumber(held[2])) * rate / 1000) end
local granted, wait = 0, 0
if tokens >= least then granted = math.floor(math.min(tokens, wanted))
else wait = math.ceil((least - tokens) * 1000 / rate) end
tokens = tokens - granted
redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at', tostring(at))
redis.call('PEXPIRE', KEYS[1], math.ceil(capacity * 1000 / rate) + 1000)
return {granted, math.floor(tokens), wait}
"""

log = structlog.get_logger()


class BudgetSpent(RateLimited):
    """You have asked for too much in too short a time; wait a moment."""

    code = "BUDGET_SPENT"


class Bucket:
    """Tokens that come back by themselves."""

    __slots__ = ("at", "tokens")

    def __init__(self, tokens: float, at: float) -> None:
        self.tokens = tokens
        self.at = at


class Buckets:
    """The buckets of one process by name; those not used for longest are forgotten first, and are full again."""

    def __init__(self, capacity: float, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = capacity
        self._per_s = per_s
        self._clock = clock
        self._kept: OrderedDict[Name, Bucket] = OrderedDict()

    def filled(self, name: Name) -> Bucket:
        """A bucket with what has come back since it was last used."""
        now = self._clock()
        bucket = self._kept.get(name)
        if bucket is None:
            bucket = self._kept[name] = Bucket(self._capacity, now)
            if len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
            return bucket
        self._kept.move_to_end(name)
        if bucket.tokens < self._capacity:
            bucket.tokens = min(self._capacity, bucket.tokens + (now - bucket.at) * self._per_s)
        bucket.at = now
        return bucket

    def take(self, name: Name, cost: float) -> float:
        """Take tokens; how many seconds to wait until they are there, 0 when they were."""
        bucket = self.filled(name)
        if bucket.tokens >= cost:
            bucket.tokens -= cost
            return 0.0
        return (cost - bucket.tokens) / self._per_s


class Budget:
    """What each viewer may spend: ``capacity`` points at once, ``per_s`` come back every second; 0 means no limit."""

    def __init__(
        self, url: str, *, capacity: int, per_s: int, prefix: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.capacity = capacity
        self.per_s = max(1, per_s)
        self.is_shared = bool(url)
        self._prefix = prefix
        self._clock = clock
        self._redis: Redis | None = None
        self._own = Buckets(capacity / PIECES, self.per_s / PIECES, clock)
        self._whole = Buckets(capacity, self.per_s, clock)
        self._silent_until = 0.0
        if url:
            address = url.replace("valkey://", "redis://")
            self._redis = Redis.from_url(address, socket_timeout=PATIENCE_S, socket_connect_timeout=PATIENCE_S)

    def spend(self, name: Name, cost: int) -> bool:
        """Take points that are at hand; False when somebody has to be asked: ``draw`` does."""
        if not self.capacity:
            return True
        return self._redis is not None and self._own.take(name, cost) == 0

    async def draw(self, name: Name, cost: int) -> None:
        """Take points from the shared bucket. Raises BudgetSpent with ``retryAfterS``."""
        cost = min(cost, self.capacity)
        if not self.capacity:
            return
        piece = self.capacity // PIECES
        granted, _, wait_s = await self._lease(name, wanted=max(cost, piece), least=cost)
        if granted < cost:
            raise BudgetSpent(retryAfterS=max(1, math.ceil(wait_s)))
        if granted > cost:
            self._own.filled(name).tokens += granted - cost

    async def left(self, name: Name) -> int:
        """How many points are left, about."""
        _, tokens, _ = await self._lease(name, wanted=0, least=0)
        own = self._own.filled(name).tokens - self.capacity / PIECES if self.is_shared else 0
        return max(0, min(self.capacity, math.floor(tokens + own)))

    async def _lease(self, name: Name, *, wanted: int, least: int) -> tuple[float, float, float]:
        """Points granted, points left, seconds to wait."""
        if self._redis is not None and self._clock() >= self._silent_until:
            key = self._prefix + ":".join(map(str, name))
            numbers = map(str, (self.capacity, self.per_s, wanted, least))
            try:
                async with asyncio.timeout(PATIENCE_S):
                    granted, left, wait_ms = await self._redis.eval(_LEASE, 1, key, *numbers)  # type: ignore[misc]  # redis types both of its clients as one
            except (RedisError, OSError) as error:  # TimeoutError is an OSError
                self._silent_until = self._clock() + SILENCE_S
                log.warning("budget.alone", reason=type(error).__name__)
            else:
                return float(granted), float(left), wait_ms / 1000
        wait_s = self._whole.take(name, least)
        return (0.0 if wait_s else float(least)), self._whole.filled(name).tokens, wait_s

    async def close(self) -> None:
        """Let go of the connection."""
        if self._redis is not None:
            with suppress(RedisError, OSError):
                await self._redis.aclose()
