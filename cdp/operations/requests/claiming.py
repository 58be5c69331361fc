"""Which tasks may run now, as SQL: due, in a request that is in the state of their step, at a system that has room.

Statements every task needs are built once: building one takes longer than Postgres takes to run it.
"""

from datetime import timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Interval, and_, bindparam, case, exists, func, or_, select, tuple_, update
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


def _what_follows() -> ReturningUpdate[Any]:
    """Count the request's version up; answer whether it still has an open task, and who waits at a system."""
    still = select(request_task.c.id).where(
        request_task.c.request_id == privacy_request.c.id, request_task.c.status.in_(OPEN)
    )
    theirs = request_task.c.system_id == bindparam("of_system")
    waiting = select(request_task.c.id, request_task.c.step).join(privacy_request).join(system).where(theirs, DUE)
    first = waiting.order_by(request_task.c.next_run_at).limit(1).cte("first_waiting")
    return (
        update(privacy_request)
        .where(privacy_request.c.id == bindparam("request"))
        .values(version=privacy_request.c.version + 1, updated_at=func.now())
        .returning(
            exists(still.correlate(privacy_request)).label("still_open"),
            select(first.c.id).scalar_subquery().label("next_id"),
            select(first.c.step).scalar_subquery().label("next_step"),
        )
    )


WHAT_FOLLOWS = _what_follows()


def room(most: int) -> ColumnElement[int]:
    """How many more tasks of a task's system may run: ``most``, or one at a time while it seems to be down.

    It seems so when TROUBLED of its tasks wait for another try and none was done lately (a circuit breaker, half open:
    the one that runs is the test). Counted, not locked, so for a moment it may be a few more. Our own tables have room.
    """
    other = request_task.alias()
    same = other.c.system_id == request_task.c.system_id
    held = and_(same, other.c.status == TaskStatus.RUNNING, other.c.next_run_at > func.now())
    running = select(func.count()).where(held).scalar_subquery()
    waiting = select(func.count()).where(same, other.c.status == TaskStatus.RETRYING).scalar_subquery()
    lately = func.now() - LATELY
    troubled = and_(waiting >= TROUBLED, or_(system.c.last_ok_at.is_(None), system.c.last_ok_at < lately))
    return case((IS_OWN, most), (troubled, 1 - running), else_=most - running)


@lru_cache(maxsize=8)
def statement_of(most: int) -> ReturningUpdate[Any]:
    """The statement of a claim where ``most`` tasks of a system may run; built once, since every task needs it."""
    until = func.now() + bindparam("lease", type_=Interval())
    free = (
        select(request_task.c.id)
        .join(privacy_request)
        .join(system)
        .where(request_task.c.id == bindparam("task_id"), DUE, room(most) > 0)
        .with_for_update(of=request_task, skip_locked=True)
        .cte("free")
    )
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
