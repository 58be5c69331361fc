"""Packages a customer takes out: prepared, ready, fetched, revoked, expired; and then gone with their key.

    preparing -> ready -> expired | revoked        (revoked also while preparing; failed if packing can not succeed)

A package is sealed under a key of its own. Removing one means destroying that key first: whatever copy of the file is
still somewhere, in a bucket's versions or in a backup, can not be read any more.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, func, insert, select, update

from cdp.access.viewer import SYSTEM, Viewer
from cdp.core.db import Role, Tx
from cdp.core.errors import Conflict, InvalidInput, NotFound
from cdp.core.ids import CustomerId, ExportId, RequestId, new_id
from cdp.core.keys import KeyGone
from cdp.core.platform import Platform
from cdp.core.seal import CHUNK_BYTES, HEADER_BYTES, TAG_BYTES, Sealer, open_chunk, open_header
from cdp.operations import audit
from cdp.operations.packages import choices
from cdp.operations.packages.choices import EVERYTHING, Choices
from cdp.tables.export import EXPORT_TRANSITIONS, ExportStatus, export
from cdp.tables.request import privacy_request

SCOPE = "privacy:export"
REMOVE = "remove_export"
OVER = (ExportStatus.REVOKED, ExportStatus.EXPIRED, ExportStatus.FAILED)
# Sealed chunks read from the store at once: bounds the memory of one download.
READ_CHUNKS = 16


class ExportNotReady(Conflict):
    """This data copy is not ready yet."""

    code = "EXPORT_NOT_READY"


class ExportGone(NotFound):
    """This data copy was removed; make it again."""

    code = "EXPORT_GONE"
    status = 410


class RangeInvalid(InvalidInput):
    """This part of the file does not exist."""

    code = "RANGE_NOT_SATISFIABLE"
    status = 416


@dataclass(frozen=True)
class Download:
    """A package being fetched: plain bytes ``start`` up to (not including) ``end`` of ``size_bytes``."""

    filename: str
    size_bytes: int
    sha256: bytes
    start: int
    end: int
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True)
class Package:
    """What packing came to; the columns of a ready export."""

    object_key: str
    size_bytes: int
    sha256: bytes
    files: Sequence[Mapping[str, object]]
    missing: Sequence[Mapping[str, object]]
    retry_at: datetime | None = None


@dataclass(frozen=True)
class ExportRow:
    """An export as the engine needs it."""

    id: ExportId
    request_id: RequestId
    customer_id: CustomerId | None
    reference: str
    status: ExportStatus


def key_name(export_id: UUID) -> str:
    """Name of the package's key in the key store."""
    return f"export-{export_id}"


async def prepare(
    tx: Tx,
    sealer: Sealer,
    customer_id: CustomerId | None,
    request_id: RequestId,
    *,
    reference: str,
    chosen: Choices = EVERYTHING,
) -> ExportId:
    """Write the package that a request will fill; it shares the request's reference."""
    export_id = ExportId(new_id())
    secret = chosen.passphrase
    await tx.execute(
        insert(export).values(
            id=export_id,
            customer_id=customer_id,
            request_id=request_id,
            reference=reference,
            key_id=key_name(export_id),
            choices=None if chosen == EVERYTHING else chosen.document(),
            passphrase_sealed=None if secret is None else sealer.seal(secret.encode(), _context(export_id)),
        )
    )
    return export_id


def _context(export_id: UUID) -> str:
    return f"export:{export_id}"


async def choices_of(tx: Tx, sealer: Sealer, request_id: UUID) -> Choices:
    """What was chosen for the package of a request; as the worker."""
    chosen = select(export.c.id, export.c.choices, export.c.passphrase_sealed).where(export.c.request_id == request_id)
    row = await tx.first(chosen)
    if row is None:
        return EVERYTHING
    secret = row.passphrase_sealed
    return choices.read(row.choices, sealer.open(bytes(secret), _context(row.id)).decode() if secret else None)


async def of_request(tx: Tx, request_id: UUID) -> ExportRow | None:
    """The package of a request."""
    row = await tx.first(
        select(export.c.id, export.c.customer_id, export.c.reference, export.c.status).where(
            export.c.request_id == request_id
        )
    )
    return (
        ExportRow(ExportId(row.id), RequestId(request_id), row.customer_id, row.reference, row.status) if row else None
    )


async def _move(
    tx: Tx,
    viewer: Viewer,
    export_id: UUID,
    old: ExportStatus,
    new: ExportStatus,
    *,
    values: Mapping[str, object] | None = None,
) -> bool:
    """Change the status, if it still is ``old``; writes the audit event."""
    if new not in EXPORT_TRANSITIONS[old]:
        raise ValueError(f"an export never goes from {old} to {new}")
    values = {**(values or {}), "passphrase_sealed": None}  # it locks one package, and no other is made
    moved = await tx.first(
        update(export)
        .where(export.c.id == export_id, export.c.status == old)
        .values({**values, "status": new})
        .returning(export.c.request_id)
    )
    if moved is None:
        return False
    subject_ref = await tx.scalar(select(privacy_request.c.subject_ref).where(privacy_request.c.id == moved.request_id))
    await audit.record(
        tx, viewer, f"export.{new.value}", subject_ref=subject_ref, object_type="Export", object_id=export_id
    )
    if new in OVER:
        tx.ring(REMOVE, export_id)
    return True


async def ready(tx: Tx, export_id: ExportId, package: Package, *, ttl: timedelta) -> datetime | None:
    """Offer a package; returns when it expires, None when it was revoked meanwhile."""
    moved = await _move(
        tx,
        SYSTEM,
        export_id,
        ExportStatus.PREPARING,
        ExportStatus.READY,
        values={
            "object_key": package.object_key,
            "size_bytes": package.size_bytes,
            "sha256": package.sha256,
            "files": list(package.files),
            "missing": list(package.missing),
            "retry_at": package.retry_at,
            "ready_at": func.now(),
            "expires_at": func.now() + ttl,
        },
    )
    if not moved:
        return None
    until: datetime = await tx.scalar(select(export.c.expires_at).where(export.c.id == export_id))
    return until


async def revoke_of(tx: Tx, request_id: RequestId, *, viewer: Viewer = SYSTEM) -> None:
    """Withdraw the package of a request, ready or not."""
    row = await of_request(tx, request_id)
    if row is not None and ExportStatus.REVOKED in EXPORT_TRANSITIONS[row.status]:
        await _move(tx, viewer, row.id, row.status, ExportStatus.REVOKED)


async def revoke(tx: Tx, viewer: Viewer, reference: str) -> ExportId:
    """Remove the viewer's package now ("Remove now"); the file and its key follow at once.

    Raises MissingScope, NotFound for somebody else's, ExportGone for one that is gone.
    """
    viewer.require_scope(SCOPE)
    row = await tx.first(
        select(export.c.id, export.c.status).where(
            export.c.reference == reference, export.c.customer_id == viewer.subject
        )
    )
    if row is None:
        raise NotFound
    if ExportStatus.REVOKED not in EXPORT_TRANSITIONS[row.status]:
        raise ExportGone
    if not await _move(tx, viewer, row.id, row.status, ExportStatus.REVOKED):
        raise ExportGone
    return ExportId(row.id)


async def expire_due(tx: Tx, *, limit: int) -> int:
    """End every package whose time is over."""
    late = select(export.c.id).where(export.c.status == ExportStatus.READY, export.c.expires_at <= func.now())
    found = await tx.all(late.limit(limit))
    for row in found:  # each one writes its own audit event
        await _move(tx, SYSTEM, row.id, ExportStatus.READY, ExportStatus.EXPIRED)
    return len(found)


async def removable(tx: Tx, *, limit: int) -> list[UUID]:
    """Packages that are over but whose key was not destroyed yet."""
    found = select(export.c.id).where(export.c.status.in_(OVER), export.c.key_id.is_not(None))
    return [row.id for row in await tx.all(found.limit(limit))]


async def remove(platform: Platform, export_id: UUID) -> None:
    """Destroy the key of a package that is over, then its file; doing it again is fine."""
    async with platform.db.transaction(Role.WORKER) as tx:
        over = select(export.c.id, export.c.status, export.c.key_id).where(export.c.id == export_id)
        row = await tx.first(over.where(export.c.status.in_(OVER)))
    if row is None or row.key_id is None:
        return
    platform.keys.destroy(row.key_id)
    for object_key in await platform.blobs.all_keys(folder(export_id)):
        await platform.blobs.delete(object_key)
    async with platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(update(export).where(export.c.id == export_id).values(key_id=None, object_key=None))


def folder(export_id: UUID) -> str:
    """Where the files of a package lie; a redone packing writes a file beside the older one."""
    return f"exports/{export_id}/"


async def download(
    platform: Platform, viewer: Viewer, reference: str, *, start: int = 0, end: int | None = None, part: int = 0
) -> Download:
    """Open the viewer's own package for reading, whole or in part (RFC 9110, 14); counted when read from its start.

    ``part`` numbers the parts it is cut into, from 1; 0 is the whole. Start and end are those of the part.

    Raises MissingScope, StepUpRequired, NotFound for somebody else's, ExportNotReady, ExportGone, RangeInvalid.
    """
    subject = viewer.subject
    viewer.require_scope(SCOPE)
    viewer.require_fresh(platform.clock(), max_age_s=platform.settings.step_up_max_age_s)
    mine = (export.c.reference == reference) & (export.c.customer_id == subject)
    async with platform.db.transaction(viewer.role, subject=subject) as tx:
        row = await _offered(tx, mine)
        piece = _piece(row, part, start=start, end=end)
        await _count(tx, viewer, row, start=piece.base + piece.start, end=piece.base + piece.end)
    return await _opened(platform, row, piece)


async def download_of(platform: Platform, request_id: UUID) -> Download:
    """Open the package of a request for somebody who has just proven to be its person; as the worker.

    Raises NotFound, ExportNotReady, ExportGone.
    """
    async with platform.db.transaction(Role.WORKER) as tx:
        row = await _offered(tx, export.c.request_id == request_id)
        piece = _piece(row, 0, start=0, end=None)
        await _count(tx, SYSTEM, row, start=0, end=piece.end)
    return await _opened(platform, row, piece)


@dataclass(frozen=True)
class _Piece:
    """Bytes ``start`` to ``end`` of a part that has ``size_bytes`` and begins at ``base`` of the package."""

    name: str
    base: int
    size_bytes: int
    start: int
    end: int


def part_count(chosen: Mapping[str, Any] | None, size_bytes: int) -> int:
    """How many parts a package is offered in; 0 when it is one file."""
    part_bytes = choices.read(chosen, None).part_bytes
    return -(-size_bytes // part_bytes) if part_bytes and size_bytes > part_bytes else 0


def piece_bytes(chosen: Mapping[str, Any] | None, size_bytes: int, part: int) -> int:
    """Bytes of one part, or of the whole; 0 for a part that is not there."""
    if part == 0:
        return size_bytes
    part_bytes = choices.read(chosen, None).part_bytes or size_bytes
    return max(0, min(part_bytes, size_bytes - (part - 1) * part_bytes)) if part > 0 else 0


def file_name(reference: str, chosen: Mapping[str, Any] | None, part: int) -> str:
    """What a package, or a part of it, is called where it is saved."""
    locked = ".age" if (chosen or {}).get("lock") else ""
    return f"{reference}.zip{locked}" + (f".{part:03d}" if part else "")


def _piece(row: Row[Any], part: int, *, start: int, end: int | None) -> _Piece:
    """Raises RangeInvalid for what is not there."""
    name, size = file_name(row.reference, row.choices, part), piece_bytes(row.choices, int(row.size_bytes), part)
    base = (part - 1) * (choices.read(row.choices, None).part_bytes or 0) if part else 0
    end = size if end is None else min(end, size)
    if not 0 <= start < end:
        raise RangeInvalid
    return _Piece(name, base, size, start, end)


async def _offered(tx: Tx, where: ColumnElement[bool]) -> Row[Any]:
    """A package that can be fetched."""
    row = await tx.first(
        select(
            export.c.id,
            export.c.reference,
            export.c.request_id,
            export.c.status,
            export.c.object_key,
            export.c.key_id,
            export.c.size_bytes,
            export.c.sha256,
            export.c.choices,
            (export.c.expires_at <= func.now()).label("late"),
        ).where(where)
    )
    if row is None:
        raise NotFound
    if row.status is ExportStatus.PREPARING:
        raise ExportNotReady
    if row.status is not ExportStatus.READY or row.late:
        raise ExportGone
    return row


async def _opened(platform: Platform, row: Row[Any], piece: _Piece) -> Download:
    try:
        key = platform.keys.get(row.key_id)
    except KeyGone as error:
        raise ExportGone from error
    start, end = piece.base + piece.start, piece.base + piece.end
    chunks = _plain(platform, key, row.object_key, size_bytes=row.size_bytes, start=start, end=end)
    return Download(piece.name, piece.size_bytes, bytes(row.sha256), piece.start, piece.end, chunks)


async def _count(tx: Tx, viewer: Viewer, row: Row[Any], *, start: int, end: int) -> None:
    if start == 0:
        counted = update(export).where(export.c.id == row.id)
        await tx.execute(counted.values(download_count=export.c.download_count + 1))
    subject_ref = await tx.scalar(select(privacy_request.c.subject_ref).where(privacy_request.c.id == row.request_id))
    await audit.record(
        tx,
        viewer,
        "export.downloaded",
        subject_ref=subject_ref,
        object_type="Export",
        object_id=row.id,
        details={"start": start, "end": end},
    )


async def _plain(
    platform: Platform, key: bytes, object_key: str, *, size_bytes: int, start: int, end: int
) -> AsyncIterator[bytes]:
    """Open the sealed chunks that hold ``start`` to ``end``, some at a time. Raises Unsealable on any change."""
    prefix = open_header(await platform.blobs.get_range(object_key, 0, HEADER_BYTES))
    final = (size_bytes - 1) // CHUNK_BYTES
    sealed_bytes = CHUNK_BYTES + TAG_BYTES
    first, last = start // CHUNK_BYTES, (end - 1) // CHUNK_BYTES
    for index in range(first, last + 1, READ_CHUNKS):
        until = min(index + READ_CHUNKS - 1, last)
        length = (until - index + 1) * sealed_bytes
        if until == final:
            length -= sealed_bytes - (size_bytes - final * CHUNK_BYTES + TAG_BYTES)
        sealed = await platform.blobs.get_range(object_key, HEADER_BYTES + index * sealed_bytes, length)
        for number in range(index, until + 1):
            at = (number - index) * sealed_bytes
            plain = open_chunk(key, prefix, number, sealed[at : at + sealed_bytes], last=number == final)
            offset = number * CHUNK_BYTES
            yield plain[max(0, start - offset) : end - offset]
