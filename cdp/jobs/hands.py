"""The hands of one worker: tasks it was asked for are claimed together, each performed by itself, settled together.

A claim and a settle are a transaction each. One for every task would be most of what a deletion costs, so both wait a
moment for others: those asked for meanwhile are claimed at once, those that ended meanwhile settled at once.

    asked -> claimed -> performed, by itself -> settled
                 \\-> given back (its worker stops)   \\-> nothing (its lease was lost: the fence decides)
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError

from cdp.core.db import Role
from cdp.core.platform import Platform
from cdp.jobs.claim import Heartbeat, poisoned, release, settle
from cdp.jobs.gathering import Gathering, future, resolve
from cdp.operations.requests import tasks
from cdp.operations.requests.tasks import Performed, Work

# A task that takes longer than this waits for its system and costs no hand: those that hang leave room for all others.
SLOW_S = 5.0

Perform: TypeAlias = Callable[[Work], Coroutine[Any, Any, Performed]]

log = structlog.get_logger()


@dataclass(eq=False)
class _Asked:
    """A task somebody rang for; ``over`` once it is settled, or no work for now."""

    id: UUID
    perform: Perform
    over: "asyncio.Future[None]"
    working: asyncio.Task[None] | None = None
    is_unwanted: bool = False
    slow_at: asyncio.TimerHandle | None = None
    is_slow: bool = False


@dataclass(eq=False)
class _Ended:
    """What a task came to; ``over`` once it is written."""

    work: Work
    performed: Performed
    over: "asyncio.Future[None]" = field(default_factory=future)


class Hands:
    """Claims, performs and settles the tasks one worker is asked for, under leases it keeps extending.

    It performs ``worker_concurrency`` at a time, not counting those under way for ``slow_s`` already; the rest waits
    unclaimed, for whichever worker has a hand free first.
    """

    def __init__(self, platform: Platform, owner: str, *, slow_s: float = SLOW_S) -> None:
        self._platform, self._owner, self._slow_s = platform, owner, slow_s
        self._asked: dict[UUID, _Asked] = {}
        self._working: dict[UUID, _Asked] = {}
        self._claims: Gathering[_Asked] = Gathering(self._claim, self._free)
        self._ends: Gathering[_Ended] = Gathering(self._settle_together)
        self._heartbeat = Heartbeat(platform)

    @property
    def are_empty(self) -> bool:
        """Whether nothing is under way."""
        return not (self._asked or self._working)

    def _free(self) -> int:
        busy = sum(not one.is_slow for one in self._working.values())
        return self._platform.settings.worker_concurrency - busy

    def _slow(self, asked: _Asked) -> None:
        asked.is_slow = True
        self._claims.go_on()

    async def work_on(self, task_id: UUID, perform: Perform) -> None:
        """Claim the task with others, perform it, settle it with others; at once when it is no work for now.

        Who is cancelled while waiting gives the task back.
        """
        if task_id in self._working:
            return
        asked = self._asked.get(task_id)
        if asked is None or asked.is_unwanted:
            asked = _Asked(task_id, perform, future())
            self._asked[task_id] = asked
            self._claims.add(asked)
        try:
            await asyncio.shield(asked.over)
        except asyncio.CancelledError:
            await asyncio.shield(self._give_back(asked))
            raise

    async def _claim(self, together: Sequence[_Asked]) -> None:
        wanted = {one.id: one for one in together if not one.is_unwanted}
        claimed: list[Work] = []
        try:
            if wanted:
                async with self._platform.db.transaction(Role.WORKER) as tx:
                    settings = self._platform.settings
                    claimed = await tasks.claim(tx, list(wanted), owner=self._owner, settings=settings)
        except Exception:  # the sweeper comes back to them
            log.exception("task.not_claimed", tasks=len(wanted))
        finally:
            for one in together:
                if self._asked.get(one.id) is one:
                    del self._asked[one.id]
        for work in claimed:
            asked = wanted.pop(work.id)
            asked.working = asyncio.create_task(self._see_through(work, asked))
            asked.slow_at = asyncio.get_running_loop().call_later(self._slow_s, self._slow, asked)
            self._working[work.id] = asked
            self._heartbeat.add(work, asked.working)
        for one in together:
            if one.working is None:
                resolve(one.over)

    async def _see_through(self, work: Work, asked: _Asked) -> None:
        try:
            await self._work(work, asked)
        except asyncio.CancelledError:  # this task was, not whoever waits for it
            resolve(asked.over)
        except BaseException as error:  # noqa: BLE001 - raised where it was asked for
            resolve(asked.over, error)
        else:
            resolve(asked.over)

    async def _work(self, work: Work, asked: _Asked) -> None:
        try:
            if asked.is_unwanted:
                await release(self._platform, [work])
                return
            is_poison = work.is_poison(self._platform.settings)
            performed = poisoned() if is_poison else await asked.perform(work)
        except asyncio.CancelledError:
            if not self._heartbeat.lost(work):
                await release(self._platform, [work])
        else:
            # Whoever rings for it from now on is heard: settling may wait for others.
            self._let_go(asked)
            self._heartbeat.settling(work)
            await self._settle(work, performed)
        finally:
            self._let_go(asked)
            self._heartbeat.remove(work)

    def _let_go(self, asked: _Asked) -> None:
        if asked.slow_at is not None:
            asked.slow_at.cancel()
        if self._working.get(asked.id) is asked:
            del self._working[asked.id]
            self._claims.go_on()

    async def _give_back(self, asked: _Asked) -> None:
        asked.is_unwanted = True
        if asked.working is not None:
            if self._working.get(asked.id) is asked:
                asked.working.cancel()
            await asyncio.gather(asked.working, return_exceptions=True)

    async def _settle(self, work: Work, performed: Performed) -> None:
        """An outcome that a transaction has to decide is settled alone, any other with those that end now."""
        ended = _Ended(work, performed)
        if performed.then is not None or performed.otherwise is not None:
            await self._settle_alone(ended)
        else:
            self._ends.add(ended)
            await ended.over

    async def _settle_together(self, together: Sequence[_Ended]) -> None:
        if len(together) > 1 and await self._settle_many(together):
            return
        for one in together:
            await self._settle_alone(one)

    async def _settle_alone(self, one: _Ended) -> None:
        try:
            await settle(self._platform, one.work, one.performed)
        except Exception:  # it keeps its lease, and its tries run out; others go on
            log.exception("task.not_settled", task=str(one.work.id))
        resolve(one.over)

    async def _settle_many(self, together: Sequence[_Ended]) -> bool:
        try:
            async with self._platform.db.transaction(Role.WORKER) as tx:
                outcomes = [(one.work, one.performed.outcome) for one in together]
                await tasks.settle_many(tx, outcomes, settings=self._platform.settings)
        except (SQLAlchemyError, OSError, ValueError):  # each alone: its trouble costs its neighbours no try
            log.warning("task.not_settled_together", tasks=len(together))
            return False
        for one in together:
            resolve(one.over)
        return True
