"""The purge: what is past its time goes, by rule and with a count; what is held, or not over yet, stays."""

import os
import time
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select, update

from cdp.access.viewer import SYSTEM
from cdp.core.db import Role
from cdp.core.ids import new_id
from cdp.jobs.purge import purge
from cdp.operations.retention import purges
from cdp.operations.retention.rules import ORPHANS, PARKED, RULES, reference
from cdp.tables.audit import audit_event
from cdp.tables.base import Category
from cdp.tables.datamap import categories
from cdp.tables.event import device, event
from cdp.tables.message import MessageStatus, message
from cdp.tables.order import sales_order, sales_order_item
from cdp.tables.request import evidence, privacy_request
from cdp.tables.retention import RunStatus, retention_run
from tests.engine import Engine
from tests.holds.desk import staffed
from tests.population import Person, make_person, picture
from tests.requests.test_casework import LETTER, Office, RequestType, hire

LONG = timedelta(days=4000)


def test_the_page_says_what_the_rules_say() -> None:
    page = Path(__file__).parents[2] / "docs" / "retention.md"
    assert page.read_text(encoding="utf-8") == reference(), "write retention.rules.reference() to the page"
    assert all(rule.category in categories(rule.table) for rule in RULES)


async def age(engine: Engine, person: Person) -> None:
    """Let everything about somebody be years old."""
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        for table, column in ((event, event.c.occurred_at), (device, device.c.last_seen_at)):
            mine = update(table).where(table.c.customer_id == person.customer_id)
            await tx.execute(mine.values({column.name: column - LONG}))
        await tx.execute(
            insert(message).values(
                customer_id=person.customer_id,
                purpose="orders",
                template="old",
                recipient=person.email,
                subject="Old",
                body="Old",
                status=MessageStatus.SENT,
                created_at=func.now() - LONG,
            )
        )


async def run(engine: Engine) -> dict[str, int]:
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        run_id = await purges.ask(tx, SYSTEM)
    await purge({"workplace": engine.place}, str(run_id))
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        found = await tx.first(select(retention_run).where(retention_run.c.id == run_id))
    assert found is not None
    assert found.status is RunStatus.DONE
    await purge({"workplace": engine.place}, str(run_id))  # twice is fine
    return dict(found.removed)


async def test_usage_and_messages_go_but_not_those_that_are_held(engine: Engine) -> None:
    desk = await staffed(engine)
    ada, grace, bystander = [await make_person(engine.platform.db) for _ in range(3)]
    for person in (ada, grace):
        await age(engine, person)
    before = await picture(engine.platform.db, bystander)
    hold = await desk.hold(grace, Category.ACTIVITY)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        announced = await purges.preview(tx)
    assert {code: rows for code, rows in announced.items() if rows} == {"events": 1, "messages": 2}
    # A device goes once nothing points to it any more, in the same run.
    assert await run(engine) == {"events": 1, "devices": 1, "messages": 2}
    kept = await picture(engine.platform.db, grace)
    assert (len(kept["event"]), len(kept["device"]), len(kept["message"])) == (1, 1, 0)
    gone = await picture(engine.platform.db, ada)
    assert (gone["event"], gone["device"]) == ([], [])
    assert gone["sales_order"]
    assert await picture(engine.platform.db, bystander) == before
    await desk.release(hold)
    assert await run(engine) == {"events": 1, "devices": 1}
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        logged = await tx.all(select(audit_event.c.details).where(audit_event.c.action == "retention.purged"))
    assert {"rule": "messages", "category": "message", "rows": 2} in [row.details for row in logged]


async def test_orders_of_deleted_people_go_when_their_term_is_over(engine: Engine) -> None:
    ada, bystander = await make_person(engine.platform.db), await make_person(engine.platform.db)
    before = await picture(engine.platform.db, bystander)
    await engine.open_erasure(ada)
    await engine.work()
    assert await run(engine) == {}
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        over = sales_order.c.customer_id.is_(None)
        await tx.execute(update(sales_order).where(over).values(retained_until=func.now() - timedelta(days=1)))
    assert await run(engine) == {"retained_order_items": 2, "retained_orders": 1}
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        left = await tx.scalar(select(func.count()).select_from(sales_order_item))
        certified = await tx.scalar(select(func.count()).select_from(privacy_request))
    assert (left, certified) == (2, 1)
    assert await picture(engine.platform.db, bystander) == before


async def test_settled_requests_go_with_their_documents_and_certified_ones_stay(engine: Engine) -> None:
    office = Office(engine, await hire(engine, "agent"), await hire(engine, "supervisor"))
    ada, grace = await make_person(engine.platform.db), await make_person(engine.platform.db)
    refused = await office.open_for(ada, RequestType.ERASURE, given=LETTER)
    await office.refuse(refused)
    erased = await engine.open_erasure(grace)
    await engine.work()
    assert len(engine.keys("evidence-")) == 1
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(update(privacy_request).values(settled_at=func.now() - LONG))
        await tx.execute(update(evidence).values(recorded_at=func.now() - LONG))
    await engine.platform.blobs.put(f"requests/{refused.id}/left", b"sealed")
    removed = await run(engine)
    assert removed == {"evidence": 1, "requests": 1, PARKED: 1}
    assert (engine.keys("evidence-"), await engine.objects("evidence/"), await engine.objects("requests/")) == (
        [],
        [],
        [],
    )
    assert (await engine.request(erased.reference)).settled_at is not None
    with pytest.raises(AssertionError):
        await engine.request(refused.reference)


async def test_what_no_row_names_is_destroyed_after_a_week(engine: Engine) -> None:
    """A process that died between a sealed document and its row leaves both; what rows name, and what is new, stays."""
    office, platform = Office(engine, await hire(engine, "agent"), await hire(engine, "supervisor")), engine.platform
    ada = await make_person(platform.db)
    opened = await office.open_for(ada, RequestType.ERASURE, given=LETTER)
    named = [*engine.keys("evidence-"), f"request-{opened.id}"]
    lost, fresh = [f"{kind}-{new_id()}" for kind in ("evidence", "attachment", "request", "export")], new_id()
    for name in (*lost, f"evidence-{fresh}"):
        platform.keys.create(name)
    folders = {"evidence": "evidence", "attachment": "attachments"}
    for kind, folder in folders.items():
        name = next(one for one in lost if one.startswith(kind)).removeprefix(f"{kind}-")
        await platform.blobs.put(f"{folder}/{name}", b"sealed")
    await platform.blobs.put(f"evidence/{fresh}", b"sealed")
    for name in (*lost, *named):
        old = time.time() - 8 * 86_400
        os.utime(platform.keys.folder / f"{name}.key", (old, old))
    assert await run(engine) == {ORPHANS: len(lost)}
    assert not [name for name in lost if platform.keys.exists(name)]
    assert all(platform.keys.exists(name) for name in (*named, f"evidence-{fresh}"))
    files = [*await engine.objects("evidence/"), *await engine.objects("attachments/")]
    assert sorted(files) == sorted([f"evidence/{fresh}", *(f"evidence/{name[9:]}" for name in named[:1])])
    assert await run(engine) == {}


async def test_a_day_has_one_run_and_a_dead_workers_run_is_taken_over(engine: Engine) -> None:
    async def due() -> list[object]:
        async with engine.platform.db.transaction(Role.WORKER) as tx:
            return list(await purges.due(tx))

    first = await due()
    assert first == await due()
    assert len(first) == 1
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        dead = await purges.claim(tx, first[0])  # type: ignore[arg-type]  # an id
        assert dead is not None
    assert await due() == []
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        assert await purges.claim(tx, dead.id) is None
        await tx.execute(update(retention_run).values(lease_until=func.now() - timedelta(seconds=1)))
    assert await due() == first
    await purge({"workplace": engine.place}, str(dead.id))
    assert await due() == []
    assert await purges.carry_out(engine.platform, dead) == {}
    assert new_id()
