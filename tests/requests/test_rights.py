"""Corrections, restrictions and objections: what happens at once, what waits for an agent, what every system did."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Table, select, update

from cdp.access.viewer import MissingScope
from cdp.core.db import Role
from cdp.core.errors import NotFound, PlatformError, StepUpRequired
from cdp.core.ids import new_id
from cdp.operations.collection import CustomerFrozen
from cdp.operations.profile import consents
from cdp.operations.requests import cases, corrections, objections, request_views, restrictions
from cdp.operations.requests.cases import Details
from cdp.operations.requests.corrections import Wanted
from cdp.operations.requests.opening import Opened
from cdp.tables.consent import Channel, ConsentAction, consent
from cdp.tables.contact import postal_address
from cdp.tables.customer import customer
from cdp.tables.order import sales_order
from cdp.tables.request import ObjectionStatus, RequestStatus, RequestType, TaskStatus, objection
from tests.connectors.webhook_peer import Peer, served
from tests.engine import Engine
from tests.population import Person, make_person, picture
from tests.requests.test_casework import Office, office

__all__ = ["office"]

S, T = RequestStatus, TaskStatus


@pytest.fixture
def peer() -> Iterator[Peer]:
    with served() as one:
        yield one


async def correct(engine: Engine, person: Person, wanted: Wanted, *scopes: str) -> Opened:
    async with engine.platform.db.transaction(Role.CUSTOMER, subject=person.customer_id) as tx:
        return await corrections.correct(tx, engine.viewer(person, *scopes), engine.platform, wanted)


async def restrict(engine: Engine, person: Person) -> Opened:
    async with engine.platform.db.transaction(Role.CUSTOMER, subject=person.customer_id) as tx:
        return await restrictions.restrict(tx, engine.viewer(person), engine.platform)


async def object_to(engine: Engine, person: Person, *purposes: str) -> Opened:
    async with engine.platform.db.transaction(Role.CUSTOMER, subject=person.customer_id) as tx:
        return await objections.object_to(tx, engine.viewer(person), engine.platform, purposes)


async def value(engine: Engine, table: Table, row_id: Any, name: str) -> Any:
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        return await tx.scalar(select(table.c[name]).where(table.c.id == row_id))


async def rests(engine: Engine, person: Person, purpose: str) -> bool:
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        return await objections.rests(tx, person.customer_id, purpose)


def city(person: Person, *, old: str | None = "Berlin", new: str | None = "Bremen") -> Wanted:
    return Wanted("PostalAddress", person.address_id, "city", old, new)


async def test_a_correction_goes_into_every_system_that_can_take_it(engine: Engine, peer: Peer) -> None:
    ada, bystander = await make_person(engine.platform.db), await make_person(engine.platform.db)
    before = await picture(engine.platform.db, bystander)
    for person in (ada, bystander):
        peer.people[person.email] = {"profile": [{"email": person.email, "city": "Berlin"}]}
    await engine.connect(peer)
    opened = await correct(engine, ada, city(ada))
    await engine.work()
    assert await engine.status(opened.reference) is S.COMPLETED
    assert await engine.outcomes(opened.reference) == {
        "own.update": (T.DONE, "CORRECTED"),
        "newsletter.update": (T.DONE, "CORRECTED"),
    }
    assert await value(engine, postal_address, ada.address_id, "city") == "Bremen"
    assert peer.people[ada.email]["profile"][0]["city"] == "Bremen"
    assert peer.people[bystander.email]["profile"][0]["city"] == "Berlin"
    assert await picture(engine.platform.db, bystander) == before
    assert {"request.opened", "value.corrected", "request.completed"} <= set(await engine.audited(ada))
    assert "is done" in engine.letters(ada)[-1].splitlines()[0]
    view = await request_views.of_viewer(engine.platform, engine.viewer(ada), opened.reference)
    assert (view.finished_systems, len(view.systems)) == (2, 2)


async def test_a_system_that_says_done_and_changed_nothing_is_seen(engine: Engine, peer: Peer) -> None:
    ada = await make_person(engine.platform.db)
    peer.people[ada.email] = {"profile": [{"email": ada.email, "city": "Berlin"}]}
    await engine.connect(peer)
    peer.mode = "changes_nothing"
    opened = await correct(engine, ada, city(ada))
    await engine.work()
    assert await engine.status(opened.reference) is S.NEEDS_ATTENTION
    assert (await engine.outcomes(opened.reference))["newsletter.update"] == (T.FAILED, "LEFT_BEHIND")
    peer.mode = "honest"
    await engine.retry(opened.reference)
    await engine.work()
    assert await engine.status(opened.reference) is S.COMPLETED
    assert peer.people[ada.email]["profile"][0]["city"] == "Bremen"


async def test_what_an_order_says_is_corrected_after_an_agent_agreed(office: Office) -> None:
    engine = office.engine
    ada = await make_person(engine.platform.db)
    old = await value(engine, sales_order, ada.order_id, "billing_name")
    opened = await correct(engine, ada, Wanted("Order", ada.order_id, "billingName", old, "Ada Lovelace"))
    await engine.work()
    assert await engine.status(opened.reference) is S.RECEIVED
    assert await value(engine, sales_order, ada.order_id, "billing_name") == old
    await office.approve(opened)
    await engine.work()
    assert await engine.status(opened.reference) is S.COMPLETED
    assert await value(engine, sales_order, ada.order_id, "billing_name") == "Ada Lovelace"


async def test_a_value_that_changed_meanwhile_is_not_overwritten(office: Office) -> None:
    engine = office.engine
    ada = await make_person(engine.platform.db)
    old = await value(engine, sales_order, ada.order_id, "billing_name")
    opened = await correct(engine, ada, Wanted("Order", ada.order_id, "billingName", old, "Ada Lovelace"))
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(update(sales_order).where(sales_order.c.id == ada.order_id).values(billing_name="Other"))
    await office.approve(opened)
    await engine.work()
    assert await engine.status(opened.reference) is S.NEEDS_ATTENTION
    assert (await engine.outcomes(opened.reference))["own.update"] == (T.REFUSED, "VALUE_CHANGED")
    assert await value(engine, sales_order, ada.order_id, "billing_name") == "Other"
    await office.refuse(opened, reason="It changed meanwhile.")
    assert await engine.status(opened.reference) is S.REFUSED


async def test_the_same_correction_twice_is_one(engine: Engine) -> None:
    ada = await make_person(engine.platform.db)
    first = await correct(engine, ada, city(ada))
    second = await correct(engine, ada, city(ada, new="Bonn"))
    assert (second.reference, second.joined) == (first.reference, True)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"object_type": "EmailAddress", "field": "address"}, "NOT_CORRECTABLE"),
        ({"field": "is_primary"}, "NOT_CORRECTABLE"),
        ({"old": "Bonn"}, "VALUE_CHANGED"),
        ({"new": "Berlin"}, "NOTHING_TO_CORRECT"),
        ({"field": "line1", "old": None}, "VALUE_CHANGED"),
        ({"new": "x" * 101}, "INVALID_TEXT"),
        ({"object_id": new_id()}, "NOT_FOUND"),
    ],
)
async def test_what_can_not_be_corrected(engine: Engine, change: dict[str, Any], code: str) -> None:
    ada = await make_person(engine.platform.db)
    wanted = Wanted(**{**vars(city(ada)), **change})
    with pytest.raises(PlatformError) as refusal:
        await correct(engine, ada, wanted)
    assert refusal.value.code == code
    assert (await picture(engine.platform.db, ada))["privacy_request"] == []


async def test_nobody_corrects_somebody_else(engine: Engine) -> None:
    ada, bystander = await make_person(engine.platform.db), await make_person(engine.platform.db)
    with pytest.raises(NotFound):
        await correct(engine, ada, city(bystander))
    with pytest.raises(MissingScope):
        await correct(engine, ada, city(ada), "openid")
    await engine.open_erasure(ada)
    with pytest.raises(CustomerFrozen):
        await correct(engine, ada, city(ada))


async def test_a_restriction_is_in_force_at_once_and_ends_when_its_person_says_so(engine: Engine) -> None:
    ada, bystander = await make_person(engine.platform.db), await make_person(engine.platform.db)
    before = await picture(engine.platform.db, bystander)
    opened = await restrict(engine, ada)
    assert await engine.status(opened.reference) is S.IN_FORCE
    assert await value(engine, customer, ada.customer_id, "restricted_at") is not None
    assert (await restrict(engine, ada)).reference == opened.reference
    await engine.work()
    assert "no longer used" in engine.letters(ada)[-1].splitlines()[0]
    await engine.cancel(ada, opened.reference)
    assert await engine.status(opened.reference) is S.CANCELLED
    assert await value(engine, customer, ada.customer_id, "restricted_at") is None
    assert await picture(engine.platform.db, bystander) == before
    assert {"customer.restricted", "customer.unrestricted"} <= set(await engine.audited(ada))


async def test_a_restriction_is_lifted_only_after_notice(office: Office) -> None:
    slow = office.engine.with_settings(cooling_off=office.engine.platform.settings.export_ttl)
    ada = await make_person(slow.platform.db)
    opened = await restrict(slow, ada)
    async with slow.platform.db.transaction(Role.WORKER) as tx:
        await cases.lift(tx, office.supervisor, slow.platform, opened.id, reason="The dispute is over.")
    await slow.work()
    assert await slow.status(opened.reference) is S.LIFTING
    assert await value(slow, customer, ada.customer_id, "restricted_at") is not None
    assert "The dispute is over." in slow.letters(ada)[-1]
    await slow.cool_off(opened.reference)
    await slow.work()
    assert await slow.status(opened.reference) is S.COMPLETED
    assert await value(slow, customer, ada.customer_id, "restricted_at") is None
    with pytest.raises(restrictions.NotInForce):
        async with slow.platform.db.transaction(Role.WORKER) as tx:
            await cases.lift(tx, office.supervisor, slow.platform, opened.id, reason="Again.")


async def test_a_restriction_by_phone_begins_with_the_approval(office: Office) -> None:
    engine = office.engine
    ada = await make_person(engine.platform.db)
    opened = await office.open_for(ada, RequestType.RESTRICTION)
    assert await value(engine, customer, ada.customer_id, "restricted_at") is None
    await office.approve(opened)
    assert await engine.status(opened.reference) is S.IN_FORCE
    assert await value(engine, customer, ada.customer_id, "restricted_at") is not None


async def test_direct_marketing_stops_at_once(engine: Engine) -> None:
    ada, bystander = await make_person(engine.platform.db), await make_person(engine.platform.db)
    before = await picture(engine.platform.db, bystander)
    opened = await object_to(engine, ada, "promotions")
    assert await engine.status(opened.reference) is S.COMPLETED
    assert await rests(engine, ada, "promotions")
    assert not await rests(engine, bystander, "promotions")
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        mine = select(consent).where(consent.c.customer_id == ada.customer_id, consent.c.purpose == "promotions")
        newest = {row.channel: row.action for row in await tx.all(mine.order_by(consent.c.recorded_at))}
    assert newest == dict.fromkeys(Channel, ConsentAction.WITHDRAWN)
    assert await picture(engine.platform.db, bystander) == before
    assert "marketing.stopped" in await engine.audited(ada)
    async with engine.platform.db.transaction(Role.CUSTOMER, subject=ada.customer_id) as tx:
        now = engine.platform.clock()
        await consents.give(tx, engine.viewer(ada), "promotions", channel=Channel.EMAIL, wording="Yes.", now=now)
    assert not await rests(engine, ada, "promotions")


@pytest.mark.parametrize("stands", [True, False])
async def test_other_purposes_rest_while_an_agent_weighs_them(office: Office, *, stands: bool) -> None:
    engine = office.engine
    ada = await make_person(engine.platform.db)
    opened = await object_to(engine, ada, "individual_service", "promotions")
    assert await engine.status(opened.reference) is S.RECEIVED
    assert await rests(engine, ada, "individual_service")
    again = await object_to(engine, ada, "questions")
    assert again.reference == opened.reference
    if stands:
        await office.approve(opened)
    else:
        await office.refuse(opened, reason="We need it to answer you.")
    assert await engine.status(opened.reference) is (S.COMPLETED if stands else S.REFUSED)
    assert await rests(engine, ada, "individual_service") is stands
    assert await rests(engine, ada, "promotions")
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        rows = await tx.all(select(objection).order_by(objection.c.purpose))
    decided = ObjectionStatus.STANDS if stands else ObjectionStatus.REFUSED
    assert {row.purpose: row.status for row in rows} == {
        "individual_service": decided,
        "promotions": ObjectionStatus.STANDS,
        "questions": decided,
    }


@pytest.mark.parametrize(
    ("purposes", "code"),
    [
        ([], "UNKNOWN_PURPOSE"),
        (["none"], "UNKNOWN_PURPOSE"),
        (["orders"], "NO_OBJECTION"),
        (["promotions", "orders"], "NO_OBJECTION"),
    ],
)
async def test_what_nobody_can_object_to(engine: Engine, purposes: list[str], code: str) -> None:
    ada = await make_person(engine.platform.db)
    with pytest.raises(PlatformError) as refusal:
        await object_to(engine, ada, *purposes)
    assert refusal.value.code == code
    assert (await picture(engine.platform.db, ada))["privacy_request"] == []


async def test_an_agent_brings_the_details(office: Office) -> None:
    engine = office.engine
    ada = await make_person(engine.platform.db)
    with pytest.raises(cases.DetailsMissing):
        await office.open_for(ada, RequestType.OBJECTION)
    with pytest.raises(cases.DetailsMissing):
        await office.open_for(ada, RequestType.ACCESS, details=Details(purposes=("promotions",)))
    opened = await office.open_for(ada, RequestType.RECTIFICATION, details=Details((city(ada),)))
    await office.approve(opened)
    await engine.work()
    assert await engine.status(opened.reference) is S.COMPLETED
    assert await value(engine, postal_address, ada.address_id, "city") == "Bremen"
    objected = await office.open_for(ada, RequestType.OBJECTION, details=Details(purposes=("promotions",)))
    assert await rests(engine, ada, "promotions")
    await office.approve(objected)
    assert await engine.status(objected.reference) is S.COMPLETED


async def test_an_erasure_ends_what_was_open(office: Office) -> None:
    engine = office.engine
    ada = await make_person(engine.platform.db)
    restriction = await restrict(engine, ada)
    objected = await object_to(engine, ada, "questions")
    erased = await engine.open_erasure(ada)
    await engine.work()
    assert await engine.status(erased.reference) is S.COMPLETED
    for one in (restriction, objected):
        assert await engine.status(one.reference) is S.CANCELLED
    assert {table for table, rows in (await picture(engine.platform.db, ada)).items() if rows} == {"audit_event"}
    assert engine.keys("request-") == []


async def test_all_of_it_needs_a_fresh_sign_in(engine: Engine) -> None:
    ada = await make_person(engine.platform.db)
    stale = ada.viewer(authenticated_at=None)
    calls = (
        lambda tx: corrections.correct(tx, stale, engine.platform, city(ada)),
        lambda tx: restrictions.restrict(tx, stale, engine.platform),
        lambda tx: objections.object_to(tx, stale, engine.platform, ["promotions"]),
    )
    for call in calls:
        with pytest.raises(StepUpRequired):
            async with engine.platform.db.transaction(Role.CUSTOMER, subject=ada.customer_id) as tx:
                await call(tx)
