"""Colleagues: who works on requests, by name, to say whose a case is and to hand it over."""

from collections.abc import Mapping
from uuid import UUID

from sqlalchemy import select

from cdp.access.rules import WORKERS
from cdp.core.db import Tx
from cdp.tables.staff import staff


async def on_requests(tx: Tx) -> Mapping[UUID, str]:
    """Active members of staff whose roles let them work on requests, by name."""
    found = select(staff.c.id, staff.c.name).where(staff.c.active, staff.c.roles.overlap(sorted(WORKERS)))
    return {row.id: row.name for row in await tx.all(found.order_by(staff.c.name, staff.c.id))}
