"""Packages: begun when a deal is approved, issued as one signed list once every part is made, offered for one pull.

The package adds up to the person: of each cohort as it was frozen, delivered plus left out, with the reason, is
everybody. What was approved is the frozen list; if it is no longer the one that was approved, nothing is made.
"""

import asyncio
from collections import Counter
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, delete, func, insert, select, update

from cdp.access.viewer import SYSTEM, Viewer
from cdp.core.clock import iso
from cdp.core.db import Role, Tx
from cdp.core.errors import Conflict
from cdp.core.ids import new_id
from cdp.core.platform import Platform
from cdp.core.sign import Document
from cdp.operations.delivery import bag, missing, parts
from cdp.operations.delivery.bag import Payload
from cdp.operations.delivery.writing import cohort_folder, folder
from cdp.operations.transfers import freezing, states
from cdp.tables.bulk import PartStatus
from cdp.tables.delivery import (
    ChangeReason,
    transfer_file,
    transfer_package,
    transfer_part,
    transfer_pull,
)
from cdp.tables.oauth import oauth_client
from cdp.tables.transfer import TransferStatus, transfer, transfer_approval, transfer_customer

MISCOUNTED = "PACKAGE_MISCOUNTED"


class PackageMiscounted(Conflict):
    """Delivered and left out do not add up to what was frozen."""

    code = MISCOUNTED


class PackageNotReady(Conflict):
    """There is no package yet."""

    code = "PACKAGE_NOT_READY"


class PartNotFailed(Conflict):
    """No part of this package has failed."""

    code = "PART_NOT_FAILED"


async def lay_out(tx: Tx, deal_id: UUID, platform: Platform) -> None:
    """Lay out the parts of an approved deal, unless it is no longer what was approved. Raises TransferMoved."""
    row = await states.find(tx, deal_id, lock=True)
    states.require_state(row, TransferStatus.APPROVED)
    if await freezing.break_if_changed(tx, deal_id):
        return
    count = await parts.lay_out(tx, deal_id, rows=platform.settings.bulk_part_rows)
    await states.move(tx, row, TransferStatus.PACKAGING, details={"parts": count})


async def retry(tx: Tx, viewer: Viewer, platform: Platform, deal_id: UUID) -> int:
    """Let parts that have failed be made again; how many.

    Raises MissingScope, TransferRoleNeeded, StepUpRequired, TransferMissing, TransferMoved, PartNotFailed. The
    platform's operator may.
    """
    states.require_operator(viewer, platform)
    states.require_state(await states.find(tx, deal_id, lock=True), *parts.MAKING)
    again = await tx.execute(
        update(transfer_part)
        .where(transfer_part.c.transfer_id == deal_id, transfer_part.c.status == PartStatus.FAILED)
        .values(status=PartStatus.PENDING, attempt=0, code=None, next_run_at=func.now())
    )
    if not again.rowcount:
        raise PartNotFailed
    await tx.tell(states.MOVED)
    await states.note(tx, viewer, "transfer.parts_retried", deal_id, details={"parts": again.rowcount})
    return again.rowcount


async def issue(platform: Platform, deal_id: UUID) -> bool:
    """Sign and offer the package of a deal whose parts are all done; False when it is not whole, or issued already.

    Raises FreezeBroken, PackageMiscounted: then nothing is issued.
    """
    async with platform.db.transaction(Role.WORKER) as tx:
        if not await _is_due(tx, await states.find(tx, deal_id)):
            return False
        kept = {one.object_key for one in await parts.files_of(tx, deal_id)}
    await _tidy(platform, deal_id, kept)  # what workers left that died; nobody writes any more
    async with platform.db.transaction(Role.WORKER) as tx:
        row = await states.find(tx, deal_id, lock=True)
        if not await _is_due(tx, row):
            return False
        made, newest = await parts.of_deal(tx, deal_id), await latest(tx, deal_id)
        await freezing.require_whole(tx, row)
        await missing.note(tx, deal_id, made)
        revision = newest.revision + 1 if newest else 1
        files = await parts.files_of(tx, deal_id)
        document = await _document(tx, row, made, files, revision=revision, now=platform.clock())
        tags = await _tags(platform, row, document, files)
        package_id, hashed = new_id(), bag.sha256(tags[bag.PACKAGE].encode())
        values = {"id": package_id, "transfer_id": deal_id, "revision": revision, "tags": tags}
        # The clock, not the moment this transaction began: a part may have settled since.
        await tx.execute(
            insert(transfer_package).values(**values, sha256=bytes.fromhex(hashed), issued_at=func.clock_timestamp())
        )
        await offer(tx, platform, package_id)
        details = {"revision": revision, "sha256": hashed, "files": len(files), "delivered": document["delivered"]}
        await states.note(tx, SYSTEM, "transfer.packaged", deal_id, details=details)
        if row.status is TransferStatus.PACKAGING:
            await states.move(tx, row, TransferStatus.DELIVERING, wrote={"packaged_at": func.now()})
    return True


async def _is_due(tx: Tx, row: Row[Any]) -> bool:
    """Whether every part is done, and one of them since the newest package."""
    made = await parts.of_deal(tx, row.id)
    if row.status not in parts.MAKING or not made or any(one.status is not PartStatus.DONE for one in made):
        return False
    newest = await latest(tx, row.id)
    return newest is None or bool(newest.issued_at <= max(one.settled_at for one in made))


async def offer(tx: Tx, platform: Platform, package_id: UUID) -> None:
    """Offer a package for one pull, for a time; a spent or expired offer of it is replaced."""
    until = func.now() + platform.settings.transfer_pull_ttl
    again = {"offered_at": func.now(), "expires_at": until, "opened_at": None, "closed_at": None}
    renewed = update(transfer_pull).where(transfer_pull.c.package_id == package_id).values(again)
    if not (await tx.execute(renewed)).rowcount:
        await tx.execute(insert(transfer_pull).values(id=new_id(), package_id=package_id, expires_at=until))


async def offer_again(tx: Tx, viewer: Viewer, platform: Platform, deal_id: UUID) -> None:
    """Offer the newest package once more, because its pull broke off or was never begun.

    Raises MissingScope, TransferRoleNeeded, StepUpRequired, TransferMissing, TransferMoved, PackageNotReady. The
    platform's operator may.
    """
    states.require_operator(viewer, platform)
    row = await states.find(tx, deal_id, lock=True)
    states.require_state(row, TransferStatus.DELIVERING)
    package = await latest(tx, deal_id)
    if package is None or any(one.status is not PartStatus.DONE for one in await parts.of_deal(tx, deal_id)):
        raise PackageNotReady  # a file of it is being made again: another package follows
    await offer(tx, platform, package.id)
    await states.note(tx, viewer, "transfer.offered", row.id, details={"revision": package.revision})


async def latest(tx: Tx, deal_id: UUID) -> Row[Any] | None:
    """The newest package of a deal."""
    mine = select(transfer_package).where(transfer_package.c.transfer_id == deal_id)
    return await tx.first(mine.order_by(transfer_package.c.revision.desc()).limit(1))


async def clear_over(platform: Platform) -> bool:
    """Remove the files of deals that are over: signed for, recalled or cancelled; whether there were any."""
    over = (TransferStatus.COMPLETED, TransferStatus.RECALLED, TransferStatus.CANCELLED)
    wanted = select(transfer_file.c.transfer_id).join(transfer).where(transfer.c.status.in_(over)).distinct()
    async with platform.db.transaction(Role.WORKER) as tx:
        found = [row.transfer_id for row in await tx.all(wanted)]
    for deal_id in found:  # each has files of its own
        await _tidy(platform, deal_id, set())
        async with platform.db.transaction(Role.WORKER) as tx:
            await tx.execute(delete(transfer_file).where(transfer_file.c.transfer_id == deal_id))
            await states.note(tx, SYSTEM, "transfer.files_removed", deal_id)
    return bool(found)


async def _tidy(platform: Platform, deal_id: UUID, kept: set[str]) -> None:
    for key in await platform.blobs.keys(folder(deal_id)):
        if key not in kept:
            await platform.blobs.delete(key)


async def _document(
    tx: Tx, row: Row[Any], made: list[Row[Any]], files: list[Row[Any]], *, revision: int, now: datetime
) -> Document:
    cohorts = [await _cohort(tx, one, made) for one in await states.cohorts(tx, row.id)]  # a handful
    names = {part.id: part for part in made}
    client = await tx.scalar(select(oauth_client.c.client_id).where(oauth_client.c.id == row.acquirer_client_id))
    approvals = await tx.all(
        select(transfer_approval.c.staff_id, transfer_approval.c.approved_at)
        .where(transfer_approval.c.transfer_id == row.id, transfer_approval.c.sha256 == row.frozen_sha256)
        .order_by(transfer_approval.c.approved_at)
    )
    return {
        "kind": bag.KIND,
        "version": bag.VERSION,
        "reference": row.reference,
        "revision": revision,
        "issuedAt": iso(now),
        "terms": await freezing.terms(tx, row.id),
        "clientId": client,
        "keyFingerprint": bytes(row.key_fingerprint).hex(),
        "frozen": {
            "sha256": bytes(row.frozen_sha256).hex(),
            "at": iso(row.frozen_at),
            "approvals": [{"staff": str(one.staff_id), "at": iso(one.approved_at)} for one in approvals],
        },
        "counts": row.counts,
        "cohorts": cohorts,
        "delivered": sum(one["delivered"] for one in cohorts),
        "files": [_file(one, names[one.part_id]) for one in files],
    }


async def _cohort(tx: Tx, cohort: Row[Any], made: list[Row[Any]]) -> Document:
    """A cohort's sums. Raises PackageMiscounted."""
    member = transfer_customer.c
    frozen = await tx.scalar(select(func.count()).where(member.cohort_id == cohort.id))
    mine = [part for part in made if part.cohort_id == cohort.id]
    delivered, left_out = sum(part.row_count for part in mine), Counter[str]()
    for part in mine:
        left_out.update(part.left_out or {})
    if erased := await missing.count(tx, cohort.id, made):
        left_out[ChangeReason.ERASED.value] += erased
    if frozen != delivered + left_out.total():
        raise PackageMiscounted(cohort=cohort.name)
    return {
        "name": cohort.name,
        "folder": cohort_folder(cohort),
        "basis": cohort.basis.value,
        "purpose": cohort.purpose,
        "fields": list(cohort.fields),
        "frozen": frozen,
        "delivered": delivered,
        "leftOut": dict(sorted(left_out.items())),
    }


def _file(one: Row[Any], part: Row[Any]) -> Document:
    whose = {"people": bytes(one.people_sha256).hex()} if one.people_sha256 is not None else {}
    return {
        **whose,
        "name": one.name,
        "kind": one.kind.value,
        "snapshotAt": iso(part.snapshot_at),
        "rows": one.row_count,
        "bytes": one.plain_bytes,
        "sha256": bytes(one.plain_sha256).hex(),
        "encrypted": {"path": bag.path_of(one.name), "bytes": one.size_bytes, "sha256": bytes(one.sha256).hex()},
    }


async def _tags(platform: Platform, row: Row[Any], document: Document, files: list[Row[Any]]) -> dict[str, str]:
    payload = [Payload(bag.path_of(one.name), one.size_bytes, bytes(one.sha256).hex()) for one in files]
    info = bag.info(payload, seller=row.seller, reference=row.reference, date=document["issuedAt"][:10])
    described = {bag.DECLARATION: bag.BAGIT, bag.INFO: info, bag.MANIFEST: bag.manifest(payload)}
    sums = {name: bag.sha256(text.encode()) for name, text in described.items()}
    signed = await asyncio.to_thread(platform.signer.sign, {**document, "bag": sums})
    return bag.tags(described, signed)


async def stop(tx: Tx, deal_id: UUID, code: str) -> bool:
    """Write down why no package can be issued; False when it says so already."""
    said = update(transfer).where(transfer.c.id == deal_id, func.coalesce(transfer.c.code, "") != code)
    return bool((await tx.execute(said.values(code=code))).rowcount)


async def due(tx: Tx) -> tuple[list[UUID], list[UUID]]:
    """Deals to begin, and deals whose parts may all be done."""
    found = await tx.all(
        select(transfer.c.id, transfer.c.status).where(transfer.c.status.in_((TransferStatus.APPROVED, *parts.MAKING)))
    )
    approved = [row.id for row in found if row.status is TransferStatus.APPROVED]
    return approved, [row.id for row in found if row.status is not TransferStatus.APPROVED]
