"""Who sees the canary and what is left of people: agents only what they have to look at, administrators how it ends."""

from sqlalchemy import insert, select, update

from cdp.access.viewer import Viewer
from cdp.core.db import Database, Role
from cdp.core.ids import global_id, new_id
from cdp.core.platform import Platform
from cdp.operations.canary import runs
from cdp.tables.canary import CanaryStatus, canary_run
from cdp.tables.request import RequestStatus, privacy_request
from cdp.tables.residual import PassStatus, ResidualStatus, residual_check, residual_finding, residual_pass
from tests.schema.conftest import Ask
from tests.schema.test_casework import agent, hire

__all__ = ["agent"]

CASE = (
    "query($id: ID!) { privacyRequest(id: $id) { status residual { status findings { tableName columnName rows } } } }"
)
LIST = "{ privacyRequests(filter: {status: {in: [CHECKING, NEEDS_ATTENTION]}}) { nodes { id channel } } }"
CUSTOMERS = '{ customers(filter: {name: {contains: "Canary"}}) { totalCount } }'
RUNS = "{ canaryRuns { status code finishedAt } }"


async def test_who_sees_it(db: Database, platform: Platform, ask: Ask, agent: Viewer) -> None:
    administrator = await hire(db, "administrator")
    await runs.begin(platform)
    async with db.transaction(Role.WORKER) as tx:
        running = canary_run.c.status == CanaryStatus.RUNNING
        request_id = await tx.scalar(select(canary_run.c.request_id).where(running))
    case = global_id("PrivacyRequest", request_id)

    async def listed() -> set[str]:
        return {one["id"] for one in (await ask(agent, LIST))["data"]["privacyRequests"]["nodes"]}

    assert case not in await listed()
    assert (await ask(agent, CASE, id=case))["data"]["privacyRequest"] is None
    assert (await ask(agent, CUSTOMERS))["data"]["customers"]["totalCount"] == 0
    async with db.transaction(Role.WORKER) as tx:
        mine = update(privacy_request).where(privacy_request.c.id == request_id)
        await tx.execute(mine.values(status=RequestStatus.NEEDS_ATTENTION))
    await runs.judge(platform)
    assert case in await listed()
    assert (await ask(administrator, RUNS))["data"]["canaryRuns"][0]["code"] == runs.STUCK
    denied = await ask(agent, RUNS)
    assert denied["data"]["canaryRuns"] is None
    assert denied["errors"][0]["extensions"]["code"] == "FORBIDDEN"


async def test_agents_see_where_something_is_left(db: Database, platform: Platform, ask: Ask, agent: Viewer) -> None:
    await runs.begin(platform)
    async with db.transaction(Role.WORKER) as tx:
        request_id = await tx.scalar(select(canary_run.c.request_id).order_by(canary_run.c.started_at.desc()).limit(1))
        mine = update(privacy_request).where(privacy_request.c.id == request_id)
        await tx.execute(mine.values(status=RequestStatus.NEEDS_ATTENTION))
        pass_id = new_id()
        made = {"id": pass_id, "status": PassStatus.FOUND, "started_at": platform.clock()}
        await tx.execute(insert(residual_pass).values(made))
        check = {"request_id": request_id, "status": ResidualStatus.FOUND, "pass_id": pass_id}
        await tx.execute(insert(residual_check).values(id=new_id(), **check))
        place = {"table_name": "inquiry", "column_name": "body", "identifier_type": "email", "rows": 2}
        await tx.execute(insert(residual_finding).values(id=new_id(), request_id=request_id, pass_id=pass_id, **place))
    answer = await ask(agent, CASE, id=global_id("PrivacyRequest", request_id))
    assert answer["data"]["privacyRequest"]["residual"] == {
        "status": "FOUND",
        "findings": [{"tableName": "inquiry", "columnName": "body", "rows": 2}],
    }
    async with db.transaction(Role.WORKER) as tx:
        await tx.execute(update(canary_run).values(status=CanaryStatus.FAILED))
