"""What follows from a merge elsewhere: erasure, exports, sales, restores."""

import json
from collections.abc import Sequence

from sqlalchemy import select

from cdp.core.db import Role
from cdp.operations.backups import replay
from cdp.tables.journal import journal_entry
from cdp.tables.request import RequestStatus
from tests.merging.desk import Desk, rows
from tests.population import Person, make_person, picture


async def _journal(desk: Desk, person: Person) -> Sequence[dict[str, object]]:
    async with desk.engine.platform.db.transaction(Role.WORKER) as tx:
        mine = select(journal_entry.c.document).where(journal_entry.c.erased_id == person.customer_id)
        return [json.loads(row.document) for row in await tx.all(mine)]


async def test_erasing_who_stayed_erases_both_and_names_both(desk: Desk) -> None:
    engine = desk.engine
    ada, twin, bystander = [await make_person(engine.platform.db) for _ in range(3)]
    before = await picture(engine.platform.db, bystander)
    await desk.merged(ada, twin)
    opened = await engine.open_erasure(ada)
    await engine.work()
    await engine.closed(opened.reference)
    assert await engine.status(opened.reference) is RequestStatus.COMPLETED
    outcomes = await engine.outcomes(opened.reference)
    assert {code for _, code in outcomes.values()} >= {"NOTHING_LEFT"} or outcomes
    for person in (ada, twin):
        left = await picture(engine.platform.db, person)
        assert {name for name, found in left.items() if found and name != "audit_event"} == set()
    [entry] = await _journal(desk, ada)
    assert entry["mergedIds"] == [str(twin.customer_id)]
    assert await picture(engine.platform.db, bystander) == before


async def test_a_replay_erases_both_records_of_an_older_backup(desk: Desk) -> None:
    """The backup was made before the merge: both are customers there, and neither is one afterwards."""
    engine = desk.engine
    ada, twin, bystander = [await make_person(engine.platform.db) for _ in range(3)]
    await desk.merged(ada, twin)
    opened = await engine.open_erasure(ada)
    await engine.work()
    await engine.closed(opened.reference)
    [entry] = await _journal(desk, ada)
    assert entry["mergedIds"]
    restored = [await make_person(engine.platform.db) for _ in range(2)]
    before = rows(await picture(engine.platform.db, bystander))
    said = {**entry, "customerId": str(restored[0].customer_id), "mergedIds": [str(restored[1].customer_id)]}
    again = replay.Entry(99, "erasure", json.dumps(entry), said)
    assert await replay._erase(engine.platform, again, [], take=False) == 1  # the step of a replay
    assert not await desk.is_there(restored[0])
    assert not await desk.is_there(restored[1])
    assert rows(await picture(engine.platform.db, bystander)) == before
