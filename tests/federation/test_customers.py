"""Customers who sign in through an external provider: new, known, linked, stepping up, signing out."""

import secrets
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import select, update

from cdp.core.db import Role
from cdp.operations.accounts.accounts import Registration, register
from cdp.operations.accounts.sessions import find
from cdp.tables.account import account
from cdp.tables.audit import audit_event
from cdp.tables.contact import email_address
from cdp.tables.customer import customer
from cdp.tables.federation import external_identity
from tests.browser import serving, title
from tests.site import PASSWORD

LINK = "/account/sign-in?next=%2Faccount%2Fsign-in%2Flink"


async def join(browser, login: str):
    """A first visit to the end: the account is made, the browser is inside."""
    welcome = await browser.sign_in(login)
    assert welcome.headers["location"] == "/account/sign-in/welcome", welcome.text
    done = await browser.submit("/account/sign-in/welcome", policy="yes")
    assert done.headers["location"] == "/account", done.text
    return done


async def viewer_of(platform, browser):
    found = await find(platform, browser.client.cookies.get("cdp_session", domain="localhost.local"))
    assert found is not None
    return found.viewer


async def actions(platform, customer_id) -> list[str]:
    async with platform.db.transaction(Role.WORKER) as tx:
        mine = select(customer.c.audit_ref).where(customer.c.id == customer_id).scalar_subquery()
        rows = await tx.all(
            select(audit_event.c.action).where(audit_event.c.subject_ref == mine).order_by(audit_event.c.id)
        )
    return [row.action for row in rows]


async def old_customer(platform, email: str, *, verified: bool) -> None:
    """Somebody who has registered here with a password, long ago."""
    await register(platform, Registration(email, PASSWORD, accepts_policy=True, given_name="Old"))
    async with platform.db.transaction(Role.WORKER) as tx:
        theirs = update(email_address).where(email_address.c.normalized == email)
        await tx.execute(theirs.values(verified_at=platform.clock() if verified else None))


async def test_the_page_leads_to_the_provider_and_asks_for_no_password(surf):
    browser = await surf()
    page = await browser.get("/account/sign-in?next=/account/data")
    assert "Corporate sign-in" in page.text
    assert 'type="password"' not in page.text
    sent = await browser.get("/account/sign-in/provider?next=/account/data")
    asked = {name: values[0] for name, values in parse_qs(urlsplit(sent.headers["location"]).query).items()}
    assert (asked["response_type"], asked["code_challenge_method"], asked["scope"]) == (
        "code",
        "S256",
        "openid profile email roles",
    )
    assert min(len(asked[name]) for name in ("state", "nonce", "code_challenge")) >= 43


@pytest.mark.parametrize("path", ["register", "forgotten-password", "new-password", "sign-in/second"])
async def test_the_old_ways_are_closed(surf, path):
    browser = await surf()
    assert (await browser.get(f"/account/{path}")).headers["location"] == "/account/sign-in"


async def test_a_password_is_not_taken(platform, surf):
    email = f"old.{secrets.token_hex(5)}@example.org"
    await old_customer(platform, email, verified=True)
    browser = await surf()
    page = await browser.get("/account/sign-in")
    token = page.text.partition('name="csrf" value="')[2].partition('"')[0]
    answer = await browser.post("/account/sign-in", csrf=token, username=email, password=PASSWORD)
    assert answer.headers["location"] == "/account/sign-in"
    assert browser.client.cookies.get("cdp_session") is None


async def test_somebody_new_agrees_and_is_in(platform, surf, newcomer):
    login, email = await newcomer()
    browser = await surf()
    await browser.sign_in(login, page="/account/sign-in/provider?next=/account/data")
    refused = await browser.submit("/account/sign-in/welcome")
    assert (refused.status_code, title(refused)[:6]) == (422, "Error:")
    done = await browser.submit("/account/sign-in/welcome", policy="yes")
    assert done.headers["location"] == "/account/data"
    assert email in (await browser.get("/account/data")).text
    viewer = await viewer_of(platform, browser)
    found = await actions(platform, viewer.customer_id)
    assert found == ["account.registered", "identity.linked", "email.verified", "session.started"]
    again = await surf()
    assert (await again.sign_in(login)).headers["location"] == "/account"
    assert (await viewer_of(platform, again)).customer_id == viewer.customer_id
    async with platform.db.transaction(Role.WORKER) as tx:
        kept = await tx.first(select(account).where(account.c.customer_id == viewer.customer_id))
    assert kept.password_hash is None


async def test_an_unverified_address_is_taken_for_what_it_is(platform, surf, newcomer):
    """Whoever claims somebody's address at the provider gets an account of their own, and nobody else's."""
    victim = f"victim.{secrets.token_hex(5)}@example.org"
    await old_customer(platform, victim, verified=True)
    login, _ = await newcomer(email=victim, email_verified=False)
    browser = await surf()
    await join(browser, login)
    viewer = await viewer_of(platform, browser)
    async with platform.db.transaction(Role.WORKER) as tx:
        rows = await tx.all(select(email_address).where(email_address.c.normalized == victim))
        victims = await tx.first(select(account).where(account.c.username == victim))
    assert {row.customer_id: row.verified_at is not None for row in rows} == {
        victims.customer_id: True,
        viewer.customer_id: False,
    }
    assert victims.customer_id != viewer.customer_id


async def test_a_verified_address_of_an_account_has_to_be_linked_by_its_owner(platform, surf, newcomer):
    login, email = await newcomer()
    await old_customer(platform, email, verified=True)
    async with platform.db.transaction(Role.WORKER) as tx:
        mine = await tx.scalar(select(account.c.customer_id).where(account.c.username == email))
    browser = await surf()
    await browser.sign_in(login, page="/account/sign-in/provider?next=/account/data")
    page = await browser.get("/account/sign-in/welcome")
    assert "There is an account with this address already" in page.text
    assert "Create the account" not in page.text
    token = page.text.partition('name="csrf" value="')[2].partition('"')[0]
    forced = await browser.post("/account/sign-in/welcome", csrf=token, policy="yes")
    assert (forced.status_code, "EXTERNAL_IDENTITY_TAKEN" in forced.text) == (409, True)
    wrong = await browser.submit(LINK, username=email, password="not this one")
    assert wrong.status_code == 401
    signed = await browser.submit(LINK, username=email, password=PASSWORD)
    assert signed.headers["location"] == "/account/sign-in/link"
    linked = await browser.submit("/account/sign-in/link")
    assert linked.headers["location"] == "/account/data"
    other = await surf()
    assert (await other.sign_in(login)).headers["location"] == "/account"
    assert (await viewer_of(platform, other)).customer_id == mine
    assert "identity.linked" in await actions(platform, mine)
    async with platform.db.transaction(Role.WORKER) as tx:
        kept = await tx.first(select(account).where(account.c.customer_id == mine))
    assert kept.password_hash is None, "the old way is closed"


async def test_one_identity_opens_one_account(platform, surf, newcomer):
    """Linked in one tab, it can not be linked to somebody else in another."""
    login, _ = await newcomer(email_verified=False)
    first, second = await surf(), await surf()
    await first.sign_in(login)
    await second.sign_in(login)
    await first.submit("/account/sign-in/welcome", policy="yes")
    late = await second.submit("/account/sign-in/welcome", policy="yes")
    assert (late.status_code, "EXTERNAL_IDENTITY_TAKEN" in late.text) == (409, True)
    other = f"other.{secrets.token_hex(5)}@example.org"
    await old_customer(platform, other, verified=True)
    await second.submit(LINK, username=other, password=PASSWORD)
    refused = await second.submit("/account/sign-in/link")
    assert (refused.status_code, "EXTERNAL_IDENTITY_TAKEN" in refused.text) == (409, True)
    async with platform.db.transaction(Role.WORKER) as tx:
        rows = await tx.all(select(external_identity.c.id).where(external_identity.c.subject == login))
    assert len(rows) == 1


async def test_a_stale_sign_in_steps_up_at_the_provider(platform, surf, newcomer):
    login, _ = await newcomer()
    browser = await surf()
    await join(browser, login)
    before = await viewer_of(platform, browser)
    long_ago = platform.clock().replace(year=platform.clock().year - 1)
    async with platform.db.transaction(Role.WORKER) as tx:
        table = account.metadata.tables["session"]
        await tx.execute(update(table).where(table.c.id == before.session_id).values(authenticated_at=long_ago))
    sent = await browser.get("/account/delete")
    assert sent.headers["location"] == "/account/sign-in?next=%2Faccount%2Fdelete&reauth=1"
    page = await browser.get(sent.headers["location"])
    assert "/account/sign-in/provider?next=%2Faccount%2Fdelete&amp;reauth=1" in page.text
    asked = await browser.get("/account/sign-in/provider?next=/account/delete&reauth=1")
    assert "prompt=login" in asked.headers["location"]
    back = await browser.sign_in(login, page="/account/sign-in/provider?next=/account/delete&reauth=1")
    assert back.headers["location"] == "/account/delete"
    after = await viewer_of(platform, browser)
    assert after.session_id == before.session_id
    after.require_fresh(platform.clock(), max_age_s=60)


async def test_stepping_up_as_somebody_else_is_refused(surf, newcomer):
    login, _ = await newcomer()
    other, _ = await newcomer()
    browser = await surf()
    await join(browser, login)
    answer = await browser.sign_in(other, page="/account/sign-in/provider?reauth=1")
    assert (answer.status_code, "SOMEBODY_ELSE" in answer.text) == (401, True)


async def test_signing_out_signs_out_there_too(platform, surf, newcomer):
    login, _ = await newcomer()
    browser = await surf()
    await join(browser, login)
    page = await browser.submit("/account/sign-out")
    assert "You are signed out here" in page.text
    address = page.text.partition("url=")[2].partition('"')[0].replace("&amp;", "&")
    asked = parse_qs(urlsplit(address).query)
    assert asked["post_logout_redirect_uri"] == ["http://localhost:8000/account/sign-in"]
    there = await browser.client.get(address)
    assert there.status_code == 200, there.text
    assert "sign-out" in there.text.lower()
    assert (await browser.get("/account")).headers["location"].startswith("/account/sign-in")


async def test_without_a_provider_there_is_no_door(settings, surf):
    async with serving(settings) as plain:
        browser = await surf(plain)
        for path in ("provider", "callback"):
            assert (await browser.get(f"/account/sign-in/{path}")).status_code == 404
