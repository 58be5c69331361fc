"""What people do with an export after they asked for it: approve or refuse, cancel, destroy, fetch."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, select

from cdp.access.bulk import APPROVE_SCOPE, APPROVERS, EXPORT_SCOPE
from cdp.access.viewer import Actor, Viewer
from cdp.core.db import Role, Tx
from cdp.core.errors import Forbidden, InvalidInput
from cdp.core.platform import Platform
from cdp.operations.bulk import manifests, owners, parts, states
from cdp.operations.bulk.states import (
    BulkExportMissing,
    BulkExportMoved,
    OwnApproval,
    move,
    note,
    own,
    require_fresh_member,
    require_ready,
)
from cdp.tables.bulk import BULK_SETTLED, BULK_TRANSITIONS, BulkStatus, PartStatus, bulk_part

READ_BYTES = 1024 * 1024
REFUSED = "APPROVAL_REFUSED"


class RangeInvalid(InvalidInput):
    """This part of the file does not exist."""

    code = "RANGE_NOT_SATISFIABLE"
    status = 416


@dataclass(frozen=True)
class Progress:
    """How far an export is. ``manifest`` once it is whole, byte for byte as it was signed."""

    row: Row[Any]
    parts_done: int
    manifest: bytes | None


@dataclass(frozen=True)
class File:
    """A file being fetched: bytes ``start`` up to (not including) ``end`` of ``size_bytes``."""

    name: str
    size_bytes: int
    sha256: bytes
    start: int
    end: int
    chunks: AsyncIterator[bytes]


async def approve(platform: Platform, viewer: Viewer, export_id: UUID) -> None:
    """Let a personal export run: by a privacy officer who did not ask for it, freshly signed in.

    Raises MissingScope, Forbidden, StepUpRequired, OwnApproval, BulkExportMoved.
    """
    await _decide(platform, viewer, export_id, BulkStatus.QUEUED, code=None)


async def refuse(platform: Platform, viewer: Viewer, export_id: UUID) -> None:
    """Refuse a personal export; it is cancelled. Raises like ``approve``."""
    await _decide(platform, viewer, export_id, BulkStatus.CANCELLED, code=REFUSED)


async def _decide(platform: Platform, viewer: Viewer, export_id: UUID, new: BulkStatus, *, code: str | None) -> None:
    viewer.require_scope(APPROVE_SCOPE)
    if viewer.actor is not Actor.STAFF or not viewer.roles & APPROVERS:
        raise Forbidden
    viewer.require_fresh(platform.clock(), max_age_s=platform.settings.step_up_max_age_s)
    async with platform.db.transaction(Role.WORKER) as tx:
        row = await states.find(tx, export_id)
        if row is None:
            raise BulkExportMissing
        if row.staff_id is not None and row.staff_id == viewer.staff_id:
            raise OwnApproval
        values = {"approver_id": viewer.staff_id, "approved_at": func.now()} if code is None else {}
        decided = await move(tx, export_id, BulkStatus.AWAITING_APPROVAL, new, viewer=viewer, code=code, values=values)
        if not decided:
            raise BulkExportMoved


async def cancel(tx: Tx, viewer: Viewer, export_id: UUID) -> None:
    """Stop an export, or destroy a finished one; doing it again is fine. Raises MissingScope, BulkExportMissing."""
    _require(viewer)
    row = await own(tx, viewer, export_id, lock=True)
    for new in (BulkStatus.CANCELLED, BulkStatus.CANCELLING, BulkStatus.DESTROYED):
        if new in BULK_TRANSITIONS[row.status]:
            await move(tx, export_id, row.status, new, viewer=viewer)
            return


async def progress(tx: Tx, viewer: Viewer, export_id: UUID) -> Progress:
    """How far the viewer's own export is. Raises MissingScope, BulkExportMissing."""
    _require(viewer)
    row = await own(tx, viewer, export_id)
    counted = select(func.count()).where(
        bulk_part.c.bulk_export_id == export_id,
        bulk_part.c.epoch == row.epoch,
        bulk_part.c.status == PartStatus.DONE,
    )
    is_whole = row.status is BulkStatus.COMPLETED
    return Progress(row, await tx.scalar(counted), row.manifest.encode() if is_whole else None)


async def manifest(tx: Tx, viewer: Viewer, export_id: UUID) -> bytes:
    """The manifest of the viewer's own finished export.

    Raises MissingScope, BulkExportMissing, BulkExportNotReady, BulkExportGone, BulkExportWithheld.
    """
    found = await progress(tx, viewer, export_id)
    require_ready(found.row)
    await owners.require(tx, found.row)
    assert found.manifest is not None
    return found.manifest


async def fetch(
    platform: Platform, viewer: Viewer, export_id: UUID, name: str, *, start: int = 0, end: int | None = None
) -> File:
    """Open a file of the viewer's own export, whole or in part; counted when read from its start.

    What identifies people leaves with a fresh sign-in only, and nothing once its owner may not export any more. Raises
    MissingScope, StepUpRequired, BulkExportWithheld, BulkExportMissing also for an unknown name, BulkExportNotReady,
    BulkExportGone, RangeInvalid.
    """
    _require(viewer)
    async with platform.db.transaction(Role.WORKER) as tx:
        row = await own(tx, viewer, export_id)
        if row.personal:
            require_fresh_member(platform, viewer)
        require_ready(row)
        await owners.require(tx, row)
        made = await parts.of_epoch(tx, export_id, row.epoch)
        found = [part for part in made if part.object_key and manifests.name_of(part) == name]
        if not found:
            raise BulkExportMissing
        part = found[0]
        end = part.size_bytes if end is None else min(end, part.size_bytes)
        if not (0 <= start < end or start == end == part.size_bytes == 0):
            raise RangeInvalid
        if start == 0:
            await note(tx, viewer, "bulk_export.fetched", export_id, details={"file": name})
    chunks = _chunks(platform, part.object_key, start, end)
    return File(name, part.size_bytes, bytes(part.sha256), start, end, chunks)


async def _chunks(platform: Platform, key: str, start: int, end: int) -> AsyncIterator[bytes]:
    for at in range(start, end, READ_BYTES):
        yield await platform.blobs.get_range(key, at, min(READ_BYTES, end - at))


def _require(viewer: Viewer) -> None:
    if viewer.actor is not Actor.SYSTEM:
        viewer.require_scope(EXPORT_SCOPE)


def is_over(status: BulkStatus) -> bool:
    """Whether nothing more is made of it."""
    return status in BULK_SETTLED
