"""Pages of what people carry out: tasks of systems without an interface, paper, legal holds; and the processor's."""

import re
from datetime import timedelta
from uuid import UUID

import httpx
import pytest
from sqlalchemy import delete, select, update

from cdp.access.viewer import SYSTEM
from cdp.connectors.base import Identifier, Subject, System
from cdp.connectors.registry import connect
from cdp.core.db import Role
from cdp.core.ids import CustomerId, RequestId, global_id
from cdp.core.platform import Platform
from cdp.operations import systems
from cdp.operations.requests import requests
from cdp.operations.systems import Registration
from cdp.tables.hold import HoldStatus, legal_hold
from cdp.tables.manual import ManualStatus, manual_task
from cdp.tables.message import message
from cdp.tables.paper import PaperStatus, paper_record
from cdp.tables.system import system
from tests.browser import forms, visitor
from tests.console.conftest import Colleague
from tests.console.test_customer import page_of
from tests.population import Person, audited

NOBODY = {"file": ("", b"")}


async def send(browser: httpx.AsyncClient, page: str, action: str, *, upload: bool = False, **fields: str):
    shown = await browser.get(page)
    assert shown.status_code == 200, shown.text
    given = {**forms(shown)[action], **fields}
    return await browser.post(action, data=given, files=NOBODY if upload else None)


async def ask_people(platform: Platform, person: Person, kind: str, configuration: dict[str, object]) -> UUID:
    """An erase step of somebody's request at a system that people work on."""
    name = f"{kind}-{person.email.split('.')[1].split('@')[0]}"
    wanted = Registration(name, name.capitalize(), kind, configuration, {})  # type: ignore[arg-type]  # JSON
    system_id = await systems.add(platform, SYSTEM, wanted)
    viewer = person.viewer(authenticated_at=platform.clock())
    async with platform.db.transaction(Role.CUSTOMER, subject=person.customer_id) as tx:
        opened = await requests.open_erasure(tx, viewer, platform)
    async with platform.db.transaction(Role.WORKER) as tx:  # no other test's requests ask this system
        await tx.execute(update(system).where(system.c.id == system_id).values(enabled=False))
    known = Identifier("email", person.email, verified=True)
    subject = Subject(RequestId(opened.id), CustomerId(person.customer_id), person.audit_ref, (known,), b"x" * 32)
    one = System(system_id, name, kind, configuration)  # type: ignore[arg-type]  # JSON
    await connect(one, platform).erase(subject, f"{opened.id}:{name}:erase")
    async with platform.db.transaction(Role.WORKER) as tx:
        task_id = await tx.scalar(select(manual_task.c.id).where(manual_task.c.request_id == opened.id))
    assert task_id is not None
    return task_id


async def status_of(platform: Platform, task_id: UUID) -> ManualStatus:
    async with platform.db.transaction(Role.WORKER) as tx:
        return await tx.scalar(select(manual_task.c.status).where(manual_task.c.id == task_id))


async def test_a_task_is_worked_on_by_one_and_confirmed_by_another(
    platform: Platform, agent: httpx.AsyncClient, colleague: Colleague, person: Person
) -> None:
    told = {"instructions": "Open the till and press Remove."}
    task_id = await ask_people(platform, person, "manual", told)
    here = f"/console/tasks/{global_id('ManualTask', task_id)}"
    async with platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(update(manual_task).where(manual_task.c.id == task_id).values(due_at=platform.clock()))
    listed = await agent.get("/console/tasks")
    assert here in listed.text
    assert "Overdue" in listed.text
    shown = await agent.get(here)
    assert told["instructions"] in shown.text
    assert person.email not in shown.text
    revealed = await send(agent, here, f"{here}/reveal")
    assert person.email in revealed.text
    assert "manual_task.revealed" in await audited(platform.db, person)
    wrong = await send(agent, here, f"{here}/report", upload=True, outcome="done")
    assert wrong.status_code == 422
    assert (await send(agent, here, f"{here}/report", upload=True, outcome="done", records="2")).status_code == 303
    assert "A colleague confirms it" in (await agent.get(here)).text
    other = await colleague("agent")
    back = await send(other, here, f"{here}/send-back", note="Which two?")
    assert back.status_code == 303
    await send(agent, here, f"{here}/report", upload=True, outcome="nothing_found")
    assert (await send(other, here, f"{here}/confirm")).status_code == 303
    assert await status_of(platform, task_id) is ManualStatus.SETTLED
    assert here in (await agent.get("/console/tasks?view=past")).text
    assert (await agent.get(f"/console/tasks/{global_id('Customer', task_id)}")).status_code == 404
    analyst = await colleague("analyst")
    assert (await analyst.get(here)).status_code in (403, 404)
    assert 'cdp_overdue_tasks{kind="manual"}' in (await agent.get("/metrics")).text


async def test_a_processor_answers_behind_their_link(platform: Platform, app, person: Person) -> None:
    told = {"address": "privacy@letters.example", "name": "Letters Ltd"}
    task_id = await ask_people(platform, person, "mail", told)
    async with platform.db.transaction(Role.WORKER) as tx:
        request_id = await tx.scalar(select(manual_task.c.request_id).where(manual_task.c.id == task_id))
        body = await tx.scalar(
            select(message.c.body).where(message.c.request_id == request_id, message.c.recipient == told["address"])
        )
        await tx.execute(delete(message).where(message.c.request_id == request_id))
    found = re.search(r"/privacy/processor#([\w-]{43})", str(body))
    assert found is not None
    async with visitor(app) as stranger:
        page = "/privacy/processor"
        assert person.email not in (await stranger.get(page)).text
        assert (await send(stranger, page, page, code="x" * 43)).status_code == 422
        asked = await send(stranger, page, page, code=found[1])
        assert person.email in asked.text
        given = forms(asked)[page]
        wrong = await stranger.post(page, data={**given, "outcome": "done"})
        assert wrong.status_code == 422
        thanks = await stranger.post(page, data={**given, "outcome": "done", "records": "3"})
        assert "recorded" in thanks.text
        again = await stranger.post(page, data={**given, "outcome": "refused"})
        assert again.status_code == 422
    assert await status_of(platform, task_id) is ManualStatus.SETTLED
    assert {"manual_task.opened", "manual_task.answered"} <= set(await audited(platform.db, person))


async def test_a_hold_is_placed_agreed_to_and_released_by_two(
    platform: Platform, agent: httpx.AsyncClient, colleague: Colleague, person: Person
) -> None:
    officer, supervisor = await colleague("privacy_officer"), await colleague("supervisor")
    placing = f"{page_of(person)}/hold"
    assert placing in (await officer.get(page_of(person))).text
    refused = await send(agent, placing, placing, upload=True, category="order", reason="Case 7")
    assert refused.status_code == 422
    wrong = await send(officer, placing, placing, upload=True, category="order", reason="Case 7", until="2020-01-01")
    assert wrong.status_code == 422
    placed = await send(officer, placing, placing, upload=True, category="order", reason="Case 7", is_secret="yes")
    here = placed.headers["location"]
    assert here in (await officer.get("/console/holds")).text
    assert "A colleague agrees" in (await officer.get(here)).text
    assert (await send(supervisor, here, f"{here}/agree")).status_code == 303
    assert (await send(officer, here, f"{here}/release", reason="Case closed")).status_code == 303
    assert (await send(supervisor, here, f"{here}/refuse", reason="Not yet")).status_code == 303
    await send(officer, here, f"{here}/release", reason="Case closed")
    assert (await send(supervisor, here, f"{here}/agree")).status_code == 303
    async with platform.db.transaction(Role.WORKER) as tx:
        row = await tx.first(select(legal_hold).where(legal_hold.c.customer_id == person.customer_id))
    assert row is not None
    assert (row.status, row.notice, row.is_secret) == (HoldStatus.RELEASED, None, True)
    assert here in (await officer.get("/console/holds?view=past")).text


async def test_paper_is_registered_destroyed_and_witnessed(
    platform: Platform, agent: httpx.AsyncClient, colleague: Colleague, person: Person
) -> None:
    filing = f"{page_of(person)}/paper"
    given = {"category": "order", "office": "Berlin", "location": "Cabinet B", "description": "Order form"}
    assert (await send(agent, filing, filing, **given)).status_code == 422
    assert (await send(agent, filing, filing, **given, retain_until="2036-01-01")).status_code == 303
    async with platform.db.transaction(Role.WORKER) as tx:
        mine = paper_record.c.customer_id == person.customer_id
        paper_id = await tx.scalar(select(paper_record.c.id).where(mine))
        due = {"status": PaperStatus.DUE, "due_at": platform.clock() - timedelta(days=1)}
        await tx.execute(update(paper_record).where(mine).values(due))
        await tx.execute(update(system).where(system.c.kind == "paper").values(enabled=False))
    here = f"/console/paper/{global_id('PaperRecord', paper_id)}"
    listed = await agent.get("/console/paper")
    assert here in listed.text
    assert "Overdue" in listed.text
    assert (await send(agent, here, f"{here}/report", upload=True, method="Shredded, P-4")).status_code == 303
    assert "A colleague who saw it" in (await agent.get(here)).text
    other = await colleague("agent")
    assert (await send(other, here, f"{here}/contradict")).status_code == 303
    await send(agent, here, f"{here}/report", upload=True, method="Shredded, P-4")
    assert (await send(other, here, f"{here}/witness")).status_code == 303
    assert here in (await agent.get("/console/paper?view=destroyed")).text
    assert "paper.destroyed" in await audited(platform.db, person)


@pytest.mark.parametrize("page", ["/console/tasks", "/console/paper", "/console/holds"])
async def test_who_is_not_signed_in_is_sent_to_sign_in(app, page: str) -> None:
    async with visitor(app) as stranger:
        assert (await stranger.get(page)).status_code == 303
