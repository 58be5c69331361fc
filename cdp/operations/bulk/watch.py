"""Watching one export: its version now and after each change, until it is settled; one indexed row a tick."""

import asyncio
from collections.abc import AsyncGenerator
from uuid import UUID

from sqlalchemy import select

from cdp.core.db import Database, Role
from cdp.tables.bulk import BULK_SETTLED, bulk_export

TICK_S = 0.5


async def versions(db: Database, export_id: UUID, *, tick_s: float = TICK_S) -> AsyncGenerator[int, None]:
    """Yield each version once; versions in quick succession are one. Ends after a settled one."""
    seen: int | None = None
    wanted = select(bulk_export.c.version, bulk_export.c.status).where(bulk_export.c.id == export_id)
    while True:
        async with db.transaction(Role.WORKER) as tx:
            row = await tx.first(wanted)
        if row is None:
            return
        if row.version != seen:
            seen = row.version
            yield row.version
        if row.status in BULK_SETTLED:
            return
        await asyncio.sleep(tick_s)
