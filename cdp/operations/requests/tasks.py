"""Tasks: one row per request, system and step; claimed under a lease, settled only by the newest claim.

    pending -> running -> done | refused | held | unsupported | failed | needs_attention
                 |  \\-> retrying -> running     (passing trouble, or a worker that died: its lease runs out)
                 \\-> waiting -> running         (the system works on it; asked again with the same key)

``next_run_at`` is when a row may be claimed; while it runs that is the end of its lease, so one index finds all due
work. Every claim raises ``fence``; a settle that names an older one changes nothing. The database's clock decides.
"""

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import (
    ARRAY,
    Row,
    String,
    Update,
    Uuid,
    and_,
    any_,
    bindparam,
    case,
    delete,
    func,
    or_,
    select,
    update,
)
from sqlalchemy import cast as sql_cast

from cdp.access.viewer import SYSTEM
from cdp.connectors.base import Code, Evidence, Outcome, State, System
from cdp.connectors.people import ASK_AGAIN
from cdp.core.db import Tx
from cdp.core.ids import CustomerId, RequestId, SystemId, TaskId, new_id
from cdp.core.settings import Settings
from cdp.operations import audit, moves
from cdp.operations.backoff import wait_s
from cdp.operations.requests.claiming import (
    DUE,
    EXTEND,
    HELD,
    IS_OWN,
    LOCK,
    NEXT,
    OPEN_MANY,
    SETTLE,
    TOUCH,
    TURN,
    claim_of,
    room,
)
from cdp.operations.requests.progress import OPEN, Standing
from cdp.operations.systems import OWN
from cdp.tables.manual import ManualOutcome, ManualStatus, manual_task
from cdp.tables.request import (
    SETTLED,
    TASK_TRANSITIONS,
    TaskStatus,
    TaskStep,
    privacy_request,
    request_task,
)
from cdp.tables.system import system

RUN = "run_task"
PACK = "pack_export"
WAIT_S = 5.0
LOST = "WORKER_LOST"
NOTED_EVERY = timedelta(seconds=10)

log = structlog.get_logger()

# When this process last noted that a system is well; it saves a statement a task, and losing it costs one.
_NOTED: dict[SystemId, float] = {}
_OF_REQUESTS = (
    select(
        request_task.c.id,
        request_task.c.request_id,
        request_task.c.system_id,
        IS_OWN.label("own"),
        request_task.c.step,
        request_task.c.status,
        request_task.c.code,
    )
    .join(system)
    .where(request_task.c.request_id == any_(bindparam("requests", type_=ARRAY(Uuid))))
)
_STATUS = {
    State.DONE: TaskStatus.DONE,
    State.REFUSED: TaskStatus.REFUSED,
    State.HELD: TaskStatus.HELD,
    State.UNSUPPORTED: TaskStatus.UNSUPPORTED,
    State.WAITING: TaskStatus.WAITING,
    State.RETRY: TaskStatus.RETRYING,
    State.FAILED: TaskStatus.FAILED,
}


@dataclass(frozen=True)
class Work:
    """One claimed task and everything its worker needs to know; ``fence`` numbers the claim.

    ``is_held`` says that a legal hold was on its person when it was claimed.
    """

    id: TaskId
    request_id: RequestId
    reference: str
    step: TaskStep
    system: System
    fence: int
    attempt: int
    round: int
    customer_id: CustomerId | None
    subject_ref: UUID
    is_held: bool
    identifiers_sealed: bytes | None = field(repr=False)

    @property
    def is_own(self) -> bool:
        """Whether it is about our own tables."""
        return self.system.kind == OWN

    def is_poison(self, settings: Settings) -> bool:
        """Whether its workers died again and again: more claims than tries that could have been answered."""
        return self.attempt > settings.max_attempts

    @property
    def key(self) -> str:
        """The idempotency key of the one effect; an erase that proved wrong and runs again is another effect."""
        suffix = f":{self.round}" if self.round > 1 else ""
        return f"{self.request_id}:{self.system.name}:{self.step.value}{suffix}"


@dataclass(frozen=True)
class Performed:
    """What a step came to. ``then`` runs in the transaction that settles it and has the last word on the outcome.

    ``otherwise`` tidies up, outside any transaction, unless the step settled as done.
    """

    outcome: Outcome
    then: Callable[[Tx], Awaitable[Outcome]] | None = None
    otherwise: Callable[[], Awaitable[None]] | None = None


def job_of(step: TaskStep) -> str:
    """The job that works on a step."""
    return PACK if step is TaskStep.PACK else RUN


async def open_tasks(
    tx: Tx, step: TaskStep, wanted: Sequence[tuple[RequestId, CustomerId | None, Sequence[SystemId]]]
) -> Counter[RequestId]:
    """Write one task of a step for each request and each of its systems, all at once, and ring for each.

    Returns how many of each request were not there yet.
    """
    rows = [(new_id(), one, request, customer) for request, customer, systems in wanted for one in systems]
    if not rows:
        return Counter()
    ids, systems, requests, customers = map(list, zip(*rows, strict=True))
    given = {"id": ids, "system_id": systems, "request_id": requests, "customer_id": customers, "step": step}
    fresh = await tx.all(OPEN_MANY, given)
    for row in fresh:
        tx.ring(job_of(step), row.id)
    return Counter(RequestId(row.request_id) for row in fresh)


async def of_requests(tx: Tx, request_ids: Sequence[UUID]) -> dict[UUID, tuple[Standing, ...]]:
    """Every task of each request as decisions see it."""
    found: dict[UUID, list[Standing]] = {request_id: [] for request_id in request_ids}
    for row in await tx.all(_OF_REQUESTS, {"requests": list(request_ids)}):
        standing = Standing(row.id, row.system_id, row.own, row.step, row.status, row.code)
        found[row.request_id].append(standing)
    return {request_id: tuple(standing) for request_id, standing in found.items()}


async def of_request(tx: Tx, request_id: UUID) -> tuple[Standing, ...]:
    """Every task of one request."""
    return (await of_requests(tx, [request_id]))[request_id]


async def due(tx: Tx, *, limit: int, per_system: int, rested_s: float = 0.0) -> list[tuple[TaskId, TaskStep]]:
    """Tasks nobody rang for, or whose worker died; of each system only as many as it has room for.

    Those whose worker did not die are left out until they have been due for ``rested_s``: their ring may be on its way.
    """
    is_lost = request_task.c.status == TaskStatus.RUNNING
    is_rested = or_(is_lost, request_task.c.next_run_at <= func.now() - timedelta(seconds=rested_s))
    place = func.row_number().over(partition_by=request_task.c.system_id, order_by=request_task.c.next_run_at)
    rooms = select(system.c.id, room(per_system).label("room")).cte("rooms").prefix_with("MATERIALIZED")
    found = (
        select(
            request_task.c.id,
            request_task.c.step,
            request_task.c.next_run_at,
            place.label("place"),
            IS_OWN.label("own"),
        )
        .join(privacy_request)
        .join(system)
        .join(rooms, rooms.c.id == request_task.c.system_id)
        .where(DUE, is_rested, rooms.c.room > 0)
        .subquery()
    )
    chosen = select(found.c.id, found.c.step).where(or_(found.c.own, found.c.place <= per_system))
    rows = await tx.all(chosen.order_by(found.c.next_run_at).limit(limit))
    return [(TaskId(row.id), row.step) for row in rows]


async def claim(tx: Tx, task_ids: Sequence[UUID], *, owner: str, settings: Settings) -> list[Work]:
    """Take tasks for ``lease_s``, as far as they are due, may run in the state of their request, and no one has them.

    Of each system as many as it has room for; one, while another worker takes many of it.
    """
    alone = len(task_ids) == 1
    turns = [] if alone else [row.id for row in await tx.all(TURN, {"tasks": list(task_ids)})]
    wanted = {"tasks": list(task_ids), "turns": turns}
    given = {**wanted, "owner": owner, "lease": timedelta(seconds=settings.lease_s)}
    return [_work(row) for row in await tx.all(claim_of(settings.system_concurrency), given)]


def _work(taken: Row[Any]) -> Work:
    system_view = System(SystemId(taken.system_id), taken.name, taken.kind, taken.configuration, taken.secrets_sealed)
    return Work(
        id=TaskId(taken.id),
        request_id=RequestId(taken.request_id),
        reference=taken.reference,
        step=taken.step,
        system=system_view,
        fence=taken.fence,
        attempt=taken.attempt,
        round=int((taken.evidence or {}).get("round", 1)),
        customer_id=taken.customer_id,
        subject_ref=taken.subject_ref,
        is_held=taken.is_held,
        identifiers_sealed=taken.identifiers_sealed,
    )


async def extend(tx: Tx, works: Sequence[Work], *, lease_s: float) -> frozenset[TaskId]:
    """Keep tasks a while longer (the heartbeat); those that are still ours."""
    held = {"tasks": [work.id for work in works], "fences": [work.fence for work in works]}
    kept = await tx.all(EXTEND, {**held, "lease": timedelta(seconds=lease_s)})
    return frozenset(TaskId(row.id) for row in kept)


async def release(tx: Tx, work: Work) -> None:
    """Give a task back unworked, at once and without costing a try: the worker is told to stop."""
    given = await tx.execute(
        _ours(work).values(
            status=TaskStatus.RETRYING,
            attempt=request_task.c.attempt - 1,
            lease_owner=None,
            lease_until=None,
            next_run_at=func.now(),
        )
    )
    if given.rowcount == 1:
        tx.ring(job_of(work.step), work.id)


async def settle(tx: Tx, work: Work, performed: Performed, *, settings: Settings) -> TaskStatus | None:
    """Record how a claimed step ended, and ring for what follows; None when the claim is no longer the newest.

    Trouble that may pass is tried again after a while, ``max_attempts`` times; then a person has to look at it.
    """
    await tx.execute(LOCK, {"requests": [work.request_id]})
    if performed.then and not await _holds(tx, work):
        log.warning("task.stale_fence", task=str(work.id), fence=work.fence)
        return None
    outcome = await performed.then(tx) if performed.then else performed.outcome
    return (await _settle(tx, [_ending(work, outcome, settings)])).get(work.id)


async def settle_many(
    tx: Tx, ended: Sequence[tuple[Work, Outcome]], *, settings: Settings
) -> Mapping[TaskId, TaskStatus]:
    """Record how claimed steps ended, as ``settle`` would each; what was stale is not in the answer."""
    await tx.execute(LOCK, {"requests": [work.request_id for work, _ in ended]})
    return await _settle(tx, [_ending(work, outcome, settings) for work, outcome in ended])


@dataclass(frozen=True)
class _Ending:
    """What a claimed step comes to; ``delay_s`` until it is tried again."""

    work: Work
    outcome: Outcome
    status: TaskStatus
    delay_s: float

    @property
    def is_open(self) -> bool:
        return self.status in OPEN

    def row(self) -> dict[str, Any]:
        evidence: dict[str, Evidence] = {**self.outcome.document(), "round": self.work.round}
        return {
            "id": str(self.work.id),
            "fence": self.work.fence,
            "status": self.status.value,
            "code": str(self.outcome.code),
            "evidence": evidence,
            "is_open": self.is_open,
            "is_free": self.status is TaskStatus.WAITING,
            "delay_s": self.delay_s,
        }

    def told(self) -> audit.Happened:
        work = self.work
        details = {
            "system": work.system.name,
            "step": work.step.value,
            "attempt": work.attempt,
            "fence": work.fence,
        }
        action, code = f"task.{self.status.value}", str(self.outcome.code)
        return audit.Happened(action, work.subject_ref, "RequestTask", work.id, code=code, details=details)


def _ending(work: Work, outcome: Outcome, settings: Settings) -> _Ending:
    status = _STATUS[outcome.state]
    delay_s = 0.0
    if status is TaskStatus.RETRYING and work.attempt >= settings.max_attempts:
        status = TaskStatus.NEEDS_ATTENTION
    elif status is TaskStatus.RETRYING:
        delay_s = wait_s(
            work.attempt,
            base_s=settings.retry_base_s,
            asked_s=outcome.retry_after_s,
            longest_s=settings.retry_longest_s,
        )
    elif status is TaskStatus.WAITING:
        delay_s = max(outcome.retry_after_s or WAIT_S, settings.retry_base_s)
    if status not in TASK_TRANSITIONS[TaskStatus.RUNNING]:
        raise ValueError(f"a task never goes from running to {status}")
    return _Ending(work, outcome, status, delay_s)


async def _settle(tx: Tx, ended: Sequence[_Ending]) -> dict[TaskId, TaskStatus]:
    """Write, tell and ring, under the locks of their requests."""
    written = {row.id for row in await tx.all(SETTLE, {"ended": [one.row() for one in ended]})}
    for stale in (one.work for one in ended if one.work.id not in written):
        log.warning("task.stale_fence", task=str(stale.id), fence=stale.fence)
    settled = [one for one in ended if one.work.id in written]
    if not settled:
        return {}
    for system_id in sorted({one.work.system.id for one in settled if one.outcome.state is State.DONE}):
        await _note_well(tx, system_id)
    await audit.record_many(tx, SYSTEM, [one.told() for one in settled])
    for one in settled:
        if one.is_open:
            tx.ring(job_of(one.work.step), one.work.id, defer_s=one.delay_s)
    await _go_on(tx, settled)
    return {one.work.id: one.status for one in settled}


async def _go_on(tx: Tx, settled: Sequence[_Ending]) -> None:
    """Let those who watch see the change, and ring: for each request of which this was the last open task, and for
    those who wait longest for the places that are free now.
    """
    ended = {one.work.request_id for one in settled if not one.is_open}
    for row in await tx.all(TOUCH, {"requests": [one.work.request_id for one in settled]}):
        if row.id in ended and not row.still_open:
            tx.ring(moves.ADVANCE, row.id)
    freed = Counter(one.work.system.id for one in settled if not one.work.is_own)
    if freed:
        for row in await tx.all(NEXT, {"systems": list(freed), "places": list(freed.values())}):
            tx.ring(job_of(row.step), row.id)


async def _holds(tx: Tx, work: Work) -> bool:
    return await tx.scalar(HELD, {"task": work.id, "fence": work.fence}) is not None


def _ours(work: Work) -> Update:
    return update(request_task).where(
        request_task.c.id == work.id,
        request_task.c.fence == work.fence,
        request_task.c.status == TaskStatus.RUNNING,
    )


async def _note_well(tx: Tx, system_id: SystemId) -> None:
    """Remember that a system answers; now and then is enough, so that settling never queues up for its row."""
    if time.monotonic() < _NOTED.get(system_id, 0.0) + NOTED_EVERY.total_seconds():
        return
    _NOTED[system_id] = time.monotonic()
    lately = func.now() - NOTED_EVERY
    stale = or_(system.c.last_ok_at.is_(None), system.c.last_ok_at < lately)
    await tx.execute(update(system).where(system.c.id == system_id, stale).values(last_ok_at=func.now()))


async def forget_orphans(tx: Tx) -> int:
    """Remove open tasks of settled requests: an undone erasure leaves checks that nobody waits for."""
    over = select(privacy_request.c.id).where(privacy_request.c.status.in_(SETTLED))
    gone = await tx.execute(
        delete(request_task).where(request_task.c.status.in_(OPEN), request_task.c.request_id.in_(over))
    )
    return gone.rowcount


async def run_again(tx: Tx, task_ids: frozenset[UUID]) -> None:
    """Reset settled tasks to be run again with a fresh budget of tries; an erase gets a new key if it was done."""
    done = request_task.c.status == TaskStatus.DONE
    round_before = func.coalesce(request_task.c.evidence["round"].as_integer(), 1)
    rows = await tx.all(
        update(request_task)
        .where(request_task.c.id.in_(task_ids), request_task.c.status.not_in(OPEN))
        .values(
            status=TaskStatus.PENDING,
            attempt=0,
            next_run_at=func.now(),
            settled_at=None,
            evidence=func.jsonb_build_object("round", case((done, round_before + 1), else_=round_before)),
        )
        .returning(request_task.c.id, request_task.c.step)
    )
    await _ask_people_again(tx, [row.id for row in rows])
    for row in rows:
        tx.ring(job_of(row.step), row.id)


async def _ask_people_again(tx: Tx, task_ids: list[UUID]) -> None:
    """Open what people answered with no, or not in time: the same key asks them once more."""
    unanswered = manual_task.c.status == ManualStatus.LAPSED
    said_no = manual_task.c.outcome.in_((ManualOutcome.REFUSED, ManualOutcome.HELD))
    again = or_(unanswered, and_(manual_task.c.status == ManualStatus.SETTLED, said_no))
    await tx.execute(
        update(manual_task)
        .where(
            request_task.c.id.in_(task_ids),
            manual_task.c.request_id == request_task.c.request_id,
            manual_task.c.system_id == request_task.c.system_id,
            manual_task.c.step == request_task.c.step,
            again,
        )
        .values(
            status=ManualStatus.OPEN,
            outcome=None,
            code=ASK_AGAIN,
            due_at=func.now() + (manual_task.c.due_at - manual_task.c.created_at),
            reminded_at=None,
            settled_at=None,
        )
    )


async def wake(tx: Tx, task_id: UUID) -> bool:
    """Let a waiting task run now; False when it does not wait (any more)."""
    row = await tx.first(
        update(request_task)
        .where(request_task.c.id == task_id, request_task.c.status == TaskStatus.WAITING)
        .values(next_run_at=func.now())
        .returning(request_task.c.id, request_task.c.step)
    )
    if row is not None:
        tx.ring(job_of(row.step), row.id)
    return row is not None


async def ring_open(tx: Tx, request_id: UUID) -> None:
    """Ring for every open task of a request: its work goes on."""
    found = select(request_task.c.id, request_task.c.step).where(
        request_task.c.request_id == request_id, request_task.c.status.in_(OPEN)
    )
    for row in await tx.all(found):
        tx.ring(job_of(row.step), row.id)


async def make_anew(tx: Tx, task_ids: frozenset[UUID]) -> None:
    """Forget verifications that proved an erase wrong; they are written again once the erase ran again."""
    # What people once saw stays; the same key asks them to look anew.
    await tx.execute(
        update(manual_task)
        .where(
            request_task.c.id.in_(task_ids),
            manual_task.c.request_id == request_task.c.request_id,
            manual_task.c.system_id == request_task.c.system_id,
            manual_task.c.step == request_task.c.step,
        )
        .values(key=manual_task.c.key + ":" + sql_cast(manual_task.c.id, String))
    )
    await tx.execute(delete(request_task).where(request_task.c.id.in_(task_ids)))


def lost(code: str = Code.UNREACHABLE) -> Outcome:
    """The outcome of a step whose trouble may pass."""
    return Outcome(State.RETRY, code)
