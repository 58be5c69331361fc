"""Agents: requests opened for somebody on evidence, decided by a second person, extended, paused, taken over."""

from dataclasses import dataclass

import pytest
from sqlalchemy import insert, select, update

from cdp.access.scopes import STAFF_SCOPES
from cdp.access.viewer import Actor, MissingScope, Viewer
from cdp.core.db import Role
from cdp.core.errors import NotFound, PlatformError
from cdp.core.ids import new_id
from cdp.core.keys import KeyGone
from cdp.core.seal import Sealer
from cdp.operations.collection import CustomerFrozen
from cdp.operations.requests import cases, evidence, requests
from cdp.operations.requests.cases import NO_DETAILS, Details
from cdp.operations.requests.evidence import File, Given
from cdp.operations.requests.opening import Opened
from cdp.tables.customer import CustomerStatus, customer
from cdp.tables.request import EvidenceKind, RequestStatus, RequestType, privacy_request
from cdp.tables.staff import staff
from tests.connectors.webhook_peer import Peer, served
from tests.engine import Engine
from tests.population import Person, make_person, picture

S = RequestStatus
PASSPORT = Given(EvidenceKind.IDENTITY, "Passport shown at the counter, name and face compared.")
LETTER = Given(
    EvidenceKind.REPRESENTATIVE,
    "Power of attorney, notarised.",
    "Grace Hopper",
    "power of attorney",
    File("attorney.pdf", "application/pdf", b"%PDF-1.7 signed"),
)


@dataclass(frozen=True)
class Office:
    """Two agents and a supervisor."""

    engine: Engine
    agent: Viewer
    supervisor: Viewer

    async def open_for(
        self, person: Person, kind: RequestType, *, given: Given = PASSPORT, details: Details = NO_DETAILS
    ) -> Opened:
        platform = self.engine.platform
        async with evidence.stored(platform, given) as proof, platform.db.transaction(Role.WORKER) as tx:
            return await cases.open_for(
                tx,
                self.agent,
                platform,
                person.customer_id,
                kind,
                reason="Asked by phone.",
                proof=proof,
                details=details,
            )

    async def approve(self, opened: Opened, viewer: Viewer | None = None) -> None:
        async with self.engine.platform.db.transaction(Role.WORKER) as tx:
            await cases.approve(tx, viewer or self.supervisor, self.engine.platform, opened.id)

    async def refuse(self, opened: Opened, *, reason: str = "We can not tell who asks.") -> None:
        async with self.engine.platform.db.transaction(Role.WORKER) as tx:
            await cases.refuse(tx, self.supervisor, self.engine.platform, opened.id, reason=reason)

    async def extend(self, opened: Opened) -> None:
        async with self.engine.platform.db.transaction(Role.WORKER) as tx:
            await cases.extend(tx, self.agent, self.engine.platform, opened.id, reason="Many systems.")

    async def pause(self, opened: Opened) -> None:
        async with self.engine.platform.db.transaction(Role.WORKER) as tx:
            await cases.pause(tx, self.agent, opened.id, reason="We wait for your answer.")

    async def resume(self, opened: Opened) -> None:
        async with self.engine.platform.db.transaction(Role.WORKER) as tx:
            await cases.resume(tx, self.agent, opened.id)


async def hire(engine: Engine, *roles: str) -> Viewer:
    staff_id = new_id()
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(insert(staff).values(id=staff_id, username=f"{staff_id}@x", name="Bo", roles=list(roles)))
    now = engine.platform.clock()
    return Viewer(Actor.STAFF, staff_id=staff_id, roles=frozenset(roles), scopes=STAFF_SCOPES, authenticated_at=now)


@pytest.fixture
async def office(engine: Engine) -> Office:
    return Office(engine, await hire(engine, "agent"), await hire(engine, "supervisor"))


@pytest.fixture
def peer():
    with served() as one:
        yield one


async def test_an_erasure_by_phone_waits_for_a_second_person_and_then_happens(office: Office, peer: Peer) -> None:
    engine = office.engine
    ada, bystander = await make_person(engine.platform.db), await make_person(engine.platform.db)
    before = await picture(engine.platform.db, bystander)
    for person in (ada, bystander):
        peer.people[person.email] = {"profile": [{"email": person.email}]}
    await engine.connect(peer)
    opened = await office.open_for(ada, RequestType.ERASURE, given=LETTER)
    await engine.work()
    row = await engine.request(opened.reference)
    assert (row.status, row.opened_by_id, row.channel) == (S.RECEIVED, office.agent.staff_id, "customer service")
    assert "received" in engine.letters(ada)[-1].splitlines()[0]
    assert {call["step"] for call in peer.calls} == {"probe"}
    assert len(engine.keys("evidence-")) == 1

    await office.approve(opened)
    await engine.work()
    assert await engine.status(opened.reference) is S.COMPLETED
    assert peer.people.keys() == {bystander.email}
    assert {table for table, rows in (await picture(engine.platform.db, ada)).items() if rows} == {"audit_event"}
    assert engine.keys("evidence-") == []
    assert await engine.objects("evidence/") == []
    assert await picture(engine.platform.db, bystander) == before
    assert {"request.opened", "evidence.recorded", "request.checking"} <= set(await engine.audited(ada))


async def test_an_export_by_phone_is_made_after_approval(office: Office) -> None:
    ada = await make_person(office.engine.platform.db)
    opened = await office.open_for(ada, RequestType.ACCESS)
    await office.approve(opened)
    await office.engine.work()
    assert await office.engine.status(opened.reference) is S.COMPLETED
    assert (await office.engine.package(ada, opened.reference)).testzip() is None


async def test_who_opened_it_does_not_decide(office: Office) -> None:
    ada = await make_person(office.engine.platform.db)
    boss = Office(office.engine, office.supervisor, office.supervisor)
    opened = await boss.open_for(ada, RequestType.ACCESS)
    with pytest.raises(cases.SecondPersonNeeded):
        await boss.approve(opened)
    with pytest.raises(cases.SecondPersonNeeded):
        await boss.refuse(opened)
    with pytest.raises(cases.DeciderNeeded):
        await office.approve(opened, office.agent)
    assert await office.engine.status(opened.reference) is S.RECEIVED


async def test_a_refusal_is_told_with_its_reason_and_undoes_everything(office: Office) -> None:
    engine = office.engine
    ada = await make_person(engine.platform.db)
    opened = await engine.with_settings(cooling_off=engine.platform.settings.export_ttl).open_erasure(ada)
    await engine.work()
    assert await engine.status(opened.reference) is S.COOLING_OFF
    await office.refuse(opened, reason="An open order {needs} your address.")
    await engine.work()
    row = await engine.request(opened.reference)
    assert (row.status, row.refusal_reason) == (S.REFUSED, "An open order {needs} your address.")
    assert "An open order {needs} your address." in engine.letters(ada)[-1]
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        status = await tx.scalar(select(customer.c.status).where(customer.c.id == ada.customer_id))
    assert status is CustomerStatus.ACTIVE
    with pytest.raises(cases.TooLateToRefuse):
        await office.refuse(opened)


async def test_nothing_is_refused_once_anything_may_be_gone(office: Office, peer: Peer) -> None:
    engine = office.engine
    ada = await make_person(engine.platform.db)
    peer.people[ada.email] = {"profile": [{"email": ada.email}]}
    await engine.connect(peer)
    opened = await engine.with_settings(cooling_off=engine.platform.settings.export_ttl).open_erasure(ada)
    await engine.work()
    await engine.cool_off(opened.reference)
    peer.answer = (200, {}, b"")
    await engine.work()
    assert await engine.status(opened.reference) is S.NEEDS_ATTENTION
    with pytest.raises(cases.TooLateToRefuse):
        await office.refuse(opened)


async def test_a_deadline_is_extended_once_with_a_letter(office: Office) -> None:
    engine = office.engine
    ada = await make_person(engine.platform.db)
    opened = await office.open_for(ada, RequestType.ACCESS)
    before = (await engine.request(opened.reference)).due_at
    await office.extend(opened)
    await engine.work()
    row = await engine.request(opened.reference)
    assert 59 <= (row.due_at - before).days <= 62
    assert row.extended_at is not None
    assert "Many systems." in engine.letters(ada)[-1]
    assert f"{row.due_at:%Y-%m-%d}" in engine.letters(ada)[-1]
    with pytest.raises(cases.AlreadyExtended):
        await office.extend(opened)
    assert "request.extended" in await engine.audited(ada)


async def test_a_paused_request_rests_and_goes_on_where_it_stood(office: Office, peer: Peer) -> None:
    engine = office.engine
    ada = await make_person(engine.platform.db)
    peer.people[ada.email] = {"profile": [{"email": ada.email}]}
    await engine.connect(peer)
    opened = await engine.open_erasure(ada)
    await office.pause(opened)
    await engine.work()
    row = await engine.request(opened.reference)
    assert (row.status, row.paused_from, row.pause_reason) == (S.PAUSED, S.CHECKING, "We wait for your answer.")
    assert {call["step"] for call in peer.calls} == {"probe"}
    with pytest.raises(cases.NotPausable):
        await office.pause(opened)
    await office.resume(opened)
    await engine.work()
    assert await engine.status(opened.reference) is S.COMPLETED
    with pytest.raises(cases.NotPaused):
        await office.resume(opened)


async def test_a_paused_deletion_can_still_be_undone(office: Office) -> None:
    engine = office.engine
    ada = await make_person(engine.platform.db)
    opened = await engine.open_erasure(ada)
    await office.pause(opened)
    await engine.cancel(ada, opened.reference)
    assert await engine.status(opened.reference) is S.CANCELLED


async def test_somebody_takes_a_case_over(office: Office) -> None:
    ada = await make_person(office.engine.platform.db)
    opened = await office.open_for(ada, RequestType.ACCESS)
    db = office.engine.platform.db
    for agent_id in (office.supervisor.staff_id, None):
        async with db.transaction(Role.WORKER) as tx:
            await cases.assign(tx, office.agent, opened.id, agent_id=agent_id)
        assert (await office.engine.request(opened.reference)).assignee_id == agent_id
    async with db.transaction(Role.WORKER) as tx:
        await tx.execute(update(staff).where(staff.c.id == office.supervisor.staff_id).values(active=False))
    with pytest.raises(cases.UnknownAgent):
        async with db.transaction(Role.WORKER) as tx:
            await cases.assign(tx, office.agent, opened.id, agent_id=office.supervisor.staff_id)


async def test_a_second_call_joins_and_adds_its_evidence(office: Office) -> None:
    ada = await make_person(office.engine.platform.db)
    first = await office.open_for(ada, RequestType.ACCESS)
    second = await office.open_for(ada, RequestType.PORTABILITY, given=LETTER)
    assert (second.reference, second.joined) == (first.reference, True)
    assert len((await picture(office.engine.platform.db, ada))["evidence"]) == 2
    assert (await office.engine.request(first.reference)).joined == 1


async def test_evidence_is_sealed_and_dies_with_its_key(office: Office) -> None:
    engine = office.engine
    ada = await make_person(engine.platform.db)
    await office.open_for(ada, RequestType.ACCESS, given=LETTER)
    [place] = await engine.objects("evidence/")
    assert b"signed" not in await engine.platform.blobs.get(place)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        [row] = await tx.all(select(evidence.evidence))
    file = await evidence.read_file(engine.platform, office.agent, row.id)
    assert (file.name, file.content) == ("attorney.pdf", b"%PDF-1.7 signed")
    assert (row.staff_id, row.representative_name) == (office.agent.staff_id, "Grace Hopper")
    assert "evidence.read" in await engine.audited(ada)
    with pytest.raises(MissingScope):
        await evidence.read_file(engine.platform, engine.viewer(ada), row.id)
    sealed = await engine.platform.blobs.get(place)
    key = engine.platform.keys.get(row.key_id)
    engine.platform.keys.destroy(row.key_id)
    with pytest.raises(KeyGone):
        await evidence.read_file(engine.platform, office.agent, row.id)
    assert Sealer({"evidence": key}).open(sealed, place) == b"%PDF-1.7 signed"


@pytest.mark.parametrize(
    ("given", "refusal"),
    [
        (Given(EvidenceKind.REPRESENTATIVE, "said so"), "EVIDENCE_MISSING"),
        (Given(EvidenceKind.REPRESENTATIVE, "said so", "Grace Hopper"), "EVIDENCE_MISSING"),
        (Given(EvidenceKind.IDENTITY, " "), "INVALID_TEXT"),
        (Given(EvidenceKind.IDENTITY, "x", file=File("a.exe", "application/x-dosexec", b"MZ")), "MEDIA_TYPE_REFUSED"),
        (
            Given(EvidenceKind.IDENTITY, "x", file=File("a.pdf", "application/pdf", bytes(5 * 1024 * 1024 + 1))),
            "FILE_TOO_LARGE",
        ),
        (Given(EvidenceKind.IDENTITY, "x", file=File("a\nb", "application/pdf", b"%PDF")), "INVALID_TEXT"),
    ],
)
async def test_evidence_that_says_nothing_opens_nothing(office: Office, given: Given, refusal: str) -> None:
    ada = await make_person(office.engine.platform.db)
    with pytest.raises(PlatformError) as refused:
        await office.open_for(ada, RequestType.ACCESS, given=given)
    assert refused.value.code == refusal
    assert (await picture(office.engine.platform.db, ada))["privacy_request"] == []
    assert await office.engine.objects("evidence/") == []
    assert office.engine.keys("evidence-") == []


async def test_nothing_else_is_opened_while_frozen(office: Office) -> None:
    ada = await make_person(office.engine.platform.db)
    await office.engine.open_erasure(ada)
    with pytest.raises(CustomerFrozen):
        await office.open_for(ada, RequestType.ACCESS)


async def test_customers_do_no_casework(office: Office) -> None:
    engine = office.engine
    ada = await make_person(engine.platform.db)
    opened, viewer, platform = await engine.open_export(ada), engine.viewer(ada), engine.platform
    calls = (
        lambda tx: cases.approve(tx, viewer, platform, opened.id),
        lambda tx: cases.refuse(tx, viewer, platform, opened.id, reason="x"),
        lambda tx: cases.extend(tx, viewer, platform, opened.id, reason="x"),
        lambda tx: cases.pause(tx, viewer, opened.id, reason="x"),
        lambda tx: cases.resume(tx, viewer, opened.id),
        lambda tx: cases.assign(tx, viewer, opened.id, agent_id=None),
        lambda tx: requests.retry_row(tx, viewer, opened.id),
    )
    before = await engine.request(opened.reference)
    for call in calls:
        with pytest.raises(MissingScope):
            async with platform.db.transaction(Role.WORKER) as tx:
                await call(tx)
    assert await engine.request(opened.reference) == before


async def test_an_unknown_request_is_not_found(office: Office) -> None:
    nobody = new_id()
    for call in (
        lambda tx: cases.approve(tx, office.supervisor, office.engine.platform, nobody),
        lambda tx: cases.pause(tx, office.agent, nobody, reason="x"),
    ):
        with pytest.raises(NotFound):
            async with office.engine.platform.db.transaction(Role.WORKER) as tx:
                await call(tx)
    async with office.engine.platform.db.transaction(Role.WORKER) as tx:
        assert await tx.first(select(privacy_request)) is None
