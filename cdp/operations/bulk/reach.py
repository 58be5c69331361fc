"""How an erasure reaches bulk exports: nobody is erased while a file we still offer has them.

A snapshot taken after somebody asked for erasure leaves them out. Older ones may hold them: their finished parts are
rewritten and their manifests issued anew; one that is still being made is waited for, until its part of them is done.
Source: GDPR art. 17 and 19.
"""

import json
from collections.abc import Collection
from typing import Any
from uuid import UUID

from sqlalchemy import BindParameter, ColumnElement, Row, ScalarSelect, and_, exists, func, or_, select, update

from cdp.access.viewer import SYSTEM
from cdp.core.db import Role, Tx
from cdp.core.ids import CustomerId, RequestId
from cdp.core.platform import Platform
from cdp.core.sign import canonical
from cdp.operations import lineage
from cdp.operations.bulk import finishing, manifests, parts, rewriting, states
from cdp.tables.bulk import BULK_OVER, BulkStatus, PartKind, PartStatus, bulk_export, bulk_part
from cdp.tables.request import RequestStatus, RequestType, privacy_request


async def forget(platform: Platform, request_id: RequestId, customer_id: CustomerId) -> bool:
    """Take somebody who is being erased out of every export that may hold them; call it before their rows go.

    False while one of them is still being made or written anew: call it again. Doing it again after that finds nothing.
    Others who are leaving at the same time are taken out of the same files, so that these are not written for each.
    """
    async with platform.db.transaction(Role.WORKER) as tx:
        concerned = await _concerned(tx, request_id)
        leaving = await _leaving(tx) if concerned else []
        # An export that is older than a merge has them under the id they had then.
        names = [customer_id, *(await lineage.known_as(tx, customer_id) if concerned else [])]
    is_done = True
    for row in concerned:  # each has files of its own
        for name in names:
            is_done = await _forget_in(platform, row, name, leaving) and is_done
    return is_done


async def _leaving(tx: Tx) -> list[UUID]:
    """Everybody whose erasure can not be undone any more and has not come to our own rows."""
    theirs = select(privacy_request.c.customer_id).where(
        privacy_request.c.type == RequestType.ERASURE,
        privacy_request.c.status.in_((RequestStatus.ERASING, RequestStatus.VERIFYING)),
        privacy_request.c.customer_id.is_not(None),
    )
    return [row[0] for row in await tx.all(theirs.union_all(lineage.merged_into(theirs)))]


def alive(request_id: RequestId | BindParameter[UUID]) -> ScalarSelect[int]:
    """How many finished exports may once have had the person, and are still offered."""
    offered = (bulk_export.c.status == BulkStatus.COMPLETED, _older(request_id))
    return select(func.count()).where(*offered).scalar_subquery()


def _older(request_id: RequestId | BindParameter[UUID]) -> ColumnElement[bool]:
    """A snapshot that may be older than the request."""
    asked = select(privacy_request.c.requested_at).where(privacy_request.c.id == request_id).scalar_subquery()
    return or_(bulk_export.c.snapshot_at.is_(None), bulk_export.c.snapshot_at <= asked + finishing.OVERLAP)


def is_any(request_id: BindParameter[UUID]) -> ColumnElement[bool]:
    """Whether ``forget`` would have anything to look at."""
    return exists().where(_may_have(request_id))


async def _concerned(tx: Tx, request_id: RequestId) -> list[Row[Any]]:
    """Exports with files whose snapshot may be older than the request."""
    return [*await tx.all(select(bulk_export).where(_may_have(request_id)))]


def _may_have(request_id: RequestId | BindParameter[UUID]) -> ColumnElement[bool]:
    older = _older(request_id)
    standing = bulk_export.c.status.in_((BulkStatus.RUNNING, BulkStatus.CANCELLING, BulkStatus.COMPLETED))
    unswept = and_(bulk_export.c.status.in_(BULK_OVER), bulk_export.c.swept_at.is_(None))
    return or_(and_(standing, older), unswept)


async def _forget_in(platform: Platform, row: Row[Any], customer_id: CustomerId, leaving: Collection[UUID]) -> bool:
    async with platform.db.transaction(Role.WORKER) as tx:
        is_held = await parts.is_any_held(tx, row.id)
        is_made = await _is_made(tx, row, customer_id)
    if row.status in BULK_OVER | {BulkStatus.CANCELLING}:
        if not is_held and row.status in BULK_OVER:
            await finishing.remove_files(platform, row.id)
        return not is_held and row.status in BULK_OVER
    if not is_made:
        return False
    if not await rewriting.take_out(platform, row, [customer_id], along=leaving):
        return False
    if row.status is BulkStatus.COMPLETED:
        await _issue_anew(platform, row.id)
    return True


async def _is_made(tx: Tx, row: Row[Any], customer_id: UUID) -> bool:
    """Whether the part of this customer is written, so that nothing of them can come later."""
    covering = and_(
        or_(bulk_part.c.lower_id.is_(None), bulk_part.c.lower_id <= customer_id),
        or_(bulk_part.c.upper_id.is_(None), bulk_part.c.upper_id > customer_id),
    )
    open_ = select(bulk_part.c.id).where(
        bulk_part.c.bulk_export_id == row.id,
        bulk_part.c.kind == PartKind.OUTPUT,
        bulk_part.c.status != PartStatus.DONE,
        covering,
    )
    return row.snapshot_name is not None and await tx.scalar(open_.limit(1)) is None


async def _issue_anew(platform: Platform, export_id: UUID) -> None:
    """Sign a manifest over what the files are now, unless it says so already."""
    async with platform.db.transaction(Role.WORKER) as tx:
        row = await states.find(tx, export_id, lock=True)
        if row is None or row.status is not BulkStatus.COMPLETED:
            return
        made = await parts.of_epoch(tx, export_id, row.epoch)
        said = json.loads(row.manifest)
        named = {one["sha256"] for one in (*said["output"], *said["deleted"])}
        if named == {bytes(one.sha256).hex() for one in made}:
            return
        signed = canonical(manifests.document(platform, row, made, revision=row.revision + 1))
        values = finishing.manifest_values(signed, made)
        await tx.execute(update(bulk_export).where(bulk_export.c.id == export_id).values(values))
        await states.touch(tx, export_id)
        await states.note(tx, SYSTEM, "bulk_export.reissued", export_id, details={"revision": row.revision + 1})
    await finishing.publish(platform, export_id)
