"""A worker may die at any moment: what it leaves is taken up, and comes to the same end."""

import os
from datetime import UTC, datetime

import pytest

from cdp.core.sign import Verdict, check
from cdp.tables.request import RequestStatus
from tests.connectors.webhook_peer import Peer, served
from tests.engine import Engine
from tests.faults.mortal import live
from tests.population import Person, make_person, picture

# Every moment takes long: the gate takes one in so many, from a start that moves with the day; the soak takes them all.
STRIDE = int(os.environ.get("CDP_TEST_STRIDE", "12"))
START = 1 + datetime.now(UTC).toordinal() % STRIDE


@pytest.fixture
def peer():
    with served() as one:
        yield one


async def held(engine: Engine, person: Person) -> set[str]:
    return {table for table, rows in (await picture(engine.platform.db, person)).items() if rows}


async def people(engine: Engine, peer: Peer) -> Person:
    ada = await make_person(engine.platform.db)
    peer.people[ada.email] = {"profile": [{"email": ada.email}]}
    return ada


@pytest.mark.faults
async def test_an_erasure_survives_death_at_every_moment(engine: Engine, peer: Peer) -> None:
    await engine.connect(peer)
    bystander = await people(engine, peer)
    before = await picture(engine.platform.db, bystander)
    moment, died = START, True
    while died:
        ada = await people(engine, peer)
        opened = await engine.open_erasure(ada)
        died = await live(engine, moment)
        await engine.expire_leases()
        await engine.work()

        assert await engine.status(opened.reference) is RequestStatus.COMPLETED, moment
        assert await held(engine, ada) == {"audit_event"}, moment
        row = await engine.request(opened.reference)
        assert (row.customer_id, row.identifiers_sealed, row.key_id) == (None, None, None), moment
        assert peer.effects[f"{row.id}:newsletter:erase"] == 1, moment
        issued = await engine.certificate(opened.reference)
        assert check(engine.document(issued), engine.platform.signer.keys()) is Verdict.VALID
        assert await engine.platform.blobs.get(f"certificates/{issued.reference}.json") == issued.document, moment
        assert [one["requestId"] for one in await engine.journal()].count(str(row.id)) == 1, moment
        assert sum("deleted" in letter.splitlines()[0] for letter in engine.letters(ada)) == 1, moment
        actions = await engine.audited(ada)
        for once in ("request.completed", "customer.erased", "erasure.journalled", "request.closed"):
            assert actions.count(once) == 1, (moment, once)
        moment += STRIDE
    print(f"walked {moment} moments from {START} by {STRIDE}")
    assert engine.keys("request-") == []
    assert peer.people.keys() == {bystander.email}
    assert await picture(engine.platform.db, bystander) == before


@pytest.mark.faults
async def test_an_export_survives_death_at_every_moment(engine: Engine, peer: Peer) -> None:
    await engine.connect(peer)
    moment, died = START, True
    while died:
        ada = await people(engine, peer)
        opened = await engine.open_export(ada)
        died = await live(engine, moment)
        await engine.expire_leases()
        await engine.work()

        assert await engine.status(opened.reference) is RequestStatus.COMPLETED, moment
        package = await engine.package(ada, opened.reference)
        assert package.testzip() is None
        assert ada.email.encode() in package.read("systems/newsletter/profile.json")
        row = await engine.request(opened.reference)
        assert (row.identifiers_sealed, row.key_id) == (None, None), moment
        assert (await engine.audited(ada)).count("export.ready") == 1, moment
        moment += STRIDE
    assert await engine.objects("requests/") == []
    assert engine.keys("request-") == []
