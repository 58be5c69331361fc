"""The queue and a request's page: views, deadlines, decisions about what was seen, and nothing about a bystander."""

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from sqlalchemy import func, select, update

from cdp.core.db import Database, Role
from cdp.core.ids import global_id
from cdp.core.platform import Platform
from cdp.operations.requests import requests, restrictions
from cdp.operations.requests.requests import Opened
from cdp.tables.account import session
from cdp.tables.audit import audit_event
from cdp.tables.request import (
    SETTLED,
    EvidenceKind,
    RequestStatus,
    RequestType,
    TaskStatus,
    privacy_request,
    request_task,
)
from cdp.tables.staff import staff
from cdp.web.console.queue import VIEWS
from cdp.web.console.words import EVIDENCE, REQUEST_TYPE, due_chip
from tests.browser import forms
from tests.console.conftest import Colleague
from tests.population import Person, make_person, picture

Open = Callable[[Person], Awaitable[Opened]]


@pytest.fixture
def erase(platform: Platform) -> Open:
    async def opened(person: Person) -> Opened:
        viewer = person.viewer(authenticated_at=platform.clock())
        async with platform.db.transaction(Role.CUSTOMER, subject=person.customer_id) as tx:
            return await requests.open_erasure(tx, viewer, platform)

    return opened


async def change(db: Database, reference: str, **values: object) -> None:
    async with db.transaction(Role.WORKER) as tx:
        await tx.execute(update(privacy_request).where(privacy_request.c.reference == reference).values(**values))


async def row_of(db: Database, reference: str):
    async with db.transaction(Role.WORKER) as tx:
        return await tx.first(select(privacy_request).where(privacy_request.c.reference == reference))


async def listed(browser: httpx.AsyncClient, view: str) -> list[str]:
    """Every reference of a view, over all its pages."""
    found: list[str] = []
    address = f"/console/requests?view={view}"
    while address:
        page = await browser.get(address)
        assert page.status_code == 200
        found += re.findall(r'href="/console/requests/([A-Z]{2}-[0-9A-Z-]+)\?', page.text)
        more = re.search(r'href="(/console/requests\?view=[a-z]+&amp;after=[^"]+)"', page.text)
        address = more[1].replace("&amp;", "&") if more else ""
    return found


async def decide(browser: httpx.AsyncClient, reference: str, decision: str, **fields: str) -> httpx.Response:
    page = await browser.get(f"/console/requests/{reference}")
    action = f"/console/requests/{reference}/{decision}"
    sent = next(values for at, values in forms(page).items() if at.startswith(f"{action}?"))
    return await browser.post(action, data={**sent, **fields})


def test_everything_has_words():
    assert set(REQUEST_TYPE) == set(RequestType)
    assert set(EVIDENCE) == {one.name for one in EvidenceKind}


async def test_each_view_holds_what_its_name_says(db: Database, colleague: Colleague, erase: Open):
    opened = [(await erase(await make_person(db))).reference for _ in range(5)]
    late, soon, far, stuck, waiting = opened
    officer = await colleague("privacy_officer")
    now = func.now()
    await change(db, late, due_at=now - timedelta(hours=5))
    await change(db, soon, due_at=now + timedelta(hours=30))
    await change(db, stuck, status=RequestStatus.NEEDS_ATTENTION)
    async with db.transaction(Role.WORKER) as tx:
        row = select(privacy_request.c.id).where(privacy_request.c.reference == waiting).scalar_subquery()
        await tx.execute(update(request_task).where(request_task.c.request_id == row).values(status=TaskStatus.WAITING))
    assert (await decide(officer, far, "assign", agent=await _id_of_last_officer(db))).status_code == 303
    views = {view.name: set(await listed(officer, view.name)) & set(opened) for view in VIEWS}
    assert views == {
        "open": set(opened),
        "mine": {far},
        "unassigned": set(opened) - {far},
        "decide": set(),
        "due": {soon},
        "overdue": {late},
        "waiting": {waiting},
        "stuck": {stuck},
    }
    for reference in opened:
        await change(db, reference, status=RequestStatus.CANCELLED)
    assert not set(await listed(officer, "open")) & set(opened)


async def _id_of_last_officer(db: Database) -> str:
    async with db.transaction(Role.WORKER) as tx:
        mine = select(staff.c.id).where(staff.c.roles.contains(["privacy_officer"])).order_by(staff.c.created_at.desc())
        return str(await tx.scalar(mine.limit(1)))


async def test_pages_come_by_deadline_and_miss_nobody(db: Database, agent: httpx.AsyncClient, erase: Open):
    opened = [(await erase(await make_person(db))).reference for _ in range(30)]
    for hours, reference in enumerate(opened):
        await change(db, reference, due_at=func.now() + timedelta(days=3650, hours=hours))
    found = await listed(agent, "open")
    assert len(found) == len(set(found))
    assert [one for one in found if one in set(opened)] == opened
    for reference in opened:
        await change(db, reference, status=RequestStatus.CANCELLED)


async def test_the_page_tells_the_case_and_masks_the_person(
    db: Database, agent: httpx.AsyncClient, erase: Open, person: Person
):
    opened = await erase(person)
    page = await agent.get(f"/console/requests/{opened.reference}")
    for word in (
        "Erasure",
        opened.reference,
        "Look what is there",
        "Opened",
        "a***@e***.com",
        "days left",
        "Next case",
    ):
        assert word in page.text, word
    assert person.email not in page.text
    assert (await agent.get("/console/requests/ER-2222-2222")).status_code == 404
    async with db.transaction(Role.WORKER) as tx:
        mine = (audit_event.c.subject_ref == person.audit_ref) & (audit_event.c.action == "customer.read")
        assert await tx.scalar(select(func.count()).select_from(audit_event).where(mine))


async def test_decisions_of_who_may_decide(db: Database, colleague: Colleague, erase: Open, person: Person):
    bystander = await make_person(db)
    await erase(bystander)
    before = await picture(db, bystander)
    opened = await erase(person)
    supervisor = await colleague("supervisor")
    due = (await row_of(db, opened.reference)).due_at
    answer = await decide(supervisor, opened.reference, "extend", reason="Two systems have to be asked by hand.")
    assert answer.status_code == 303
    row = await row_of(db, opened.reference)
    assert row.due_at > due + timedelta(days=50)
    assert (await decide(supervisor, opened.reference, "pause", reason="We wait for a colleague.")).status_code == 303
    assert (await row_of(db, opened.reference)).status is RequestStatus.PAUSED
    assert (await decide(supervisor, opened.reference, "resume")).status_code == 303
    answer = await decide(supervisor, opened.reference, "refuse", reason="An open invoice: art. 17(3)(e).")
    assert answer.status_code == 303
    row = await row_of(db, opened.reference)
    assert (row.status, row.refusal_reason) == (RequestStatus.REFUSED, "An open invoice: art. 17(3)(e).")
    page = await supervisor.get(f"/console/requests/{opened.reference}")
    for word in ("An open invoice", "Deadline extended", "Paused", "Refused", "Bo"):
        assert word in page.text, word
    assert await picture(db, bystander) == before


async def test_giving_up_and_ending_a_restriction(
    platform: Platform, db: Database, colleague: Colleague, erase: Open, person: Person
):
    stuck = (await erase(person)).reference
    await change(db, stuck, status=RequestStatus.NEEDS_ATTENTION)
    supervisor = await colleague("supervisor")
    assert (await decide(supervisor, stuck, "give-up", reason="The shop system is gone.")).status_code == 303
    row = await row_of(db, stuck)
    assert (row.status, row.refusal_reason) == (RequestStatus.FAILED, "The shop system is gone.")
    other = await make_person(db)
    async with db.transaction(Role.CUSTOMER, subject=other.customer_id) as tx:
        held = await restrictions.restrict(tx, other.viewer(authenticated_at=platform.clock()), platform)
    assert (await decide(supervisor, held.reference, "lift", reason="It was checked.")).status_code == 303
    assert (await row_of(db, held.reference)).status is RequestStatus.LIFTING
    assert "It was checked." in (await supervisor.get(f"/console/requests/{held.reference}")).text


async def test_an_old_sign_in_is_renewed_before_a_reason_is_typed(
    db: Database, colleague: Colleague, erase: Open, person: Person
):
    reference = (await erase(person)).reference
    supervisor = await colleague("supervisor")
    assert "Refuse the request" in (await supervisor.get(f"/console/requests/{reference}")).text
    async with db.transaction(Role.WORKER) as tx:
        theirs = update(session).where(session.c.staff_id.is_not(None))
        await tx.execute(theirs.values(authenticated_at=func.now() - timedelta(minutes=11)))
    page = await supervisor.get(f"/console/requests/{reference}")
    assert "Sign in again, then you can decide" in page.text
    assert "Refuse the request" not in page.text
    assert (await decide(supervisor, reference, "pause", reason="We wait.")).status_code == 303


async def test_an_agent_is_not_offered_what_they_may_not_decide(
    db: Database, agent: httpx.AsyncClient, erase: Open, person: Person
):
    opened = await erase(person)
    page = await agent.get(f"/console/requests/{opened.reference}")
    assert "Refuse the request" not in page.text
    sent = next(values for at, values in forms(page).items() if at.startswith(f"/console/requests/{opened.reference}/"))
    answer = await agent.post(f"/console/requests/{opened.reference}/refuse", data={**sent, "reason": "No."})
    assert answer.status_code == 422
    assert "Supervisors and privacy officers decide" in answer.text
    assert (await row_of(db, opened.reference)).status is RequestStatus.CHECKING
    async with db.transaction(Role.WORKER) as tx:
        mine = (audit_event.c.action == "request.refused") & (audit_event.c.outcome == "refused")
        last = await tx.first(select(audit_event.c.code).where(mine).order_by(audit_event.c.id.desc()).limit(1))
    assert last is not None
    assert last.code == "DECIDER_NEEDED"


@pytest.mark.parametrize("role", ["analyst", "administrator"])
async def test_other_staff_neither_see_nor_decide(
    db: Database, agent: httpx.AsyncClient, colleague: Colleague, erase: Open, person: Person, role: str
):
    opened = await erase(person)
    stranger = await colleague(role)
    assert (await stranger.get("/console/requests")).status_code == 403
    assert (await stranger.get(f"/console/requests/{opened.reference}")).status_code == 403
    version = str((await row_of(db, opened.reference)).version)
    csrf = forms(await stranger.get("/console"))["/console"]["csrf"]
    for decision in ("pause", "extend", "refuse", "assign"):
        sent = {"csrf": csrf, "version": version, "reason": "No.", "agent": ""}
        answer = await stranger.post(f"/console/requests/{opened.reference}/{decision}", data=sent)
        assert answer.status_code in {403, 422}
    row = await row_of(db, opened.reference)
    assert (row.status, row.extended_at) == (RequestStatus.CHECKING, None)


async def test_who_decides_about_an_old_page_is_shown_what_changed(
    db: Database, agent: httpx.AsyncClient, colleague: Colleague, erase: Open, person: Person
):
    opened = await erase(person)
    page = await agent.get(f"/console/requests/{opened.reference}")
    action = f"/console/requests/{opened.reference}/pause"
    sent = next(values for at, values in forms(page).items() if at.startswith(f"{action}?"))
    other = await colleague("supervisor")
    await decide(other, opened.reference, "extend", reason="It takes longer.")
    answer = await agent.post(action, data={**sent, "reason": "A pause."})
    assert answer.status_code == 409
    assert "This has changed meanwhile" in answer.text
    assert "Bo changed it" in answer.text
    assert (await row_of(db, opened.reference)).status is RequestStatus.CHECKING
    again = await decide(agent, opened.reference, "pause", reason="A pause.")
    assert again.status_code == 303


@pytest.mark.parametrize("decision", ["extend", "pause"])
async def test_a_reason_is_needed(db: Database, agent: httpx.AsyncClient, erase: Open, person: Person, decision: str):
    opened = await erase(person)
    before = await row_of(db, opened.reference)
    answer = await decide(agent, opened.reference, decision, reason="  ")
    assert answer.status_code == 422
    assert "Give a reason" in answer.text
    assert await row_of(db, opened.reference) == before
    assert (await decide(agent, opened.reference, "assign", agent="nobody")).status_code == 422
    assert (await agent.post(f"/console/requests/{opened.reference}/explode", data={})).status_code in {403, 404}


async def test_the_next_case_follows_in_the_same_view(db: Database, agent: httpx.AsyncClient, erase: Open):
    first, second = [(await erase(await make_person(db))).reference for _ in range(2)]
    far = func.now() - timedelta(days=3650)
    await change(db, first, due_at=far)
    await change(db, second, due_at=far + timedelta(hours=1))
    answer = await agent.get(f"/console/requests/next?view=overdue&after={first}")
    assert answer.headers["location"] == f"/console/requests/{second}?view=overdue"
    for reference in (first, second):
        await change(db, reference, status=RequestStatus.CANCELLED)
    answer = await agent.get(f"/console/requests/next?view=mine&after={first}")
    assert answer.headers["location"] == "/console/requests?view=mine&done=1"
    assert "the last one" in (await agent.get(answer.headers["location"])).text


async def test_a_request_whose_person_is_gone_can_still_be_read(
    db: Database, agent: httpx.AsyncClient, erase: Open, person: Person
):
    opened = await erase(person)
    await change(db, opened.reference, customer_id=None, status=RequestStatus.VERIFYING)
    page = await agent.get(f"/console/requests/{opened.reference}")
    assert "The customer is deleted." in page.text
    assert opened.reference in (await listed(agent, "open"))
    await change(db, opened.reference, status=RequestStatus.COMPLETED)


def test_the_time_left_is_said_in_words():
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    told = {
        due_chip(now + left, now, is_settled=False).text
        for left in (timedelta(days=20), timedelta(hours=47), timedelta(minutes=5), timedelta(hours=-1))
    }
    assert told == {"20 days left", "47 hours left", "less than an hour left", "Overdue by 1 hour"}
    assert due_chip(now, now, is_settled=True).text == "Answered"
    assert due_chip(now + timedelta(hours=71), now, is_settled=False).tone == "warn"
    assert RequestStatus.COMPLETED in SETTLED


async def test_a_request_leads_to_its_customer(agent: httpx.AsyncClient, erase: Open, person: Person):
    opened = await erase(person)
    address = f"/console/customers/{global_id('Customer', person.customer_id)}"
    assert address in (await agent.get(f"/console/requests/{opened.reference}")).text
    assert opened.reference in (await agent.get(address)).text
