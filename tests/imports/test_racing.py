"""An import beside somebody who merges or erases the very customers: rows follow them, or are refused by a code."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import func, insert, select, text, update
from sqlalchemy.exc import DBAPIError

from cdp.access.viewer import SYSTEM
from cdp.connectors.own.rows import erase_rows
from cdp.core.clock import utc_now
from cdp.core.db import Role, Tx
from cdp.core.ids import CustomerId, new_id
from cdp.core.platform import Platform
from cdp.operations.imports import mapping
from cdp.operations.imports.report import Report
from cdp.operations.imports.run import Order, run
from cdp.operations.merging import merges
from cdp.operations.merging.merges import Wanted
from cdp.tables.certificate import suppression
from cdp.tables.customer import customer, identity
from cdp.tables.order import sales_order
from cdp.tables.request import RequestStatus, RequestType, privacy_request
from tests.engine import engine, until
from tests.imports.conftest import ITEMS, ORDERS, SHOP
from tests.merging.desk import Desk, desk
from tests.population import Person, make_person, picture

__all__ = ["desk", "engine"]

Shop = Callable[..., Path]
WAITING = text(
    "SELECT count(*) FROM pg_locks waiting WHERE locktype = 'transactionid' AND NOT granted AND EXISTS (SELECT 1"
    " FROM pg_locks here WHERE here.pid = waiting.pid AND here.relation = 'customer'::regclass AND here.granted"
    " AND here.database = (SELECT oid FROM pg_database WHERE datname = current_database()))"
)
LATER = [*ORDERS, {"number": "103", "person": "1", "state": "done", "day": "05.07.2026 12:00"}]
MORE = [*ITEMS, {"number": "103", "sku": "D", "title": "Date", "count": "1", "price": "2"}]


async def _import(platform: Platform, folder: Path, **how: bool) -> Report:
    order = Order(str(folder), mapping.MappingFile(mapping.parse(SHOP), "0" * 64), **how)
    return await run(platform.db, platform.pepper, SYSTEM, order, now=utc_now())


async def _ada(platform: Platform) -> CustomerId:
    async with platform.db.transaction(Role.WORKER) as tx:
        found = await tx.scalar(select(identity.c.customer_id).where(identity.c.value == "ada@example.com"))
    assert found is not None
    return CustomerId(found)


async def _is_waiting(platform: Platform) -> None:
    async def asked() -> bool:
        async with platform.db.transaction(Role.WORKER) as tx:
            return bool(await tx.scalar(WAITING))

    await until(asked)


async def _orders(platform: Platform, owner: UUID) -> set[str]:
    async with platform.db.transaction(Role.WORKER) as tx:
        return {
            row.number for row in await tx.all(select(sales_order.c.number).where(sales_order.c.customer_id == owner))
        }


@pytest.fixture
async def bystander(desk: Desk) -> Person:
    return await make_person(desk.engine.platform.db)


@pytest.mark.parametrize("is_strict", [False, True])
async def test_rows_of_who_is_merged_meanwhile_go_to_the_one_that_stays(
    desk: Desk, shop: Shop, bystander: Person, is_strict: bool
) -> None:
    platform = desk.engine.platform
    await _import(platform, shop())
    before = await picture(platform.db, bystander)
    keep, ada = await make_person(platform.db), await _ada(platform)
    wanted = Wanted(keep.customer_id, ada, "Ada wrote twice.")
    async with platform.db.transaction(Role.WORKER) as tx:
        await merges.merge(tx, desk.agent, platform, wanted)
    async with platform.db.transaction(Role.WORKER) as tx:
        await merges.merge(tx, desk.second, platform, wanted)
        importing = asyncio.create_task(_import(platform, shop(orders=LATER, items=MORE), is_strict=is_strict))
        await _is_waiting(platform)
    report = await importing
    assert report.is_clean
    assert report.counts("orders")["created"] == 1
    assert await _orders(platform, keep.customer_id) >= {"SHOP-100", "SHOP-101", "SHOP-103"}
    async with platform.db.transaction(Role.WORKER) as tx:
        assert await tx.scalar(select(func.count()).select_from(customer)) == 3  # nobody was made anew
    assert await picture(platform.db, bystander) == before


async def _erase(tx: Tx, platform: Platform, customer_id: CustomerId) -> None:
    """Erase somebody as the engine does at its end: the list first, then the rows."""
    hashed, request_id = platform.pepper.hash("email", "ada@example.com"), new_id()
    asked = {"type": RequestType.ERASURE, "status": RequestStatus.COMPLETED, "channel": "test", "due_at": func.now()}
    await tx.execute(insert(privacy_request).values(id=request_id, reference="ER-1", subject_ref=new_id(), **asked))
    listed = {"identity_type": "email", "value_hash": hashed.value, "key_version": hashed.key_version}
    await tx.execute(insert(suppression).values(id=new_id(), request_id=request_id, **listed))
    await erase_rows(tx, customer_id)


@pytest.mark.parametrize("is_strict", [False, True])
async def test_who_is_erased_meanwhile_does_not_come_back(
    desk: Desk, shop: Shop, bystander: Person, is_strict: bool
) -> None:
    platform = desk.engine.platform
    await _import(platform, shop())
    before = await picture(platform.db, bystander)
    ada = await _ada(platform)
    async with platform.db.transaction(Role.WORKER) as tx:
        await _erase(tx, platform, ada)
        importing = asyncio.create_task(_import(platform, shop(orders=LATER, items=MORE), is_strict=is_strict))
        await _is_waiting(platform)
    report = await importing
    assert (report.counts("customers")["suppressed"], report.counts("orders")["suppressed"]) == (1, 3)
    async with platform.db.transaction(Role.WORKER) as tx:
        names = {row.given_name for row in await tx.all(select(customer.c.given_name))}
    assert names == {"Ada", "Bo"}
    assert await picture(platform.db, bystander) == before


async def test_locks_that_cross_cost_a_second_try_and_no_more(desk: Desk, shop: Shop) -> None:
    platform = desk.engine.platform
    await _import(platform, shop())
    async with platform.db.transaction(Role.WORKER) as tx:
        first, last = [row.id for row in await tx.all(select(customer.c.id).order_by(customer.c.id))]
    with suppress(DBAPIError):  # on a busy machine it may be this one that is given up
        async with platform.db.transaction(Role.WORKER) as tx:
            await tx.execute(select(customer.c.id).where(customer.c.id == last).with_for_update())
            importing = asyncio.create_task(_import(platform, shop(orders=LATER, items=MORE)))
            await _is_waiting(platform)
            await tx.execute(select(customer.c.id).where(customer.c.id == first).with_for_update())
    report = await importing
    assert report.is_clean
    assert report.counts("orders")["created"] == 1


async def _hold(tx: Tx, customer_id: UUID) -> None:
    held = select(customer.c.id).where(customer.c.id == customer_id)
    await tx.execute(held.with_for_update(key_share=True))  # others may still point to it


async def _move(tx: Tx, one: UUID, other: UUID) -> None:
    await tx.execute(update(identity).where(identity.c.customer_id == one).values(customer_id=other))


async def test_who_is_moved_again_and_again_is_refused_by_a_code(desk: Desk, shop: Shop) -> None:
    platform = desk.engine.platform
    db = platform.db
    await _import(platform, shop())
    ada, before = await _ada(platform), await _orders(platform, await _ada(platform))
    places = [(await make_person(db)).customer_id for _ in range(3)]
    async with db.transaction(Role.WORKER) as third:
        await _hold(third, places[1])
        async with db.transaction(Role.WORKER) as second:
            await _hold(second, places[0])
            async with db.transaction(Role.WORKER) as first:
                await _hold(first, ada)
                importing = asyncio.create_task(_import(platform, shop(orders=LATER, items=MORE)))
                await _is_waiting(platform)
                await _move(first, ada, places[0])
            await _is_waiting(platform)
            await _move(second, places[0], places[1])
        await _is_waiting(platform)
        await _move(third, places[1], places[2])
    report = await importing
    assert dict(report.rejected_by_code) == {"CUSTOMER_MOVED": 1}
    assert report.counts("customers")["unchanged"] == 1  # the other one of the source
    assert await _orders(platform, ada) == before
    assert await _orders(platform, places[2]) & {"SHOP-103"} == set()
