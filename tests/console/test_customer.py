"""A customer's page: masked, told in full, recorded; clear for a minute after a reveal with a reason."""

import html
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from sqlalchemy import func, insert, select, update

from cdp.access.rules import REVEALABLE
from cdp.core.db import Database, Role
from cdp.core.ids import global_id, new_id
from cdp.core.platform import Platform
from cdp.operations.requests import requests
from cdp.tables.account import session
from cdp.tables.audit import audit_event
from cdp.tables.contact import email_address
from cdp.tables.customer import customer
from cdp.tables.order import OrderStatus, sales_order
from cdp.tables.reveal import RevealReason, reveal
from cdp.web.words import REVEAL_CATEGORY, REVEAL_REASON
from tests.browser import forms, title
from tests.console.conftest import Colleague
from tests.population import LONG_AGO, Person, make_person
from tests.site import give_account


def page_of(person: Person) -> str:
    return f"/console/customers/{global_id('Customer', person.customer_id)}"


async def unmask(browser: httpx.AsyncClient, person: Person, **fields: str) -> httpx.Response:
    shown = await browser.get(page_of(person))
    action = f"{page_of(person)}/reveal"
    given = {"category": "contact", "reason": "customer_asked", "case_ref": "CASE-7"}
    return await browser.post(action, data={**forms(shown)[action], **given, **fields})


def test_every_category_and_reason_has_words():
    assert set(REVEAL_CATEGORY) == REVEALABLE
    assert set(REVEAL_REASON) == set(RevealReason)


async def test_it_tells_everything_and_masks_what_is_masked(agent: httpx.AsyncClient, person: Person):
    page = await agent.get(page_of(person))
    assert page.status_code == 200
    for word in ("Ada Family", "a***@e***.com", "SO-", "Question ", "E-mail addresses", "Registration"):
        assert word in page.text, word
    assert person.email not in page.text
    assert "+49151" not in page.text
    assert "Console" in title(page)


async def test_the_name_of_one_customer_shows_nothing_of_another(
    db: Database, agent: httpx.AsyncClient, person: Person
):
    bystander = await make_person(db, given_name="Grace")
    page = await agent.get(page_of(person))
    assert "Grace" not in page.text
    assert "Grace" in (await agent.get(page_of(bystander))).text


async def test_looking_is_recorded(db: Database, agent: httpx.AsyncClient, person: Person):
    await agent.get(page_of(person))
    async with db.transaction(Role.WORKER) as tx:
        mine = audit_event.c.subject_ref == person.audit_ref
        row = await tx.first(select(audit_event).where(mine).order_by(audit_event.c.id.desc()).limit(1))
    assert row is not None
    assert (row.action, row.actor_kind, row.details["purpose"]) == ("customer.read", "staff", "customer_service")
    assert "EmailAddress.address" in row.details["fields"]


async def test_a_reveal_makes_it_clear_for_a_minute_and_for_this_agent_alone(
    db: Database, agent: httpx.AsyncClient, colleague: Colleague, person: Person
):
    bystander = await make_person(db)
    answer = await unmask(agent, person)
    assert (answer.status_code, answer.headers["location"]) == (303, page_of(person))
    page = await agent.get(page_of(person))
    assert person.email in page.text
    assert "Contact details</strong> shown for" in page.text
    assert "u***" in page.text, "the user name was not asked for"
    assert bystander.email not in (await agent.get(page_of(bystander))).text
    assert person.email not in (await (await colleague("agent")).get(page_of(person))).text
    async with db.transaction(Role.WORKER) as tx:
        mine = update(reveal).where(reveal.c.customer_id == person.customer_id)
        await tx.execute(mine.values(expires_at=func.now()))
    again = await agent.get(page_of(person))
    assert person.email not in again.text
    assert "shown for" not in again.text


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"case_ref": ""}, "Name the case"),
        ({"case_ref": "Ada Lovelace"}, "Name the case"),
        ({"category": "device"}, "Name at least one category"),
        ({"reason": "curiosity"}, "Name at least one category"),
    ],
)
async def test_without_a_reason_nothing_is_shown(
    agent: httpx.AsyncClient, person: Person, fields: dict[str, str], said: str
):
    page = await unmask(agent, person, **fields)
    assert page.status_code == 422
    assert said in html.unescape(page.text)
    assert title(page).startswith("Error:")
    assert person.email not in (await agent.get(page_of(person))).text


async def test_an_old_sign_in_is_renewed_first(db: Database, agent: httpx.AsyncClient, person: Person):
    shown = await agent.get(page_of(person))
    async with db.transaction(Role.WORKER) as tx:
        staff_sessions = update(session).where(session.c.staff_id.is_not(None))
        await tx.execute(staff_sessions.values(authenticated_at=datetime.now(UTC) - timedelta(minutes=11)))
    action = f"{page_of(person)}/reveal"
    given = {"category": "contact", "reason": "customer_asked", "case_ref": "CASE-7"}
    answer = await agent.post(action, data={**forms(shown)[action], **given})
    assert answer.headers["location"].startswith("/console/sign-in?next=%2Fconsole%2Fcustomers%2F")
    assert answer.headers["location"].endswith("reauth=1")
    page = await agent.get(page_of(person))
    assert "Sign in again, then" in page.text
    assert action not in forms(page)
    async with db.transaction(Role.WORKER) as tx:
        mine = (audit_event.c.action == "page.submitted") & (audit_event.c.outcome == "refused")
        row = await tx.first(select(audit_event).where(mine).order_by(audit_event.c.id.desc()).limit(1))
    assert row is not None
    assert (row.code, row.details) == ("STEP_UP_REQUIRED", {"page": "/console/customers/{id}/reveal"})


async def test_who_sees_all_has_nothing_to_reveal(colleague: Colleague, person: Person):
    officer = await colleague("privacy_officer")
    page = await officer.get(page_of(person))
    assert person.email in page.text
    assert "See masked details" not in page.text


@pytest.mark.parametrize("role", ["analyst", "administrator"])
async def test_other_staff_see_no_customer(colleague: Colleague, person: Person, role: str):
    browser = await colleague(role)
    page = await browser.get(page_of(person))
    assert page.status_code == 403
    assert "Ada" not in page.text


@pytest.mark.parametrize(
    "name",
    ["x", "%20", global_id("Order", new_id()), global_id("Customer", new_id())],
    ids=["a letter", "a blank", "an order", "nobody"],
)
async def test_there_is_no_such_customer(agent: httpx.AsyncClient, name: str):
    assert (await agent.get(f"/console/customers/{name}")).status_code == 404


async def test_a_form_that_is_not_ours_reveals_nothing(agent: httpx.AsyncClient, person: Person):
    given = {"category": "contact", "reason": "customer_asked", "case_ref": "CASE-7", "csrf": "x"}
    assert (await agent.post(f"{page_of(person)}/reveal", data=given)).status_code == 403
    assert person.email not in (await agent.get(page_of(person))).text


async def test_one_strand_goes_page_by_page(db: Database, agent: httpx.AsyncClient, person: Person):
    row = {"status": OrderStatus.COMPLETED, "currency": "EUR", "total": 1, **person.origin}
    async with db.transaction(Role.WORKER) as tx:
        for day in range(60):
            moment = LONG_AGO + timedelta(days=day + 1)
            await tx.execute(insert(sales_order).values(**row, number=f"{person.customer_id}-{day}", placed_at=moment))
    mixed = await agent.get(page_of(person))
    assert "all 61 orders" in mixed.text
    assert "Question " not in mixed.text, "older than what is left out of the orders"
    seen: list[str] = []
    address = f"{page_of(person)}?show=orders"
    while address:
        page = await agent.get(address)
        seen += [line for line in page.text.split() if line.startswith(f'class="what">{person.customer_id}')]
        links = [part.split('"')[0] for part in page.text.split('href="') if "after=" in part.split('"')[0]]
        address = html.unescape(links[0]).partition("#")[0] if links else ""
    assert len(seen) == len(set(seen)) == 60


async def test_long_and_missing_content(db: Database, agent: httpx.AsyncClient, person: Person):
    async with db.transaction(Role.WORKER) as tx:
        mine = update(customer).where(customer.c.id == person.customer_id)
        await tx.execute(mine.values(given_name="<b>" + "x" * 96, family_name=None, country=None, locale=None))
        await tx.execute(email_address.delete().where(email_address.c.customer_id == person.customer_id))
    page = await agent.get(page_of(person))
    assert page.status_code == 200
    assert "<b>xxx" not in page.text
    assert "None." in page.text


async def test_colleagues_and_the_customer_read_who_looked_and_why(
    platform: Platform, agent: httpx.AsyncClient, signed_in, person: Person
):
    bystander = await make_person(platform.db)
    await unmask(agent, person, reason="fraud_check", case_ref="T-4711")
    page = await agent.get(f"{page_of(person)}?show=looks")
    assert "Bo saw masked details" in page.text
    assert "Contact details. Suspected fraud, case T-4711." in page.text
    assert "T-4711" not in (await agent.get(f"{page_of(bystander)}?show=looks")).text
    owner = await signed_in(await give_account(platform, person))
    activity = await owner.get("/account/security")
    assert "Contact details. Suspected fraud, case T-4711." in activity.text
    other = await signed_in(await give_account(platform, bystander))
    assert "T-4711" not in (await other.get("/account/security")).text


async def test_chips_say_what_to_know_first(platform: Platform, agent: httpx.AsyncClient, person: Person):
    assert "being deleted" not in (await agent.get(page_of(person))).text
    viewer = person.viewer(authenticated_at=platform.clock())
    async with platform.db.transaction(Role.CUSTOMER, subject=person.customer_id) as tx:
        await requests.open_erasure(tx, viewer, platform)
    page = await agent.get(page_of(person))
    assert "Frozen: being deleted" in page.text
    assert "Open one for them" not in page.text
