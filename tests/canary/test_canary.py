"""The canary: erased through every system by the engine like anybody; nobody is written to, and nobody else sees it."""

import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select, update

from cdp.access.viewer import SYSTEM
from cdp.cli import upkeep
from cdp.core.db import Role
from cdp.core.ids import new_id
from cdp.core.settings import Environment, Settings
from cdp.embedded.probe import Verdict
from cdp.endpoints.health import Metrics
from cdp.operations import systems
from cdp.operations.canary import runs
from cdp.operations.systems import Registration
from cdp.tables.audit import audit_event
from cdp.tables.canary import CanaryStatus, canary_run
from cdp.tables.customer import customer, identity
from cdp.tables.message import message
from cdp.tables.request import RequestStatus, TaskStep, privacy_request
from cdp.tables.system import system
from tests.connectors.webhook_peer import Peer, served
from tests.engine import Engine
from tests.population import make_person, picture


@pytest.fixture
def peer() -> Iterator[Peer]:
    with served() as one:
        yield one


async def last(engine: Engine) -> Any:
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        newest = select(canary_run, privacy_request.c.reference, privacy_request.c.status.label("request")).join(
            privacy_request, privacy_request.c.id == canary_run.c.request_id
        )
        return await tx.first(newest.order_by(canary_run.c.started_at.desc()).limit(1))


async def count(engine: Engine, statement: Any) -> int:
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        found: int = await tx.scalar(select(func.count()).select_from(statement.subquery()))
    return found


async def test_it_is_erased_everywhere_and_nobody_notices(engine: Engine, peer: Peer) -> None:
    bystander = await make_person(engine.platform.db)
    before = await picture(engine.platform.db, bystander)
    await engine.connect(peer)
    assert await runs.begin(engine.platform)
    assert not await runs.begin(engine.platform), "one at a time"
    restricted = select(customer.c.id).where(customer.c.restricted_at.is_not(None))
    assert await count(engine, restricted) == 1
    await runs.judge(engine.platform)
    assert (await last(engine)).status is CanaryStatus.RUNNING

    await engine.work()
    await runs.judge(engine.platform)
    row = await last(engine)
    assert (row.status, row.code, row.request) == (CanaryStatus.PASSED, None, RequestStatus.COMPLETED)
    assert {call["step"] for call in peer.calls} >= {"check", "erase", "verify"}
    (named,) = {one["value"] for one in peer.calls[-1]["subject"]["identifiers"] if one["type"] == "email"}
    assert named.endswith("@canary.invalid")
    assert await count(engine, restricted) == 0
    assert await count(engine, select(identity.c.id).where(identity.c.value.like("%canary%"))) == 0
    assert await count(engine, select(message.c.id)) == 0
    assert not (Path(engine.platform.settings.state_dir) / "outbox").exists()
    assert await picture(engine.platform.db, bystander) == before
    actions = select(audit_event.c.id).where(audit_event.c.action.in_(("canary.begun", "canary.passed")))
    assert await count(engine, actions) == 2


async def test_a_system_that_lies_fails_it(engine: Engine, peer: Peer) -> None:
    await engine.connect(peer)
    peer.mode = "deletes_nothing"
    await runs.begin(engine.platform)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        (email,) = [
            row.value for row in await tx.all(select(identity.c.value).where(identity.c.value.like("%@canary.invalid")))
        ]
    peer.people[email] = {"subscriber": [{"address": email}]}
    await engine.work()
    await runs.judge(engine.platform)
    row = await last(engine)
    assert (row.status, row.code) == (CanaryStatus.FAILED, runs.STUCK)
    assert (await engine.tasks(row.reference))["newsletter", TaskStep.VERIFY].status.value == "failed"


async def test_nobody_is_set_to_work_for_it(engine: Engine) -> None:
    person = await make_person(engine.platform.db)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        for kind in systems.PEOPLE:
            await tx.execute(insert(system).values(id=new_id(), name=f"a-{kind}", title=kind, kind=kind))
    await runs.begin(engine.platform)
    opened = await engine.open_erasure(person)
    assert {name for name, _ in await engine.tasks((await last(engine)).reference)} == {"own"}
    assert {name for name, _ in await engine.tasks(opened.reference)} == {"own", "a-mail", "a-manual", "a-paper"}


async def test_what_takes_too_long_has_failed(engine: Engine) -> None:
    await runs.begin(engine.platform)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(update(canary_run).values(started_at=func.now() - runs.LONGEST - timedelta(seconds=1)))
    await runs.judge(engine.platform)
    assert (await last(engine)).code == runs.TOO_SLOW
    await engine.work()
    await runs.judge(engine.platform)
    assert (await last(engine)).status is CanaryStatus.FAILED


async def test_when_it_is_due(engine: Engine) -> None:
    await runs.turn(engine.platform)
    assert await last(engine) is None, "never in tests"
    daily = engine.with_settings(canary_every=timedelta(days=1))
    await make_person(engine.platform.db)
    await runs.turn(daily.platform)
    assert await last(engine) is None, "a platform that was just set up is left alone"
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        old = {"id": new_id(), "action": "test.old", "outcome": "ok", "actor_kind": "system"}
        await tx.execute(insert(audit_event).values(**old, occurred_at=func.now() - timedelta(hours=1)))
    for _ in range(2):
        await runs.turn(daily.platform)
        await engine.work()
    await runs.turn(daily.platform)
    assert await count(engine, select(canary_run.c.id)) == 1
    assert (await last(engine)).status is CanaryStatus.PASSED
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(update(canary_run).values(started_at=func.now() - timedelta(days=1, seconds=1)))
    await runs.turn(daily.platform)
    assert await count(engine, select(canary_run.c.id)) == 2


async def test_a_system_that_has_changed_since_it_was_connected_fails_it(engine: Engine, tmp_path: Path) -> None:
    identities = [{"column": "email", "type": "email", "normalise": "lower"}]
    mapping = {"tables": [{"name": "client", "rows": "delete", "identities": identities}]}
    path = tmp_path / "shop.sqlite"
    with sqlite3.connect(path) as shop:
        shop.execute("CREATE TABLE client (email TEXT)")
    shop.close()
    configuration = {"url": f"sqlite:///{path}", "mapping": mapping}
    await systems.add(engine.platform, SYSTEM, Registration("shop", "Shop", "sql", configuration, {}))
    daily = engine.with_settings(canary_every=timedelta(days=1))
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        old = {"id": new_id(), "action": "test.old", "outcome": "ok", "actor_kind": "system"}
        await tx.execute(insert(audit_event).values(**old, occurred_at=func.now() - timedelta(hours=1)))
    for statement, verdict in (
        ("SELECT 1", (CanaryStatus.PASSED, None)),
        ("CREATE TABLE lottery (email TEXT)", (CanaryStatus.FAILED, runs.UNWELL)),
        ("DROP TABLE lottery", (CanaryStatus.PASSED, None)),
    ):
        with sqlite3.connect(path) as shop:
            shop.execute(statement)
        shop.close()
        async with engine.platform.db.transaction(Role.WORKER) as tx:
            await tx.execute(update(canary_run).values(started_at=canary_run.c.started_at - timedelta(days=2)))
        await runs.turn(daily.platform)
        await engine.work()
        await runs.judge(engine.platform)
        row = await last(engine)
        assert ((row.status, row.code), row.request) == (verdict, RequestStatus.COMPLETED)


@pytest.mark.parametrize("passed", [True, False])
async def test_the_last_result_is_told(engine: Engine, *, passed: bool) -> None:
    metrics = Metrics()
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        assert upkeep.canary(await runs.health(tx)).verdict is Verdict.OK
    await runs.begin(engine.platform)
    if not passed:
        async with engine.platform.db.transaction(Role.WORKER) as tx:
            await tx.execute(update(canary_run).values(started_at=func.now() - timedelta(hours=2)))
    else:
        await engine.work()
    await runs.judge(engine.platform)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        health = await runs.health(tx)
    metrics.note_canary(health)
    value = metrics.registry.get_sample_value
    assert value("cdp_canary_passed") == passed
    assert (value("cdp_canary_last_success_timestamp_seconds") > 0) == passed
    assert value("cdp_canary_last_run_timestamp_seconds") > 0
    assert upkeep.canary(health).verdict is (Verdict.OK if passed else Verdict.PROBLEM)


def test_it_is_off_in_tests_and_daily_elsewhere() -> None:
    assert Settings(env=Environment.TEST).canary_period == timedelta(0)
    assert Settings(env=Environment.DEVELOPMENT).canary_period == timedelta(days=1)
    assert Settings(env=Environment.TEST, canary_every=timedelta(hours=1)).canary_period == timedelta(hours=1)
