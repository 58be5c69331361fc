"""How the log stands: what is in the tree, what waits, and what is in neither, which never happens by itself."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import exists, func, select

from cdp.core.db import Tx
from cdp.operations.audit import heads, tree
from cdp.tables.audit import audit_event, audit_leaf, audit_pending


@dataclass(frozen=True)
class State:
    """Counts, and when the newest head was signed."""

    entries: int
    waiting: int
    lost: int
    signed_at: datetime | None


async def state(tx: Tx) -> State:
    """Count. ``lost`` are events that neither are in the tree nor wait: somebody has taken them out of the queue."""
    in_tree = exists().where(audit_leaf.c.event_id == audit_event.c.id)
    waits = exists().where(audit_pending.c.event_id == audit_event.c.id)
    lost = select(func.count()).select_from(audit_event).where(~in_tree, ~waits)
    head = await heads.latest(tx)
    return State(
        entries=await tree.size(tx),
        waiting=await tx.scalar(select(func.count()).select_from(audit_pending)),
        lost=await tx.scalar(lost),
        signed_at=head.signed_at if head else None,
    )
