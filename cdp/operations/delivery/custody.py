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

from sqlalchemy import Row, select

from cdp.access.viewer import Viewer
from cdp.core.clock import iso
from cdp.core.db import Role, Tx
from cdp.core.platform import Platform
from cdp.core.sign import Document, encode
from cdp.operations.audit import entries, heads, sequencer, tree
from cdp.operations.delivery import bag
from cdp.operations.delivery.chain import KIND, VERSION
from cdp.operations.transfers import freezing, states
from cdp.tables.audit import audit_event, audit_leaf
from cdp.tables.delivery import transfer_delta, transfer_package, transfer_receipt, transfer_roll


async def write(platform: Platform, viewer: Viewer, deal_id: UUID) -> Document:
    """The signed file of a deal as of now. Raises MissingScope, TransferRoleNeeded, TransferMissing."""
    states.require_reader(viewer)
    async with platform.db.transaction(Role.WORKER) as tx:
        deal = await states.find(tx, deal_id)
        await states.note(tx, viewer, "transfer.custody_written", deal_id)
    await sequencer.sequence(platform, is_patient=True)
    async with platform.db.transaction(Role.WORKER) as tx:
        body = await _body(tx, deal)
    return await asyncio.to_thread(platform.signer.sign, {**body, "issuedAt": iso(platform.clock())})


async def _body(tx: Tx, deal: Row[Any]) -> Document:
    head = await heads.latest(tx)
    assert head is not None, "writing it is an entry of the log"
    at = audit_leaf.c.position
    found = await tx.all(
        entries.events()
        .add_columns(at)
        .join(audit_leaf, audit_leaf.c.event_id == audit_event.c.id)
        .where(audit_event.c.object_type == states.OBJECT, audit_event.c.object_id == deal.id, at < head.size)
        .order_by(at)
    )
    ledger = []
    for row in found:  # each has a path of its own
        path = await tree.inclusion(tx, row.position, head.size)
        ledger.append({"entry": entries.document(row), "index": row.position, "path": [one.hex() for one in path]})
    packages = select(transfer_package.c.tags).where(transfer_package.c.transfer_id == deal.id)
    told = select(transfer_delta.c.document).where(transfer_delta.c.transfer_id == deal.id)
    said = select(transfer_receipt).where(transfer_receipt.c.transfer_id == deal.id)
    rolls = select(transfer_roll).where(transfer_roll.c.transfer_id == deal.id).order_by(transfer_roll.c.sha256)
    frozen = b"".join([leaves async for leaves in freezing.leaves_of(tx, deal.id)]) if deal.frozen_sha256 else b""
    return {
        "kind": KIND,
        "version": VERSION,
        "id": str(deal.id),
        "reference": deal.reference,
        "head": head.document,
        "ledger": ledger,
        "packages": [
            json.loads(row.tags[bag.PACKAGE]) for row in await tx.all(packages.order_by(transfer_package.c.revision))
        ],
        "people": {
            "frozen": encode(frozen),
            "delivered": {bytes(row.sha256).hex(): encode(row.leaves) for row in await tx.all(rolls)},
        },
        "deltas": [json.loads(row.document) for row in await tx.all(told.order_by(transfer_delta.c.ordinal))],
        "statements": [
            {"statement": row.statement, "signer": row.signer}
            for row in await tx.all(said.order_by(transfer_receipt.c.received_at, transfer_receipt.c.id))
        ],
    }
