"""A worker that dies at any moment of the packing costs time: the package is whole, once, and alone in the store."""

import asyncio
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete, func, select, update

from cdp.core.db import Role
from cdp.operations.delivery import checks
from cdp.operations.delivery.floor import Floor
from cdp.tables.delivery import (
    transfer_file,
    transfer_omission,
    transfer_package,
    transfer_part,
    transfer_pull,
)
from cdp.tables.transfer import TransferStatus, transfer
from tests.delivery.factory import Deal, Seller, sold
from tests.faults.mortal import Died, Life, MortalBlobs, MortalDatabase
from tests.population import make_person

# As for bulk exports: the gate takes one moment in so many, from a start that moves with the day; the soak takes all.
STRIDE = int(os.environ.get("CDP_TEST_STRIDE", "18"))
START = 1 + datetime.now(UTC).toordinal() % STRIDE


async def live(seller: Seller, moments: int) -> bool:
    """Work as a process that dies after so many moments; whether it died."""
    life = Life(moments)
    platform = replace(
        seller.platform,
        db=MortalDatabase(seller.platform.db.url, life),
        blobs=MortalBlobs(seller.platform.blobs.url, life),
    )
    before = asyncio.all_tasks()
    try:
        await Floor(platform, seller.reader, "mortal").drain()
    except Died:
        return True
    finally:
        orphans = asyncio.all_tasks() - before
        for orphan in orphans:
            orphan.cancel()
        await asyncio.gather(*orphans, return_exceptions=True)
        await platform.db.close()
    return life.left <= 0


async def again(seller: Seller, deal: Deal) -> None:
    """Put the deal back to where it was approved, with nothing made."""
    async with seller.platform.db.transaction(Role.WORKER) as tx:
        for table in (transfer_pull, transfer_package, transfer_file, transfer_omission, transfer_part):
            await tx.execute(delete(table))
        approved = update(transfer).where(transfer.c.id == deal.id)
        await tx.execute(approved.values(status=TransferStatus.APPROVED, packaged_at=None))
    for key in await seller.platform.blobs.keys("transfers/"):
        await seller.platform.blobs.delete(key)


async def whole(seller: Seller, deal: Deal) -> None:
    """One package, everybody in it, and no file that it does not name."""
    packages = await seller.rows(select(transfer_package).where(transfer_package.c.transfer_id == deal.id))
    assert [one.revision for one in packages] == [1]
    package = checks.read_package(packages[0].tags["package.json"].encode())
    assert package is not None
    assert [*checks.sums(package)] == []
    assert package["delivered"] == 7
    kept = {one.object_key for one in await seller.rows(select(transfer_file))}
    assert set(await seller.platform.blobs.keys("transfers/")) == kept
    assert (await seller.row(deal.id)).status is TransferStatus.DELIVERING


@pytest.mark.faults
async def test_packing_survives_death_at_every_moment(seller: Seller) -> None:
    for _ in range(7):
        await make_person(seller.platform.db)
    deal, moment, died = await sold(seller), START, True
    while died:
        died = await live(seller, moment)
        async with seller.platform.db.transaction(Role.WORKER) as tx:
            await tx.execute(update(transfer_part).values(next_run_at=func.now() - timedelta(hours=1)))
        await seller.floor.drain()
        await whole(seller, deal)
        await again(seller, deal)
        moment += STRIDE
    print(f"walked {moment} moments from {START} by {STRIDE}")
