"""Opening a request for somebody: freshly signed in, with reason and evidence, decided by a second person."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest
from sqlalchemy import select, update

from cdp.core.db import Database, Role
from cdp.tables.account import session
from cdp.tables.request import RequestStatus, RequestType, evidence, privacy_request
from tests.browser import forms, title
from tests.console.conftest import Colleague
from tests.console.test_customer import page_of
from tests.console.test_requests import decide
from tests.population import Person, audited, make_person, picture

GIVEN = {
    "type": "erasure",
    "reason": "She asked by phone.",
    "evidence": "identity",
    "note": "Called back on the number we hold.",
}


async def ask(browser: httpx.AsyncClient, person: Person, **fields: object) -> httpx.Response:
    address = f"{page_of(person)}/open"
    shown = await browser.get(address)
    csrf = forms(shown)[address]["csrf"]
    data = {key: value for key, value in {**GIVEN, **fields}.items() if key != "file"}
    files = {"file": fields["file"]} if "file" in fields else {"file": ("", b"")}
    return await browser.post(address, data={"csrf": csrf, **data}, files=files)


async def opened(db: Database, person: Person) -> list:
    async with db.transaction(Role.WORKER) as tx:
        mine = select(privacy_request).where(privacy_request.c.customer_id == person.customer_id)
        return list(await tx.all(mine))


async def test_an_erasure_is_opened_and_a_second_person_approves(
    db: Database, agent: httpx.AsyncClient, colleague: Colleague, person: Person
):
    bystander = await make_person(db)
    before = await picture(db, bystander)
    answer = await ask(agent, person, file=("passport.pdf", b"%PDF-1.7 seen", "application/pdf"))
    assert answer.headers["location"] == f"{page_of(person)}?done=opened"
    assert "waits for a colleague" in (await agent.get(answer.headers["location"])).text
    [row] = await opened(db, person)
    assert (row.type, row.status, row.reason) == (RequestType.ERASURE, RequestStatus.RECEIVED, GIVEN["reason"])
    async with db.transaction(Role.WORKER) as tx:
        proof = await tx.first(select(evidence).where(evidence.c.request_id == row.id))
    assert proof is not None
    assert (proof.note, proof.file_name) == (GIVEN["note"], "passport.pdf")
    assert {"request.opened", "evidence.recorded"} <= set(await audited(db, person))
    page = await agent.get(f"/console/requests/{row.reference}")
    assert "Called back on the number we hold." in page.text
    supervisor = await colleague("supervisor")
    assert (await decide(supervisor, row.reference, "approve")).status_code == 303
    [row] = await opened(db, person)
    assert row.status is RequestStatus.CHECKING
    assert await picture(db, bystander) == before


async def test_who_opened_it_does_not_decide(db: Database, colleague: Colleague, person: Person):
    supervisor = await colleague("supervisor")
    await ask(supervisor, person, type="access")
    [row] = await opened(db, person)
    page = await supervisor.get(f"/console/requests/{row.reference}")
    assert "A colleague decides about it." in page.text
    sent = next(v for at, v in forms(page).items() if at.startswith(f"/console/requests/{row.reference}/"))
    answer = await supervisor.post(f"/console/requests/{row.reference}/approve", data=sent)
    assert answer.status_code == 422
    assert "Whoever opened a request" in answer.text
    assert (await opened(db, person))[0].status is RequestStatus.RECEIVED


async def test_asked_twice_is_one_request(db: Database, agent: httpx.AsyncClient, person: Person):
    await ask(agent, person)
    answer = await ask(agent, person, note="She wrote, too.")
    assert answer.headers["location"].endswith("?done=joined")
    assert len(await opened(db, person)) == 1


@pytest.mark.parametrize("kind", ["access", "portability", "restriction", "objection"])
async def test_every_other_type_that_is_offered(db: Database, agent: httpx.AsyncClient, person: Person, kind: str):
    fields = {"purpose": "promotions"} if kind == "objection" else {}
    answer = await ask(agent, person, type=kind, **fields)
    assert answer.status_code == 303, answer.text
    assert [row.type.value for row in await opened(db, person)] == [kind]


BAD = {
    "no type": ({"type": ""}, "Choose what they ask for."),
    "a made-up type": ({"type": "destruction"}, "Choose what they ask for."),
    "no evidence": ({"evidence": ""}, "Choose what you relied on."),
    "no note": ({"note": " "}, "Say what was shown"),
    "no reason": ({"reason": " "}, "Give a reason"),
    "nobody acts": ({"evidence": "representative"}, "who acts for them"),
    "a program": ({"file": ("x.exe", b"MZ", "application/x-msdownload")}, "a PDF, an image"),
    "no purpose": ({"type": "objection"}, "which purposes"),
}


@pytest.mark.parametrize("name", BAD)
async def test_what_is_missing_is_said_and_nothing_is_opened(
    db: Database, agent: httpx.AsyncClient, person: Person, name: str
):
    fields, said = BAD[name]
    answer = await ask(agent, person, **fields)
    assert answer.status_code == 422
    assert said in answer.text
    assert title(answer).startswith("Error:")
    assert await opened(db, person) == []


async def test_an_old_sign_in_is_renewed_first(db: Database, agent: httpx.AsyncClient, person: Person):
    shown = await agent.get(f"{page_of(person)}/open")
    async with db.transaction(Role.WORKER) as tx:
        staff_sessions = update(session).where(session.c.staff_id.is_not(None))
        await tx.execute(staff_sessions.values(authenticated_at=datetime.now(UTC) - timedelta(minutes=11)))
    address = f"{page_of(person)}/open"
    answer = await agent.post(address, data={**forms(shown)[address], **GIVEN})
    assert "reauth=1" in answer.headers["location"]
    assert "reauth=1" in (await agent.get(address)).headers["location"]
    assert await opened(db, person) == []


@pytest.mark.parametrize("role", ["analyst", "administrator"])
async def test_other_staff_open_nothing(db: Database, colleague: Colleague, person: Person, role: str):
    browser = await colleague(role)
    address = f"{page_of(person)}/open"
    assert (await browser.get(address)).status_code == 403
    csrf = forms(await browser.get("/console"))["/console"]["csrf"]
    assert (await browser.post(address, data={"csrf": csrf, **GIVEN})).status_code == 403
    assert await opened(db, person) == []


async def test_the_search_field_of_other_pages_is_empty(agent: httpx.AsyncClient, person: Person):
    await ask(agent, person)
    pages = [f"{page_of(person)}/open", "/console/requests", page_of(person)]
    failed = await ask(agent, person, note="")
    for page in [failed, *[await agent.get(address) for address in pages]]:
        field = page.text.partition('id="q"')[2].partition(">")[0]
        assert 'value=""' in field
