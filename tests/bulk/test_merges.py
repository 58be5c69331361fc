"""A merge as recipients of bulk exports learn of it: who stays comes again, who went is named, nobody is both."""

import asyncio

from sqlalchemy import delete

from cdp.access.scopes import STAFF_SCOPES
from cdp.access.viewer import Actor, Viewer
from cdp.core.db import Role
from cdp.core.ids import new_id
from cdp.operations.merging import merges, splitting
from cdp.operations.merging.merges import Wanted
from cdp.tables.account import account
from cdp.tables.staff import staff
from tests.bulk.factory import Bulk
from tests.population import Person, make_person

QUERY = "{ customers { nodes { id orders { nodes { total } } } } }"


async def _supervisor(bulk: Bulk) -> Viewer:
    staff_id = new_id()
    async with bulk.platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(staff.insert().values(id=staff_id, username=f"{staff_id}@x", name="Bo", roles=["supervisor"]))
    now, roles = bulk.platform.clock(), frozenset({"supervisor"})
    return Viewer(Actor.STAFF, staff_id=staff_id, roles=roles, scopes=STAFF_SCOPES, authenticated_at=now)


async def _nameless(bulk: Bulk) -> Person:
    """Somebody without a sign-in: one person may merge them."""
    person = await make_person(bulk.platform.db)
    async with bulk.platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(delete(account).where(account.c.customer_id == person.customer_id))
    return person


async def test_a_merge_is_a_tombstone_and_a_change_and_its_undoing_brings_both(bulk: Bulk) -> None:
    analyst, supervisor = await bulk.member("analyst"), await _supervisor(bulk)
    keep, drop, still = [await _nameless(bulk) for _ in range(3)]
    first = await bulk.export(analyst, QUERY)
    assert len(first.ids) == 3
    wanted = Wanted(keep.customer_id, drop.customer_id, "Moved house.")
    async with bulk.platform.db.transaction(Role.WORKER) as tx:
        merge_id = await merges.merge(tx, supervisor, bulk.platform, wanted)
    second = await bulk.export(analyst, QUERY, since=first.manifest["watermark"])
    kept, gone, other = [await bulk.shown(second.row, one.customer_id) for one in (keep, drop, still)]
    assert second.ids == [kept]
    assert second.tombstones == {gone: "merged"}
    assert other not in second.ids
    assert len(next(row for row in second.rows if row["id"] == kept)["orders"]["nodes"]) == 2
    async with bulk.platform.db.transaction(Role.WORKER) as tx:
        await splitting.unmerge(tx, supervisor, bulk.platform, merge_id, reason="Two people.")
    third = await bulk.export(analyst, QUERY, since=second.manifest["watermark"])
    assert (sorted(third.ids), third.tombstones) == (sorted([kept, gone]), {})
    whole = await bulk.export(analyst, QUERY)
    assert sorted(whole.ids) == sorted([kept, gone, other])


async def test_a_merge_while_parts_are_written_is_in_the_next_export(bulk: Bulk) -> None:
    """The snapshot has both; the next export says what became of them."""
    analyst, supervisor = await bulk.member("analyst"), await _supervisor(bulk)
    keep, drop = [await _nameless(bulk) for _ in range(2)]
    asked = await bulk.ask(analyst, QUERY)
    working = asyncio.create_task(bulk.floor.drain())
    await bulk.snapshot(asked.id)
    async with bulk.platform.db.transaction(Role.WORKER) as tx:
        await merges.merge(tx, supervisor, bulk.platform, Wanted(keep.customer_id, drop.customer_id, "Moved house."))
    await working
    made = await bulk.made(asked.id)
    both = {await bulk.shown(made.row, one.customer_id) for one in (keep, drop)}
    assert both <= set(made.ids)
    after = await bulk.export(analyst, QUERY, since=made.manifest["watermark"])
    assert after.tombstones == {await bulk.shown(after.row, drop.customer_id): "merged"}
    assert await bulk.shown(after.row, keep.customer_id) in after.ids
    assert not set(after.ids) & set(after.tombstones)
