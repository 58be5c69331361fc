"""How requests stand, in numbers for whoever is on call: what is open, what is late, and which system holds it up."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import func, select

from cdp.core.db import Tx
from cdp.tables.request import SETTLED, RequestStatus, TaskStatus, privacy_request, request_task
from cdp.tables.system import system

STUCK = frozenset({TaskStatus.RETRYING, TaskStatus.WAITING, TaskStatus.NEEDS_ATTENTION, TaskStatus.FAILED})


@dataclass(frozen=True)
class Figures:
    """Open requests by status, how many are past their day, and what does not go on by system and status."""

    open: Mapping[RequestStatus, int]
    overdue: int
    stuck: Mapping[tuple[str, TaskStatus], int]


async def now(tx: Tx) -> Figures:
    """Count; every status and system has its number, so that what is over is seen to be."""
    late = func.count().filter(privacy_request.c.due_at < func.now()).label("late")
    is_open = privacy_request.c.status.not_in(SETTLED)
    status = privacy_request.c.status
    rows = await tx.all(select(status, func.count().label("number"), late).where(is_open).group_by(status))
    waiting = (
        select(request_task.c.system_id, request_task.c.status, func.count().label("number"))
        .join(privacy_request)
        .where(request_task.c.status.in_(STUCK), is_open)
        .group_by(request_task.c.system_id, request_task.c.status)
        .subquery()
    )
    names = await tx.all(select(system.c.name))
    held = await tx.all(
        select(system.c.name, waiting.c.status, waiting.c.number).join(waiting, waiting.c.system_id == system.c.id)
    )
    return Figures(
        dict.fromkeys(set(RequestStatus) - SETTLED, 0) | {row.status: row.number for row in rows},
        sum(row.late for row in rows),
        {(row.name, status): 0 for row in names for status in STUCK}
        | {(row.name, row.status): row.number for row in held},
    )
