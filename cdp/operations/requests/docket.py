"""Requests as operators see them: what is open, what is due, which step of which system stands where. Nobody's name."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from cdp.core.db import Tx
from cdp.core.errors import Conflict, NotFound
from cdp.core.ids import RequestId
from cdp.tables.certificate import certificate
from cdp.tables.request import RequestStatus, RequestType, TaskStatus, TaskStep, privacy_request, request_task
from cdp.tables.system import system


class UnknownRequest(NotFound):
    """There is no request with this reference."""

    code = "UNKNOWN_REQUEST"


class CaseChanged(Conflict):
    """Somebody changed this request meanwhile; look at it again."""

    code = "CASE_CHANGED"


@dataclass(frozen=True)
class Line:
    """One request in a list."""

    reference: str
    type: RequestType
    status: RequestStatus
    requested_at: datetime
    due_at: datetime


@dataclass(frozen=True)
class TaskLine:
    """One task of a request."""

    system: str
    step: TaskStep
    status: TaskStatus
    attempt: int
    code: str | None
    next_run_at: datetime


@dataclass(frozen=True)
class Case:
    """One request with its tasks, and the reference of its certificate."""

    line: Line
    tasks: tuple[TaskLine, ...]
    certificate: str | None


_LINE = (
    privacy_request.c.reference,
    privacy_request.c.type,
    privacy_request.c.status,
    privacy_request.c.requested_at,
    privacy_request.c.due_at,
)


async def listed(tx: Tx, *, status: RequestStatus | None, limit: int) -> list[Line]:
    """The newest requests, all of them or those in one state."""
    found = select(*_LINE).order_by(privacy_request.c.requested_at.desc(), privacy_request.c.id.desc()).limit(limit)
    if status is not None:
        found = found.where(privacy_request.c.status == status)
    return [Line(r.reference, r.type, r.status, r.requested_at, r.due_at) for r in await tx.all(found)]


async def case(tx: Tx, reference: str) -> Case:
    """One request in full. Raises UnknownRequest."""
    row = await tx.first(
        select(privacy_request.c.id, *_LINE, certificate.c.reference.label("proof"))
        .select_from(privacy_request.outerjoin(certificate))
        .where(privacy_request.c.reference == reference)
    )
    if row is None:
        raise UnknownRequest
    tasks = await tx.all(
        select(
            system.c.name,
            request_task.c.step,
            request_task.c.status,
            request_task.c.attempt,
            request_task.c.code,
            request_task.c.next_run_at,
        )
        .join(system, system.c.id == request_task.c.system_id)
        .where(request_task.c.request_id == row.id)
        .order_by(request_task.c.id)
    )
    return Case(
        Line(row.reference, row.type, row.status, row.requested_at, row.due_at),
        tuple(TaskLine(t.name, t.step, t.status, t.attempt, t.code, t.next_run_at) for t in tasks),
        row.proof,
    )


async def id_of(tx: Tx, reference: str) -> RequestId:
    """The request of a reference. Raises UnknownRequest."""
    found = await tx.scalar(select(privacy_request.c.id).where(privacy_request.c.reference == reference))
    if found is None:
        raise UnknownRequest
    return RequestId(found)


async def expect(tx: Tx, request_id: RequestId, *, version: int) -> None:
    """Lock a request and raise CaseChanged unless it is still at the version somebody decided upon."""
    mine = select(privacy_request.c.version).where(privacy_request.c.id == request_id).with_for_update()
    current = await tx.scalar(mine)
    if current != version:
        raise CaseChanged(currentVersion=current)
