"""Staff who sign in through an external provider: their claims are their roles, and without one they are out."""

import secrets

import pytest
from sqlalchemy import select, update

from cdp.access.viewer import Actor
from cdp.core.db import Role
from cdp.operations.accounts.passwords import hash_password
from cdp.operations.accounts.sessions import find
from cdp.tables.audit import audit_event
from cdp.tables.federation import external_identity
from cdp.tables.staff import staff
from tests.site import PASSWORD

DOOR = "/console/sign-in/provider"
LINK = "/console/sign-in?next=%2Fconsole%2Fsign-in%2Flink"


async def row_of(platform, login: str):
    async with platform.db.transaction(Role.WORKER) as tx:
        linked = select(staff).join(external_identity, external_identity.c.staff_id == staff.c.id)
        return await tx.first(linked.where(external_identity.c.subject == login))


async def actions(platform, staff_id) -> list[str]:
    async with platform.db.transaction(Role.WORKER) as tx:
        mine = select(audit_event.c.action).where(audit_event.c.object_id == staff_id)
        return [row.action for row in await tx.all(mine.order_by(audit_event.c.id))]


async def session_of(platform, browser):
    return await find(platform, browser.client.cookies.get("cdp_console", domain="localhost.local"), actor=Actor.STAFF)


async def join(browser, login: str) -> None:
    welcome = await browser.sign_in(login, page=DOOR)
    assert welcome.headers["location"] == "/console/sign-in/welcome", welcome.text
    done = await browser.submit("/console/sign-in/welcome")
    assert done.headers["location"] == "/console", done.text


async def test_claims_make_roles(platform, surf, newcomer):
    login, email = await newcomer(groups=["desk", "dpo", "cleaning"])
    browser = await surf()
    await join(browser, login)
    found = await row_of(platform, login)
    assert (found.username, found.name, found.roles) == (email, "Ada Lovelace", ["agent", "privacy_officer"])
    session = await session_of(platform, browser)
    assert session.viewer.roles == {"agent", "privacy_officer"}
    assert await actions(platform, found.id) == ["staff.added"]
    assert (await browser.get("/account")).headers["location"].startswith("/account/sign-in"), "realms are apart"


@pytest.mark.parametrize("groups", [None, [], ["cleaning"], "cleaning", [7], {"desk": 1}], ids=str)
async def test_who_has_no_role_stays_outside(platform, surf, newcomer, groups):
    login, _ = await newcomer(**({} if groups is None else {"groups": groups}))
    browser = await surf()
    answer = await browser.sign_in(login, page=DOOR)
    assert (answer.status_code, "NO_ROLE" in answer.text) == (403, True)
    assert await row_of(platform, login) is None
    assert (await browser.get("/console/sign-in/welcome")).headers["location"] == "/console/sign-in"
    async with platform.db.transaction(Role.WORKER) as tx:
        newest = select(audit_event.c.action, audit_event.c.code).order_by(audit_event.c.id.desc()).limit(1)
        assert tuple(await tx.first(newest)) == ("session.refused", "NO_ROLE")


async def test_roles_follow_the_claims(platform, surf, newcomer, outside):
    login, _ = await newcomer(groups=["desk"])
    bystander, _ = await newcomer(groups=["desk"])
    browser, other, another = await surf(), await surf(), await surf()
    await join(browser, login)
    await join(another, bystander)
    await outside.account(login, groups=["desk-lead"])
    assert (await other.sign_in(login, page=DOOR)).headers["location"] == "/console"
    assert (await session_of(platform, browser)).viewer.roles == {"supervisor"}, "at once, in every session"
    await outside.account(login, groups=[])
    refused = await (await surf()).sign_in(login, page=DOOR)
    assert refused.status_code == 403
    assert await session_of(platform, browser) is None
    assert await session_of(platform, other) is None
    assert await session_of(platform, another) is not None, "nobody else is signed out"
    found = await row_of(platform, login)
    assert (found.active, found.roles) == (False, [])
    await outside.account(login, groups=["desk"])
    assert (await browser.sign_in(login, page=DOOR)).headers["location"] == "/console"
    assert (await row_of(platform, login)).roles == ["agent"]
    assert await actions(platform, found.id) == [
        "staff.added",
        "staff.roles_changed",
        "staff.suspended",
        "staff.reinstated",
    ]


async def test_who_an_operator_has_deactivated_stays_out(platform, surf, newcomer):
    login, _ = await newcomer(groups=["desk"])
    await join(await surf(), login)
    found = await row_of(platform, login)
    async with platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(update(staff).where(staff.c.id == found.id).values(active=False))
    answer = await (await surf()).sign_in(login, page=DOOR)
    assert answer.status_code == 403
    assert (await row_of(platform, login)).active is False


async def _old_colleague(platform, email: str):
    password_hash = await hash_password(platform.settings, PASSWORD)
    values = {"username": email, "name": "Bo", "password_hash": password_hash, "roles": ["analyst"]}
    async with platform.db.transaction(Role.WORKER) as tx:
        return await tx.scalar(staff.insert().values(**values).returning(staff.c.id))


@pytest.mark.parametrize("verified", [True, False])
async def test_a_colleague_with_this_address_links_it(platform, surf, newcomer, verified):
    login, email = await newcomer(groups=["desk"], email_verified=verified)
    staff_id = await _old_colleague(platform, email)
    browser = await surf()
    await browser.sign_in(login, page=DOOR)
    page = await browser.get("/console/sign-in/welcome")
    assert "Create the account" not in page.text
    signed = await browser.submit(LINK, username=email, password=PASSWORD)
    assert signed.headers["location"] == "/console/sign-in/link", signed.text
    assert (await browser.submit("/console/sign-in/link")).headers["location"] == "/console"
    found = await row_of(platform, login)
    assert (found.id, found.roles) == (staff_id, ["agent"])


async def test_an_unverified_address_is_no_user_name(platform, surf, newcomer):
    email = f"boss.{secrets.token_hex(4)}@example.org"
    login, _ = await newcomer(groups=["desk"], email=email, email_verified=False)
    await join(await surf(), login)
    assert (await row_of(platform, login)).username.startswith("external-")


async def test_the_same_person_is_a_customer_too(platform, surf, newcomer):
    login, _ = await newcomer(groups=["desk"])
    browser = await surf()
    await join(browser, login)
    assert (await browser.sign_in(login)).headers["location"] == "/account/sign-in/welcome"
    assert (await browser.submit("/account/sign-in/welcome", policy="yes")).headers["location"] == "/account"
    assert await session_of(platform, browser) is not None
