"""Signed tree heads: size, root and time of the log, each naming the one before it, so that heads form a chain too."""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, insert, select

from cdp.core.clock import iso
from cdp.core.db import Tx
from cdp.core.sign import Document, Signer, canonical
from cdp.operations.audit.tree import Grown
from cdp.operations.proofs.formats import HEAD, VERSION
from cdp.tables.audit import audit_head


@dataclass(frozen=True)
class Head:
    """A signed head as it was issued: its canonical text and what the text says."""

    size: int
    text: str
    signed_at: datetime

    @property
    def document(self) -> Document:
        """The head as JSON."""
        read: Document = json.loads(self.text)
        return read

    @property
    def sha256(self) -> str:
        """What the next head calls it by."""
        return hashlib.sha256(self.text.encode()).hexdigest()


_LATEST = (
    select(audit_head.c.size, audit_head.c.document, audit_head.c.signed_at).order_by(audit_head.c.size.desc()).limit(1)
)
_NOW = select(func.clock_timestamp())
_SIGNED = insert(audit_head)


async def latest(tx: Tx) -> Head | None:
    """The newest head, or None while nothing is in the log."""
    row = await tx.first(_LATEST)
    return None if row is None else Head(row.size, row.document, row.signed_at)


async def sign(tx: Tx, signer: Signer, grown: Grown | None) -> Head | None:
    """Sign the tree as it has grown, unless the newest head says the same; returns the newest head.

    Who calls this holds the sequencer's lock, in the transaction that appends: a head never outlives its leaves.
    """
    previous = await latest(tx)
    if grown is None or grown.size == (previous.size if previous else 0):
        return previous
    now: datetime = await tx.scalar(_NOW)
    moment = max(now, previous.signed_at) if previous else now
    document = signer.sign(
        {
            "kind": HEAD,
            "version": VERSION,
            "size": grown.size,
            "root": grown.root.hex(),
            "time": iso(moment),
            "previous": {"size": previous.size, "sha256": previous.sha256} if previous else None,
        }
    )
    head = Head(grown.size, canonical(document).decode(), moment)
    values = {"size": grown.size, "document": head.text, "key_id": signer.key_id, "signed_at": moment}
    await tx.execute(_SIGNED, values)
    return head
