"""Where a bulk export stands, and the one place that moves it: a conditional UPDATE with its audit event."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, select, update

from cdp.access.viewer import SYSTEM, Actor, Viewer
from cdp.core.db import Tx
from cdp.core.errors import Conflict, Forbidden, InvalidInput, NotFound
from cdp.core.platform import Platform
from cdp.operations import audit
from cdp.tables.bulk import BULK_OVER, BULK_SETTLED, BULK_TRANSITIONS, BulkStatus, bulk_export

OBJECT = "BulkExport"
WAITING, SETTLED = "bulk.waiting", "bulk.settled"
"""Notices: an export or a part waits for a worker; a part was settled, which its holder waits for."""


class BulkExportMissing(NotFound):
    """There is no such bulk export, or it is not yours."""

    code = "BULK_EXPORT_NOT_FOUND"


class BulkExportMoved(Conflict):
    """The bulk export is no longer in a state that allows this."""

    code = "BULK_EXPORT_MOVED"


class BulkExportNotReady(Conflict):
    """The bulk export is not finished."""

    code = "BULK_EXPORT_NOT_READY"


class BulkExportGone(NotFound):
    """The files of this bulk export are gone; export again."""

    code = "BULK_EXPORT_GONE"
    status = 410


class PurposeRequired(InvalidInput):
    """Name the purpose of this export."""

    code = "PURPOSE_REQUIRED"


class FullExportNeeded(Conflict):
    """An export can not continue from there: make a full one."""

    code = "FULL_EXPORT_NEEDED"


class IdempotencyConflict(Conflict):
    """This idempotency key stands for another export."""

    code = "IDEMPOTENCY_CONFLICT"


class OwnApproval(Forbidden):
    """A second person approves an export, not the one who asked for it."""

    code = "SECOND_PERSON_NEEDED"


def owner_of(viewer: Viewer) -> str:
    """Whose exports a viewer's are. Raises Forbidden for who can have none."""
    match viewer.actor:
        case Actor.STAFF:
            return f"staff:{viewer.staff_id}"
        case Actor.CLIENT:
            return f"client:{viewer.client_id}"
        case Actor.SYSTEM:
            return "system"
        case _:
            raise Forbidden


def require_fresh_member(platform: Platform, viewer: Viewer) -> None:
    """Raise StepUpRequired unless who works here signed in a moment ago (RFC 9470); programs and terminals have not."""
    if viewer.actor is Actor.STAFF:
        viewer.require_fresh(platform.clock(), max_age_s=platform.settings.step_up_max_age_s)


async def find(tx: Tx, export_id: UUID, *, lock: bool = False) -> Row[Any] | None:
    """The row of an export."""
    statement = select(bulk_export).where(bulk_export.c.id == export_id)
    return await tx.first(statement.with_for_update() if lock else statement)


async def own(tx: Tx, viewer: Viewer, export_id: UUID, *, lock: bool = False) -> Row[Any]:
    """The viewer's own export; the operator of the platform owns all. Raises BulkExportMissing."""
    row = await find(tx, export_id, lock=lock)
    if row is None or (viewer.actor is not Actor.SYSTEM and row.owner != owner_of(viewer)):
        raise BulkExportMissing
    return row


async def move(
    tx: Tx,
    export_id: UUID,
    old: BulkStatus,
    new: BulkStatus,
    *,
    viewer: Viewer = SYSTEM,
    code: str | None = None,
    values: Mapping[str, object] | None = None,
    fence: int | None = None,
) -> bool:
    """Change the status, if it still is ``old`` (and the claim still ``fence``); False when somebody was faster."""
    if new not in BULK_TRANSITIONS[old]:
        raise ValueError(f"a bulk export never goes from {old} to {new}")
    settled = {"completed_at": func.now()} if new in BULK_SETTLED - {BulkStatus.EXPIRED, BulkStatus.DESTROYED} else {}
    still = [bulk_export.c.id == export_id, bulk_export.c.status == old]
    if fence is not None:
        still.append(bulk_export.c.fence == fence)
    moved = await tx.first(
        update(bulk_export)
        .where(*still)
        .values(
            {
                **settled,
                **({"code": code} if code else {}),
                **(values or {}),
                "status": new,
                "version": bulk_export.c.version + 1,
                "updated_at": func.now(),
                "next_run_at": func.now(),
                **({"notify_at": func.now()} if new in BULK_SETTLED and old not in BULK_SETTLED else {}),
            }
        )
        .returning(bulk_export.c.purpose, bulk_export.c.record_count)
    )
    if moved is None:
        return False
    if new is BulkStatus.QUEUED:
        await tx.tell(WAITING)
    details: dict[str, object] = {"from": old.value, "purpose": moved.purpose}
    if new is BulkStatus.COMPLETED:
        details["records"] = moved.record_count
    await note(tx, viewer, f"bulk_export.{new.value}", export_id, code=code, details=details)
    return True


async def note(
    tx: Tx,
    viewer: Viewer,
    action: str,
    export_id: UUID,
    *,
    code: str | None = None,
    details: Mapping[str, object] | None = None,
) -> None:
    """Write an audit event about an export; it is about nobody in particular."""
    await audit.record(
        tx, viewer, action, subject_ref=None, object_type=OBJECT, object_id=export_id, code=code, details=details
    )


async def touch(tx: Tx, export_id: UUID) -> None:
    """Let those who watch an export see that one of its parts changed."""
    await tx.execute(
        update(bulk_export)
        .where(bulk_export.c.id == export_id)
        .values(version=bulk_export.c.version + 1, updated_at=func.now())
    )


def require_ready(row: Row[Any]) -> None:
    """Raises BulkExportNotReady before the manifest, BulkExportGone after the files."""
    if row.status in BULK_OVER:
        raise BulkExportGone
    if row.status is not BulkStatus.COMPLETED:
        raise BulkExportNotReady
