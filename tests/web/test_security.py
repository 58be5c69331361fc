"""The security page: what is shown is the viewer's, what is ended is ended, and nobody ends what is another's."""

import secrets
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from cdp.core.db import Role
from cdp.core.ids import new_id
from cdp.operations.accounts.sessions import find
from cdp.tables.account import account, session
from cdp.tables.audit import audit_event
from cdp.tables.customer import customer
from cdp.tables.oauth import oauth_client, oauth_grant
from cdp.web.account.security import device
from tests.browser import forms, submit, visitor
from tests.mailbox import mailed
from tests.site import PASSWORD

PAGE = "/account/security"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


async def _customer_id(platform, name: str):
    async with platform.db.transaction(Role.WORKER) as tx:
        return await tx.scalar(select(account.c.customer_id).where(account.c.username == name))


async def _connect(platform, name: str, app_name: str):
    """Let an app use somebody's account; answers the grant's id."""
    grant_id, client_id = new_id(), new_id()
    async with platform.db.transaction(Role.WORKER) as tx:
        values = {"id": client_id, "client_id": secrets.token_hex(8), "name": app_name, "redirect_uris": []}
        await tx.execute(oauth_client.insert().values(**values, grant_types=[], scopes=[]))
        owner = await tx.scalar(select(account.c.customer_id).where(account.c.username == name))
        values = {"id": grant_id, "customer_id": owner, "client_id": client_id, "scope": "openid profile:read"}
        await tx.execute(oauth_grant.insert().values(**values, authenticated_at=platform.clock()))
    return grant_id


async def _is_living(platform, grant_id) -> bool:
    async with platform.db.transaction(Role.WORKER) as tx:
        return await tx.scalar(select(oauth_grant.c.revoked_at).where(oauth_grant.c.id == grant_id)) is None


async def _actions(platform, name: str) -> list[str]:
    async with platform.db.transaction(Role.WORKER) as tx:
        mine = select(customer.c.audit_ref).join(account, account.c.customer_id == customer.c.id)
        found = select(audit_event.c.action).where(
            audit_event.c.subject_ref.in_(mine.where(account.c.username == name))
        )
        return [row.action for row in await tx.all(found.order_by(audit_event.c.id))]


async def _session_id(platform, browser):
    found = await find(platform, browser.cookies["cdp_session"])
    return found.id if found else None


async def _press(browser, action: str, **fields: str):
    """Send a form of the page to one of its addresses."""
    csrf = next(iter(forms(await browser.get(PAGE)).values()))["csrf"]
    return await browser.post(f"{PAGE}/{action}", data={"csrf": csrf, **fields})


async def test_the_page_shows_what_is_mine(app, platform, new_customer, signed_in):
    name, bystander = await new_customer(), await new_customer()
    await _connect(platform, name, "Recipe box")
    await _connect(platform, bystander, "Foreign box")
    async with visitor(app, address="203.0.113.251") as other:
        other.headers["user-agent"] = FIREFOX
        await submit(other, "/account/sign-in", username=name, password=PASSWORD)
        mine = await signed_in(name)
        await signed_in(bystander)
        shown = (await mine.get(PAGE)).text
    assert "Firefox on Linux" in shown
    assert "203.0.113.251" in shown
    assert shown.count("this one") == 1
    assert "Recipe box" in shown
    assert "Read your profile, orders and activity" in shown
    assert "Foreign box" not in shown
    assert name in shown
    assert bystander not in shown
    assert "Signed in" in shown
    assert "Account created" in shown


async def test_failed_tries_are_shown(app, new_customer, signed_in):
    name = await new_customer()
    mine = await signed_in(name)
    assert "Sign-in failed" not in (await mine.get(PAGE)).text
    async with visitor(app, address="203.0.113.252") as stranger:
        await submit(stranger, "/account/sign-in", username=name, password="not the password")
    assert "Sign-in failed" in (await mine.get(PAGE)).text


async def test_one_browser_is_signed_out(platform, new_customer, signed_in):
    name, bystander = await new_customer(), await new_customer()
    mine, elsewhere, theirs = await signed_in(name), await signed_in(name), await signed_in(bystander)
    answer = await _press(mine, "end-session", id=str(await _session_id(platform, elsewhere)))
    assert (answer.status_code, answer.headers["location"]) == (303, f"{PAGE}?done=ended")
    assert await _session_id(platform, elsewhere) is None
    assert await _session_id(platform, mine) is not None
    assert await _session_id(platform, theirs) is not None
    assert (await _actions(platform, name))[-1] == "session.ended"


async def test_an_app_is_disconnected(platform, new_customer, signed_in):
    name, bystander = await new_customer(), await new_customer()
    ended, kept, theirs = [await _connect(platform, one, "An app") for one in (name, name, bystander)]
    mine = await signed_in(name)
    assert (await _press(mine, "end-app", id=str(ended))).status_code == 303
    assert not await _is_living(platform, ended)
    assert await _is_living(platform, kept)
    assert await _is_living(platform, theirs)
    assert (await _actions(platform, name))[-1] == "grant.ended"


async def test_everything_ends_at_once(platform, new_customer, signed_in):
    name, bystander = await new_customer(), await new_customer()
    grant, foreign = await _connect(platform, name, "An app"), await _connect(platform, bystander, "An app")
    mine, elsewhere, theirs = await signed_in(name), await signed_in(name), await signed_in(bystander)
    cookies = [browser.cookies["cdp_session"] for browser in (mine, elsewhere)]
    answer = await _press(mine, "end-everything")
    assert answer.headers["location"] == "/account/sign-in"
    assert "clear-site-data" in answer.headers
    assert [await find(platform, cookie) for cookie in cookies] == [None, None]
    assert not await _is_living(platform, grant)
    assert await _is_living(platform, foreign)
    assert await _session_id(platform, theirs) is not None
    assert (await _actions(platform, name))[-1] == "session.ended_everywhere"


@pytest.mark.parametrize("action", ["end-session", "end-app", "send-link"])
async def test_what_is_anothers_is_not_there(platform, new_customer, signed_in, action):
    name, victim = await new_customer(), await new_customer()
    grant = await _connect(platform, victim, "An app")
    mine, theirs = await signed_in(name), await signed_in(victim)
    for one in (await _session_id(platform, theirs), grant, new_id(), "garbage", ""):
        assert (await _press(mine, action, id=str(one))).status_code == 404
    assert await _session_id(platform, theirs) is not None
    assert await _is_living(platform, grant)
    assert await mailed(platform, victim) == ["account_registered"]


@pytest.mark.parametrize("action", ["end-session", "end-app", "end-everything", "send-link", "password"])
async def test_strangers_and_forged_forms_change_nothing(app, platform, new_customer, signed_in, action):
    mine = await signed_in(await new_customer())
    assert (await mine.post(f"{PAGE}/{action}", data={"csrf": "forged"})).status_code == 403
    assert await _session_id(platform, mine) is not None
    async with visitor(app) as stranger:
        answer = await stranger.post(f"{PAGE}/{action}", data={})
        assert answer.headers["location"].startswith("/account/sign-in?")
        assert (await stranger.get(PAGE)).headers["location"].startswith("/account/sign-in?")


async def test_the_proof_is_sent_again_but_not_for_ever(platform, new_customer, signed_in):
    name, bystander = await new_customer(), await new_customer()
    mine = await signed_in(name)
    fields = forms(await mine.get(PAGE))[f"{PAGE}/send-link"]
    statuses = [(await mine.post(f"{PAGE}/send-link", data=fields)) for _ in range(6)]
    assert [one.status_code for one in statuses] == [303] * 4 + [429] * 2
    assert int(statuses[-1].headers["retry-after"]) > 0
    assert await mailed(platform, name) == ["account_registered", *["email_proof"] * 4]
    assert await mailed(platform, bystander) == ["account_registered"]
    assert (await _actions(platform, name))[-1] == "email.proof_sent"


async def test_a_new_password_needs_a_fresh_sign_in(app, platform, new_customer, signed_in):
    name = await new_customer()
    mine, elsewhere = await signed_in(name), await signed_in(name)
    owner = await _customer_id(platform, name)
    assert (await submit(mine, f"{PAGE}/password", password="1234567890")).status_code == 422
    fields = forms(await mine.get(f"{PAGE}/password"))[f"{PAGE}/password"]
    async with platform.db.transaction(Role.WORKER) as tx:
        past = session.c.authenticated_at - timedelta(hours=1)
        await tx.execute(update(session).where(session.c.customer_id == owner).values(authenticated_at=past))
    for answer in (
        await mine.get(f"{PAGE}/password"),
        await mine.post(f"{PAGE}/password", data={**fields, "password": "a wholly new sentence"}),
    ):
        assert "reauth=1" in answer.headers["location"]
    await submit(mine, "/account/sign-in?reauth=1", password=PASSWORD)
    answer = await submit(mine, f"{PAGE}/password", password="a wholly new sentence")
    assert answer.headers["location"] == f"{PAGE}?done=changed"
    assert await _session_id(platform, mine) is not None
    assert await _session_id(platform, elsewhere) is None
    assert (await _actions(platform, name))[-1] == "account.password_changed"
    assert (await mailed(platform, name))[-1] == "password_changed"


@pytest.mark.parametrize("user_agent", ["", "x" * 400, "<script>alert(1)</script>", "\u202e"])
def test_any_browser_has_a_name(user_agent):
    assert device(user_agent)
