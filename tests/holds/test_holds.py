"""Legal holds: two people, exactly that category, and an erasure that finishes by itself once the hold is over."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from cdp.access.viewer import SYSTEM, MissingScope
from cdp.connectors.base import State, Subject, System
from cdp.connectors.registry import connect
from cdp.core.db import Role
from cdp.core.errors import PlatformError, StepUpRequired
from cdp.core.ids import RequestId, SystemId, new_id
from cdp.core.sign import Verdict, check
from cdp.operations import systems
from cdp.operations.requests import phases, request_views
from cdp.operations.systems import Registration
from cdp.tables import metadata
from cdp.tables.base import Category
from cdp.tables.datamap import categories, keeps_rows, personal_tables
from cdp.tables.hold import HOLD_TRANSITIONS, HoldStatus, legal_hold
from cdp.tables.request import RequestStatus, TaskStatus, TaskStep
from tests.connectors.webhook_peer import SECRET, Peer, served
from tests.engine import QUICK, Engine, opened
from tests.holds.desk import WRIT, Desk, staffed
from tests.population import Person, make_person, picture
from tests.processes import worker

S, T = RequestStatus, TaskStatus
# Whose rows hold an address of the person.
NAMED = {Category.CONTACT, Category.MESSAGE}
ENGINE_ROWS = {"audit_event", "customer", "legal_hold", "privacy_request", "request_task"}


@pytest.fixture
async def desk(engine: Engine) -> Desk:
    return await staffed(engine)


@pytest.fixture
def peer() -> Iterator[Peer]:
    with served() as one:
        yield one


async def held(engine: Engine, person: Person) -> dict[str, int]:
    return {table: len(rows) for table, rows in (await picture(engine.platform.db, person)).items() if rows}


async def test_only_what_is_held_stays_and_it_goes_by_itself_when_the_hold_ends(desk: Desk) -> None:
    engine = desk.engine
    ada, bystander = await make_person(engine.platform.db), await make_person(engine.platform.db)
    before = await picture(engine.platform.db, bystander)
    hold = await desk.hold(ada, Category.SUPPORT, document=WRIT)
    erased = await engine.open_erasure(ada)
    await engine.work()

    assert await engine.status(erased.reference) is S.HELD
    assert (await engine.outcomes(erased.reference))["own.erase"] == (T.HELD, "HOLD_PLACED")
    assert await held(engine, ada) == {**dict.fromkeys(ENGINE_ROWS, 1), "inquiry": 1, "collection": 1} | {
        table: count for table, count in (await held(engine, ada)).items() if table in {"audit_event", "request_task"}
    }
    anchor = (await picture(engine.platform.db, ada))["customer"][0]
    assert "Ada" not in anchor
    assert ada.email not in str(await picture(engine.platform.db, ada))
    assert "hold" in engine.letters(ada)[-1].splitlines()[0]
    assert "customer.erased_in_part" in await engine.audited(ada)
    view = await request_views.with_key(engine.platform, erased.reference, erased.status_key)
    assert [kept["basis"] for _, kept in view.retained if kept["collection"] == "inquiry"] == [
        f"Legal hold since {engine.platform.clock():%Y-%m-%d}"
    ]
    await engine.work()
    assert await engine.status(erased.reference) is S.HELD

    await desk.release(hold)
    await engine.work()
    assert await engine.status(erased.reference) is S.COMPLETED
    assert set(await held(engine, ada)) == {"audit_event"}
    issued = engine.document(await engine.certificate(erased.reference))
    assert check(issued, engine.platform.signer.keys()) is Verdict.VALID
    assert [(one["category"], one["heldUntil"] is not None) for one in issued["holds"]] == [("support", True)]
    own = next(one for one in issued["systems"] if one["name"] == "own")
    assert {"inquiry", "email_address", "customer"} <= set(own["erased"]["records"])
    assert not any(kept["basis"].startswith("Legal hold") for kept in own["retained"])
    assert {kept["collection"] for kept in own["retained"]} >= {"sales_order"}
    assert "deleted" in engine.letters(ada)[-1].splitlines()[0]
    assert len(engine.letters(ada)) == 3
    assert (engine.keys("attachment-"), await engine.objects("attachments/")) == ([], [])
    row = await desk.row(hold)
    assert (row.status, row.customer_id, row.reason, row.notice) == (HoldStatus.RELEASED, None, None, None)
    assert (await engine.certificate(erased.reference)).pdf()[:4] == b"%PDF"
    assert await picture(engine.platform.db, bystander) == before


async def test_every_category_can_be_held_alone(desk: Desk) -> None:
    engine = desk.engine
    people = {category: await make_person(engine.platform.db) for category in sorted(Category)}
    before = {category: await held(engine, person) for category, person in people.items()}
    kept = {category: await desk.hold(person, category) for category, person in people.items()}
    erased = {category: await engine.open_erasure(person) for category, person in people.items()}
    await engine.work()
    for category, person in people.items():
        assert await engine.status(erased[category].reference) is S.HELD, category
        covered = {t.name for t in personal_tables() if category in categories(t) and t.name != "customer"}
        after = await held(engine, person)
        for table in covered - {"message", "audit_note", "session", "export"}:
            assert after.get(table, 0) >= before[category].get(table, 0), table
        anchors = {"collection"} | ({"identity"} if category is Category.CONSENT else set())
        assert set(after) - covered <= ENGINE_ROWS | anchors
        assert (person.email in str(await picture(engine.platform.db, person))) == (category in NAMED)
    for hold in kept.values():
        await desk.release(hold)
    await engine.work()
    for category, person in people.items():
        assert await engine.status(erased[category].reference) is S.COMPLETED, category
        assert set(await held(engine, person)) == {"audit_event"}


def test_held_rows_can_always_stay() -> None:
    """A held row may only demand rows that stay with it: of its own categories, its collection, the customer."""
    for table in personal_tables():
        if table.name == "customer" or not categories(table):
            continue
        for column in table.columns:
            for key in column.foreign_keys:
                other = key.column.table
                if "customer_id" in other.columns and not column.nullable and other.name != "collection":
                    stays = keeps_rows(other) or categories(table) <= categories(other)
                    assert stays, f"{table.name}.{column.name}"
    assert metadata.tables["collection"].c.policy_version_id.nullable is False


async def test_two_holds_end_one_after_the_other(desk: Desk) -> None:
    engine = desk.engine
    ada = await make_person(engine.platform.db)
    support, order = await desk.hold(ada, Category.SUPPORT), await desk.hold(ada, Category.ORDER)
    erased = await engine.open_erasure(ada)
    await engine.work()
    assert {"inquiry", "sales_order"} <= set(await held(engine, ada))
    await desk.release(support)
    await engine.work()
    assert await engine.status(erased.reference) is S.HELD
    assert "inquiry" not in await held(engine, ada)
    assert (await picture(engine.platform.db, ada))["sales_order"][0].count("Ada") == 0
    assert "sales_order" in await held(engine, ada)
    await desk.release(order)
    await engine.work()
    assert await engine.status(erased.reference) is S.COMPLETED
    assert len(engine.document(await engine.certificate(erased.reference))["holds"]) == 2
    assert sum("hold" in letter.splitlines()[0] for letter in engine.letters(ada)) == 1


async def test_a_system_that_declares_the_category_is_held_too(desk: Desk, peer: Peer) -> None:
    engine = desk.engine
    ada = await make_person(engine.platform.db)
    peer.people[ada.email] = {"profile": [{"email": ada.email}]}
    told = {"url": peer.url, "timeout_s": 1, "identifiers": ["email"]}
    declared = frozenset({Category.SUPPORT})
    wanted = Registration("newsletter", "Newsletter", "webhook", told, {"secret": SECRET}, categories=declared)
    await systems.add(engine.platform, SYSTEM, wanted)
    await engine.connect(peer, name="other")
    hold = await desk.hold(ada, Category.SUPPORT)
    erased = await engine.open_erasure(ada)
    peer.people["stay"] = {}
    await engine.work()
    request = await engine.request(erased.reference)
    assert request.status is S.HELD
    assert f"{request.id}:newsletter:erase" not in peer.effects
    assert peer.effects[f"{request.id}:other:erase"] == 1
    await desk.release(hold)
    await engine.work()
    assert await engine.status(erased.reference) is S.COMPLETED
    assert peer.effects.get(f"{request.id}:newsletter:erase", 0) + sum(
        call["step"] == "erase" and "newsletter" in call["key"] for call in peer.calls
    )
    found = await engine.outcomes(erased.reference)
    assert {code for name, (_, code) in found.items() if name.endswith("verify")} == {"NOTHING_LEFT"}


async def test_a_hold_placed_and_released_before_the_end_leaves_no_trace_but_its_own(desk: Desk) -> None:
    engine = desk.engine
    ada = await make_person(engine.platform.db)
    hold = await desk.hold(ada, Category.ORDER)
    erased = await engine.open_erasure(ada)
    await desk.release(hold)
    await engine.work()
    assert await engine.status(erased.reference) is S.COMPLETED


async def test_a_held_request_whose_key_is_lost_needs_a_person(desk: Desk) -> None:
    engine = desk.engine
    ada = await make_person(engine.platform.db)
    await desk.hold(ada, Category.SUPPORT)
    erased = await engine.open_erasure(ada)
    await engine.work()
    name = f"request-{(await engine.request(erased.reference)).id}"
    kept = engine.platform.keys.get(name)
    engine.platform.keys.destroy(name)
    await phases.advance(engine.platform, (await engine.request(erased.reference)).id)
    assert await engine.status(erased.reference) is S.NEEDS_ATTENTION
    engine.platform.keys.create(name, kept)
    await engine.retry(erased.reference)
    await engine.work()
    assert await engine.status(erased.reference) is S.HELD
    assert "inquiry" in await held(engine, ada)


async def test_a_hold_that_expires_lets_the_erasure_finish(desk: Desk) -> None:
    engine = desk.engine
    ada = await make_person(engine.platform.db)
    until = engine.platform.clock() + timedelta(days=30)
    hold = await desk.hold(ada, Category.DEVICE, until=until)
    erased = await engine.open_erasure(ada)
    await engine.work()
    assert await engine.status(erased.reference) is S.HELD
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(update(legal_hold).values(until=legal_hold.c.placed_at))
    await engine.work()
    assert await engine.status(erased.reference) is S.COMPLETED
    assert (await desk.row(hold)).status is HoldStatus.EXPIRED


async def test_one_person_alone_neither_holds_for_good_nor_releases(desk: Desk) -> None:
    engine = desk.engine
    ada = await make_person(engine.platform.db)
    hold = await desk.place(ada, Category.ORDER)
    assert (await desk.row(hold)).status is HoldStatus.PROPOSED
    for attempt, code in (
        (desk.agree(hold, desk.officer), "SECOND_PERSON_NEEDED"),
        (desk.ask_release(hold), "HOLD_NOT_OPEN"),
        (desk.place(ada, Category.ORDER), "ALREADY_HELD"),
        (desk.place(ada, Category.DEVICE, reason="  "), "HOLD_REASON_MISSING"),
        (desk.place(ada, Category.DEVICE, until=engine.platform.clock()), "HOLD_DATE_INVALID"),
        (desk.ask_release(hold, desk.second), "PRIVACY_OFFICER_NEEDED"),
    ):
        with pytest.raises(PlatformError) as refused:
            await attempt
        assert refused.value.code == code
    with pytest.raises(StepUpRequired):
        await desk.agree(hold, replace(desk.second, authenticated_at=None))
    with pytest.raises(MissingScope):
        await desk.agree(hold, replace(desk.second, scopes=frozenset()))
    await desk.agree(hold)
    await desk.ask_release(hold)
    with pytest.raises(PlatformError) as refused:
        await desk.agree(hold, desk.officer)
    assert refused.value.code == "SECOND_PERSON_NEEDED"
    await desk.refuse(hold)
    assert (await desk.row(hold)).status is HoldStatus.ACTIVE
    await desk.release(hold)
    actions = [action for action in await engine.audited(ada) if action.startswith("hold.")]
    assert actions == [
        "hold.placed",
        "hold.approved",
        "hold.release_asked",
        "hold.release_refused",
        "hold.release_asked",
        "hold.released",
    ]
    refused_one = await desk.place(ada, Category.ORDER)
    await desk.refuse(refused_one)
    assert (await desk.row(refused_one)).status is HoldStatus.REFUSED
    assert set(HOLD_TRANSITIONS) == set(HoldStatus)


async def test_a_refused_hold_lets_the_erasure_go_on(desk: Desk) -> None:
    engine = desk.engine
    ada = await make_person(engine.platform.db)
    hold = await desk.place(ada, Category.CONSENT)
    erased = await engine.open_erasure(ada)
    await engine.work()
    assert await engine.status(erased.reference) is S.HELD
    await desk.refuse(hold)
    await engine.work()
    assert await engine.status(erased.reference) is S.COMPLETED
    assert "holds" not in engine.document(await engine.certificate(erased.reference))


async def test_who_is_gone_can_not_be_held(desk: Desk) -> None:
    engine = desk.engine
    ada = await make_person(engine.platform.db)
    await engine.open_erasure(ada)
    await engine.work()
    with pytest.raises(PlatformError) as refused:
        await desk.place(ada, Category.ORDER)
    assert refused.value.code == "NOT_FOUND"


async def test_a_replay_by_the_connector_respects_holds(desk: Desk) -> None:
    engine = desk.engine
    ada = await make_person(engine.platform.db)
    await desk.hold(ada, Category.SUPPORT)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        own = System(SystemId(await systems.own_id(tx)), "own", "own", {})
    subject = Subject(RequestId(new_id()), ada.customer_id, ada.audit_ref, (), b"x" * 32)
    announced = await connect(own, engine.platform).check(subject, "key")
    assert announced.state is State.DONE
    assert "inquiry" in {kept.collection for kept in announced.retained}
    assert "inquiry" not in announced.records
    outcome = await connect(own, engine.platform).erase(subject, "key")
    assert (outcome.state, outcome.code) == (State.HELD, "HOLD_PLACED")
    assert "inquiry" in await held(engine, ada)


@pytest.mark.faults
async def test_a_worker_killed_after_the_release_changes_nothing(fresh_settings, tmp_path: Path) -> None:
    lively = {**QUICK, "lease_s": 1.0, "sweep_s": 0.2, "max_attempts": 50}
    async for engine in opened(fresh_settings.model_copy(update=lively)):
        desk = await staffed(engine)
        ada = await make_person(engine.platform.db)
        hold = await desk.hold(ada, Category.SUPPORT)
        erased = await engine.open_erasure(ada)
        await engine.work()
        assert await engine.status(erased.reference) is S.HELD
        with worker(engine.platform.settings, tmp_path / "first") as first:
            await desk.release(hold)
            first.kill()
        with worker(engine.platform.settings, tmp_path / "second") as second:
            await engine.closed(erased.reference)
            assert second.stop() == 0
        assert await engine.status(erased.reference) is S.COMPLETED
        assert set(await held(engine, ada)) == {"audit_event"}
        tasks = await engine.tasks(erased.reference)
        assert tasks["own", TaskStep.VERIFY].code == "NOTHING_LEFT"
