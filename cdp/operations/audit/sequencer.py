"""The sequencer: puts events that have committed into the tree, one after the other, and signs what came of it.

Events wait in ``audit_pending``, where a trigger puts them in their own transaction. They are seen there once that
has committed, however late, so none is ever passed over; an advisory lock lets one sequencer append at a time. A
certificate does not wait for a round: it has its own event appended in the transaction that issues it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Row, Select, Uuid, any_, bindparam, delete, func, select

from cdp.core.db import Role, Tx
from cdp.core.merkle import leaf_hash
from cdp.core.platform import Platform
from cdp.core.sign import Document
from cdp.operations.audit import entries, heads, tree
from cdp.operations.audit.heads import Head
from cdp.operations.audit.tree import Grown, Leaf
from cdp.tables.audit import audit_event, audit_pending

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
                await tx.execute(_LOCK)
            elif not await tx.scalar(_TRY_LOCK):
                return appended
            rows, grown = await _append(tx, _WAITING)
            await heads.sign(tx, platform.signer, grown)
            batch = len(rows)
        appended += batch
        if batch < BATCH:
            return appended


async def include(tx: Tx, platform: Platform, event_ids: Sequence[UUID]) -> list[Inclusion]:
    """Append events of this very transaction, sign once, and prove each; in the order they are named.

    Others wait for the lock until the transaction has ended.
    """
    await tx.execute(_LOCK)
    rows, grown = await _append(tx, _THESE_WAITING, {"events": list(event_ids)})
    head = await heads.sign(tx, platform.signer, grown)
    assert head is not None
    assert grown is not None
    first = grown.size - len(rows)
    proven = {
        row.id: Inclusion(entries.document(row), position, tuple(grown.inclusion(position)), head)
        for position, row in enumerate(rows, first)
    }
    return [proven[event_id] for event_id in event_ids]


def _waiting() -> Select[tuple[object, ...]]:
    return (
        entries.events()
        .join(audit_pending, audit_pending.c.event_id == audit_event.c.id)
        .order_by(audit_event.c.occurred_at, audit_event.c.id)
    )


# Built once: every certificate has its own event appended.
_LOCK, _TRY_LOCK = select(func.pg_advisory_xact_lock(LOCK)), select(func.pg_try_advisory_xact_lock(LOCK))
_WAITING = _waiting().limit(BATCH)
_THESE_WAITING = _waiting().where(audit_event.c.id == any_(bindparam("events", type_=ARRAY(Uuid))))
_APPENDED = delete(audit_pending).where(audit_pending.c.event_id == any_(bindparam("events", type_=ARRAY(Uuid))))


async def _append(
    tx: Tx, waiting: Select[tuple[object, ...]], given: Mapping[str, Sequence[UUID]] | None = None
) -> tuple[Sequence[Row[Any]], Grown | None]:
    rows = await tx.all(waiting, given)
    if not rows:
        return rows, None
    grown = await tree.append(tx, [Leaf(row.id, leaf_hash(entries.entry(row))) for row in rows])
    await tx.execute(_APPENDED, {"events": [row.id for row in rows]})
    return rows, grown
