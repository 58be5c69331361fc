"""Exports that continue from an earlier one: changed and new people, tombstones, no gap, nobody in both."""

import asyncio
import secrets
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import delete, insert, update
from sqlalchemy.exc import DBAPIError

from cdp.access.bulk import READ_BY_EXCLUSION
from cdp.access.rules import PROFILE
from cdp.access.viewer import Viewer
from cdp.connectors.own.rows import erase_rows
from cdp.core.db import Role
from cdp.core.ids import new_id
from cdp.core.settings import Settings
from cdp.operations.bulk import finishing, watermarks
from cdp.operations.bulk.states import FullExportNeeded
from cdp.operations.bulk.watermarks import Watermark
from cdp.tables.bulk import customer_change
from cdp.tables.consent import Channel, ConsentAction, consent
from cdp.tables.customer import customer
from cdp.tables.order import sales_order_item
from cdp.tables.policy import brand
from tests.bulk.factory import QUERY, Bulk
from tests.population import NOW, Person, make_person

COHORT = '{ customers(filter: {country: {eq: "XC"}}) { nodes { id country } } }'
BRANDED = "{ customers { nodes { id brand { name } orders { nodes { items { quantity } } } } } }"


@pytest.fixture(scope="module")
async def analyst(bulk: Bulk) -> Viewer:
    return await bulk.member("analyst")


async def people(bulk: Bulk, count: int, country: str = "DE") -> list[Person]:
    return [await make_person(bulk.platform.db, country=country) for _ in range(count)]


async def change(bulk: Bulk, statement: Any) -> None:
    async with bulk.platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(statement)


async def test_only_what_changed_comes_and_who_left_is_named(bulk: Bulk, analyst: Viewer) -> None:
    child, moved, gone, withdrawn, still = await people(bulk, 5, "XC")
    for one in (child, moved, gone, still):
        assert one is not withdrawn
    query = COHORT.replace("country }", "country orders { nodes { items { quantity } } } }")
    first = await bulk.export(analyst, query, purpose="promotions")
    assert len(first.ids) == 5
    assert first.manifest["deleted"] == []
    await change(
        bulk,
        update(sales_order_item).where(sales_order_item.c.customer_id == child.customer_id).values(quantity=7),
    )
    await change(bulk, update(customer).where(customer.c.id == moved.customer_id).values(country="XD"))
    async with bulk.platform.db.transaction(Role.WORKER) as tx:
        await erase_rows(tx, gone.customer_id)
    no = {"action": ConsentAction.WITHDRAWN, "wording": "No.", "recorded_at": NOW}
    await change(
        bulk,
        insert(consent).values(id=new_id(), **withdrawn.origin, purpose="promotions", channel=Channel.EMAIL, **no),
    )
    (new,) = await people(bulk, 1, "XC")
    second = await bulk.export(analyst, query, purpose="promotions", since=first.manifest["watermark"])

    async def shown(one: Person) -> str:
        return await bulk.shown(second.row, one.customer_id)

    assert sorted(second.ids) == sorted([await shown(child), await shown(new)])
    assert second.tombstones == {
        await shown(moved): "out_of_cohort",
        await shown(gone): "deleted",
        await shown(withdrawn): "suppressed",
    }
    assert not set(second.ids) & set(second.tombstones)
    assert second.excluded == {"no_consent": 1}
    key = await shown(child)
    changed = next(row for row in second.rows if row["id"] == key)
    assert {item["quantity"] for order in changed["orders"]["nodes"] for item in order["items"]} == {7}
    third = await bulk.export(analyst, query, purpose="promotions", since=second.manifest["watermark"])
    assert (third.ids, third.tombstones) == ([], {})


async def test_what_the_query_does_not_read_is_no_change(bulk: Bulk, analyst: Viewer) -> None:
    (one,) = await people(bulk, 1)
    first = await bulk.export(analyst, "{ customers { nodes { id country } } }")
    await change(
        bulk, update(sales_order_item).where(sales_order_item.c.customer_id == one.customer_id).values(quantity=9)
    )
    second = await bulk.export(analyst, "{ customers { nodes { id country } } }", since=first.manifest["watermark"])
    assert second.ids == []


async def test_a_change_of_what_all_share_concerns_all(bulk: Bulk, analyst: Viewer) -> None:
    await people(bulk, 2)
    first = await bulk.export(analyst, BRANDED)
    await change(bulk, update(brand).values(name="Main brand II"))
    second = await bulk.export(analyst, BRANDED, since=first.manifest["watermark"])
    assert sorted(second.ids) == sorted(first.ids)
    assert {row["brand"]["name"] for row in second.rows} == {"Main brand II"}


async def test_another_query_grant_database_or_time_needs_a_full_export(bulk: Bulk, analyst: Viewer) -> None:
    first = await bulk.export(analyst, QUERY)
    mark = first.manifest["watermark"]
    known = watermarks.read(bulk.platform.sealer, mark)

    def forged(**changes: Any) -> str:
        return watermarks.write(bulk.platform.sealer, replace(known, **changes))

    tries: list[tuple[str, dict[str, Any]]] = [
        ("query", {"since": mark, "query": BRANDED}),
        ("query", {"since": mark, "purpose": "products"}),
        ("query", {"since": mark, "recipient": "another"}),
        ("cluster", {"since": forged(system="1")}),
        ("cluster", {"since": forged(timeline="00000009")}),
        ("age", {"since": forged(at="2020-01-01T00:00:00.000000Z")}),
        ("unknown", {"since": mark[:-4] + "AAAA"}),
        ("unknown", {"since": "yesterday"}),
    ]
    for reason, more in tries:
        query = more.pop("query", QUERY)
        with pytest.raises(FullExportNeeded) as refused:
            await bulk.ask(analyst, query, **more)
        assert (refused.value.code, refused.value.extensions["reason"]) == ("FULL_EXPORT_NEEDED", reason)
    with pytest.raises(FullExportNeeded):
        await bulk.ask(await bulk.member("analyst"), QUERY, since=mark)
    assert isinstance(known, Watermark)


async def test_the_log_is_short_and_nobody_else_writes_it(bulk: Bulk) -> None:
    (one,) = await people(bulk, 1)
    async with bulk.platform.db.transaction(Role.WORKER) as tx:
        found = await tx.all(customer_change.select().where(customer_change.c.customer_key == one.customer_id))
        assert {row.area for row in found} == {"customer"}  # a new customer is one line, whatever came with them
        assert await finishing.forget_changes(tx, bulk.platform) == 0
    with pytest.raises(DBAPIError, match="permission denied"):
        await change(bulk, insert(customer_change).values(xid=1, customer_key=new_id(), area="customer"))
    kept = bulk.with_settings(bulk_changes_kept=timedelta(days=-2))
    async with bulk.platform.db.transaction(Role.WORKER) as tx:
        assert await finishing.forget_changes(tx, kept.platform) > 0


def test_every_table_an_export_reads_is_watched(running: Settings, bulk: Bulk) -> None:
    """A table without triggers would be a gap that no other test sees."""
    read = {
        kind.table.name for kind in bulk.reader.graph.types.values() if kind.table is not None and kind.name in PROFILE
    }
    with psycopg.connect(bulk.platform.settings.database_owner_url) as connection:
        rows = connection.execute("SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname LIKE '%%note_update'")
        watched = {row[0] for row in rows}
    assert read | set(READ_BY_EXCLUSION) <= watched


async def _write_all_the_time(bulk: Bulk, known: list[Person], stop: asyncio.Event) -> None:
    """Writes, deletes, changes children and consents, in transactions that overlap each other and the snapshots."""
    number = 0
    while not stop.is_set():
        number += 1
        one = known[secrets.randbelow(len(known))]
        async with bulk.platform.db.transaction(Role.WORKER) as tx:
            mine = sales_order_item.c.customer_id == one.customer_id
            match number % 4:
                case 0:
                    await tx.execute(update(sales_order_item).where(mine).values(quantity=number))
                case 1:
                    flag = ConsentAction.WITHDRAWN if number % 8 == 1 else ConsentAction.GIVEN
                    await tx.execute(
                        insert(consent).values(
                            id=new_id(),
                            **one.origin,
                            purpose="promotions",
                            channel=Channel.EMAIL,
                            action=flag,
                            wording="?",
                            recorded_at=bulk.platform.clock(),
                        )
                    )
                case 2:
                    await tx.execute(delete(sales_order_item).where(mine))
                case _:
                    if number % 12 == 3 and len(known) > 2:
                        known.remove(one)
                        await erase_rows(tx, one.customer_id)
            await asyncio.sleep(0.02)  # stay open while somebody takes a snapshot
        if number % 9 == 0:
            known.append(await make_person(bulk.platform.db, country="XW"))


async def test_with_writers_running_the_union_equals_the_database(bulk: Bulk, analyst: Viewer) -> None:
    known = await people(bulk, 9, "XW")
    query = """{ customers(filter: {country: {eq: "XW"}}) { nodes { id country
      orders { nodes { items { id quantity } } } currentConsents { purposeCode action } } } }"""
    stop = asyncio.Event()
    writers = [asyncio.create_task(_write_all_the_time(bulk, known[n::3], stop)) for n in range(3)]
    held: dict[str, Any] = {}
    since: dict[str, str] = {}
    for left in (2, 1, 0):
        if not left:
            stop.set()
            await asyncio.gather(*writers)
        made = await bulk.export(analyst, query, purpose="promotions", **since)
        assert not set(made.ids) & set(made.tombstones)
        held |= {row["id"]: row for row in made.rows}
        for name in made.tombstones:
            held.pop(name, None)
        since = {"since": made.manifest["watermark"]}
    full = await bulk.export(analyst, query, purpose="promotions")
    assert held == {row["id"]: row for row in full.rows}
