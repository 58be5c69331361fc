"""Which tasks may run now, as SQL: due, in a request that is in the state of their step, at a system that has room.

Statements every task needs are built once: building one takes longer than Postgres takes to run it.
"""

from datetime import timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    CTE,
    Boolean,
    ColumnElement,
    Float,
    Integer,
    Interval,
    Select,
    Text,
    Uuid,
    and_,
    any_,
    bindparam,
    case,
    cast,
    column,
    exists,
    func,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.dml import ReturningUpdate

from cdp.operations.requests.progress import OPEN, RUNS_IN
from cdp.operations.systems import OWN
from cdp.tables.request import RequestStatus, TaskStatus, TaskStep, privacy_request, request_task
from cdp.tables.system import system

LATELY = timedelta(seconds=30)
TROUBLED = 5

IS_OWN = system.c.kind == OWN
# A task may run only while its request is in the state of its step.
_may_run = or_(
    tuple_(request_task.c.step, privacy_request.c.status).in_(list(RUNS_IN.items())),
    and_(IS_OWN, request_task.c.step == TaskStep.ERASE, privacy_request.c.status == RequestStatus.VERIFYING),
)
DUE = and_(request_task.c.status.in_(OPEN), request_task.c.next_run_at <= func.now(), _may_run)


_REQUESTS = privacy_request.c.id == any_(bindparam("requests", type_=ARRAY(Uuid)))
LOCK = select(privacy_request.c.id).where(_REQUESTS).order_by(privacy_request.c.id).with_for_update()
"""Lock requests, always in one order, so that two workers never wait for each other."""


def _touch() -> ReturningUpdate[Any]:
    still = select(request_task.c.id).where(
        request_task.c.request_id == privacy_request.c.id, request_task.c.status.in_(OPEN)
    )
    return (
        update(privacy_request)
        .where(_REQUESTS)
        .values(version=privacy_request.c.version + 1, updated_at=func.now())
        .returning(privacy_request.c.id, exists(still.correlate(privacy_request)).label("still_open"))
    )


TOUCH = _touch()
"""Count the versions of requests up; answer whether each still has an open task."""


def _settle() -> ReturningUpdate[Any]:
    ended = (
        func.jsonb_to_recordset(bindparam("ended", type_=JSONB))
        .table_valued(
            column("id", Uuid),
            column("fence", Integer),
            column("status", request_task.c.status.type),
            column("code", Text),
            column("evidence", JSONB),
            column("is_open", Boolean),
            column("is_free", Boolean),
            column("delay_s", Float),
            name="ended",
        )
        .render_derived(with_types=True)
    )
    return (
        update(request_task)
        .where(
            request_task.c.id == ended.c.id,
            request_task.c.fence == ended.c.fence,
            request_task.c.status == TaskStatus.RUNNING,
        )
        .values(
            status=ended.c.status,
            code=ended.c.code,
            evidence=ended.c.evidence,
            attempt=request_task.c.attempt - cast(ended.c.is_free, Integer),
            lease_owner=None,
            lease_until=None,
            next_run_at=func.now() + func.make_interval(0, 0, 0, 0, 0, 0, ended.c.delay_s),
            settled_at=case((ended.c.is_open, None), else_=func.now()),
        )
        .returning(request_task.c.id)
    )


SETTLE = _settle()
"""Write how claimed tasks ended, as far as each claim (id and fence) is still the newest; answer which it wrote."""


def _next() -> Select[Any]:
    theirs = request_task.c.system_id == bindparam("of_system")
    waiting = select(request_task.c.id, request_task.c.step).join(privacy_request).join(system).where(theirs, DUE)
    return waiting.order_by(request_task.c.next_run_at).limit(1)


NEXT = _next()
"""Who waits longest at a system."""


def room(most: int) -> ColumnElement[int]:
    """How many more tasks of a task's system may run: ``most``, or one at a time while it seems to be down.

    It seems so when TROUBLED of its tasks wait for another try and none was done lately (a circuit breaker, half open:
    the one that runs is the test). Counted, not locked, so for a moment it may be a few more. Our own tables have room.
    """
    other = request_task.alias()
    same = other.c.system_id == system.c.id
    held = and_(same, other.c.status == TaskStatus.RUNNING, other.c.next_run_at > func.now())
    running = select(func.count()).where(held).scalar_subquery()
    waiting = select(func.count()).where(same, other.c.status == TaskStatus.RETRYING).scalar_subquery()
    lately = func.now() - LATELY
    troubled = and_(waiting >= TROUBLED, or_(system.c.last_ok_at.is_(None), system.c.last_ok_at < lately))
    return case((IS_OWN, most), (troubled, 1 - running), else_=most - running)


TURN = select(func.pg_try_advisory_xact_lock(func.hashtextextended(bindparam("of_system", type_=Text), 0)))
"""Whether nobody else is taking many tasks of a system right now: two who count its room at once would overfill it."""


@lru_cache(maxsize=8)
def claim_of(most: int) -> ReturningUpdate[Any]:
    """The claim of one task where ``most`` of a system may run; built once, since every task needs it."""
    free = (
        select(request_task.c.id)
        .join(privacy_request)
        .join(system)
        .where(request_task.c.id == bindparam("task_id"), DUE, room(most) > 0)
        .with_for_update(of=request_task, skip_locked=True)
        .cte("free")
    )
    return _taking(free)


@lru_cache(maxsize=8)
def claim_more_of(most: int) -> ReturningUpdate[Any]:
    """The claim of up to ``limit`` more tasks of the same system and step, as far as the system has room."""
    left = select(func.least(bindparam("limit", type_=Integer), func.greatest(room(most), 0)))
    free = (
        select(request_task.c.id)
        .join(privacy_request)
        .join(system)
        .where(
            request_task.c.system_id == bindparam("of_system"),
            request_task.c.step == bindparam("of_step", type_=request_task.c.step.type),
            DUE,
        )
        .order_by(request_task.c.next_run_at)
        .limit(left.where(system.c.id == bindparam("of_system")).scalar_subquery())
        .with_for_update(of=request_task, skip_locked=True)
        .cte("free")
    )
    return _taking(free)


def _taking(free: CTE) -> ReturningUpdate[Any]:
    until = func.now() + bindparam("lease", type_=Interval())
    return (
        update(request_task)
        .where(
            request_task.c.id == free.c.id,
            system.c.id == request_task.c.system_id,
            privacy_request.c.id == request_task.c.request_id,
        )
        .values(
            status=TaskStatus.RUNNING,
            fence=request_task.c.fence + 1,
            attempt=request_task.c.attempt + 1,
            lease_owner=bindparam("owner"),
            lease_until=until,
            next_run_at=until,
            started_at=func.coalesce(request_task.c.started_at, func.now()),
        )
        .returning(
            request_task.c.id,
            request_task.c.request_id,
            request_task.c.step,
            request_task.c.fence,
            request_task.c.attempt,
            request_task.c.evidence,
            privacy_request.c.reference,
            privacy_request.c.customer_id,
            privacy_request.c.subject_ref,
            privacy_request.c.identifiers_sealed,
            system.c.id.label("system_id"),
            system.c.name,
            system.c.kind,
            system.c.configuration,
            system.c.secrets_sealed,
        )
    )
