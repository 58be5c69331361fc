"""Mutations of people's work: holds, tasks, paper; what customers see of them, and who is refused."""

import base64
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import func, insert, update

from cdp.access.viewer import Viewer
from cdp.core.db import Database, Role
from cdp.core.ids import global_id, new_id
from cdp.tables.manual import manual_task
from cdp.tables.paper import PaperStatus, paper_record
from cdp.tables.request import RequestStatus, RequestType, TaskStep, privacy_request
from cdp.tables.system import system
from tests.population import Person, audited, make_person, picture
from tests.schema.conftest import Ask
from tests.schema.test_casework import hire

DOCUMENT = {"name": "writ.txt", "mediaType": "text/plain", "content": base64.b64encode(b"so ordered").decode()}
SEEN = "{ viewer { customer { holds { category status isEffective notice } paperRecords { description status } } } }"


async def run(ask: Ask, viewer: Viewer, name: str, fields: str, **given: object) -> dict[str, object]:
    kind = name[0].upper() + name[1:]
    answer = await ask(viewer, f"mutation M($i: {kind}Input!) {{ {name}(input: $i) {{ {fields} }} }}", i=given)
    assert "errors" not in answer, answer
    return answer["data"][name]


async def refused(ask: Ask, viewer: Viewer, name: str, fields: str, **given: object) -> str:
    kind = name[0].upper() + name[1:]
    answer = await ask(viewer, f"mutation M($i: {kind}Input!) {{ {name}(input: $i) {{ {fields} }} }}", i=given)
    return answer["errors"][0]["extensions"]["code"]


async def test_a_hold_from_the_order_to_its_release(db: Database, ask: Ask) -> None:
    officer, second, agent = await hire(db, "privacy_officer"), await hire(db, "supervisor"), await hire(db, "agent")
    person, bystander = await make_person(db), await make_person(db)
    before = await picture(db, bystander)
    given = {
        "customerId": global_id("Customer", person.customer_id),
        "category": "ORDER",
        "reason": "Court case",
        "isSecret": True,
        "document": DOCUMENT,
    }
    fields = "hold { id status isEffective reason notice fileName }"
    for stranger in (agent, second, replace(officer, scopes=frozenset()), person.viewer()):
        code = await refused(ask, stranger, "placeHold", fields, **given)
        assert code in {"PRIVACY_OFFICER_NEEDED", "INSUFFICIENT_SCOPE", "FORBIDDEN", "GRAPHQL_VALIDATION_FAILED"}, code
    placed = (await run(ask, officer, "placeHold", fields, **given))["hold"]
    assert (placed["status"], placed["isEffective"], placed["reason"], placed["notice"]) == (
        "PROPOSED",
        True,
        "Court case",
        None,
    )
    hold = placed["id"]
    assert await refused(ask, officer, "approveHold", fields, holdId=hold) == "SECOND_PERSON_NEEDED"
    assert (await run(ask, second, "approveHold", fields, holdId=hold))["hold"]["status"] == "ACTIVE"
    seen = await ask(person.viewer(), SEEN)
    assert seen["data"]["viewer"]["customer"]["holds"] == [
        {"category": "ORDER", "status": "ACTIVE", "isEffective": True, "notice": None}
    ]
    secret = await ask(person.viewer(), "{ viewer { customer { holds { reason caseRef } } } }")
    assert "Court case" not in str(secret)
    listed = await ask(officer, "{ legalHolds(filter: {status: {eq: ACTIVE}}) { nodes { id customer { id } } } }")
    assert hold in {one["id"] for one in listed["data"]["legalHolds"]["nodes"]}
    released = await run(ask, officer, "releaseHold", fields, holdId=hold, reason="Over")
    assert released["hold"]["status"] == "RELEASING"
    kept = await run(ask, second, "refuseHold", fields, holdId=hold, reason="Appeal")
    assert kept["hold"]["status"] == "ACTIVE"
    await run(ask, officer, "releaseHold", fields, holdId=hold, reason="Over")
    assert (await run(ask, second, "approveHold", fields, holdId=hold))["hold"]["status"] == "RELEASED"
    assert {"hold.placed", "hold.approved", "hold.release_asked", "hold.released"} <= set(await audited(db, person))
    assert await picture(db, bystander) == before


@pytest.fixture
async def task(db: Database) -> tuple[Person, str]:
    """A step of a request that people carry out."""
    person, request_id, system_id, task_id = await make_person(db), new_id(), new_id(), new_id()
    async with db.transaction(Role.WORKER) as tx:
        till = {"name": f"till-{system_id}", "title": "Till", "kind": "manual", "enabled": False}
        told = {"instructions": "Open the till and press Remove."}
        await tx.execute(insert(system).values(id=system_id, configuration=told, **till))
        await tx.execute(
            insert(privacy_request).values(
                id=request_id,
                customer_id=person.customer_id,
                reference=f"PR-{str(request_id)[-9:]}",
                type=RequestType.ERASURE,
                status=RequestStatus.PAUSED,
                subject_ref=person.audit_ref,
                channel="tests",
                due_at=func.now() + timedelta(days=30),
            )
        )
        row = {"id": task_id, "request_id": request_id, "system_id": system_id, "key": str(task_id)}
        now = func.now()
        await tx.execute(insert(manual_task).values(**row, step=TaskStep.ERASE, due_at=now))
    return person, global_id("ManualTask", task_id)


async def test_a_task_is_reported_and_confirmed(db: Database, ask: Ask, task: tuple[Person, str]) -> None:
    person, task_id = task
    one, two = await hire(db, "agent"), await hire(db, "agent")
    fields = "task { id status outcome records isOverdue system { title } }"
    given = {"taskId": task_id, "outcome": "DONE", "evidence": {"records": 2, "code": "TILL_4"}, "note": "At till 4."}
    assert await refused(ask, person.viewer(), "completeManualTask", fields, **given) in {
        "INSUFFICIENT_SCOPE",
        "FORBIDDEN",
        "GRAPHQL_VALIDATION_FAILED",
    }
    overdue = await ask(one, "{ manualTasks(last: 100, filter: {status: {eq: OPEN}}) { nodes { id isOverdue } } }")
    assert {"id": task_id, "isOverdue": True} in overdue["data"]["manualTasks"]["nodes"]
    reported = (await run(ask, one, "completeManualTask", fields, **given))["task"]
    assert (reported["status"], reported["outcome"], reported["records"]) == ("REPORTED", "DONE", 2)
    assert await refused(ask, one, "confirmManualTask", fields, taskId=task_id) == "SECOND_PERSON_NEEDED"
    back = await run(ask, two, "sendBackManualTask", fields, taskId=task_id, note="Which?")
    assert back["task"]["status"] == "OPEN"
    await run(ask, one, "completeManualTask", fields, **given)
    assert (await run(ask, two, "confirmManualTask", fields, taskId=task_id))["task"]["status"] == "SETTLED"
    assert {"manual_task.reported", "manual_task.sent_back", "manual_task.confirmed"} <= set(await audited(db, person))


async def test_paper_from_the_cabinet_to_the_shredder(db: Database, ask: Ask) -> None:
    one, two, person = await hire(db, "agent"), await hire(db, "agent"), await make_person(db)
    fields = "paperRecord { id status location isOverdue }"
    given = {
        "customerId": global_id("Customer", person.customer_id),
        "category": "ORDER",
        "office": "Berlin",
        "location": "Cabinet B",
        "description": "Order form",
        "retainUntil": "2036-01-01",
    }
    paper = (await run(ask, one, "registerPaperRecord", fields, **given))["paperRecord"]
    async with db.transaction(Role.WORKER) as tx:
        await tx.execute(update(system).where(system.c.kind == "paper").values(enabled=False))
        mine = update(paper_record).where(paper_record.c.customer_id == person.customer_id)
        await tx.execute(mine.values(status=PaperStatus.DUE, due_at=paper_record.c.filed_at - timedelta(days=1)))
    seen = (await ask(person.viewer(), SEEN))["data"]["viewer"]["customer"]["paperRecords"]
    assert seen == [{"description": "Order form", "status": "DUE"}]
    where = await ask(person.viewer(), "{ viewer { customer { paperRecords { location office } } } }")
    assert "Cabinet" not in str(where)
    listed = await ask(one, "{ paperRecords(filter: {status: {eq: DUE}}) { nodes { id isOverdue location } } }")
    assert {"id": paper["id"], "isOverdue": True, "location": "Cabinet B"} in listed["data"]["paperRecords"]["nodes"]
    told = {"paperRecordId": paper["id"]}
    await run(ask, one, "reportDestruction", fields, **told, method="Shredded, P-4", document=DOCUMENT)
    assert await refused(ask, one, "witnessDestruction", fields, **told) == "SECOND_PERSON_NEEDED"
    still = await run(ask, two, "witnessDestruction", fields, **told, isDestroyed=False)
    assert still["paperRecord"]["status"] == "DUE"
    await run(ask, one, "reportDestruction", fields, **told, method="Shredded, P-4")
    assert (await run(ask, two, "witnessDestruction", fields, **told))["paperRecord"]["status"] == "DESTROYED"
    assert {"paper.registered", "paper.reported", "paper.contradicted", "paper.destroyed"} <= set(
        await audited(db, person)
    )
