"""Every state of a request and every move between two, with a fault at every step; the invariants hold throughout.

No success without verification, no request lost, at most one effect for each key, nobody else touched.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from cdp.core.db import Role
from cdp.core.settings import Settings
from cdp.operations.requests import cases
from cdp.operations.requests.cases import Details
from cdp.operations.requests.opening import Opened
from cdp.tables.certificate import certificate
from cdp.tables.request import (
    PAUSABLE,
    SETTLED,
    TRANSITIONS,
    RequestStatus,
    RequestType,
    TaskStatus,
    TaskStep,
    privacy_request,
    request_task,
)
from cdp.tables.system import system
from tests.connectors.webhook_peer import Peer, served
from tests.engine import QUICK, Engine, opened
from tests.faults.walking import Fault, Walk, edges
from tests.population import Person, make_person, picture
from tests.requests.test_casework import Office, hire
from tests.requests.test_rights import city, correct, object_to, restrict

S, R = RequestStatus, RequestType
GARBAGE = (200, {}, b"")
REFUSED = (403, {"content-type": "application/json"}, b'{"state": "refused", "code": "NOT_NOW"}')
# What only a machine moves; the other states wait for a person. What waits for a legal hold is walked in tests/holds.
MACHINES = frozenset(
    {S.CHECKING, S.COOLING_OFF, S.ERASING, S.VERIFYING, S.COLLECTING, S.PACKING, S.APPLYING, S.LIFTING}
)
DECIDED = frozenset({S.COMPLETED, S.CANCELLED, S.REFUSED, S.FAILED})

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]


@pytest.fixture
async def engine(fresh_settings: Settings) -> AsyncIterator[Engine]:
    settled = {**QUICK, "redis_url": "", "max_attempts": 50, "cooling_off": timedelta(days=1)}
    async for one in opened(fresh_settings.model_copy(update=settled)):
        yield one


@pytest.fixture
def peer() -> Iterator[Peer]:
    with served() as one:
        yield one


@dataclass
class Scene:
    """What a scenario plays with: the office, the peer, and walks under one fault."""

    office: Office
    peer: Peer
    fault: Fault = Fault.CRASH
    seen: set[RequestStatus] = field(default_factory=set)

    @property
    def engine(self) -> Engine:
        return self.office.engine

    async def somebody(self) -> Person:
        person = await make_person(self.engine.platform.db)
        self.peer.people[person.email] = {"profile": [{"email": person.email, "city": "Berlin"}]}
        return person

    def walk(self, one: Opened) -> Walk:
        return Walk(self.engine, self.fault, self.seen, lambda: invariants(self, one), one.id)

    async def erasure(self) -> tuple[Person, Opened, Walk]:
        person = await self.somebody()
        one = await self.engine.open_erasure(person)
        return person, one, self.walk(one)

    async def lift(self, one: Opened) -> None:
        platform = self.engine.platform
        async with platform.db.transaction(Role.WORKER) as tx:
            await cases.lift(tx, self.office.supervisor, platform, one.id, reason="It is over.")


async def invariants(scene: Scene, one: Opened) -> None:
    """What holds after every single step."""
    assert all(count == 1 for count in scene.peer.effects.values()), scene.peer.effects
    async with scene.engine.platform.db.transaction(Role.WORKER) as tx:
        request = await tx.first(select(privacy_request).where(privacy_request.c.id == one.id))
        rows = await tx.all(
            select(request_task.c.step, request_task.c.status, system.c.name)
            .join(system)
            .where(request_task.c.request_id == one.id)
        )
        proof = await tx.first(select(certificate.c.id).where(certificate.c.request_id == one.id))
    assert request is not None, "a request was lost"
    steps = {(row.name, row.step): row.status for row in rows}
    if request.type is R.ERASURE:
        assert (proof is not None) == (request.status is S.COMPLETED)
        if request.status is S.COMPLETED:
            verified = {name for (name, step), status in steps.items() if step is TaskStep.VERIFY and status is DONE}
            assert verified == {"own", "newsletter"}
        if ("own", TaskStep.ERASE) in steps:
            assert steps["newsletter", TaskStep.VERIFY] is DONE, "own went before the others were verified"
    if request.status not in SETTLED:
        assert request.key_id is not None, "a key died before its request was over"


DONE = TaskStatus.DONE
Scenario = Callable[[Scene], Awaitable[None]]


async def erased(scene: Scene) -> None:
    person, one, walk = await scene.erasure()
    assert await walk.finish() is S.COOLING_OFF
    await scene.engine.cool_off(one.reference)
    assert await walk.finish() is S.COMPLETED
    assert person.email not in scene.peer.people
    held = {table for table, rows in (await picture(scene.engine.platform.db, person)).items() if rows}
    assert held == {"audit_event"}
    assert sum("deleted" in letter.splitlines()[0] for letter in scene.engine.letters(person)) == 1
    assert (await scene.engine.request(one.reference)).key_id is None


async def erased_by_phone(scene: Scene) -> None:
    person = await scene.somebody()
    one = await scene.office.open_for(person, R.ERASURE)
    walk = scene.walk(one)
    assert await walk.finish() is S.RECEIVED
    await scene.office.approve(one)
    await scene.office.pause(one)
    await scene.office.resume(one)
    assert await walk.finish() is S.COOLING_OFF
    await scene.office.pause(one)
    await scene.engine.cool_off(one.reference)
    assert await walk.finish() is S.PAUSED
    await scene.office.resume(one)
    assert await walk.until(S.ERASING) is S.ERASING
    await scene.office.pause(one)
    assert await walk.finish() is S.PAUSED
    await scene.office.resume(one)
    assert await walk.until(S.VERIFYING) is S.VERIFYING
    await scene.office.pause(one)
    assert await walk.finish() is S.PAUSED
    await scene.office.resume(one)
    assert await walk.finish() is S.COMPLETED


async def stuck_in_every_phase(scene: Scene) -> None:
    _, one, walk = await scene.erasure()
    for state, answer in ((S.CHECKING, GARBAGE), (S.ERASING, GARBAGE), (S.VERIFYING, REFUSED)):
        assert await walk.until(state) is state
        scene.peer.answer = answer
        assert await walk.finish() is S.NEEDS_ATTENTION
        scene.peer.answer = None
        await scene.engine.retry(one.reference)
        assert await walk.status() is state
        if state is S.CHECKING:
            assert await walk.finish() is S.COOLING_OFF
            await scene.engine.cool_off(one.reference)
    assert await walk.finish() is S.COMPLETED


async def key_lost(scene: Scene) -> None:
    _, one, walk = await scene.erasure()
    assert await walk.finish() is S.COOLING_OFF
    await scene.engine.cool_off(one.reference)
    name = f"request-{one.id}"
    kept = scene.engine.platform.keys.get(name)
    scene.engine.platform.keys.destroy(name)
    assert await walk.finish() is S.NEEDS_ATTENTION
    scene.engine.platform.keys.create(name, kept)
    await scene.office.refuse(one)
    assert await walk.finish() is S.REFUSED


async def called_off_everywhere(scene: Scene) -> None:
    for state in (S.CHECKING, S.COOLING_OFF):
        for end in (S.CANCELLED, S.REFUSED):
            person, one, walk = await scene.erasure()
            assert await walk.until(state) is state
            if end is S.CANCELLED:
                await scene.engine.cancel(person, one.reference)
            else:
                await scene.office.refuse(one)
            assert await walk.finish() is end
            assert person.email in scene.peer.people
    person, one, walk = await scene.erasure()
    scene.peer.answer = GARBAGE
    assert await walk.finish() is S.NEEDS_ATTENTION
    scene.peer.answer = None
    await scene.engine.cancel(person, one.reference)
    assert await walk.finish() is S.CANCELLED


async def paused_and_ended(scene: Scene) -> None:
    for end in (S.CANCELLED, S.REFUSED):
        person, one, walk = await scene.erasure()
        await scene.office.pause(one)
        assert await walk.finish() is S.PAUSED
        if end is S.CANCELLED:
            await scene.engine.cancel(person, one.reference)
        else:
            await scene.office.refuse(one)
        assert await walk.finish() is end


async def given_up(scene: Scene) -> None:
    person, one, walk = await scene.erasure()
    assert await walk.finish() is S.COOLING_OFF
    await scene.engine.cool_off(one.reference)
    scene.peer.answer = GARBAGE
    assert await walk.finish() is S.NEEDS_ATTENTION
    scene.peer.answer = None
    async with scene.engine.platform.db.transaction(Role.WORKER) as tx:
        await cases.give_up(tx, scene.office.supervisor, scene.engine.platform, one.id, reason="The system is gone.")
    assert await walk.finish() is S.FAILED
    assert "The system is gone." in scene.engine.letters(person)[-1]
    held = await picture(scene.engine.platform.db, person)
    assert held["customer"]


async def exported(scene: Scene) -> None:
    person = await scene.somebody()
    one = await scene.office.open_for(person, R.ACCESS)
    walk = scene.walk(one)
    await scene.office.approve(one)
    for state in (S.COLLECTING, S.PACKING):
        assert await walk.until(state) is state
        await scene.office.pause(one)
        assert await walk.finish() is S.PAUSED
        await scene.office.resume(one)
    assert await walk.finish() is S.COMPLETED
    assert (await scene.engine.package(person, one.reference)).testzip() is None


async def exports_ended(scene: Scene) -> None:
    for state, end in ((S.COLLECTING, S.CANCELLED), (S.COLLECTING, S.REFUSED), (S.PACKING, S.CANCELLED)):
        person = await scene.somebody()
        one = await scene.engine.open_export(person)
        walk = scene.walk(one)
        assert await walk.until(state) is state
        if end is S.CANCELLED:
            await scene.engine.cancel(person, one.reference)
        else:
            await scene.office.refuse(one)
        assert await walk.finish() is end


async def received_and_ended(scene: Scene) -> None:
    for end in (S.CANCELLED, S.REFUSED):
        person = await scene.somebody()
        one = await scene.office.open_for(person, R.ACCESS)
        await scene.office.pause(one)
        await scene.office.resume(one)
        if end is S.CANCELLED:
            await scene.engine.cancel(person, one.reference)
        else:
            await scene.office.refuse(one)
        assert await scene.walk(one).finish() is end


async def corrected(scene: Scene) -> None:
    person = await scene.somebody()
    one = await correct(scene.engine, person, city(person))
    walk = scene.walk(one)
    await scene.office.pause(one)
    await scene.office.resume(one)
    scene.peer.answer = GARBAGE
    assert await walk.finish() is S.NEEDS_ATTENTION
    scene.peer.answer = None
    await scene.engine.retry(one.reference)
    assert await walk.finish() is S.COMPLETED
    assert scene.peer.people[person.email]["profile"][0]["city"] == "Bremen"
    by_phone = await scene.office.open_for(
        person, R.RECTIFICATION, details=Details((city(person, old="Bremen", new="Bonn"),))
    )
    await scene.office.approve(by_phone)
    assert await scene.walk(by_phone).finish() is S.COMPLETED
    assert scene.peer.people[person.email]["profile"][0]["city"] == "Bonn"


async def corrected_while_erased(scene: Scene) -> None:
    person = await scene.somebody()
    correction = await correct(scene.engine, person, city(person))
    await scene.office.pause(correction)
    await scene.office.resume(correction)
    one = await scene.engine.open_erasure(person)
    walk = scene.walk(one)
    await walk.finish()
    await scene.engine.cool_off(one.reference)
    assert await walk.finish() is S.COMPLETED
    assert await scene.walk(correction).finish() is S.CANCELLED


async def restricted(scene: Scene) -> None:
    person = await scene.somebody()
    one = await scene.office.open_for(person, R.RESTRICTION)
    await scene.office.approve(one)
    walk = scene.walk(one)
    assert await walk.finish() is S.IN_FORCE
    await scene.lift(one)
    assert await walk.finish() is S.LIFTING
    await scene.engine.cool_off(one.reference)
    assert await walk.finish() is S.COMPLETED
    for is_lifting in (False, True):
        own = await restrict(scene.engine, person)
        if is_lifting:
            await scene.lift(own)
        await scene.engine.cancel(person, own.reference)
        assert await scene.walk(own).finish() is S.CANCELLED


async def objected(scene: Scene) -> None:
    person = await scene.somebody()
    one = await object_to(scene.engine, person, "questions", "promotions")
    walk = scene.walk(one)
    assert await walk.finish() is S.RECEIVED
    await scene.office.approve(one)
    assert await walk.finish() is S.COMPLETED


async def packing_stuck(scene: Scene) -> None:
    person = await scene.somebody()
    one = await scene.engine.open_export(person)
    walk = scene.walk(one)
    assert await walk.until(S.PACKING) is S.PACKING
    key = next(name for name in scene.engine.keys("export-"))
    kept = scene.engine.platform.keys.get(key)
    scene.engine.platform.keys.destroy(key)
    assert await walk.finish() is S.NEEDS_ATTENTION
    scene.engine.platform.keys.create(key, kept)
    await scene.engine.retry(one.reference)
    assert await walk.finish() is S.COMPLETED


async def collecting_stuck(scene: Scene) -> None:
    person = await scene.somebody()
    one = await scene.engine.open_export(person)
    walk = scene.walk(one)
    name = f"request-{one.id}"
    kept = scene.engine.platform.keys.get(name)
    scene.engine.platform.keys.destroy(name)
    assert await walk.finish() is S.NEEDS_ATTENTION
    scene.engine.platform.keys.create(name, kept)
    await scene.engine.retry(one.reference)
    assert await walk.finish() is S.COMPLETED


SCENARIOS: tuple[Scenario, ...] = (
    erased,
    erased_by_phone,
    stuck_in_every_phase,
    key_lost,
    called_off_everywhere,
    paused_and_ended,
    packing_stuck,
    collecting_stuck,
    given_up,
    exported,
    exports_ended,
    received_and_ended,
    corrected,
    corrected_while_erased,
    restricted,
    objected,
)


# Every fault for every scenario is minutes of work: the gate gives each scenario one fault, another one every day.
ROUNDS = (
    range(len(Fault)) if os.environ.get("CDP_TEST_STRIDE") == "1" else (datetime.now(UTC).toordinal() % len(Fault),)
)


@pytest.mark.parametrize("turn", ROUNDS)
async def test_every_state_and_move_survives(engine: Engine, peer: Peer, turn: int) -> None:
    office = Office(engine, await hire(engine, "agent"), await hire(engine, "supervisor"))
    await engine.connect(peer)
    scene = Scene(office, peer)
    bystander = await scene.somebody()
    before = await picture(engine.platform.db, bystander)
    faults = tuple(Fault)
    for number, scenario in enumerate(SCENARIOS):
        scene.fault = faults[(turn + number) % len(faults)]
        await scenario(scene)
    assert scene.seen >= MACHINES | DECIDED
    moves = {(old, new) for old, following in TRANSITIONS.items() for new in following if S.HELD not in (old, new)}
    assert moves - await edges(engine) == set()
    assert await picture(engine.platform.db, bystander) == before
    assert bystander.email in peer.people
    assert engine.keys("request-") == []
    assert PAUSABLE | MACHINES | DECIDED | {S.IN_FORCE, S.PAUSED, S.HELD, S.NEEDS_ATTENTION} == set(TRANSITIONS)
