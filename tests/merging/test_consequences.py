"""What follows from a merge elsewhere: erasure, exports, sales, restores."""

import json
from collections.abc import Sequence

from sqlalchemy import insert, select

from cdp.access.viewer import SYSTEM
from cdp.core.db import Role
from cdp.core.ids import CustomerId, new_id
from cdp.operations import lineage, systems
from cdp.operations.backups import replay
from cdp.operations.oauth.token_keys import TokenKeys
from cdp.operations.providers.gdpr_api import people
from cdp.operations.providers.gdpr_api.service import Service
from cdp.operations.systems import Registration
from cdp.tables.federation import external_identity
from cdp.tables.journal import journal_entry
from cdp.tables.request import RequestStatus
from tests.connectors.gdpr_api_peer import AUDIENCE, served_service
from tests.merging.desk import Desk, rows
from tests.population import NOW, Person, audited, make_person, picture


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
    for person in (ada, twin):
        left = await picture(engine.platform.db, person)
        assert {name for name, found in left.items() if found and name != "audit_event"} == set()
    [entry] = await _journal(desk, ada)
    assert entry["mergedIds"] == [str(twin.customer_id)]
    assert await picture(engine.platform.db, bystander) == before


async def test_a_system_that_knows_people_by_our_ids_is_asked_for_both(desk: Desk) -> None:
    engine = desk.engine
    ada, twin, bystander = [await make_person(engine.platform.db) for _ in range(3)]
    keys = TokenKeys(engine.platform.keys)
    with served_service(keys.public, engine.platform.settings.url) as berths:
        for person in (ada, twin, bystander):
            berths.people[str(person.customer_id)] = {"name": ["Eve"], "reservations": ["Boat"]}
        auth = {"type": "signed", "audience": AUDIENCE}
        configuration = {"url": f"{berths.base}/gdpr-api/v1/user/$user_uuid", "auth": auth}
        await systems.add(engine.platform, SYSTEM, Registration("berths", "Berths", "gdpr_api", configuration, {}))
        await desk.merged(ada, twin)
        opened = await engine.open_erasure(ada)
        await engine.work()
    assert await engine.status(opened.reference) is RequestStatus.COMPLETED
    assert berths.people.keys() == {str(bystander.customer_id)}


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


async def test_a_record_that_was_one_in_the_backup_and_erased_alone_goes_alone(desk: Desk) -> None:
    """Merged when the backup was made, taken apart and erased since: its rows lie among the other one's."""
    engine = desk.engine
    ada, twin, bystander = [await make_person(engine.platform.db) for _ in range(3)]
    before = [rows(await picture(engine.platform.db, one)) for one in (ada, bystander)]
    await desk.merged(ada, twin)
    erased = {"customerId": str(twin.customer_id), "subjectRef": str(twin.audit_ref), "requestId": str(new_id())}
    said = {**erased, "reference": "ER-REPLAY", "suppressed": [], "held": [], "writtenAt": "2026-03-01T12:00:00Z"}
    entry = replay.Entry(99, "erasure", json.dumps(said), said)
    assert await replay._erase(engine.platform, entry, [], take=False) == 1  # the step of a replay
    assert not await desk.is_there(twin)
    after = [rows(await picture(engine.platform.db, one)) for one in (ada, bystander)]
    assert after == before
    assert "customer.unmerged" in await audited(engine.platform.db, twin)


async def test_their_own_copy_tells_what_was_merged_and_what_stands_aside(desk: Desk) -> None:
    engine = desk.engine
    ada, twin = await make_person(engine.platform.db), await make_person(engine.platform.db, given_name="Adele")
    await desk.merged(ada, twin)
    opened = await engine.open_export(ada)
    await engine.work()
    package = await engine.package(ada, opened.reference)
    [merge] = json.loads(package.read("data/merges.json"))
    assert (merge["status"], merge["reason"]) == ("MERGED", "Ada wrote twice.")
    aside = {one["kind"]: one["values"] for one in merge["putAside"]}
    assert aside["customer"]["given_name"] == "Adele"
    assert "password_hash" not in aside["account"]
    emails = json.loads(package.read("data/emails.json"))
    assert {one["address"] for one in emails} == {ada.email, twin.email}


async def test_every_id_a_customer_had_is_known_while_the_merge_stands(desk: Desk) -> None:
    async with desk.engine.platform.db.transaction(Role.WORKER) as tx:
        assert await lineage.known_as(tx, CustomerId(new_id())) == []
    ada, twin = await make_person(desk.engine.platform.db), await make_person(desk.engine.platform.db)
    merge_id = await desk.merged(ada, twin)
    async with desk.engine.platform.db.transaction(Role.WORKER) as tx:
        assert await lineage.known_as(tx, ada.customer_id) == [twin.customer_id]
        assert await lineage.now_known_as(tx, twin.customer_id) == ada.customer_id
    await desk.unmerge(merge_id)
    async with desk.engine.platform.db.transaction(Role.WORKER) as tx:
        assert await lineage.known_as(tx, ada.customer_id) == []
        assert await lineage.now_known_as(tx, twin.customer_id) is None


async def test_a_provider_still_finds_who_signed_in_through_it_before(desk: Desk) -> None:
    """To say "nobody here" to a profile service would be a false success of its deletion."""
    db, platform = desk.engine.platform.db, desk.engine.platform
    ada, twin = await make_person(db), await make_person(db)
    service = Service("https://id.example", "cdp", "", "query", "delete", frozenset(), "profile")
    seen = {"created_at": NOW, "last_sign_in_at": NOW}
    link = {"issuer": service.issuer, "subject": "sub-7", "customer_id": twin.customer_id, **seen}
    async with db.transaction(Role.WORKER) as tx:
        await tx.execute(insert(external_identity).values(id=new_id(), **link))
        assert (await people.find(tx, platform, service, "sub-7")).customer_id == twin.customer_id
    await desk.merged(ada, twin)
    async with db.transaction(Role.WORKER) as tx:
        assert (await people.find(tx, platform, service, "sub-7")).customer_id == ada.customer_id
        assert (await people.find(tx, platform, service, "sub-8")).customer_id is None
