"""Requests as their person sees them: the true state of every system, also after signing out and after the account.

Two keys open a view: being the signed-in customer, or the status key that came with the opening. A wrong key and an
unknown reference look the same.
"""

import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, select

from cdp.access.viewer import Viewer
from cdp.core.db import Role, Tx
from cdp.core.errors import NotFound
from cdp.core.platform import Platform
from cdp.operations import moves
from cdp.operations.requests.opening import digest
from cdp.operations.requests.progress import FINE
from cdp.operations.requests.requests import CANCELLABLE, cancel_row
from cdp.tables.certificate import certificate
from cdp.tables.request import (
    SETTLED,
    RequestStatus,
    RequestType,
    TaskStatus,
    TaskStep,
    privacy_request,
    request_task,
)
from cdp.tables.residual import certificate_addendum
from cdp.tables.system import system

# In the order they happen.
STEPS = (TaskStep.READ, TaskStep.PACK, TaskStep.UPDATE, TaskStep.CHECK, TaskStep.ERASE, TaskStep.VERIFY)
_STEP_OF = {
    RequestStatus.CHECKING: TaskStep.CHECK,
    RequestStatus.COOLING_OFF: TaskStep.CHECK,
    RequestStatus.ERASING: TaskStep.ERASE,
    RequestStatus.VERIFYING: TaskStep.VERIFY,
    RequestStatus.COLLECTING: TaskStep.READ,
    RequestStatus.PACKING: TaskStep.READ,
    RequestStatus.APPLYING: TaskStep.UPDATE,
}


@dataclass(frozen=True)
class StepView:
    """One step of one system."""

    step: TaskStep
    status: TaskStatus
    attempt: int
    code: str | None
    next_run_at: datetime
    settled_at: datetime | None
    evidence: Mapping[str, Any]


@dataclass(frozen=True)
class SystemView:
    """One connected system within a request; its steps in the order they happen."""

    name: str
    title: str
    steps: tuple[StepView, ...]

    @property
    def current(self) -> StepView:
        """The step that matters now: the last one that has begun, else the first."""
        begun = [step for step in self.steps if step.status is not TaskStatus.PENDING or step.attempt]
        return begun[-1] if begun else self.steps[0]

    def is_through(self, step: TaskStep) -> bool:
        """Whether this system is done with a step, or has none to do because it does not take part."""
        own = [one for one in self.steps if one.step is step]
        return all(one.status in FINE for one in own) if own else self.current.status is TaskStatus.UNSUPPORTED

    @property
    def retained(self) -> tuple[Mapping[str, Any], ...]:
        """What stays here and why, as the latest step that knows says it."""
        told = [step.evidence["retained"] for step in self.steps if step.evidence.get("retained")]
        return tuple(told[-1]) if told else ()


@dataclass(frozen=True)
class RequestView:
    """A request and everything its person may know about it."""

    id: UUID
    reference: str
    type: RequestType
    status: RequestStatus
    version: int
    requested_at: datetime
    due_at: datetime
    cooling_off_until: datetime | None
    settled_at: datetime | None
    refusal_reason: str | None = field(repr=False)
    extension_reason: str | None = field(default=None, repr=False)
    pause_reason: str | None = field(default=None, repr=False)
    systems: tuple[SystemView, ...] = ()
    certificate: str | None = field(default=None, repr=False)
    addendum: str | None = field(default=None, repr=False)

    @property
    def is_settled(self) -> bool:
        """Whether it will never move again."""
        return self.status in SETTLED

    @property
    def can_undo(self) -> bool:
        """Whether the person can still call it off."""
        erasing = any(step.step is TaskStep.ERASE for known in self.systems for step in known.steps)
        return self.status in CANCELLABLE and not erasing

    @property
    def step(self) -> TaskStep:
        """What the systems are asked for now; after that, what they were asked for last."""
        steps = [step.step for known in self.systems for step in known.steps if step.step is not TaskStep.PACK]
        return _STEP_OF.get(self.status) or max(steps, key=STEPS.index, default=TaskStep.CHECK)

    @property
    def finished_systems(self) -> int:
        """Systems that are through with the present step."""
        return sum(known.is_through(self.step) for known in self.systems)

    @property
    def left_out(self) -> tuple[SystemView, ...]:
        """Systems that did not delete, or could not be read again: what is there still is not known."""
        acted = {TaskStep.ERASE, TaskStep.VERIFY}
        return tuple(
            known
            for known in self.systems
            if any(one.step in acted and one.status is TaskStatus.UNSUPPORTED for one in known.steps)
        )

    @property
    def retained(self) -> tuple[tuple[str, Mapping[str, Any]], ...]:
        """What stays, system by system, as the signed certificate says it, else as the systems announce it."""
        if self.certificate:
            systems = json.loads(self.certificate)["systems"]
            return tuple((one["title"], kept) for one in systems for kept in one["retained"])
        return tuple((known.title, kept) for known in self.systems for kept in known.retained)


async def with_key(platform: Platform, reference: str, status_key: str) -> RequestView:
    """The request this status key belongs to. Raises NotFound."""
    async with platform.db.transaction(Role.WORKER) as tx:
        row = await _row(tx, privacy_request.c.secret_hash == digest(status_key))
        if row is None or not hmac.compare_digest(row.reference, reference):
            raise NotFound
        return await _view(tx, row)


async def of_viewer(platform: Platform, viewer: Viewer, reference: str) -> RequestView:
    """A request of the signed-in customer. Raises NotFound."""
    async with platform.db.transaction(Role.WORKER) as tx:
        mine = privacy_request.c.customer_id == viewer.subject
        row = await _row(tx, mine & (privacy_request.c.reference == reference))
        if row is None:
            raise NotFound
        return await _view(tx, row)


async def undo(platform: Platform, viewer: Viewer, view: RequestView) -> None:
    """Call off a request whose view was opened with one of its keys. Raises TooLateToUndo."""
    async with platform.db.transaction(Role.WORKER) as tx:
        request = await moves.lock(tx, view.id)
        if request is not None:
            await cancel_row(tx, viewer, request.id)


async def _row(tx: Tx, where: ColumnElement[bool]) -> Row[Any] | None:
    table = privacy_request.c
    return await tx.first(
        select(
            table.id,
            table.reference,
            table.type,
            table.status,
            table.version,
            table.requested_at,
            table.due_at,
            table.cooling_off_until,
            table.settled_at,
            table.refusal_reason,
            table.extension_reason,
            table.pause_reason,
            certificate.c.document.label("certificate"),
            certificate_addendum.c.document.label("addendum"),
        )
        .select_from(
            privacy_request.outerjoin(certificate, certificate.c.request_id == table.id).outerjoin(
                certificate_addendum, certificate_addendum.c.request_id == table.id
            )
        )
        .where(where)
    )


async def _view(tx: Tx, row: Row[Any]) -> RequestView:
    tasks = await tx.all(
        select(
            system.c.name,
            system.c.title,
            request_task.c.step,
            request_task.c.status,
            request_task.c.attempt,
            request_task.c.code,
            request_task.c.next_run_at,
            request_task.c.settled_at,
            request_task.c.evidence,
        )
        .join_from(request_task, system, system.c.id == request_task.c.system_id)
        .where(request_task.c.request_id == row.id)
        .order_by(system.c.position, system.c.name)
    )
    return RequestView(
        id=row.id,
        reference=row.reference,
        type=row.type,
        status=row.status,
        version=row.version,
        requested_at=row.requested_at,
        due_at=row.due_at,
        cooling_off_until=row.cooling_off_until,
        settled_at=row.settled_at,
        refusal_reason=row.refusal_reason,
        extension_reason=row.extension_reason,
        pause_reason=row.pause_reason,
        systems=_by_system(tasks),
        certificate=row.certificate,
        addendum=row.addendum,
    )


def _by_system(tasks: Sequence[Row[Any]]) -> tuple[SystemView, ...]:
    steps: dict[tuple[str, str], list[StepView]] = {}
    for row in tasks:
        steps.setdefault((row.name, row.title), []).append(
            StepView(row.step, row.status, row.attempt, row.code, row.next_run_at, row.settled_at, row.evidence or {})
        )
    return tuple(
        SystemView(name, title, tuple(sorted(found, key=lambda step: STEPS.index(step.step))))
        for (name, title), found in steps.items()
    )
