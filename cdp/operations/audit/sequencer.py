"""The sequencer: puts events that have committed into the tree, one after the other, and signs what came of it.

Events wait in ``audit_pending``, where a trigger puts them in their own transaction. They are seen there once that
has committed, however late, so none is ever passed over; an advisory lock lets one sequencer append at a time. A
certificate does not wait for a round: it has its own event appended in the transaction that issues it.
"""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Select, delete, func, select

from cdp.core.db import Role, Tx
from cdp.core.merkle import leaf_hash
from cdp.core.platform import Platform
from cdp.core.sign import Document
from cdp.operations.audit import entries, heads, tree
from cdp.operations.audit.heads import Head
from cdp.operations.audit.tree import Leaf
from cdp.tables.audit import audit_event, audit_leaf, audit_pending

LOCK = 0x61756469
BATCH = 2_000


@dataclass(frozen=True)
class Inclusion:
    """Proof that an entry is in the log: the entry, its place, the path to the root, and the signed head."""

    entry: Document
    position: int
    path: tuple[bytes, ...]
    head: Head

    def document(self) -> Document:
        """As it stands in a certificate (docs/audit-log.md)."""
        return {
            "entry": self.entry,
            "index": self.position,
            "path": [one.hex() for one in self.path],
            "head": self.head.document,
        }


async def sequence(platform: Platform, *, is_patient: bool = False) -> int:
    """Append everything that waits, a batch a transaction; returns how much.

    While another sequencer is at work the rest is left to it, unless the caller ``is_patient`` and waits.
    """
    appended = 0
    while True:
        async with platform.db.transaction(Role.WORKER) as tx:
            if is_patient:
                await tx.execute(select(func.pg_advisory_xact_lock(LOCK)))
            elif not await tx.scalar(select(func.pg_try_advisory_xact_lock(LOCK))):
                return appended
            batch = await _append(tx, _waiting().limit(BATCH))
            await heads.sign(tx, platform.signer)
        appended += batch
        if batch < BATCH:
            return appended


async def include(tx: Tx, platform: Platform, event_id: UUID) -> Inclusion:
    """Append one event of this very transaction, sign, and prove it. Others wait for the lock until this has ended."""
    await tx.execute(select(func.pg_advisory_xact_lock(LOCK)))
    await _append(tx, _waiting().where(audit_event.c.id == event_id))
    head = await heads.sign(tx, platform.signer)
    row = (await tx.all(entries.events().where(audit_event.c.id == event_id)))[0]
    position = await tx.scalar(select(audit_leaf.c.position).where(audit_leaf.c.event_id == event_id))
    assert head is not None
    path = await tree.inclusion(tx, position, head.size)
    return Inclusion(entries.document(row), position, tuple(path), head)


def _waiting() -> Select[tuple[object, ...]]:
    return (
        entries.events()
        .join(audit_pending, audit_pending.c.event_id == audit_event.c.id)
        .order_by(audit_event.c.occurred_at, audit_event.c.id)
    )


async def _append(tx: Tx, waiting: Select[tuple[object, ...]]) -> int:
    rows = await tx.all(waiting)
    if rows:
        await tree.append(tx, [Leaf(row.id, leaf_hash(entries.entry(row))) for row in rows])
        await tx.execute(delete(audit_pending).where(audit_pending.c.event_id.in_([row.id for row in rows])))
    return len(rows)
