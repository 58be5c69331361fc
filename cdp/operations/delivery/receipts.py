"""Receipts: the acquirer says file by file what it got; what fits is recorded, what does not is refused and recorded.

A receipt speaks of one package and names the hash of every file. A file it rejects is made again alone, with the part
it belongs to, and a new package is issued; once nothing is rejected the deal is completed and its people are marked.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, and_, case, exists, func, insert, select, update

from cdp.access.viewer import Viewer
from cdp.core.db import Role, Tx
from cdp.core.errors import Conflict, PlatformError
from cdp.core.ids import new_id
from cdp.core.platform import Platform
from cdp.operations import audit
from cdp.operations.delivery import bag, packages, parts, pulling, statements
from cdp.operations.delivery.pulling import Party
from cdp.operations.transfers import states, stopping
from cdp.tables.bulk import PartStatus
from cdp.tables.delivery import (
    ReceiptKind,
    transfer_omission,
    transfer_part,
    transfer_pull,
    transfer_receipt,
)
from cdp.tables.transfer import ReceiptState, TransferStatus, transfer_customer

ACCEPTED, REJECTED = "accepted", "rejected"


class ReceiptMismatch(Conflict):
    """This receipt speaks of other files, hashes or counts than were delivered."""

    code = "RECEIPT_MISMATCH"


@dataclass(frozen=True)
class Taken:
    """What a receipt came to."""

    sha256: str
    accepted: int
    rejected: int


async def take(platform: Platform, viewer: Viewer, reference: str, statement: str) -> Taken:
    """Take the receipt of the newest package. Raises StatementInvalid, ReceiptMismatch, PackageNotReady, like party.

    The same receipt again is fine. A refused one is recorded too.
    """
    try:
        async with platform.db.transaction(Role.WORKER) as tx:
            return await _take(tx, await pulling.party(tx, viewer, reference), statement)
    except (ReceiptMismatch, statements.StatementInvalid) as refusal:
        await refused(platform, viewer, reference, refusal, statement)
        raise


async def refused(platform: Platform, viewer: Viewer, reference: str, refusal: PlatformError, statement: str) -> None:
    """Record a statement that was not taken, by its hash."""
    async with platform.db.transaction(Role.WORKER) as tx:
        deal_id = await states.id_of(tx, reference)
        await audit.record(
            tx,
            viewer,
            "transfer.statement_refused",
            subject_ref=None,
            object_type=states.OBJECT,
            object_id=deal_id,
            outcome="refused",
            code=refusal.code,
            details={"sha256": bag.sha256(statement.encode())},
        )


async def _take(tx: Tx, mine: Party, statement: str) -> Taken:
    deal = await states.find(tx, mine.deal.id, lock=True)
    said, signer = statements.read(statement, mine.jwks)
    hashed = bag.sha256(statement.encode())
    known = await tx.first(
        select(transfer_receipt).where(
            transfer_receipt.c.transfer_id == deal.id, transfer_receipt.c.sha256 == bytes.fromhex(hashed)
        )
    )
    if known is not None:
        return Taken(hashed, known.accepted, known.rejected)
    states.require_state(deal, TransferStatus.DELIVERING)
    package = await packages.latest(tx, deal.id)
    if package is None:
        raise packages.PackageNotReady
    files = await parts.files_of(tx, deal.id)
    verdicts = _verdicts(said, deal, package, files)
    rejected = [one for one in files if verdicts[one.name] == REJECTED]
    row = receipt_row(deal.id, ReceiptKind.RECEIPT, statement, signer)
    counts = {"accepted": len(files) - len(rejected), "rejected": len(rejected)}
    await tx.execute(insert(transfer_receipt).values(**row, **counts, package_id=package.id))
    closing = update(transfer_pull).where(transfer_pull.c.package_id == package.id)
    await tx.execute(closing.values(closed_at=func.now()))
    details = {"sha256": hashed, "revision": package.revision, **counts, "signer": statements.thumbprint(signer)}
    await states.note(tx, mine.viewer, "transfer.receipted", deal.id, details=details)
    if rejected:
        await _make_again(tx, rejected)
    else:
        await _complete(tx, mine, deal)
    return Taken(hashed, counts["accepted"], counts["rejected"])


def receipt_row(deal_id: UUID, kind: ReceiptKind, statement: str, signer: Mapping[str, Any]) -> dict[str, Any]:
    """A statement as a row."""
    return {
        "id": new_id(),
        "transfer_id": deal_id,
        "kind": kind,
        "statement": statement,
        "signer": dict(signer),
        "sha256": hashlib.sha256(statement.encode()).digest(),
    }


def _verdicts(said: Mapping[str, Any], deal: Row[Any], package: Row[Any], files: Sequence[Row[Any]]) -> dict[str, str]:
    """The verdict on each file. Raises ReceiptMismatch unless it is about these files, byte for byte."""
    about = (said.get("kind"), said.get("reference"), said.get("revision"), said.get("package"))
    wanted = (statements.RECEIPT, deal.reference, package.revision, bytes(package.sha256).hex())
    listed = said.get("files")
    if about != wanted or not isinstance(listed, list) or len(listed) != len(files):
        raise ReceiptMismatch
    found: dict[str, str] = {}
    known = {one.name: one for one in files}
    for one in listed:
        row = known.get(one.get("name")) if isinstance(one, dict) else None
        if row is None or one.get("verdict") not in {ACCEPTED, REJECTED}:
            raise ReceiptMismatch
        if one["verdict"] == ACCEPTED:
            got = (one.get("sha256"), one.get("plainSha256"), one.get("rows"))
            if got != (bytes(row.sha256).hex(), bytes(row.plain_sha256).hex(), row.row_count):
                raise ReceiptMismatch(file=row.name)
        found[row.name] = one["verdict"]
    if set(found) != set(known):
        raise ReceiptMismatch
    return found


async def _make_again(tx: Tx, rejected: Sequence[Row[Any]]) -> None:
    """Let the parts of rejected files be made once more; the others stay as they are."""
    wanted = {one.part_id for one in rejected}
    await tx.execute(
        update(transfer_part)
        .where(transfer_part.c.id.in_(wanted), transfer_part.c.status == PartStatus.DONE)
        .values(status=PartStatus.PENDING, attempt=0, next_run_at=func.now())
    )
    await tx.tell(states.MOVED)


def delivered(deal_id: UUID) -> ColumnElement[bool]:
    """Rows of the people whose records the acquirer has."""
    member = transfer_customer.c
    omitted = exists().where(transfer_omission.c.record_id == member.id)
    return and_(member.transfer_id == deal_id, member.cohort_id.is_not(None), ~omitted)


async def _complete(tx: Tx, mine: Party, deal: Row[Any]) -> None:
    """Everything is accepted: mark the people, stop the use of what went, complete the deal; its clock starts.

    Who has objected since stays our customer, and the acquirer is told to forget them.
    """
    marked = {
        "transferred_at": func.now(),
        "receipt": ReceiptState.ACCEPTED,
        "received_at": func.now(),
        "stopped_at": case((transfer_customer.c.objected_at.is_(None), func.now())),
    }
    done = await tx.execute(update(transfer_customer).where(delivered(deal.id)).values(marked))
    await stopping.stop(tx, deal.id)
    wrote = {"completed_at": func.now()}
    details = {"customers": done.rowcount, "retainDays": deal.retain_days}
    await states.move(tx, deal, TransferStatus.COMPLETED, viewer=mine.viewer, details=details, wrote=wrote)
