"""The chain of custody of a deal as one signed file: its ledger with proofs, and every document the ledger names.

Each entry of the audit log about the deal comes with its path to one signed head of the whole log; packages, deltas
and the acquirer's statements come byte for byte; who was frozen and who was delivered come as hashes
(``transfers/roll``). ``chain`` checks it offline. People appear by no name: entries about somebody carry the random
reference of the log alone. Form: docs/transfers.md.
"""

import asyncio
import json
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, or_, select

from cdp.access.viewer import Viewer
from cdp.core.clock import iso
from cdp.core.db import Role, Tx
from cdp.core.platform import Platform
from cdp.core.sign import Document, encode
from cdp.operations.audit import entries, heads, sequencer, tree
from cdp.operations.delivery import bag, chain
from cdp.operations.transfers import freezing, states
from cdp.tables.audit import audit_event, audit_leaf
from cdp.tables.delivery import transfer_delta, transfer_package, transfer_receipt, transfer_roll


async def write(platform: Platform, viewer: Viewer, deal_id: UUID) -> Document:
    """The signed file of a deal as of now; its last entry says how many came before, and their hash.

    Every file that is written so is a witness: none of those entries can be left out of a later one. Raises
    MissingScope, TransferRoleNeeded, TransferMissing.
    """
    states.require_reader(viewer)
    await sequencer.sequence(platform, is_patient=True)
    async with platform.db.transaction(Role.WORKER) as tx:
        deal = await states.find(tx, deal_id)
        before = [entries.document(row) for row in await tx.all(_logged(deal_id))]
        details = {"entries": len(before), "sha256": chain.ledger_hash(before)}
        own = await states.note(tx, viewer, "transfer.custody_written", deal_id, details=details)
    await sequencer.sequence(platform, is_patient=True)
    async with platform.db.transaction(Role.WORKER) as tx:
        body = await _body(tx, deal, own)
    return await asyncio.to_thread(platform.signer.sign, {**body, "issuedAt": iso(platform.clock())})


def _logged(deal_id: UUID) -> Select[Any]:
    """The entries of a deal that have their place in the log, in its order."""
    mine = (audit_event.c.object_type == states.OBJECT, audit_event.c.object_id == deal_id)
    placed = entries.events().add_columns(audit_leaf.c.position)
    placed = placed.join(audit_leaf, audit_leaf.c.event_id == audit_event.c.id)
    return placed.where(*mine).order_by(audit_leaf.c.position)


async def _named_later(tx: Tx, deal_id: UUID, own: UUID) -> set[str]:
    """Hashes of documents that came after this file was begun: an entry beyond its last one names them."""
    end = select(audit_leaf.c.position).where(audit_leaf.c.event_id == own).scalar_subquery()
    later = (
        select(audit_event.c.details["sha256"].astext.label("sha256"))
        .outerjoin(audit_leaf, audit_leaf.c.event_id == audit_event.c.id)
        .where(audit_event.c.object_type == states.OBJECT, audit_event.c.object_id == deal_id)
        .where(or_(audit_leaf.c.position.is_(None), audit_leaf.c.position > end))
    )
    return {row.sha256 for row in await tx.all(later)}


async def _body(tx: Tx, deal: Row[Any], own: UUID) -> Document:
    """Documents first, then the entries that name them, and none that came after ``own``."""
    packages = select(transfer_package.c.tags, transfer_package.c.sha256).where(
        transfer_package.c.transfer_id == deal.id
    )
    told = select(transfer_delta.c.document, transfer_delta.c.sha256).where(transfer_delta.c.transfer_id == deal.id)
    said = select(transfer_receipt).where(transfer_receipt.c.transfer_id == deal.id)
    rolls = select(transfer_roll).where(transfer_roll.c.transfer_id == deal.id).order_by(transfer_roll.c.sha256)
    found = [
        [*await tx.all(packages.order_by(transfer_package.c.revision))],
        [*await tx.all(told.order_by(transfer_delta.c.ordinal))],
        [*await tx.all(said.order_by(transfer_receipt.c.received_at, transfer_receipt.c.id))],
    ]
    late = await _named_later(tx, deal.id, own)
    issued, deltas, statements = [[one for one in rows if bytes(one.sha256).hex() not in late] for rows in found]
    frozen = b"".join([leaves async for leaves in freezing.leaves_of(tx, deal.id)]) if deal.frozen_sha256 else b""
    return {
        "kind": chain.KIND,
        "version": chain.VERSION,
        "id": str(deal.id),
        "reference": deal.reference,
        **await _ledger(tx, deal.id, own),
        "packages": [json.loads(row.tags[bag.PACKAGE]) for row in issued],
        "people": {
            "frozen": encode(frozen),
            "delivered": {bytes(row.sha256).hex(): encode(row.leaves) for row in await tx.all(rolls)},
        },
        "deltas": [json.loads(row.document) for row in deltas],
        "statements": [{"statement": row.statement, "signer": row.signer} for row in statements],
    }


async def _ledger(tx: Tx, deal_id: UUID, own: UUID) -> Document:
    """The entries up to ``own``, each with its path to one signed head."""
    head = await heads.latest(tx)
    assert head is not None, "writing it is an entry of the log"
    ledger = []
    for row in await tx.all(_logged(deal_id)):  # each has a path of its own
        path = await tree.inclusion(tx, row.position, head.size)
        ledger.append({"entry": entries.document(row), "index": row.position, "path": [one.hex() for one in path]})
        if row.id == own:
            break
    return {"head": head.document, "ledger": ledger}
