"""Ask for a bulk export: everything that can be wrong is said now, not at night."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from cdp.access.bulk import EXPORT_SCOPE
from cdp.access.viewer import Actor, Viewer
from cdp.compiler.bulk import BulkCompiler
from cdp.core.db import Role, Tx
from cdp.core.errors import InvalidInput
from cdp.core.ids import new_id, new_reference
from cdp.core.platform import Platform
from cdp.operations import values
from cdp.operations.bulk import pseudonyms, watermarks
from cdp.operations.bulk.queries import Asked, viewer_document
from cdp.operations.bulk.states import (
    WAITING,
    IdempotencyConflict,
    PurposeRequired,
    note,
    owner_of,
    require_fresh_member,
)
from cdp.tables.bulk import BulkCompression, BulkFormat, BulkStatus, bulk_export
from cdp.tables.policy import purpose

LONGEST_NAME = 180


class PurposeUnknown(InvalidInput):
    """There is no such purpose."""

    code = "PURPOSE_UNKNOWN"


class CompressionRefused(InvalidInput):
    """Parquet packs its columns by itself: ask for no compression."""

    code = "COMPRESSION_REFUSED"


class NotifyUrlRefused(InvalidInput):
    """A webhook is an https address."""

    code = "NOTIFY_URL_REFUSED"


@dataclass(frozen=True)
class Wanted:
    """What is asked for. ``recipient`` names who gets it, so that pseudonyms stay the same; default: who asks."""

    query: str
    purpose: str | None
    variables: Mapping[str, Any] | None = None
    operation_name: str | None = None
    format: BulkFormat = BulkFormat.NDJSON
    compression: BulkCompression = BulkCompression.NONE
    personal: bool = False
    recipient: str | None = None
    since: str | None = None
    idempotency_key: str | None = None
    notify_url: str | None = None

    def hash(self) -> bytes:
        """The same for the same wish."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True, ensure_ascii=False).encode()).digest()


@dataclass(frozen=True)
class KickedOff:
    """The export; ``is_new`` false when this idempotency key had asked for it before."""

    id: UUID
    reference: str
    is_new: bool


async def run_query(platform: Platform, compiler: BulkCompiler, viewer: Viewer, wanted: Wanted) -> KickedOff:
    """Ask for an export; a personal one needs a fresh sign-in, and waits for a second person's approval.

    A program has no sign-in: that second person's is the fresh one. Raises MissingScope, StepUpRequired,
    PurposeRequired, PurposeUnknown, FullExportNeeded, IdempotencyConflict, and what is wrong with the query:
    DocumentRefused, BulkQueryRefused, PersonalFieldsRefused, Forbidden.
    """
    if viewer.actor is not Actor.SYSTEM:
        viewer.require_scope(EXPORT_SCOPE)
    if wanted.personal:
        require_fresh_member(platform, viewer)
    owner = owner_of(viewer)
    _check(platform, wanted)
    async with platform.db.transaction(Role.WORKER) as tx:
        before = await _before(tx, owner, wanted)
        if before is not None:
            return before
        row = await tx.first(select(purpose).where(purpose.c.code == wanted.purpose))
        if row is None:
            raise PurposeUnknown
        recipient_id = await pseudonyms.recipient(tx, platform.sealer, _recipient(owner, wanted))
        asked = Asked(
            viewer=viewer,
            document=wanted.query,
            operation_name=wanted.operation_name,
            variables=wanted.variables,
            purpose=row.code,
            needs_consent=row.needs_consent,
            personal=wanted.personal,
            recipient_id=recipient_id,
        )
        _, fingerprint = asked.compiled(compiler, incremental=wanted.since is not None, format_=wanted.format)
        since = await _since(tx, platform, wanted, fingerprint)
        return await _write(tx, owner, wanted, asked, fingerprint=fingerprint, since=since)


def _check(platform: Platform, wanted: Wanted) -> None:
    if not wanted.purpose:
        raise PurposeRequired
    if wanted.format is BulkFormat.PARQUET and wanted.compression is not BulkCompression.NONE:
        raise CompressionRefused
    allowed = ("https://", "http://") if platform.settings.allow_private_targets else ("https://",)
    if wanted.notify_url is not None and not wanted.notify_url.startswith(allowed):
        raise NotifyUrlRefused


def _recipient(owner: str, wanted: Wanted) -> str:
    """Names are the owner's own: nobody gets at another's pseudonyms by calling themselves like them."""
    name = values.optional(lambda text: values.text(text, "recipient", longest=60), wanted.recipient)
    return f"{owner}/{name}" if name else owner


async def _before(tx: Tx, owner: str, wanted: Wanted) -> KickedOff | None:
    """What this idempotency key asked for before. Raises IdempotencyConflict when that was something else."""
    if wanted.idempotency_key is None:
        return None
    columns = (bulk_export.c.id, bulk_export.c.reference, bulk_export.c.input_hash)
    row = await tx.first(
        select(*columns).where(bulk_export.c.owner == owner, bulk_export.c.idempotency_key == wanted.idempotency_key)
    )
    if row is None:
        return None
    if bytes(row.input_hash) != wanted.hash():
        raise IdempotencyConflict
    return KickedOff(row.id, row.reference, is_new=False)


async def _since(tx: Tx, platform: Platform, wanted: Wanted, fingerprint: bytes) -> int | None:
    if wanted.since is None:
        return None
    return watermarks.require_fit(
        watermarks.read(platform.sealer, wanted.since),
        await watermarks.cluster(tx),
        fingerprint.hex(),
        now=platform.clock(),
        kept=platform.settings.bulk_changes_kept,
    )


async def _write(
    tx: Tx, owner: str, wanted: Wanted, asked: Asked, *, fingerprint: bytes, since: int | None
) -> KickedOff:
    export_id, reference = new_id(), new_reference("BE")
    status = BulkStatus.AWAITING_APPROVAL if wanted.personal else BulkStatus.QUEUED
    made = await tx.scalar(
        insert(bulk_export)
        .values(
            id=export_id,
            reference=reference,
            status=status,
            owner=owner,
            staff_id=asked.viewer.staff_id,
            viewer=viewer_document(asked.viewer),
            document=asked.document,
            operation_name=asked.operation_name,
            variables=asked.variables,
            query_hash=fingerprint,
            purpose=asked.purpose,
            needs_consent=asked.needs_consent,
            recipient_id=asked.recipient_id,
            format=wanted.format,
            compression=wanted.compression,
            personal=wanted.personal,
            since_xid=since,
            idempotency_key=wanted.idempotency_key,
            input_hash=wanted.hash(),
            notify_url=wanted.notify_url,
        )
        .on_conflict_do_nothing(index_elements=[bulk_export.c.owner, bulk_export.c.idempotency_key])
        .returning(bulk_export.c.id)
    )
    if made is None:  # the same wish came twice at once
        before = await _before(tx, owner, wanted)
        assert before is not None, "who was faster has committed"
        return before
    if status is BulkStatus.QUEUED:
        await tx.tell(WAITING)
    details = {"purpose": asked.purpose, "personal": asked.personal, "incremental": since is not None}
    await note(tx, asked.viewer, "bulk_export.requested", export_id, details={**details, "format": wanted.format.value})
    return KickedOff(export_id, reference, is_new=True)
