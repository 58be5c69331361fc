"""How long work that a killed worker had in hand stays untouched: read from the task rows, until a newer claim."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, select
from sqlalchemy.exc import SQLAlchemyError

from cdp.core.db import Role
from cdp.tables.request import TaskStatus, request_task
from tests.engine import Engine

WATCH_S = 0.2


@dataclass
class Recovery:
    """Claims of the dead, and how long each of them stood."""

    engine: Engine
    orphans: dict[UUID, tuple[int, float]] = field(default_factory=dict)
    took_s: list[float] = field(default_factory=list)

    async def mourn(self, pid: int) -> None:
        """Note what a worker that was just killed had in hand."""
        mine = select(request_task.c.id, request_task.c.fence).where(
            request_task.c.status == TaskStatus.RUNNING, request_task.c.lease_owner.like(f"%:{pid}")
        )
        for row in await self._rows(mine):
            self.orphans[row.id] = (row.fence, time.monotonic())

    async def watch(self) -> None:
        """Look every now and then, until cancelled."""
        while True:
            await asyncio.sleep(WATCH_S)
            await self.look()

    async def look(self) -> None:
        """Note which claims of the dead were taken over or are over."""
        if not self.orphans:
            return
        wanted = select(request_task.c.id, request_task.c.fence, request_task.c.status)
        for row in await self._rows(wanted.where(request_task.c.id.in_(list(self.orphans)))):
            fence, since = self.orphans[row.id]
            if row.fence > fence or row.status is not TaskStatus.RUNNING:
                self.took_s.append(time.monotonic() - since)
                del self.orphans[row.id]

    async def _rows(self, statement: Select[Any]) -> list[Row[Any]]:
        try:
            async with self.engine.platform.db.transaction(Role.WORKER) as tx:
                return list(await tx.all(statement))
        except (SQLAlchemyError, OSError):  # Postgres may just be away
            return []
