"""Systems that are people: tasks reported by one, confirmed by another; processors asked by mail; paper in offices."""

import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from aiosmtpd.controller import Controller
from sqlalchemy import Row, func, select, update

from cdp.access.viewer import SYSTEM, MissingScope, Viewer
from cdp.connectors.base import ConfigurationInvalid, System
from cdp.connectors.registry import connect
from cdp.core.db import Role
from cdp.core.errors import PlatformError, StepUpRequired
from cdp.core.ids import SystemId, new_id
from cdp.core.mail import mailer
from cdp.core.settings import Settings
from cdp.jobs.sweep import sweep
from cdp.operations import systems
from cdp.operations.accounts.mail_links import LinkRefused
from cdp.operations.attachments import attachments
from cdp.operations.attachments.attachments import Document
from cdp.operations.manual import work
from cdp.operations.manual.work import Report
from cdp.operations.paper import records
from cdp.operations.paper.records import Filed
from cdp.operations.systems import Registration
from cdp.tables.base import Category
from cdp.tables.manual import MANUAL_TRANSITIONS, ManualOutcome, ManualStatus, manual_task
from cdp.tables.message import message
from cdp.tables.paper import PAPER_TRANSITIONS, PaperStatus, paper_record
from cdp.tables.request import RequestStatus, TaskStatus, TaskStep, request_task
from tests.engine import QUICK, Engine, opened
from tests.faults.mortal import mortally
from tests.holds.desk import staffed
from tests.population import Person, make_person, picture
from tests.processes import worker
from tests.requests.test_casework import hire

S, T, Out = RequestStatus, TaskStatus, ManualOutcome
TILL = {"instructions": "Open the till, search by address, press Remove.", "due_days": 3}
SHOT = Document("screen.png", "image/png", b"\x89PNG a screen")
PROCESSOR = "privacy@letters.example"


@dataclass(frozen=True)
class Floor:
    """Two agents, and one engine."""

    engine: Engine
    one: Viewer
    two: Viewer

    async def connect(self, kind: str, configuration: dict[str, object], name: str = "till") -> None:
        wanted = Registration(name, name.capitalize(), kind, configuration, {})  # type: ignore[arg-type]  # JSON
        await systems.add(self.engine.platform, SYSTEM, wanted)

    async def tasks(self) -> list[Row[tuple[object, ...]]]:
        async with self.engine.platform.db.transaction(Role.WORKER) as tx:
            return list(await tx.all(select(manual_task).order_by(manual_task.c.id)))

    async def report(
        self,
        task_id: UUID,
        outcome: Out,
        count: int | None = None,
        *,
        document: Document | None = None,
        viewer: Viewer | None = None,
        **more: str,
    ) -> None:
        platform = self.engine.platform
        given = Report(outcome, count, **more)
        async with (
            attachments.stored(platform, document, replaces=(manual_task, task_id)) as one,
            platform.db.transaction(Role.WORKER) as tx,
        ):
            await work.report(tx, viewer or self.one, task_id, given, document=one)

    async def confirm(self, task_id: UUID, viewer: Viewer | None = None) -> None:
        async with self.engine.platform.db.transaction(Role.WORKER) as tx:
            await work.confirm(tx, viewer or self.two, self.engine.platform, task_id)

    async def do(self, step: TaskStep, outcome: Out, count: int | None = None, **more: object) -> None:
        """Both people's part of the one open task of a step; the second look is the other one's."""
        (task,) = [one for one in await self.tasks() if one.step is step and one.status is ManualStatus.OPEN]
        first, second = (self.two, self.one) if step is TaskStep.VERIFY else (self.one, self.two)
        await self.report(task.id, outcome, count, viewer=first, **more)  # type: ignore[arg-type]  # its arguments
        await self.confirm(task.id, second)
        await self.engine.work()


async def floor_of(engine: Engine) -> Floor:
    now = engine.platform.clock()
    one, two = await hire(engine, "agent"), await hire(engine, "agent")
    return Floor(engine, replace(one, authenticated_at=now), replace(two, authenticated_at=now))


@pytest.fixture
async def floor(engine: Engine) -> Floor:
    return await floor_of(engine)


async def refusal(attempt: object) -> str:
    with pytest.raises(PlatformError) as refused:
        await attempt  # type: ignore[misc]  # a coroutine
    return refused.value.code


async def test_two_people_erase_and_two_look_again(floor: Floor) -> None:
    engine = floor.engine
    await floor.connect("manual", TILL)
    ada, bystander = await make_person(engine.platform.db), await make_person(engine.platform.db)
    before = await picture(engine.platform.db, bystander)
    erased = await engine.open_erasure(ada)
    await engine.work()
    assert await engine.status(erased.reference) is S.ERASING
    found = await engine.outcomes(erased.reference)
    assert found["till.check"] == (T.UNSUPPORTED, "NOT_OFFERED")
    assert found["till.erase"] == (T.WAITING, "WAITING_FOR_A_PERSON")
    (task,) = await floor.tasks()
    shown = await work.identifiers(engine.platform, floor.one, task.id)
    assert {known.value for known in shown} == {ada.email}
    assert await refusal(floor.confirm(task.id)) == "TASK_NOT_OPEN"
    assert await refusal(floor.report(task.id, Out.DONE)) == "REPORT_INVALID"
    assert await refusal(floor.report(task.id, Out.NOTHING_FOUND, 2)) == "REPORT_INVALID"
    await floor.report(task.id, Out.DONE, 3, document=SHOT, code="TILL_4", note="Removed at till 4.")
    await engine.work()
    assert (await engine.outcomes(erased.reference))["till.erase"][0] is T.WAITING
    assert await refusal(floor.confirm(task.id, floor.one)) == "SECOND_PERSON_NEEDED"
    with pytest.raises(StepUpRequired):
        await floor.confirm(task.id, replace(floor.two, authenticated_at=None))
    with pytest.raises(MissingScope):
        await floor.confirm(task.id, replace(floor.two, scopes=frozenset()))
    document = await work.read_document(engine.platform, floor.two, task.id)
    assert document == SHOT
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        await work.send_back(tx, floor.two, engine.platform, task.id, note="Which records?")
    await floor.do(TaskStep.ERASE, Out.DONE, 3)
    assert (await engine.outcomes(erased.reference))["till.verify"] == (T.WAITING, "WAITING_FOR_A_PERSON")
    look = (await floor.tasks())[-1]
    assert await refusal(floor.report(look.id, Out.NOTHING_FOUND, viewer=floor.one)) == "SECOND_PERSON_NEEDED"
    await floor.do(TaskStep.VERIFY, Out.NOTHING_FOUND)
    assert await engine.status(erased.reference) is S.COMPLETED
    issued = engine.document(await engine.certificate(erased.reference))
    till = next(one for one in issued["systems"] if one["name"] == "till")
    assert (till["erased"]["records"], till["verified"]["code"]) == ({"records": 3}, "NOTHING_LEFT")
    assert "documentSha256" in till["erased"]["evidence"]
    assert (engine.keys("attachment-"), await engine.objects("attachments/")) == ([], [])
    assert [one.note for one in await floor.tasks()] == [None, None]
    assert await refusal(work.identifiers(engine.platform, floor.one, task.id)) == "IDENTIFIERS_GONE"
    actions = [action for action in await engine.audited(ada) if action.startswith("manual_task.")]
    assert actions[:4] == [
        "manual_task.revealed",
        "manual_task.reported",
        "manual_task.document_read",
        "manual_task.sent_back",
    ]
    assert actions.count("manual_task.confirmed") == 2
    assert await picture(engine.platform.db, bystander) == before


@pytest.mark.parametrize(
    ("outcome", "state", "code"),
    [
        (Out.REFUSED, T.REFUSED, "REFUSED_BY_A_PERSON"),
        (Out.HELD, T.HELD, "LEGAL_HOLD"),
        (Out.NOT_POSSIBLE, T.UNSUPPORTED, "NOT_POSSIBLE"),
        (Out.NOTHING_FOUND, T.DONE, "NOTHING_FOUND"),
    ],
)
async def test_what_people_say_is_what_the_step_came_to(floor: Floor, outcome: Out, state: T, code: str) -> None:
    engine = floor.engine
    await floor.connect("manual", TILL)
    erased = await engine.open_erasure(await make_person(engine.platform.db))
    await engine.work()
    await floor.do(TaskStep.ERASE, outcome)
    assert (await engine.outcomes(erased.reference))["till.erase"] == (state, code)
    if outcome in (Out.REFUSED, Out.HELD):
        assert await engine.status(erased.reference) is S.NEEDS_ATTENTION
        await engine.retry(erased.reference)
        await engine.work()
        await floor.do(TaskStep.ERASE, Out.DONE, 1)
        await floor.do(TaskStep.VERIFY, Out.DONE, 2)
        assert await engine.status(erased.reference) is S.NEEDS_ATTENTION
        await engine.retry(erased.reference)
        await engine.work()
        await floor.do(TaskStep.ERASE, Out.DONE, 2)
        await floor.do(TaskStep.VERIFY, Out.NOTHING_FOUND)
        assert await engine.status(erased.reference) is S.COMPLETED
        assert len(await floor.tasks()) == 4
    assert set(MANUAL_TRANSITIONS) == set(ManualStatus)


async def test_people_copy_for_an_export(floor: Floor) -> None:
    engine = floor.engine
    await floor.connect("manual", {**TILL, "read": True})
    ada = await make_person(engine.platform.db)
    export = await engine.open_export(ada)
    await engine.work()
    assert await engine.status(export.reference) is S.COLLECTING
    await floor.do(TaskStep.READ, Out.DONE, document=Document("till.csv", "text/csv", b"date,sum\n2026-01-01,4\n"))
    assert await engine.status(export.reference) is S.COMPLETED


async def test_a_killed_worker_asks_nobody_twice(fresh_settings: Settings, tmp_path: Path) -> None:
    async for engine in opened(fresh_settings.model_copy(update={**QUICK, "max_attempts": 50})):
        floor = await floor_of(engine)
        await floor.connect("manual", TILL)
        erased = await engine.open_erasure(await make_person(engine.platform.db))
        for moments in (9, 14, 20, 27, 35):
            await mortally(engine, moments, lambda place: sweep(place, concurrency=1))
            await engine.expire_leases()
        await engine.work()
        (task,) = await floor.tasks()
        await floor.report(task.id, Out.DONE, 1)
        with worker(engine.platform.settings, tmp_path / "first") as first:
            await floor.confirm(task.id)
            first.kill()
        await engine.expire_leases()
        await engine.work()
        await floor.do(TaskStep.VERIFY, Out.NOTHING_FOUND)
        assert await engine.status(erased.reference) is S.COMPLETED


class Inbox:
    """A real SMTP server that keeps what it gets."""

    def __init__(self) -> None:
        self.mails: list[str] = []
        self.url = ""

    async def handle_DATA(self, server: object, session: object, envelope: object) -> str:  # noqa: N802 - its name
        self.mails.append(envelope.content.decode())  # type: ignore[attr-defined]  # an envelope
        return "250 OK"


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    kept = Inbox()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    controller = Controller(kept, hostname="127.0.0.1", port=port)
    controller.start()
    kept.url = f"smtp://127.0.0.1:{port}"
    yield kept
    controller.stop()


@pytest.fixture
async def mailing(engine: Engine, inbox: Inbox) -> Floor:
    settings = engine.platform.settings
    sending = mailer(inbox.url, settings.mail_from, settings.state_dir / "outbox")
    platform = replace(engine.platform, mailer=sending)
    floor = await floor_of(Engine(platform, replace(engine.place, platform=platform)))
    await floor.connect("mail", {"address": PROCESSOR, "name": "Letters Ltd"}, "letters")
    return floor


def link(mails: list[str], number: int = -1) -> str:
    asked = [mail for mail in mails if PROCESSOR in mail]
    text = asked[number].replace("=\r\n", "").replace("=3D", "=")
    found = re.search(r"/privacy/processor#([\w-]{43})", text)
    assert found is not None
    return found[1]


async def test_a_processor_is_asked_once_and_answers_through_the_link(mailing: Floor, inbox: Inbox) -> None:
    engine = mailing.engine
    ada, bystander = await make_person(engine.platform.db), await make_person(engine.platform.db)
    before = await picture(engine.platform.db, bystander)
    erased = await engine.open_erasure(ada)
    await engine.work()
    await engine.work()
    asked = [mail for mail in inbox.mails if PROCESSOR in mail]
    assert len(asked) == 1
    assert ada.email not in asked[0]
    code = link(inbox.mails)
    seen = await work.opened_by_link(engine.platform, code)
    assert {known.value for known in seen.identifiers} == {ada.email}
    with pytest.raises(LinkRefused):
        await work.opened_by_link(engine.platform, code[:-1] + "-")
    (task,) = await mailing.tasks()
    assert await refusal(mailing.report(task.id, Out.DONE, 1)) == "TASK_NOT_OPEN"
    await work.answer_by_link(engine.platform, code, Report(Out.DONE, 2))
    assert await refusal(work.answer_by_link(engine.platform, code, Report(Out.REFUSED))) == "TASK_NOT_OPEN"
    await engine.work()
    assert (await engine.outcomes(erased.reference))["letters.verify"] == (T.WAITING, "WAITING_FOR_A_PERSON")
    await work.answer_by_link(engine.platform, link(inbox.mails), Report(Out.NOTHING_FOUND))
    await engine.work()
    assert await engine.status(erased.reference) is S.COMPLETED
    with pytest.raises(LinkRefused):
        await work.opened_by_link(engine.platform, code)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        bodies = [row.body for row in await tx.all(select(message.c.body).where(message.c.recipient == PROCESSOR))]
    assert not any("#" in body for body in bodies)
    assert {"manual_task.opened", "manual_task.answered"} <= set(await engine.audited(ada))
    assert await picture(engine.platform.db, bystander) == before


async def test_who_does_not_answer_is_reminded_and_then_a_person_looks(mailing: Floor, inbox: Inbox) -> None:
    engine = mailing.engine
    erased = await engine.open_erasure(await make_person(engine.platform.db))
    await engine.work()

    async def later(days: int) -> None:
        async with engine.platform.db.transaction(Role.WORKER) as tx:
            await tx.execute(
                update(manual_task).values(
                    due_at=manual_task.c.due_at - timedelta(days=days),
                    created_at=manual_task.c.created_at - timedelta(days=days),
                )
            )
            (task,) = await tx.all(select(manual_task.c.request_id))
            waiting = update(request_task).where(request_task.c.request_id == task.request_id)
            await tx.execute(waiting.values(next_run_at=func.now()))

    await later(8)
    await engine.work()
    asked = [mail for mail in inbox.mails if PROCESSOR in mail]
    assert len(asked) == 2
    assert "Reminder" in asked[1]
    assert link(inbox.mails, 0) == link(inbox.mails, 1)
    await later(8)
    await engine.work()
    assert (await engine.outcomes(erased.reference))["letters.erase"] == (T.FAILED, "NO_ANSWER")
    assert await engine.status(erased.reference) is S.NEEDS_ATTENTION
    await engine.retry(erased.reference)
    await engine.work()
    (task,) = await mailing.tasks()
    assert (task.status, task.code) == (ManualStatus.OPEN, None)
    assert len([mail for mail in inbox.mails if PROCESSOR in mail]) == 3
    await work.answer_by_link(engine.platform, link(inbox.mails), Report(Out.REFUSED, code="NO_CONTRACT"))
    await engine.work()
    assert (await engine.outcomes(erased.reference))["letters.erase"] == (T.REFUSED, "REFUSED_BY_A_PERSON")


async def test_a_killed_worker_writes_to_nobody_twice(mailing: Floor, inbox: Inbox) -> None:
    engine = mailing.engine.with_settings(max_attempts=50)
    await engine.open_erasure(await make_person(engine.platform.db))
    for moments in (9, 12, 16, 20, 25):
        await mortally(engine, moments, lambda place: sweep(place, concurrency=1))
        await engine.expire_leases()
    await engine.work()
    assert len(await mailing.tasks()) == 1
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        written = await tx.scalar(select(func.count()).where(message.c.recipient == PROCESSOR))
    assert written == 1


@pytest.mark.parametrize(
    ("kind", "configuration"),
    [
        ("manual", {}),
        ("manual", {**TILL, "due_days": 0}),
        ("manual", {**TILL, "identifiers": []}),
        ("manual", {**TILL, "identifiers": ["shoe_size"]}),
        ("mail", {"address": "nobody", "name": "X"}),
        ("mail", {"address": PROCESSOR, "name": "X", "remind_days": 20}),
        ("paper", {"due_days": "soon"}),
    ],
)
def test_a_wrong_configuration_is_refused(engine: Engine, kind: str, configuration: dict[str, object]) -> None:
    with pytest.raises(ConfigurationInvalid):
        connect(System(SystemId(new_id()), "x", kind, configuration), engine.platform)  # type: ignore[arg-type]


CONTRACT = Filed(Category.ORDER, "Berlin", "Room 3, cabinet B", "Signed order form", date(2036, 1, 1))


@dataclass(frozen=True)
class Archive:
    """The register in a test's hands."""

    floor: Floor

    async def register(self, person: Person, filed: Filed = CONTRACT) -> UUID:
        async with self.floor.engine.platform.db.transaction(Role.WORKER) as tx:
            return await records.register(tx, self.floor.one, person.customer_id, filed)

    async def report(self, paper_id: UUID) -> None:
        platform = self.floor.engine.platform
        async with (
            attachments.stored(platform, SHOT, replaces=(paper_record, paper_id)) as one,
            platform.db.transaction(Role.WORKER) as tx,
        ):
            await records.report(tx, self.floor.one, paper_id, method="Shredded, P-4", document=one)

    async def witness(self, paper_id: UUID, viewer: Viewer | None = None) -> None:
        async with self.floor.engine.platform.db.transaction(Role.WORKER) as tx:
            await records.witness(tx, viewer or self.floor.two, self.floor.engine.platform, paper_id)

    async def status(self, paper_id: UUID) -> PaperStatus | None:
        async with self.floor.engine.platform.db.transaction(Role.WORKER) as tx:
            return await tx.scalar(select(paper_record.c.status).where(paper_record.c.id == paper_id))


async def test_paper_is_destroyed_before_a_witness_and_then_the_deletion_goes_on(floor: Floor) -> None:
    engine, archive = floor.engine, Archive(floor)
    ada, bystander = await make_person(engine.platform.db), await make_person(engine.platform.db)
    paper, other = await archive.register(ada), await archive.register(bystander)
    before = await picture(engine.platform.db, bystander)
    assert await refusal(archive.report(paper)) == "PAPER_NOT_DUE"
    erased = await engine.open_erasure(ada)
    await engine.work()
    assert (await engine.outcomes(erased.reference))["paper.erase"] == (T.WAITING, "DESTRUCTION_DUE")
    assert await archive.status(paper) is PaperStatus.DUE
    await archive.report(paper)
    assert await refusal(archive.witness(paper, floor.one)) == "SECOND_PERSON_NEEDED"
    with pytest.raises(StepUpRequired):
        await archive.witness(paper, replace(floor.two, authenticated_at=None))
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        await records.contradict(tx, floor.two, engine.platform, paper)
    await archive.report(paper)
    await archive.witness(paper)
    await engine.work()
    assert await engine.status(erased.reference) is S.COMPLETED
    issued = engine.document(await engine.certificate(erased.reference))
    offices = next(one for one in issued["systems"] if one["name"] == "paper")
    assert offices["erased"]["records"] == {"paper_record": 1}
    assert await archive.status(paper) is None
    assert await archive.status(other) is PaperStatus.FILED
    assert (engine.keys("attachment-"), await engine.objects("attachments/")) == ([], [])
    told = [action for action in await engine.audited(ada) if action.startswith("paper.")]
    assert told == ["paper.registered", "paper.reported", "paper.contradicted", "paper.reported", "paper.destroyed"]
    assert await picture(engine.platform.db, bystander) == before
    assert set(PAPER_TRANSITIONS) == set(PaperStatus)


async def test_a_hold_keeps_the_paper_of_its_category_and_no_other(floor: Floor) -> None:
    engine, archive, desk = floor.engine, Archive(floor), await staffed(floor.engine)
    ada = await make_person(engine.platform.db)
    order = await archive.register(ada)
    letter = await archive.register(ada, replace(CONTRACT, category=Category.SUPPORT, description="A letter"))
    hold = await desk.hold(ada, Category.ORDER)
    erased = await engine.open_erasure(ada)
    await engine.work()
    assert [await archive.status(one) for one in (order, letter)] == [PaperStatus.FILED, PaperStatus.DUE]
    await archive.report(letter)
    await archive.witness(letter)
    await engine.work()
    assert await engine.status(erased.reference) is S.HELD
    assert (await engine.outcomes(erased.reference))["paper.erase"] == (T.HELD, "HOLD_PLACED")
    assert [await archive.status(one) for one in (order, letter)] == [PaperStatus.FILED, None]
    await desk.release(hold)
    await engine.work()
    assert await engine.status(erased.reference) is S.ERASING
    await archive.report(order)
    await archive.witness(order)
    await engine.work()
    assert await engine.status(erased.reference) is S.COMPLETED
    assert "Ada" not in str(await picture(engine.platform.db, ada))


async def test_paper_past_its_day_becomes_due_unless_it_is_held(floor: Floor) -> None:
    engine, archive, desk = floor.engine, Archive(floor), await staffed(floor.engine)
    ada, grace = await make_person(engine.platform.db), await make_person(engine.platform.db)
    past = replace(CONTRACT, retain_until=date(2020, 1, 1))
    over, held, young = (
        await archive.register(ada, past),
        await archive.register(grace, past),
        await archive.register(ada),
    )
    await desk.hold(grace, Category.ORDER)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        assert await records.demand_over(tx, limit=10) == 1
        assert await records.demand_over(tx, limit=10) == 0
        assert await records.overdue(tx) == 0
        await tx.execute(update(paper_record).values(due_at=paper_record.c.due_at - timedelta(days=20)))
        assert await records.overdue(tx) == 1
        assert await work.overdue(tx) == 0
    assert [await archive.status(one) for one in (over, held, young)] == [
        PaperStatus.DUE,
        PaperStatus.FILED,
        PaperStatus.FILED,
    ]
