"""Tasks under leases: one worker at a time, the newest claim alone settles, dead workers are followed, poison stops."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import func, select, update

from cdp.connectors.base import Outcome, State
from cdp.core.db import Ring, Role
from cdp.core.ids import TaskId, new_id
from cdp.jobs.bell import NearDoorbell
from cdp.jobs.claim import leased, settle
from cdp.jobs.hands import Hands
from cdp.jobs.job import job
from cdp.jobs.run_task import run_task
from cdp.jobs.workplace import Workplace
from cdp.operations import moves
from cdp.operations.backoff import LONGEST_S, wait_s
from cdp.operations.requests import claiming, tasks
from cdp.operations.requests.tasks import Performed, Work
from cdp.tables.request import RequestStatus, TaskStatus, TaskStep, request_task
from cdp.tables.system import system
from tests.connectors.webhook_peer import served
from tests.engine import Engine, until
from tests.population import Person, make_person

DONE = Performed(Outcome(State.DONE, "FOUND"))


async def one_task(engine: Engine, person: Person) -> tuple[str, TaskId]:
    """An open erasure and its only task."""
    opened = await engine.open_erasure(person)
    return opened.reference, TaskId((await engine.tasks(opened.reference))["own", TaskStep.CHECK].id)


async def claim(engine: Engine, task_id: TaskId, *, lease_s: float = 30.0) -> Work | None:
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        settings = engine.platform.settings.model_copy(update={"lease_s": lease_s})
        claimed = await tasks.claim(tx, [task_id], owner="tests", settings=settings)
        return claimed[0] if claimed else None


async def status_of(engine: Engine, task_id: TaskId) -> TaskStatus:
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        return await tx.scalar(select(request_task.c.status).where(request_task.c.id == task_id))


async def test_many_claim_and_one_gets_it(engine: Engine) -> None:
    _, task_id = await one_task(engine, await make_person(engine.platform.db))
    claimed = await asyncio.gather(*(claim(engine, task_id) for _ in range(12)))
    assert [work.fence for work in claimed if work is not None] == [1]


async def test_a_running_task_is_not_due(engine: Engine) -> None:
    _, task_id = await one_task(engine, await make_person(engine.platform.db))
    assert await claim(engine, task_id) is not None
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        assert await tasks.due(tx, limit=10, per_system=8) == []
    assert await claim(engine, task_id) is None


async def test_a_dead_workers_task_is_taken_over(engine: Engine) -> None:
    reference, task_id = await one_task(engine, await make_person(engine.platform.db))
    assert await claim(engine, task_id) is not None
    await engine.expire_leases()
    again = await claim(engine, task_id)
    assert again is not None
    assert (again.fence, again.attempt) == (2, 2)
    await engine.expire_leases()
    await engine.work()
    assert await engine.status(reference) is RequestStatus.COMPLETED


async def test_a_late_answer_changes_nothing(engine: Engine) -> None:
    _, task_id = await one_task(engine, await make_person(engine.platform.db))
    stale = await claim(engine, task_id)
    await engine.expire_leases()
    newest = await claim(engine, task_id)
    assert stale is not None
    assert newest is not None
    settings = engine.platform.settings
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        failed = Performed(Outcome(State.FAILED, "LATE"))
        assert await tasks.settle(tx, stale, failed, settings=settings) is None
        assert tx.rings == []
    assert await status_of(engine, task_id) is TaskStatus.RUNNING
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        assert not await tasks.extend(tx, [stale], lease_s=30)
        await tasks.release(tx, stale)
        assert await tasks.settle(tx, newest, DONE, settings=settings) is TaskStatus.DONE
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        assert await tasks.settle(tx, newest, DONE, settings=settings) is None


async def test_what_a_stale_claim_would_erase_stays(engine: Engine) -> None:
    _, task_id = await one_task(engine, await make_person(engine.platform.db))
    stale = await claim(engine, task_id)
    await engine.expire_leases()
    assert await claim(engine, task_id) is not None
    assert stale is not None
    ran = []

    async def then(tx) -> Outcome:
        ran.append(tx)
        return Outcome(State.DONE, "ERASED")

    async with engine.platform.db.transaction(Role.WORKER) as tx:
        await tasks.settle(
            tx, stale, Performed(Outcome(State.RETRY, "BUSY"), then=then), settings=engine.platform.settings
        )
    assert ran == []


async def test_the_heartbeat_keeps_a_long_step(engine: Engine) -> None:
    quick = engine.with_settings(lease_s=0.3)
    _, task_id = await one_task(engine, await make_person(engine.platform.db))
    async with leased(quick.platform, quick.place.owner, task_id) as work:
        assert work is not None
        await asyncio.sleep(0.8)
        assert await claim(engine, task_id) is None
        await settle(quick.platform, work, DONE)
    assert await status_of(engine, task_id) is TaskStatus.DONE


async def test_work_stops_when_the_lease_is_lost(engine: Engine) -> None:
    quick = engine.with_settings(lease_s=0.3)
    _, task_id = await one_task(engine, await make_person(engine.platform.db))
    reached, begun = False, asyncio.Event()

    async def long_step() -> None:
        nonlocal reached
        async with leased(quick.platform, quick.place.owner, task_id) as work:
            assert work is not None
            begun.set()
            await asyncio.sleep(20)
            reached = True

    running = asyncio.create_task(long_step())
    await begun.wait()
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(update(request_task).values(fence=request_task.c.fence + 1))
    await asyncio.wait_for(running, 10)
    assert not reached


async def test_a_stopped_worker_gives_its_task_back_for_free(engine: Engine) -> None:
    _, task_id = await one_task(engine, await make_person(engine.platform.db))

    begun = asyncio.Event()

    async def step() -> None:
        async with leased(engine.platform, engine.place.owner, task_id):
            begun.set()
            await asyncio.sleep(20)

    running = asyncio.create_task(step())
    await begun.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    work = await claim(engine, task_id)
    assert work is not None
    assert (work.attempt, work.fence) == (1, 2)


async def test_poison_needs_attention(engine: Engine) -> None:
    reference, task_id = await one_task(engine, await make_person(engine.platform.db))
    for _ in range(engine.platform.settings.max_attempts):
        assert await claim(engine, task_id) is not None
        await engine.expire_leases()
    await engine.work()
    assert (await engine.outcomes(reference))["own.check"] == (TaskStatus.NEEDS_ATTENTION, "WORKER_LOST")
    assert await engine.status(reference) is RequestStatus.NEEDS_ATTENTION
    await engine.retry(reference)
    await engine.work()
    assert await engine.status(reference) is RequestStatus.COMPLETED


async def test_a_job_may_be_delivered_many_times(engine: Engine) -> None:
    ada = await make_person(engine.platform.db)
    with served() as peer:
        peer.people[ada.email] = {"profile": [{"email": ada.email}]}
        await engine.connect(peer)
        opened = await engine.open_erasure(ada)
        for _ in range(8):
            found = [str(row.id) for row in (await engine.tasks(opened.reference)).values()]
            context = {"workplace": engine.place}
            await asyncio.gather(*(run_task(context, task_id) for task_id in found for _ in range(3)))
            await engine.work()
        assert set(peer.effects.values()) == {1}
    assert await engine.status(opened.reference) is RequestStatus.COMPLETED


async def test_an_unknown_row_is_no_work(engine: Engine) -> None:
    await run_task({"workplace": engine.place}, "018f0000-0000-7000-8000-000000000000")


async def test_a_task_runs_only_in_its_requests_state(engine: Engine) -> None:
    reference, task_id = await one_task(engine, await make_person(engine.platform.db))
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(update(request_task).values(step=TaskStep.ERASE))
    assert await claim(engine, task_id) is None
    assert await engine.status(reference) is RequestStatus.CHECKING


def test_trouble_waits_longer_each_time_and_never_in_step() -> None:
    assert all(0 <= wait_s(n, base_s=1.0) <= min(LONGEST_S, 2.0**n) for n in range(1, 40))
    assert len({wait_s(5, base_s=1.0) for _ in range(20)}) == 20
    assert wait_s(1, base_s=1.0, asked_s=60.0) == 60.0
    assert wait_s(1, base_s=1.0, asked_s=10**9) == LONGEST_S


async def test_a_system_is_called_by_so_many_at_a_time(engine: Engine) -> None:
    few = engine.with_settings(system_concurrency=2)
    with served() as peer:
        await engine.connect(peer)
        ids = []
        for _ in range(4):
            opened = await engine.open_erasure(await make_person(engine.platform.db))
            ids.append(TaskId((await engine.tasks(opened.reference))["newsletter", TaskStep.CHECK].id))
        claimed = [work for task_id in ids if (work := await claim(few, task_id)) is not None]
        assert len(claimed) == 2
        async with engine.platform.db.transaction(Role.WORKER) as tx:
            assert {step for _, step in await tasks.due(tx, limit=50, per_system=2)} == {TaskStep.CHECK}
            await tasks.settle(tx, claimed[0], DONE, settings=few.platform.settings)
            assert ids[2] in {ring.row_id for ring in tx.rings}
        assert await claim(few, ids[2]) is not None
        assert await claim(few, ids[3]) is None


async def test_a_system_that_is_down_is_tried_by_one_at_a_time(engine: Engine) -> None:
    with served() as peer:
        await engine.connect(peer)
        ids = []
        for _ in range(claiming.TROUBLED + 2):
            opened = await engine.open_erasure(await make_person(engine.platform.db))
            ids.append(TaskId((await engine.tasks(opened.reference))["newsletter", TaskStep.CHECK].id))
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(update(system).values(last_ok_at=None))
        await tx.execute(update(request_task).where(request_task.c.id.in_(ids)).values(status=TaskStatus.RETRYING))
    assert [await claim(engine, task_id) is not None for task_id in ids] == [True, *[False] * (len(ids) - 1)]
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(update(system).values(last_ok_at=func.now()))
    assert await claim(engine, ids[1]) is not None


async def test_tasks_of_one_step_are_worked_on_together_and_heard_again_alone(engine: Engine) -> None:
    with served() as peer:
        await engine.connect(peer)
        ids = []
        for _ in range(3):
            opened = await engine.open_erasure(await make_person(engine.platform.db))
            ids.append(TaskId((await engine.tasks(opened.reference))["newsletter", TaskStep.CHECK].id))
    slow, tried, release = ids[0], [], asyncio.Event()

    async def perform(work: tasks.Work) -> Performed:
        tried.append(work.id)
        if work.id == slow:
            await release.wait()
        return Performed(Outcome(State.RETRY, "BUSY")) if tried.count(work.id) == 1 else DONE

    two = engine.with_settings(system_concurrency=2, retry_base_s=0.01)
    hands = two.place.hands
    working = [asyncio.create_task(hands.work_on(task_id, perform)) for task_id in ids]
    try:
        async with asyncio.timeout(20):
            while len(tried) < 2:  # noqa: ASYNC110 - two of three begin, and nothing more is to happen
                await asyncio.sleep(0.01)
            assert tried == ids[:2], "the system has room for two, and who waits longest comes first"
            assert await status_of(engine, ids[2]) is TaskStatus.PENDING
            while await status_of(engine, ids[1]) is not TaskStatus.DONE:  # retried once: heard though slow runs on
                await hands.work_on(ids[1], perform)
            await hands.work_on(slow, perform)
            assert tried.count(slow) == 1
            assert await status_of(engine, slow) is TaskStatus.RUNNING
    finally:
        release.set()
        await asyncio.gather(*working)
    assert await status_of(engine, slow) is TaskStatus.RETRYING
    assert hands.are_empty


async def test_who_stops_waiting_gives_the_task_back_and_its_neighbours_go_on(engine: Engine) -> None:
    ids = [(await one_task(engine, await make_person(engine.platform.db)))[1] for _ in range(3)]
    begun, release = asyncio.Semaphore(0), asyncio.Event()

    async def perform(_: tasks.Work) -> Performed:
        begun.release()
        await release.wait()
        return DONE

    hands = engine.place.hands
    working = [asyncio.create_task(hands.work_on(task_id, perform)) for task_id in ids]
    for _ in ids:
        await begun.acquire()
    working[0].cancel()
    await asyncio.gather(working[0], return_exceptions=True)
    assert await status_of(engine, ids[0]) is TaskStatus.RETRYING
    release.set()
    await asyncio.gather(*working[1:])
    assert [await status_of(engine, task_id) for task_id in ids[1:]] == [TaskStatus.DONE] * 2
    assert hands.are_empty


async def test_a_row_rung_for_while_it_is_worked_on_is_worked_on_once_more(engine: Engine) -> None:
    begun, release, times = asyncio.Event(), asyncio.Event(), []

    @job
    async def count(_: Workplace, row_id: UUID) -> None:
        times.append(row_id)
        begun.set()
        await release.wait()

    context, row = {"workplace": engine.place}, str(new_id())
    working = asyncio.create_task(count(context, row))
    await begun.wait()
    await asyncio.gather(*(count(context, row) for _ in range(3)))
    release.set()
    await working
    assert [str(one) for one in times] == [row, row]
    assert engine.place.under_way == {}


async def test_a_worker_performs_so_many_tasks_at_a_time(engine: Engine) -> None:
    two = engine.with_settings(worker_concurrency=2)
    ids = [(await one_task(engine, await make_person(engine.platform.db)))[1] for _ in range(5)]
    under_way, most = 0, 0

    async def perform(_: tasks.Work) -> Performed:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.02)
        under_way -= 1
        return DONE

    await asyncio.gather(*(two.place.hands.work_on(task_id, perform) for task_id in ids))
    assert [await status_of(engine, task_id) for task_id in ids] == [TaskStatus.DONE] * 5
    assert most == 2


async def test_tasks_that_hang_leave_room_for_others(engine: Engine) -> None:
    two = engine.with_settings(worker_concurrency=2)
    ids = [(await one_task(engine, await make_person(engine.platform.db)))[1] for _ in range(4)]
    release = asyncio.Event()

    async def hang(_: tasks.Work) -> Performed:
        await release.wait()
        return DONE

    async def answer(_: tasks.Work) -> Performed:
        return DONE

    hands = Hands(two.platform, "a worker", slow_s=0.05)
    hanging = [asyncio.create_task(hands.work_on(task_id, hang)) for task_id in ids[:2]]
    await asyncio.sleep(0)
    await asyncio.gather(*(hands.work_on(task_id, answer) for task_id in ids[2:]))
    assert [await status_of(engine, task_id) for task_id in ids] == [TaskStatus.RUNNING] * 2 + [TaskStatus.DONE] * 2
    release.set()
    await asyncio.gather(*hanging)
    assert [await status_of(engine, task_id) for task_id in ids] == [TaskStatus.DONE] * 4
    assert hands.are_empty


async def test_a_task_asked_for_again_is_heard_though_its_first_asker_left(engine: Engine) -> None:
    one = engine.with_settings(worker_concurrency=1)
    ids = [(await one_task(engine, await make_person(engine.platform.db)))[1] for _ in range(2)]
    begun, release = asyncio.Event(), asyncio.Event()

    async def perform(_: tasks.Work) -> Performed:
        begun.set()
        await release.wait()
        return DONE

    hands = one.place.hands
    first = asyncio.create_task(hands.work_on(ids[0], perform))
    await begun.wait()
    leaving = asyncio.create_task(hands.work_on(ids[1], perform))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    again = asyncio.create_task(hands.work_on(ids[1], perform))
    await asyncio.sleep(0)
    release.set()
    await asyncio.gather(first, again)
    assert [await status_of(engine, task_id) for task_id in ids] == [TaskStatus.DONE] * 2
    assert hands.are_empty


@dataclass
class Far:
    """The doorbell of the others."""

    heard: list[Ring] = field(default_factory=list)

    async def ring(self, rings: Sequence[Ring]) -> None:
        self.heard += rings


async def test_a_worker_rings_itself_first_and_others_for_the_rest(engine: Engine) -> None:
    far, stop = Far(), asyncio.Event()
    bell = NearDoorbell(engine.place, far, most=2)
    reference, task_id = await one_task(engine, await make_person(engine.platform.db))
    before = engine.platform.db.doorbell
    engine.platform.db.doorbell = far
    try:
        running = asyncio.create_task(bell.run(stop))
        await asyncio.sleep(0)
        assert engine.platform.db.doorbell is bell
        now, later = Ring("run_task", task_id), Ring("run_task", new_id(), defer_s=60)
        beyond = [Ring("run_task", new_id()) for _ in range(2)]
        await bell.ring([now, later, *beyond, now])
        assert far.heard == [later, beyond[1]]

        async def is_completed() -> bool:
            return await engine.status(reference) is RequestStatus.COMPLETED

        await until(is_completed)  # one ring led to all the others
        stop.set()
        await running
        assert engine.platform.db.doorbell is far
    finally:
        engine.platform.db.doorbell = before


async def test_what_hangs_leaves_room_at_the_bell(engine: Engine) -> None:
    far, stop, before = Far(), asyncio.Event(), engine.platform.db.doorbell
    bell = NearDoorbell(engine.place, far, most=1, slow_s=0.05)
    references = [(await one_task(engine, await make_person(engine.platform.db)))[0] for _ in range(2)]
    stuck, other = [Ring("advance_request", (await engine.request(one)).id) for one in references]
    running = asyncio.create_task(bell.run(stop))
    await asyncio.sleep(0)
    try:
        async with engine.platform.db.transaction(Role.WORKER) as tx:
            await moves.lock(tx, stuck.row_id)
            await bell.ring([stuck, other])
            assert far.heard == [other]
            await bell.take([other])  # as soon as the first is seen to hang
        stop.set()
        await running
        await bell.take([other])
        assert far.heard == [other, other]
    finally:
        engine.platform.db.doorbell = before
