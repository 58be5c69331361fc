"""An export that is cancelled at any moment of its making ends as cancelled or destroyed, and leaves no file."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from uuid import UUID

import pytest

from cdp.access.viewer import Viewer
from cdp.core.db import Database, Role, Tx
from cdp.core.ids import CustomerId
from cdp.operations.bulk import control
from cdp.tables.bulk import BulkStatus
from tests.bulk.factory import Bulk
from tests.engine import until
from tests.population import make_person

# As test_faults does: the gate takes one moment in so many, from a start that moves with the day; the soak takes all.
STRIDE = int(os.environ.get("CDP_TEST_STRIDE", "30"))
START = 1 + datetime.now(UTC).toordinal() % STRIDE
OVER = {BulkStatus.CANCELLED, BulkStatus.DESTROYED}


class Meddled(Database):
    """A database beside which something happens once, before its transaction of a certain number begins."""

    def __init__(self, url: str, moment: int, deed: Callable[[], Awaitable[None]]) -> None:
        super().__init__(url)
        self.left = moment
        self._deed = deed

    @asynccontextmanager
    async def transaction(self, role: Role, *, subject: CustomerId | None = None) -> AsyncIterator[Tx]:
        self.left -= 1
        if self.left == 0:
            await self._deed()
        async with super().transaction(role, subject=subject) as tx:
            yield tx


@pytest.fixture(scope="module")
async def analyst(bulk: Bulk) -> Viewer:
    for _ in range(7):
        await make_person(bulk.platform.db)
    return await bulk.member("analyst")


async def _is_over(bulk: Bulk, export_id: UUID) -> bool:
    await bulk.floor.drain()
    row = await bulk.row(export_id)
    return row.status in OVER and row.swept_at is not None


@pytest.mark.faults
async def test_cancelling_at_every_moment_leaves_nothing(bulk: Bulk, analyst: Viewer) -> None:
    bystander = await bulk.export(analyst)
    moment, is_within = START, True
    while is_within:
        asked = await bulk.ask(analyst)

        async def cancel() -> None:
            async with bulk.platform.db.transaction(Role.WORKER) as tx:
                await control.cancel(tx, analyst, asked.id)  # noqa: B023 - called within the turn it belongs to

        db = Meddled(bulk.platform.db.url, moment, cancel)
        other = bulk.with_settings(lease_s=1.5).on(replace(bulk.platform, db=db), "meddled")
        try:
            await asyncio.wait_for(other.floor.drain(), 60)
        finally:
            await other.floor.close()
            await db.close()
        is_within = db.left <= 0
        if not is_within:  # it was through before: then it is destroyed
            await cancel()
        await until(partial(_is_over, bulk, asked.id), within_s=30)  # a part that nobody gave back is held by its lease
        row = await bulk.row(asked.id)
        assert (row.manifest, row.variables) == (None, None), moment
        assert await bulk.platform.blobs.all_keys(f"bulk/{asked.id}/") == [], moment
        moment += STRIDE
    assert (await bulk.made(bystander.row.id)).files == bystander.files
    print(f"walked {moment} moments from {START} by {STRIDE}")
