"""Merging two records of one customer, and taking them apart again."""

from cdp.tables.merge import MergeStatus
from tests.merging.desk import Desk, rows
from tests.population import make_person, picture


async def test_a_merge_taken_apart_leaves_both_as_they_were(desk: Desk) -> None:
    db = desk.engine.platform.db
    ada, twin, bystander = [await make_person(db) for _ in range(3)]
    before = [rows(await picture(db, one)) for one in (ada, twin, bystander)]
    merge_id = await desk.merged(ada, twin)
    assert not await desk.is_there(twin)
    assert (await desk.row(merge_id)).status is MergeStatus.MERGED
    assert rows(await picture(db, twin)) == {"customer": []}
    await desk.unmerge(merge_id)
    assert (await desk.row(merge_id)).status is MergeStatus.UNDONE
    assert [rows(await picture(db, one)) for one in (ada, twin, bystander)] == before
