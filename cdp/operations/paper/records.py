"""Register a paper record, say that it was destroyed, and witness it: the last two are never the same person.

The first registered record connects the system ``paper``, through which every deletion reaches the offices.
Source: promise P12 of the policy; destruction by protection class: DIN 66399 / ISO/IEC 21964-1
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, exists, func, insert, not_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from cdp.access.viewer import SYSTEM, Viewer
from cdp.connectors.paper.connector import DUE
from cdp.core.db import Tx
from cdp.core.errors import Conflict, Forbidden, InvalidInput, NotFound
from cdp.core.ids import CustomerId, new_id, new_reference
from cdp.core.platform import Platform
from cdp.operations import audit, values
from cdp.operations.attachments.attachments import NONE, Attachment
from cdp.operations.requests import tasks
from cdp.operations.requests.permission import require_worker
from cdp.tables.base import Category
from cdp.tables.customer import customer
from cdp.tables.hold import EFFECTIVE, legal_hold
from cdp.tables.paper import PAPER_TRANSITIONS, PaperStatus, paper_record
from cdp.tables.request import TaskStep, request_task
from cdp.tables.system import system

KIND = "paper"
POSITION = 900
OBJECT = "PaperRecord"
DESTROYED_WITHIN = timedelta(days=14)


class PaperInvalid(InvalidInput):
    """A paper record has an office, a place, a description and a day until which it is kept."""

    code = "PAPER_INVALID"


class PaperNotDue(Conflict):
    """This paper record does not wait for that."""

    code = "PAPER_NOT_DUE"


class WitnessNeeded(Forbidden):
    """Whoever destroyed it can not witness it; ask a colleague."""

    code = "SECOND_PERSON_NEEDED"


@dataclass(frozen=True)
class Filed:
    """A paper record to register. ``description`` is what the customer reads: the kind of document, no contents."""

    category: Category
    office: str
    location: str
    description: str = field(repr=False)
    retain_until: date


async def register(tx: Tx, viewer: Viewer, customer_id: CustomerId, filed: Filed) -> UUID:
    """Put a paper record into the register. Raises MissingScope, NotFound, InvalidText."""
    require_worker(viewer)
    known = select(customer.c.audit_ref).where(customer.c.id == customer_id).with_for_update(key_share=True)
    subject_ref = await tx.scalar(known)
    if subject_ref is None:
        raise NotFound
    await _connect(tx)
    paper_id = new_id()
    await tx.execute(
        insert(paper_record).values(
            id=paper_id,
            customer_id=customer_id,
            reference=new_reference("PA"),
            category=filed.category,
            office=values.text(filed.office, "office", longest=100),
            location=values.text(filed.location, "location", longest=200),
            description=values.text(filed.description, "description", longest=300),
            retain_until=filed.retain_until,
            registered_by_id=viewer.staff_id,
        )
    )
    await _note(tx, viewer, "paper.registered", paper_id, subject_ref)
    return paper_id


async def _connect(tx: Tx) -> None:
    described = {"name": KIND, "title": "Paper in our offices", "kind": KIND, "position": POSITION}
    await tx.execute(
        upsert(system)
        .values(id=new_id(), configuration={}, **described)
        .on_conflict_do_nothing(index_elements=[system.c.name])
    )


async def report(tx: Tx, viewer: Viewer, paper_id: UUID, *, method: str, document: Attachment = NONE) -> UUID:
    """Say that a record was destroyed and how; a witness confirms it.

    Raises MissingScope, NotFound, PaperNotDue, InvalidText.
    """
    require_worker(viewer)
    row = await _locked(tx, paper_id)
    told = {
        "method": values.text(method, "method", longest=100),
        "destroyed_by_id": viewer.staff_id,
        "reported_at": func.now(),
        **(document.columns if document.object_key else {}),
    }
    await _move(tx, viewer, row, PaperStatus.REPORTED, "paper.reported", told=told)
    return paper_id


async def witness(tx: Tx, viewer: Viewer, platform: Platform, paper_id: UUID) -> UUID:
    """Confirm, as a second person, to have seen it destroyed.

    Raises MissingScope, StepUpRequired, WitnessNeeded, NotFound, PaperNotDue.
    """
    row = await _second(tx, viewer, platform, paper_id)
    told = {"witness_id": viewer.staff_id, "destroyed_at": func.now()}
    await _move(tx, viewer, row, PaperStatus.DESTROYED, "paper.destroyed", told=told)
    await _wake(tx, row)
    return paper_id


async def contradict(tx: Tx, viewer: Viewer, platform: Platform, paper_id: UUID) -> UUID:
    """Say, as a second person, that it is still there. Raises like ``witness``."""
    row = await _second(tx, viewer, platform, paper_id)
    told = {"destroyed_by_id": None, "reported_at": None, "method": None}
    await _move(tx, viewer, row, PaperStatus.DUE, "paper.contradicted", told=told)
    return paper_id


async def demand_over(tx: Tx, *, limit: int) -> int:
    """Make records due whose time is over, except those that a hold keeps; returns how many."""
    held = exists().where(
        legal_hold.c.customer_id == paper_record.c.customer_id,
        legal_hold.c.category == paper_record.c.category,
        legal_hold.c.status.in_(EFFECTIVE),
    )
    over = (
        select(paper_record.c.id)
        .where(
            paper_record.c.status == PaperStatus.FILED,
            paper_record.c.retain_until < func.now().cast(paper_record.c.retain_until.type),
            not_(held),
        )
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    made = await tx.execute(
        update(paper_record)
        .where(paper_record.c.id.in_(over))
        .values(status=PaperStatus.DUE, due_at=func.now() + DESTROYED_WITHIN)
    )
    if made.rowcount:
        details = {"records": made.rowcount, "code": DUE}
        await audit.record(tx, SYSTEM, "paper.due", subject_ref=None, object_type=OBJECT, details=details)
    return made.rowcount


async def overdue(tx: Tx) -> int:
    """How many records should have been destroyed by now."""
    late = (paper_record.c.due_at < func.now(), paper_record.c.status.in_((PaperStatus.DUE, PaperStatus.REPORTED)))
    return int(await tx.scalar(select(func.count()).select_from(paper_record).where(*late)))


async def _locked(tx: Tx, paper_id: UUID) -> Row[Any]:
    row = await tx.first(
        select(paper_record, customer.c.audit_ref)
        .join(customer, customer.c.id == paper_record.c.customer_id)
        .where(paper_record.c.id == paper_id)
        .with_for_update(of=paper_record)
    )
    if row is None:
        raise NotFound
    return row


async def _second(tx: Tx, viewer: Viewer, platform: Platform, paper_id: UUID) -> Row[Any]:
    require_worker(viewer)
    viewer.require_fresh(platform.clock(), max_age_s=platform.settings.step_up_max_age_s)
    row = await _locked(tx, paper_id)
    if row.status is not PaperStatus.REPORTED:
        raise PaperNotDue
    if row.destroyed_by_id == viewer.staff_id:
        raise WitnessNeeded
    return row


async def _move(
    tx: Tx, viewer: Viewer, row: Row[Any], new: PaperStatus, action: str, *, told: Mapping[str, object]
) -> None:
    if new not in PAPER_TRANSITIONS[row.status]:
        raise PaperNotDue
    mine = update(paper_record).where(paper_record.c.id == row.id, paper_record.c.status == row.status)
    if (await tx.execute(mine.values(status=new, **told))).rowcount != 1:
        raise PaperNotDue
    await _note(tx, viewer, action, row.id, row.audit_ref)


async def _wake(tx: Tx, row: Row[Any]) -> None:
    """The step that waits for its destruction is asked at once."""
    found = (
        select(request_task.c.id)
        .join(system, system.c.id == request_task.c.system_id)
        .where(
            request_task.c.request_id == row.request_id,
            request_task.c.step == TaskStep.ERASE,
            system.c.kind == KIND,
        )
    )
    task_id = await tx.scalar(found) if row.request_id else None
    if task_id is not None:
        await tasks.wake(tx, task_id)


async def _note(tx: Tx, viewer: Viewer, action: str, paper_id: UUID, subject_ref: UUID) -> None:
    await audit.record(tx, viewer, action, subject_ref=subject_ref, object_type=OBJECT, object_id=paper_id)
