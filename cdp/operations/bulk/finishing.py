"""The end of an export: who asked for erasure meanwhile is taken out, the manifest is signed, the state says so.

The manifest and the state change are one statement, so there is never one without the other, nor two. After the end
come expiry, destruction, and the removal of every file nobody vouches for.
"""

import hashlib
import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Row, delete, func, select, update

from cdp.core.db import Role, Tx
from cdp.core.platform import Platform
from cdp.core.sign import canonical
from cdp.operations import lineage
from cdp.operations.bulk import manifests, owners, parts, rewriting, states
from cdp.operations.bulk.states import move
from cdp.operations.bulk.writing import folder
from cdp.tables.bulk import BULK_OVER, BulkStatus, PartKind, PartStatus, bulk_export, bulk_part, customer_change
from cdp.tables.request import RequestStatus, RequestType, privacy_request

MANIFEST = "manifest.json"
# A request is dated when its transaction began, and seen when it committed.
OVERLAP = timedelta(minutes=10)
_CLAIMED = re.compile(r"[a-z]+-\d+-\d+\..*")

log = structlog.get_logger()

_ENDED = (RequestStatus.COMPLETED, RequestStatus.CANCELLED, RequestStatus.REFUSED, RequestStatus.FAILED)


async def may_be_given(tx: Tx, export_id: UUID, fence: int) -> bool:
    """Whether who asked for it may still have it; otherwise it has failed."""
    if await owners.may_have(tx, export_id):
        return True
    await move(tx, export_id, BulkStatus.RUNNING, BulkStatus.FAILED, code="OWNER_GONE", fence=fence)
    return False


async def finish(platform: Platform, export_id: UUID, fence: int) -> bool:
    """Complete an export whose parts are all done; False when it is no longer ours, or not whole."""
    async with platform.db.transaction(Role.WORKER) as tx:
        row = await _ours(tx, export_id, fence)
        late = await _asked_since(tx, row) if row is not None else []
    if row is None:
        return False
    if not await rewriting.take_out(platform, row, late):
        return False
    async with platform.db.transaction(Role.WORKER) as tx:
        row = await _ours(tx, export_id, fence)
        if row is None or not await may_be_given(tx, export_id, fence):
            return False
        made = await parts.of_epoch(tx, export_id, row.epoch)
        if len(made) != row.part_count or any(one.status is not PartStatus.DONE for one in made):
            return False
        if set(await _asked_since(tx, row)) - set(late):
            return False  # somebody has just asked for erasure: the next round takes them out too
        signed = canonical(manifests.document(platform, row, made, revision=1))
        values = {**manifest_values(signed, made), "expires_at": func.now() + platform.settings.bulk_ttl}
        done = await move(tx, export_id, BulkStatus.RUNNING, BulkStatus.COMPLETED, values=values, fence=fence)
    if done:
        await publish(platform, export_id)
    return done


def manifest_values(signed: bytes, made: Sequence[Row[Any]]) -> dict[str, object]:
    """Columns of an export that its manifest decides."""
    excluded = manifests.excluded_of(made)
    exported = sum(one.record_count for one in made if one.kind is PartKind.OUTPUT)
    return {
        "manifest": signed.decode(),
        "manifest_sha256": hashlib.sha256(signed).digest(),
        "revision": bulk_export.c.revision + 1,
        "record_count": exported,
        "selected": exported + sum(excluded.values()),
        "excluded": dict(excluded),
        "size_bytes": sum(one.size_bytes for one in made),
    }


async def publish(platform: Platform, export_id: UUID) -> None:
    """Put the manifest beside its files for who reads the store itself, and remove what is left of dead claims.

    It follows the state that says so, and is done again until the row knows of it. Rewritten files are their
    rewriter's: one that no manifest names yet may be named in a moment. Those of an older epoch are nobody's.
    """
    async with platform.db.transaction(Role.WORKER) as tx:
        row = await states.find(tx, export_id)
        made = await parts.of_epoch(tx, export_id, row.epoch) if row is not None else []
    if row is None or row.status is not BulkStatus.COMPLETED:
        return
    kept = {one.object_key for one in made}
    await platform.blobs.put(f"{folder(export_id)}{MANIFEST}", row.manifest.encode())
    here = f"{folder(export_id)}{row.epoch}/"
    for key in await platform.blobs.all_keys(folder(export_id)):
        name = PurePosixPath(key).name
        if key not in kept and (_CLAIMED.fullmatch(name) or (name != MANIFEST and not key.startswith(here))):
            await platform.blobs.delete(key)
    same = (bulk_export.c.id == export_id, bulk_export.c.revision == row.revision)
    async with platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(update(bulk_export).where(*same).values(published=row.revision))


async def unpublished(tx: Tx, *, limit: int) -> list[UUID]:
    """Finished exports whose manifest did not come to lie beside their files: who finished them died."""
    found = select(bulk_export.c.id).where(
        bulk_export.c.status == BulkStatus.COMPLETED, bulk_export.c.published < bulk_export.c.revision
    )
    return [row.id for row in await tx.all(found.limit(limit))]


async def _ours(tx: Tx, export_id: UUID, fence: int) -> Row[Any] | None:
    row = await states.find(tx, export_id, lock=True)
    if row is None or row.status is not BulkStatus.RUNNING or row.fence != fence:
        return None
    return row


async def _asked_since(tx: Tx, row: Row[Any]) -> list[UUID]:
    """Everybody who asked for erasure since the snapshot; it has left out those who had asked before."""
    asked = select(privacy_request.c.customer_id).where(
        privacy_request.c.type == RequestType.ERASURE,
        privacy_request.c.status.not_in(_ENDED),
        privacy_request.c.customer_id.is_not(None),
        privacy_request.c.requested_at > row.snapshot_at - OVERLAP,
    )
    return [found[0] for found in await tx.all(asked.union_all(lineage.merged_into(asked)))]


async def settle_cancelling(tx: Tx, *, limit: int) -> int:
    """Cancelling ends once no worker writes any more: their heartbeats stop them, or their leases end."""
    found = await tx.all(select(bulk_export.c.id).where(bulk_export.c.status == BulkStatus.CANCELLING).limit(limit))
    ended = 0
    for row in found:  # a handful, each with its own audit event
        if not await parts.is_any_held(tx, row.id):
            ended += await move(tx, row.id, BulkStatus.CANCELLING, BulkStatus.CANCELLED)
    return ended


async def expire_due(tx: Tx, *, limit: int) -> int:
    """End every export whose time is over."""
    late = select(bulk_export.c.id).where(
        bulk_export.c.status == BulkStatus.COMPLETED, bulk_export.c.expires_at <= func.now()
    )
    found = await tx.all(late.limit(limit))
    for row in found:  # each one writes its own audit event
        await move(tx, row.id, BulkStatus.COMPLETED, BulkStatus.EXPIRED)
    return len(found)


async def forget_changes(tx: Tx, platform: Platform) -> int:
    """Drop changes nobody may continue from any more; a day later than that, for transactions that ran long."""
    oldest = func.now() - platform.settings.bulk_changes_kept - func.make_interval(0, 0, 0, 1)
    gone = await tx.execute(delete(customer_change).where(customer_change.c.recorded_at < oldest))
    return gone.rowcount


async def unswept(tx: Tx, *, limit: int) -> list[UUID]:
    """Exports that are over and may still have files; not while a worker may be writing one."""
    found = select(bulk_export.c.id).where(bulk_export.c.status.in_(BULK_OVER), bulk_export.c.swept_at.is_(None))
    rows = await tx.all(found.limit(limit))
    return [row.id for row in rows if not await parts.is_any_held(tx, row.id)]


async def remove_files(platform: Platform, export_id: UUID) -> None:
    """Remove every file of an export that is over, and the values of its query; doing it again is fine."""
    for key in await platform.blobs.all_keys(folder(export_id)):
        await platform.blobs.delete(key)
    async with platform.db.transaction(Role.WORKER) as tx:
        over = update(bulk_export).where(bulk_export.c.id == export_id, bulk_export.c.status.in_(BULK_OVER))
        await tx.execute(over.values(swept_at=func.now(), variables=None, manifest=None))
        await tx.execute(update(bulk_part).where(bulk_part.c.bulk_export_id == export_id).values(object_key=None))
        await move(tx, export_id, BulkStatus.EXPIRED, BulkStatus.DESTROYED)
