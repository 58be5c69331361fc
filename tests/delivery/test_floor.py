"""The floor of deliveries: it works when it is told, and when nobody told it; two of them share one package."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import pytest
from sqlalchemy import select, update

from cdp.core.db import Role
from cdp.operations.delivery import checks
from cdp.operations.delivery.floor import Floor
from cdp.tables.bulk import PartStatus
from cdp.tables.delivery import transfer_package, transfer_part
from cdp.tables.transfer import TransferStatus, transfer
from tests.delivery.factory import Deal, Seller, sold
from tests.population import Person, make_person, picture

NEVER_S, SOON_S, WITHIN_S = 3600.0, 0.05, 60.0


@pytest.fixture(scope="module")
async def people(seller: Seller) -> list[Person]:
    return [await make_person(seller.platform.db) for _ in range(7)]


@asynccontextmanager
async def working(seller: Seller, *, look_every_s: float, floors: int = 1) -> AsyncIterator[None]:
    """Floors at work, as many processes would have them."""
    stop = asyncio.Event()
    made = [Floor(seller.platform, seller.reader, f"w{n}", look_every_s=look_every_s) for n in range(floors)]
    running = [asyncio.create_task(one.run(stop)) for one in made]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*running)


async def until(seller: Seller, deal_id: UUID, status: TransferStatus) -> None:
    async with asyncio.timeout(WITHIN_S):
        while True:
            if (await seller.row(deal_id)).status is status:
                return
            await asyncio.sleep(SOON_S)


async def require_whole(seller: Seller, deal: Deal, people: list[Person]) -> None:
    [found] = await seller.rows(select(transfer_package).where(transfer_package.c.transfer_id == deal.id))
    package = checks.read_package(found.tags["package.json"].encode())
    assert package is not None
    assert [*checks.sums(package)] == []
    assert package["delivered"] == len(people)


async def test_it_hears_of_a_deal_and_of_its_parts(seller: Seller, people: list[Person]) -> None:
    """Nobody looks by the clock here: what was approved is begun, made and issued because it was told."""
    before = await picture(seller.platform.db, people[0])
    async with working(seller, look_every_s=NEVER_S):
        deal = await sold(seller)
        await until(seller, deal.id, TransferStatus.DELIVERING)
    await require_whole(seller, deal, people)
    after = await picture(seller.platform.db, people[0])
    assert {name for name in before if before[name] != after[name]} <= {"transfer_customer", "message", "audit_event"}


async def test_what_went_unheard_is_found_all_the_same(seller: Seller, people: list[Person]) -> None:
    deal = await sold(seller)
    async with seller.platform.db.transaction(Role.WORKER) as tx:
        mine = update(transfer).where(transfer.c.id == deal.id)
        await tx.execute(mine.values(status=TransferStatus.FROZEN))
    async with working(seller, look_every_s=SOON_S):
        async with seller.platform.db.transaction(Role.WORKER) as tx:  # nobody is told
            await tx.execute(mine.values(status=TransferStatus.APPROVED))
        await until(seller, deal.id, TransferStatus.DELIVERING)
    await require_whole(seller, deal, people)


async def test_two_make_the_parts_of_one_package(seller: Seller, people: list[Person]) -> None:
    async with working(seller, look_every_s=SOON_S, floors=2):
        deal = await sold(seller)
        await until(seller, deal.id, TransferStatus.DELIVERING)
    await require_whole(seller, deal, people)
    made = await seller.rows(select(transfer_part).where(transfer_part.c.transfer_id == deal.id))
    assert {(one.status, one.fence) for one in made} == {(PartStatus.DONE, 1)}
    assert (await seller.audited(deal.id)).count("transfer.packaged") == 1


async def test_what_is_in_hand_is_given_back_when_it_stops(seller: Seller, people: list[Person]) -> None:
    deal = await sold(seller)
    floor = Floor(seller.platform, seller.reader, "stopped")
    await floor.look()
    await floor.close()
    found = await seller.rows(select(transfer_part).where(transfer_part.c.transfer_id == deal.id))
    assert {one.status for one in found} <= {PartStatus.PENDING, PartStatus.DONE}
    assert all(one.attempt == 0 for one in found)
    await seller.floor.drain()
    await require_whole(seller, deal, people)
