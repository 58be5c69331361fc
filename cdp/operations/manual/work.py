"""Work on steps that people carry out: see whom it is about, report what came of it, confirm what a colleague reported.

Whoever reports never confirms, nobody reports the second look at what they reported as done, and nobody confirms
without a fresh sign-in. A processor answers through the link of
their mail, which proves nothing but that the mail reached them.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, func, select, update

from cdp.access.viewer import ANONYMOUS, Viewer
from cdp.connectors.base import Identifier
from cdp.core.db import Role, Tx
from cdp.core.errors import Conflict, Forbidden, InvalidInput, NotFound
from cdp.core.keys import KeyGone
from cdp.core.platform import Platform
from cdp.core.seal import Unsealable
from cdp.operations import audit, subjects, values
from cdp.operations.accounts.mail_links import LinkRefused
from cdp.operations.attachments import attachments
from cdp.operations.attachments.attachments import NONE, Attachment, Document
from cdp.operations.requests import tasks
from cdp.operations.requests.permission import require_worker
from cdp.tables.manual import MANUAL_TRANSITIONS, ManualOutcome, ManualStatus, manual_task
from cdp.tables.request import SETTLED, TaskStep, privacy_request, request_task
from cdp.tables.system import system

OBJECT = "ManualTask"
MOST_RECORDS = 1_000_000
_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,59}")


class ReportInvalid(InvalidInput):
    """Say how many records it was when something was done, and give codes in capital letters."""

    code = "REPORT_INVALID"


class TaskNotOpen(Conflict):
    """This task does not wait for that."""

    code = "TASK_NOT_OPEN"


class SecondLookNeeded(Forbidden):
    """Whoever did it can not confirm it; ask a colleague."""

    code = "SECOND_PERSON_NEEDED"


class IdentifiersGone(Conflict):
    """Whom this was about is no longer known here."""

    code = "IDENTIFIERS_GONE"


@dataclass(frozen=True)
class Report:
    """What somebody says came of a task. ``code`` is machine-readable, ``note`` for colleagues."""

    outcome: ManualOutcome
    records: int | None = None
    code: str | None = None
    note: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Asked:
    """A task as a processor sees it behind their link."""

    id: UUID
    title: str
    reference: str
    step: TaskStep
    status: ManualStatus
    identifiers: tuple[Identifier, ...] = field(repr=False)


def check(given: Report, step: TaskStep) -> Report:
    """Hold a report against what it must say. Raises ReportInvalid, InvalidText."""
    code = (given.code or "").strip()
    if code and not _CODE.fullmatch(code):
        raise ReportInvalid
    says = given.outcome in (ManualOutcome.DONE, ManualOutcome.NOTHING_FOUND)
    if given.records is not None and not (says and 0 <= given.records <= MOST_RECORDS):
        raise ReportInvalid
    if given.outcome is ManualOutcome.NOTHING_FOUND and given.records:
        raise ReportInvalid
    if given.outcome is ManualOutcome.DONE and given.records is None and step is not TaskStep.READ:
        raise ReportInvalid
    note = values.optional(lambda text: values.text(text, "note", longest=2000, lines=True), given.note or None)
    return Report(given.outcome, given.records, code or None, note)


async def report(tx: Tx, viewer: Viewer, task_id: UUID, given: Report, *, document: Attachment = NONE) -> UUID:
    """Say what came of a task; a second person confirms it.

    Raises MissingScope, NotFound, TaskNotOpen, SecondLookNeeded, ReportInvalid.
    """
    require_worker(viewer)
    row = await _locked(tx, manual_task.c.id == task_id)
    if row.token_hash is not None:
        raise TaskNotOpen  # the processor answers
    if row.step is TaskStep.VERIFY and await _did_it(tx, viewer, row):
        raise SecondLookNeeded
    told = _columns(check(given, row.step), document) | {
        "reported_by_id": viewer.staff_id,
        "reported_at": func.now(),
    }
    await _move(tx, viewer, row, ManualStatus.REPORTED, "manual_task.reported", told=told)
    return task_id


async def confirm(tx: Tx, viewer: Viewer, platform: Platform, task_id: UUID) -> UUID:
    """Confirm what a colleague reported: the step of the request ends with it.

    Raises MissingScope, StepUpRequired, SecondLookNeeded, NotFound, TaskNotOpen.
    """
    row = await _second(tx, viewer, platform, task_id)
    told = {"confirmed_by_id": viewer.staff_id, "settled_at": func.now()}
    await _move(tx, viewer, row, ManualStatus.SETTLED, "manual_task.confirmed", told=told)
    await _wake(tx, row)
    return task_id


async def send_back(tx: Tx, viewer: Viewer, platform: Platform, task_id: UUID, *, note: str) -> UUID:
    """Send a report back: it is to be done again, by whoever can.

    Raises MissingScope, StepUpRequired, SecondLookNeeded, NotFound, TaskNotOpen, InvalidText.
    """
    row = await _second(tx, viewer, platform, task_id)
    told = {
        "outcome": None,
        "records": None,
        "code": None,
        "note": values.text(note, "note", longest=2000, lines=True),
        "reported_by_id": None,
        "reported_at": None,
    }
    await _move(tx, viewer, row, ManualStatus.OPEN, "manual_task.sent_back", told=told)
    return task_id


async def identifiers(platform: Platform, viewer: Viewer, task_id: UUID) -> tuple[Identifier, ...]:
    """By what to find the person in that system, to copy; that somebody looked is recorded.

    Raises MissingScope, NotFound, IdentifiersGone.
    """
    require_worker(viewer)
    async with platform.db.transaction(Role.WORKER) as tx:
        row = await _row(tx, manual_task.c.id == task_id)
        found = _proven(platform, row)
        await _note(tx, viewer, "manual_task.revealed", row, {"types": sorted({known.type for known in found})})
    return found


async def instructions(tx: Tx, viewer: Viewer, task_id: UUID) -> str:
    """What to do, as the system's configuration says it; as the worker role. Raises MissingScope, NotFound."""
    require_worker(viewer)
    row = await _row(tx, manual_task.c.id == task_id)
    told = row.configuration.get("instructions")
    return str(told) if told else f"{row.configuration.get('name', row.title)} was asked by mail."


async def read_document(platform: Platform, viewer: Viewer, task_id: UUID) -> Document:
    """Open the document of a report; that somebody looked is recorded. Raises MissingScope, NotFound, KeyGone."""
    require_worker(viewer)
    async with platform.db.transaction(Role.WORKER) as tx:
        row = await _row(tx, (manual_task.c.id == task_id) & manual_task.c.object_key.is_not(None))
        await _note(tx, viewer, "manual_task.document_read", row, {})
    return Document(row.file_name, row.media_type, await attachments.read(platform, row.object_key, row.key_id))


async def opened_by_link(platform: Platform, code: str) -> Asked:
    """What a processor is asked, behind the link of their mail; that it was opened is recorded. Raises LinkRefused."""
    async with platform.db.transaction(Role.WORKER) as tx:
        row = await _by_link(tx, code)
        found = _proven(platform, row) if row.status is not ManualStatus.SETTLED else ()
        await _note(tx, ANONYMOUS, "manual_task.opened", row, {})
    return Asked(row.id, row.title, row.reference, row.step, row.status, found)


async def answer_by_link(platform: Platform, code: str, given: Report) -> None:
    """Take a processor's answer; the step ends with it. Raises LinkRefused, TaskNotOpen, ReportInvalid."""
    async with platform.db.transaction(Role.WORKER) as tx:
        row = await _by_link(tx, code)
        told = _columns(check(given, row.step), NONE) | {"reported_at": func.now(), "settled_at": func.now()}
        await _move(tx, ANONYMOUS, row, ManualStatus.SETTLED, "manual_task.answered", told=told)
        await _wake(tx, row)


async def overdue(tx: Tx) -> int:
    """How many tasks should have been done by now."""
    late = (manual_task.c.due_at < func.now(), manual_task.c.status.in_((ManualStatus.OPEN, ManualStatus.REPORTED)))
    return int(await tx.scalar(select(func.count()).select_from(manual_task).where(*late)))


def _columns(given: Report, document: Attachment) -> dict[str, object]:
    told: dict[str, object] = {
        "outcome": given.outcome,
        "records": given.records,
        "code": given.code,
        "note": given.note,
    }
    return told | (dict(document.columns) if document.object_key else {})


async def _row(tx: Tx, where: ColumnElement[bool], *, lock: bool = False) -> Row[Any]:
    found = (
        select(
            manual_task,
            system.c.title,
            system.c.configuration,
            privacy_request.c.reference,
            privacy_request.c.subject_ref,
            privacy_request.c.identifiers_sealed,
            privacy_request.c.status.label("request_status"),
        )
        .join(system, system.c.id == manual_task.c.system_id)
        .join(privacy_request, privacy_request.c.id == manual_task.c.request_id)
        .where(where)
    )
    row = await tx.first(found.with_for_update(of=manual_task) if lock else found)
    if row is None:
        raise NotFound
    return row


async def _locked(tx: Tx, where: ColumnElement[bool]) -> Row[Any]:
    return await _row(tx, where, lock=True)


async def _did_it(tx: Tx, viewer: Viewer, row: Row[Any]) -> bool:
    """Whether somebody reported what this task is the second look at."""
    theirs = select(manual_task.c.id).where(
        manual_task.c.request_id == row.request_id,
        manual_task.c.system_id == row.system_id,
        manual_task.c.step == TaskStep.ERASE,
        manual_task.c.reported_by_id == viewer.staff_id,
    )
    return await tx.scalar(theirs.limit(1)) is not None


async def _second(tx: Tx, viewer: Viewer, platform: Platform, task_id: UUID) -> Row[Any]:
    require_worker(viewer)
    viewer.require_fresh(platform.clock(), max_age_s=platform.settings.step_up_max_age_s)
    row = await _locked(tx, manual_task.c.id == task_id)
    if row.status is not ManualStatus.REPORTED:
        raise TaskNotOpen
    if row.reported_by_id == viewer.staff_id:
        raise SecondLookNeeded
    return row


async def _by_link(tx: Tx, code: str) -> Row[Any]:
    digest = hashlib.sha256(code.encode()).digest()
    try:
        row = await _locked(tx, manual_task.c.token_hash == digest)
    except NotFound as error:
        raise LinkRefused from error
    if row.request_status in SETTLED:
        raise LinkRefused
    return row


def _proven(platform: Platform, row: Row[Any]) -> tuple[Identifier, ...]:
    try:
        sealed = subjects.unseal(platform.keys, row.request_id, row.identifiers_sealed or b"")
    except (KeyGone, Unsealable) as error:
        raise IdentifiersGone from error
    wanted = row.configuration.get("identifiers") or ["email"]
    return tuple(known for known in sealed.person.identifiers if known.verified and known.type in wanted)


async def _move(
    tx: Tx, viewer: Viewer, row: Row[Any], new: ManualStatus, action: str, *, told: Mapping[str, object]
) -> None:
    if new not in MANUAL_TRANSITIONS[row.status]:
        raise TaskNotOpen
    mine = update(manual_task).where(manual_task.c.id == row.id, manual_task.c.status == row.status)
    if (await tx.execute(mine.values(status=new, **told))).rowcount != 1:
        raise TaskNotOpen
    outcome = told.get("outcome")
    details = {"outcome": outcome.value} if isinstance(outcome, ManualOutcome) else {}
    await _note(tx, viewer, action, row, details)


async def _wake(tx: Tx, row: Row[Any]) -> None:
    """The step that waits for this is asked at once."""
    mine = select(request_task.c.id).where(
        request_task.c.request_id == row.request_id,
        request_task.c.system_id == row.system_id,
        request_task.c.step == row.step,
    )
    task_id = await tx.scalar(mine)
    if task_id is not None:
        await tasks.wake(tx, task_id)


async def _note(tx: Tx, viewer: Viewer, action: str, row: Row[Any], details: Mapping[str, object]) -> None:
    await audit.record(
        tx,
        viewer,
        action,
        subject_ref=row.subject_ref,
        object_type=OBJECT,
        object_id=row.id,
        details={"step": row.step.value, **details},
    )
