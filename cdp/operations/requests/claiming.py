"""Tasks as SQL, and which may run now: due, in a request in the state of their step, at a system that has room.

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
    literal_column,
    or_,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.sql.dml import ReturningInsert, ReturningUpdate

from cdp.connectors.holds import is_effective
from cdp.operations.requests.progress import OPEN, RUNS_IN
from cdp.operations.systems import OWN
from cdp.tables.hold import legal_hold
from cdp.tables.request import RequestStatus, TaskStatus, TaskStep, privacy_request, request_task
from cdp.tables.system import system

LATELY = timedelta(seconds=30)
TROUBLED = 5


def _spelled(*statuses: TaskStatus) -> list[ColumnElement[TaskStatus]]:
    """Statuses in the text of a statement: with parameters a prepared one could use no index of open tasks alone."""
    return [literal_column(f"'{status.value}'", request_task.c.status.type) for status in statuses]


IS_OWN = system.c.kind == OWN
# A task may run only while its request is in the state of its step.
_may_run = or_(
    tuple_(request_task.c.step, privacy_request.c.status).in_(list(RUNS_IN.items())),
    and_(IS_OWN, request_task.c.step == TaskStep.ERASE, privacy_request.c.status == RequestStatus.VERIFYING),
)
DUE = and_(request_task.c.status.in_(_spelled(*sorted(OPEN))), request_task.c.next_run_at <= func.now(), _may_run)


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


def _extend() -> ReturningUpdate[Any]:
    held = (
        func.unnest(bindparam("tasks", type_=ARRAY(Uuid)), bindparam("fences", type_=ARRAY(Integer)))
        .table_valued(column("id", Uuid), column("fence", Integer), name="held")
        .render_derived()
    )
    until = func.now() + bindparam("lease", type_=Interval())
    return (
        update(request_task)
        .where(
            request_task.c.id == held.c.id,
            request_task.c.fence == held.c.fence,
            request_task.c.status == TaskStatus.RUNNING,
        )
        .values(lease_until=until, next_run_at=until)
        .returning(request_task.c.id)
    )


EXTEND = _extend()
"""Keep claimed tasks a while longer, as far as each claim (id and fence) is still the newest; answer which it kept."""


def _next() -> Select[Any]:
    freed = (
        func.unnest(bindparam("systems", type_=ARRAY(Uuid)), bindparam("places", type_=ARRAY(Integer)))
        .table_valued(column("id", Uuid), column("places", Integer), name="freed")
        .render_derived()
    )
    waiting = (
        select(request_task.c.id, request_task.c.step)
        .join(privacy_request)
        .join(system)
        .where(request_task.c.system_id == freed.c.id, DUE)
        .order_by(request_task.c.next_run_at)
        .limit(freed.c.places)
        .lateral("waiting")
    )
    return select(waiting.c.id, waiting.c.step).select_from(freed.join(waiting, true()))


NEXT = _next()
"""Who waits longest at each of some systems, as many as places there are free now."""


def _open_tasks() -> ReturningInsert[Any]:
    names = ("id", "system_id", "request_id", "customer_id")
    rows = (
        func.unnest(*(bindparam(name, type_=ARRAY(Uuid)) for name in names))
        .table_valued(*(column(name, Uuid) for name in names), name="opened")
        .render_derived()
    )
    step = bindparam("step", type_=request_task.c.step.type)
    place = [request_task.c.request_id, request_task.c.system_id, request_task.c.step]
    written = insert(request_task).from_select([*names, "step"], select(*rows.c, step), include_defaults=False)
    return written.on_conflict_do_nothing(index_elements=place).returning(request_task.c.id, request_task.c.request_id)


OPEN_MANY = _open_tasks()
"""Write tasks of one step, as far as they are not there; answer which are new, and of which requests."""


HELD = (
    select(request_task.c.id)
    .where(
        request_task.c.id == bindparam("task"),
        request_task.c.fence == bindparam("fence"),
        request_task.c.status == TaskStatus.RUNNING,
    )
    .with_for_update()
)
"""Lock a task, if this claim (id and fence) is still the newest."""


def room(most: int) -> ColumnElement[int]:
    """How many more tasks of a task's system may run: ``most``, or one at a time while it seems to be down.

    It seems so when TROUBLED of its tasks wait for another try and none was done lately (a circuit breaker, half open:
    the one that runs is the test). Counted, not locked, so for a moment it may be a few more. Our own tables have room.
    """
    other = request_task.alias()
    same = other.c.system_id == system.c.id
    is_running, is_retrying = (other.c.status == one for one in _spelled(TaskStatus.RUNNING, TaskStatus.RETRYING))
    held = and_(same, is_running, other.c.next_run_at > func.now())
    running = select(func.count()).where(held).scalar_subquery()
    waiting = select(func.count()).where(same, is_retrying).scalar_subquery()
    lately = func.now() - LATELY
    troubled = and_(waiting >= TROUBLED, or_(system.c.last_ok_at.is_(None), system.c.last_ok_at < lately))
    return case((IS_OWN, most), (troubled, 1 - running), else_=most - running)


def _turn() -> Select[Any]:
    concerned = select(request_task.c.system_id.label("id")).where(_TASKS).distinct().subquery()
    named = func.concat("task:", concerned.c.id)
    return select(concerned.c.id).where(func.pg_try_advisory_xact_lock(func.hashtextextended(named, 0)))


_TASKS = request_task.c.id == any_(bindparam("tasks", type_=ARRAY(Uuid)))
TURN = _turn()
"""At which of their systems nobody else takes many tasks now: two who count its room at once would overfill it."""


@lru_cache(maxsize=8)
def claim_of(most: int) -> ReturningUpdate[Any]:
    """The claim of some tasks where ``most`` of a system may run; built once, since every task needs it.

    Of each system in ``turns`` as many as it has room for, of any other one.
    """
    mine = system.c.id == any_(bindparam("turns", type_=ARRAY(Uuid)))
    place = func.row_number().over(partition_by=request_task.c.system_id, order_by=request_task.c.next_run_at)
    asked = (
        select(request_task.c.id, request_task.c.system_id, place.label("place"))
        .join(privacy_request)
        .join(system)
        .where(_TASKS, DUE)
        .cte("asked")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    rooms = (
        select(system.c.id, case((mine, room(most)), else_=func.least(room(most), 1)).label("room"))
        .where(system.c.id.in_(select(asked.c.system_id)))
        .cte("rooms")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    free = (
        select(request_task.c.id)
        .join(privacy_request)
        .join(system)
        .join(asked, asked.c.id == request_task.c.id)
        .join(rooms, rooms.c.id == request_task.c.system_id)
        .where(_TASKS, DUE, or_(and_(IS_OWN, rooms.c.room > 0), asked.c.place <= rooms.c.room))
        .with_for_update(of=request_task, skip_locked=True)
        .cte("free")
    )
    return _taking(free)


def _is_held() -> ColumnElement[bool]:
    """Whether a legal hold is on the person of a task: only then an erase has to see what it keeps."""
    held = select(legal_hold.c.id).where(legal_hold.c.customer_id == privacy_request.c.customer_id, is_effective())
    return exists(held.correlate(privacy_request))


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
            _is_held().label("is_held"),
            system.c.id.label("system_id"),
            system.c.name,
            system.c.kind,
            system.c.configuration,
            system.c.secrets_sealed,
        )
    )
