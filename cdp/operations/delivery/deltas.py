"""What is told after a package: late objections and erasures as signed deltas, and a recall when a deal breaks.

A delta names its predecessor by hash, so that none can be left out; whom it concerns is encrypted to the
acquirer inside, since we may not know it any more ourselves. The acquirer acknowledges each by its signature; a recall
is acknowledged by a statement of destruction. Nobody is told twice or never: what a delta said is a row.
Sources: GDPR art. 17(2), 19, 21(3).
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, insert, select, text, update

from cdp.access.viewer import SYSTEM, Viewer
from cdp.core import age
from cdp.core.clock import iso
from cdp.core.db import Role, Tx
from cdp.core.errors import Conflict, NotFound
from cdp.core.ids import new_id
from cdp.core.platform import Platform
from cdp.core.sign import canonical, encode
from cdp.operations import values
from cdp.operations.delivery import bag, packages, pulling, receipts, statements
from cdp.operations.delivery.pulling import Party
from cdp.operations.transfers import states, stopping
from cdp.tables.delivery import (
    ChangeReason,
    DeltaKind,
    ReceiptKind,
    transfer_delta,
    transfer_delta_entry,
    transfer_package,
    transfer_pull,
    transfer_receipt,
)
from cdp.tables.transfer import ReceiptState, TransferStatus, transfer_customer

KIND, VERSION = "cdp.transfer-delta", 1
MOST_ENTRIES = 10_000


class DeltaMissing(NotFound):
    """There is no such change of this transfer."""

    code = "TRANSFER_DELTA_NOT_FOUND"


class AcknowledgementMismatch(Conflict):
    """This statement speaks of something else than was sent."""

    code = "ACKNOWLEDGEMENT_MISMATCH"


# Gone because the seller's time to keep them was over, and not at their own wish: the acquirer keeps them.
_THEIRS = """(m.removed_at IS NULL OR EXISTS (
            SELECT 1 FROM privacy_request r WHERE r.id = m.removal_id AND (r.status = 'cancelled' OR r.joined > 0)))"""
DUE = text(f"""
SELECT t.id FROM transfer t
 WHERE t.status IN ('delivering', 'completed', 'recalled')
   AND EXISTS (SELECT 1 FROM transfer_package p WHERE p.transfer_id = t.id)
   AND EXISTS (
     SELECT 1 FROM transfer_customer m
      WHERE m.transfer_id = t.id AND m.cohort_id IS NOT NULL
        AND (m.objected_at IS NOT NULL OR (m.customer_id IS NULL AND {_THEIRS}))
        AND NOT EXISTS (SELECT 1 FROM transfer_omission o WHERE o.record_id = m.id)
        AND NOT EXISTS (
          SELECT 1 FROM transfer_delta_entry e WHERE e.record_id = m.id
             AND e.reason = CASE WHEN m.customer_id IS NULL THEN 'erased' ELSE 'objected' END))
""")  # noqa: S608  # a constant of this module
CHANGES = text(f"""
SELECT m.id, CASE WHEN m.customer_id IS NULL THEN 'erased' ELSE 'objected' END AS reason, m.objected_at AS at
  FROM transfer_customer m
 WHERE m.transfer_id = :deal_id AND m.cohort_id IS NOT NULL
   AND (m.objected_at IS NOT NULL OR (m.customer_id IS NULL AND {_THEIRS}))
   AND NOT EXISTS (SELECT 1 FROM transfer_omission o WHERE o.record_id = m.id)
   AND NOT EXISTS (
     SELECT 1 FROM transfer_delta_entry e WHERE e.record_id = m.id
        AND e.reason = CASE WHEN m.customer_id IS NULL THEN 'erased' ELSE 'objected' END)
 ORDER BY m.id LIMIT :most
""")  # noqa: S608  # a constant of this module


async def tell_due(platform: Platform) -> bool:
    """Issue a delta for every deal that has untold changes; whether there was any."""
    async with platform.db.transaction(Role.WORKER) as tx:
        due = [row.id for row in await tx.all(DUE)]
    for deal_id in due:
        async with platform.db.transaction(Role.WORKER) as tx:
            await _tell(tx, platform, deal_id)
    return bool(due)


async def _tell(tx: Tx, platform: Platform, deal_id: UUID) -> None:
    deal = await states.find(tx, deal_id, lock=True)  # deltas of a deal are numbered one after another
    rows = await tx.all(CHANGES, {"deal_id": deal_id, "most": MOST_ENTRIES})
    if not rows:
        return
    entries = [
        {"id": str(row.id), "reason": row.reason, "since": iso(row.at) if row.at is not None else None} for row in rows
    ]
    delta_id = await _issue(tx, platform, deal, DeltaKind.CHANGES, entries)
    told = [{"record_id": row.id, "reason": ChangeReason(row.reason), "delta_id": delta_id} for row in rows]
    await tx.execute(insert(transfer_delta_entry), told)


async def recall(tx: Tx, viewer: Viewer, platform: Platform, deal_id: UUID, *, reason: str) -> None:
    """Call everything back, because the deal broke: the acquirer has to destroy it and say so; nothing more is served.

    What was sold is ours to use again, and nothing more of it ends because of the sale. Raises MissingScope,
    TransferRoleNeeded, StepUpRequired, TransferMoved, InvalidText. The platform's operator may.
    """
    states.require_operator(viewer, platform)
    written = values.text(reason, "reason", longest=2000, lines=True)
    deal = await states.find(tx, deal_id, lock=True)
    wrote, details = {"reason": written}, {"usedAgain": await stopping.resume(tx, deal_id)}
    await states.move(tx, deal, TransferStatus.RECALLED, viewer=viewer, details=details, wrote=wrote)
    mine = select(transfer_package.c.id).where(transfer_package.c.transfer_id == deal_id)
    closing = update(transfer_pull).where(transfer_pull.c.package_id.in_(mine), transfer_pull.c.closed_at.is_(None))
    await tx.execute(closing.values(closed_at=func.now()))
    await _issue(tx, platform, deal, DeltaKind.RECALL, [])


async def _issue(
    tx: Tx, platform: Platform, deal: Row[Any], kind: DeltaKind, entries: Sequence[Mapping[str, object]]
) -> UUID:
    """Sign the next delta of a deal and put it into the row. The caller holds the deal's lock."""
    before = await tx.first(
        select(transfer_delta.c.ordinal, transfer_delta.c.sha256)
        .where(transfer_delta.c.transfer_id == deal.id)
        .order_by(transfer_delta.c.ordinal.desc())
        .limit(1)
    )
    package = await packages.latest(tx, deal.id)
    plain = canonical(list(entries))
    sealed = await asyncio.to_thread(age.encrypt, deal.acquirer_key, plain)
    ordinal = before.ordinal + 1 if before else 1
    document = platform.signer.sign(
        {
            "kind": KIND,
            "version": VERSION,
            "reference": deal.reference,
            "ordinal": ordinal,
            "change": kind.value,
            "issuedAt": iso(platform.clock()),
            "package": bytes(package.sha256).hex() if package else None,
            "previous": bytes(before.sha256).hex() if before else None,
            "count": len(entries),
            "byReason": dict(Counter(str(one["reason"]) for one in entries)),
            "entries": {"bytes": len(plain), "sha256": bag.sha256(plain), "encrypted": encode(sealed)},
        }
    )
    text_ = canonical(document)
    delta_id, hashed = new_id(), bag.sha256(text_)
    await tx.execute(
        insert(transfer_delta).values(
            id=delta_id,
            transfer_id=deal.id,
            ordinal=ordinal,
            kind=kind,
            document=text_.decode(),
            sha256=bytes.fromhex(hashed),
            entries=len(entries),
        )
    )
    details = {"ordinal": ordinal, "change": kind.value, "sha256": hashed, "count": len(entries)}
    await states.note(tx, SYSTEM, "transfer.delta_issued", deal.id, details=details)
    return delta_id


async def listed(platform: Platform, viewer: Viewer, reference: str) -> list[dict[str, Any]]:
    """Every delta of the acquirer's deal, in order. Raises like party."""
    async with platform.db.transaction(Role.WORKER) as tx:
        mine = await pulling.party(tx, viewer, reference)
        found = await tx.all(
            select(transfer_delta)
            .where(transfer_delta.c.transfer_id == mine.deal.id)
            .order_by(transfer_delta.c.ordinal)
        )
    return [
        {
            "ordinal": row.ordinal,
            "change": row.kind.value,
            "sha256": bytes(row.sha256).hex(),
            "isAcknowledged": row.acknowledged_at is not None,
        }
        for row in found
    ]


async def document(platform: Platform, viewer: Viewer, reference: str, ordinal: int) -> bytes:
    """A delta, byte for byte as it was signed. Raises DeltaMissing, like party."""
    async with platform.db.transaction(Role.WORKER) as tx:
        mine = await pulling.party(tx, viewer, reference)
        return str((await _find(tx, mine.deal.id, ordinal)).document).encode()


async def _find(tx: Tx, deal_id: UUID, ordinal: int) -> Row[Any]:
    row = await tx.first(
        select(transfer_delta).where(transfer_delta.c.transfer_id == deal_id, transfer_delta.c.ordinal == ordinal)
    )
    if row is None:
        raise DeltaMissing
    return row


async def acknowledge(platform: Platform, viewer: Viewer, reference: str, ordinal: int, statement: str) -> None:
    """Take the acquirer's word that a delta was applied, or for a recall that everything is destroyed.

    The same statement again is fine. Raises StatementInvalid, AcknowledgementMismatch, DeltaMissing, like party; a
    refused one is recorded too.
    """
    try:
        async with platform.db.transaction(Role.WORKER) as tx:
            mine = await pulling.party(tx, viewer, reference)
            await _acknowledge(tx, mine, await _find(tx, mine.deal.id, ordinal), statement)
    except (AcknowledgementMismatch, statements.StatementInvalid) as refusal:
        await receipts.refused(platform, viewer, reference, refusal, statement)
        raise


async def _acknowledge(tx: Tx, mine: Party, delta: Row[Any], statement: str) -> None:
    said, signer = statements.read(statement, mine.jwks)
    is_recall = delta.kind is DeltaKind.RECALL
    wanted = {
        "kind": statements.DESTRUCTION if is_recall else statements.ACKNOWLEDGEMENT,
        "reference": mine.deal.reference,
        "ordinal": delta.ordinal,
        "delta": bytes(delta.sha256).hex(),
        "count": delta.entries,
    }
    if any(said.get(name) != value for name, value in wanted.items()):
        raise AcknowledgementMismatch
    first = update(transfer_delta).where(transfer_delta.c.id == delta.id, transfer_delta.c.acknowledged_at.is_(None))
    if not (await tx.execute(first.values(acknowledged_at=func.now()))).rowcount:
        return
    kind = ReceiptKind.DESTRUCTION if is_recall else ReceiptKind.ACKNOWLEDGEMENT
    row = receipts.receipt_row(mine.deal.id, kind, statement, signer)
    await tx.execute(insert(transfer_receipt).values(**row, delta_id=delta.id))
    if is_recall:
        member = transfer_customer.c
        had = update(transfer_customer).where(receipts.delivered(mine.deal.id), member.receipt != ReceiptState.NONE)
        await tx.execute(had.values(receipt=ReceiptState.DESTROYED))
    details = {
        "ordinal": delta.ordinal,
        "delta": wanted["delta"],
        "sha256": bag.sha256(statement.encode()),
        "signer": statements.thumbprint(signer),
    }
    action = "transfer.destroyed" if is_recall else "transfer.delta_acknowledged"
    await states.note(tx, mine.viewer, action, mine.deal.id, details=details)
