"""Passkeys: made, used alone, beside a password and for a step-up, removed; and whatever a forger may send."""

import html
import re
import secrets
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from cdp.app import build
from cdp.core.clock import utc_now
from cdp.core.db import Role
from cdp.operations.accounts import passkeys
from cdp.operations.accounts.sessions import find
from cdp.tables.account import account, session
from cdp.tables.second_factor import passkey
from tests.accounts.authenticator import Authenticator, elsewhere
from tests.accounts.second_factor import SECURITY, events, living_sessions, recovery_codes_on
from tests.browser import BASE, forms, serving, submit, visitor
from tests.mailbox import mailed
from tests.site import PASSWORD

SIGN_IN = "/account/sign-in"
ALONE = "/account/sign-in/passkey"
SECOND = "/account/sign-in/second"
PASSKEYS = f"{SECURITY}/passkeys"


def options_on(page) -> str:
    return html.unescape(re.search(r'data-options="([^"]+)"', page.text)[1])


def stranger(app):
    return visitor(app, address=f"198.51.{secrets.randbelow(250)}.{secrets.randbelow(250)}")


async def make(browser, *, name: str = "My phone", device: Authenticator | None = None, **forged):
    device = device or Authenticator(BASE)
    page = await browser.get(PASSKEYS)
    fields = {**forms(page)[PASSKEYS], "name": name, "credential": device.make(options_on(page), **forged)}
    return device, await browser.post(PASSKEYS, data=fields)


async def alone(browser, device, **forged):
    page = await browser.get(SIGN_IN)
    fields = {**forms(page)[ALONE], "credential": device.sign(options_on(page), **forged)}
    return await browser.post(ALONE, data=fields)


async def stored(platform, name):
    async with platform.db.transaction(Role.WORKER) as tx:
        mine = select(passkey).join_from(passkey, account, account.c.customer_id == passkey.c.customer_id)
        return await tx.all(mine.where(account.c.username == name).order_by(passkey.c.created_at))


@pytest.fixture
async def owner(new_customer, signed_in):
    """Somebody with a passkey: name, the browser it was made in, the device."""
    name = await new_customer()
    browser = await signed_in(name)
    device, _ = await make(browser)
    return name, browser, device


async def test_one_is_made_and_listed(platform, new_customer, signed_in):
    name, bystander = await new_customer(), await new_customer()
    browser, elsewhere_ = await signed_in(name), await signed_in(name)
    device, answer = await make(browser, name="  Ada's phone ")
    assert len(recovery_codes_on(answer)) == 10
    (row,) = await stored(platform, name)
    assert (row.name, row.credential_id, row.sign_count) == ("Ada's phone", device.id, 0)
    assert device.handle == row.customer_id.bytes, "a handle says nothing about a person"
    assert (await elsewhere_.get(SECURITY)).status_code == 303, "whoever had the password alone is out"
    shown = (await browser.get(SECURITY)).text
    assert "Ada&#39;s phone" in shown
    assert ("passkey.added", None) in await events(platform, name)
    assert (await mailed(platform, name))[-1] == "second_factor_changed"
    assert not await stored(platform, bystander)


async def test_it_signs_in_alone(app, platform, owner):
    name, _, device = owner
    async with stranger(app) as browser:
        answer = await alone(browser, device)
        assert (answer.status_code, answer.headers["location"]) == (303, "/account")
        found = await find(platform, browser.cookies["cdp_session"])
        assert (found.username, found.viewer.amr) == (name, ("pop", "user", "mfa"))
    (row,) = await stored(platform, name)
    assert (row.sign_count, row.used_at is not None) == (1, True)


async def test_it_is_the_second_step(app, platform, owner):
    name, _, device = owner
    async with stranger(app) as browser:
        answer = await submit(browser, SIGN_IN, username=name, password=PASSWORD)
        where = answer.headers["location"]
        assert where.startswith(SECOND)
        page = await browser.get(where)
        # Beside a password, possession is enough.
        fields = {**forms(page)[SECOND], "credential": device.sign(options_on(page), verified=False)}
        done = await browser.post(SECOND, data=fields)
        assert (done.status_code, done.headers["location"]) == (303, "/account")
        found = await find(platform, browser.cookies["cdp_session"])
        assert found.viewer.amr == ("pwd", "pop", "mfa")


async def test_it_makes_a_stale_session_fresh(platform, owner):
    name, browser, device = owner
    found = await find(platform, browser.cookies["cdp_session"])
    async with platform.db.transaction(Role.WORKER) as tx:
        past = utc_now() - timedelta(hours=1)
        await tx.execute(update(session).where(session.c.id == found.id).values(authenticated_at=past))
    where = (await browser.get("/account/delete")).headers["location"]
    page = await browser.get(where)
    action = next(action for action in forms(page) if action.startswith(ALONE))
    fields = {**forms(page)[action], "credential": device.sign(options_on(page))}
    assert (await browser.post(action, data=fields)).headers["location"] == "/account/delete"
    assert (await browser.get("/account/delete")).status_code == 200
    assert len(await living_sessions(platform, name)) == 1


async def test_a_step_up_is_not_for_changing_people(app, platform, owner, new_customer, signed_in):
    _, _, device = owner
    mine = await signed_in(name := await new_customer())
    page = await mine.get(f"{SIGN_IN}?reauth=1")
    action = next(action for action in forms(page) if action.startswith(ALONE))
    answer = await mine.post(action, data={**forms(page)[action], "credential": device.sign(options_on(page))})
    assert answer.status_code == 401
    assert (await find(platform, mine.cookies["cdp_session"])).username == name


async def test_an_answer_counts_once(app, platform, owner):
    _, _, device = owner
    async with stranger(app) as browser:
        page = await browser.get(SIGN_IN)
        fields = {**forms(page)[ALONE], "credential": device.sign(options_on(page))}
        assert (await browser.post(ALONE, data=fields)).status_code == 303
        browser.cookies.delete("cdp_session")
        replayed = await browser.post(ALONE, data=fields)
        assert replayed.status_code == 400
        assert "cdp_session" not in browser.cookies


async def test_a_challenge_is_bound_to_its_browser_and_its_purpose(app, owner):
    _, mine, device = owner
    async with stranger(app) as one, stranger(app) as other:
        foreign = options_on(await one.get(SIGN_IN))
        fields = forms(await other.get(SIGN_IN))[ALONE]
        assert (await other.post(ALONE, data={**fields, "credential": device.sign(foreign)})).status_code == 400
        registering = options_on(await mine.get(PASSKEYS)).replace('"rp": {', '"rpId": "localhost", "rp": {')
        answer = await other.post(ALONE, data={**fields, "credential": device.sign(registering)})
        assert answer.status_code == 400
        assert "cdp_session" not in other.cookies


async def test_a_challenge_grows_old(settings, owner):
    _, _, device = owner
    late = [timedelta(0)]
    app = build(settings, clock=lambda: utc_now() + late[0])
    async with app.router.lifespan_context(app), stranger(app) as browser:
        page = await browser.get(SIGN_IN)
        late[0] = timedelta(minutes=11)
        fields = {**forms(page)[ALONE], "credential": device.sign(options_on(page))}
        assert (await browser.post(ALONE, data=fields)).status_code == 400
        assert (await alone(browser, device)).status_code == 303


@pytest.mark.parametrize(
    "forged",
    [
        {"verified": False},
        {"count": 1},
        {"count": 0},
        {"origin": elsewhere(BASE)},
        {"origin": "https://localhost:8000"},
    ],
    ids=str,
)
async def test_a_forged_answer_is_refused(app, platform, owner, forged):
    name, _, device = owner
    async with stranger(app) as browser:
        assert (await alone(browser, device)).status_code == 303
    async with stranger(app) as browser:
        answer = await alone(browser, device, **forged)
        assert answer.status_code == 401
        assert "cdp_session" not in browser.cookies
    (row,) = await stored(platform, name)
    assert row.sign_count == 1


async def test_another_key_or_handle_is_refused(app, owner, new_customer, signed_in):
    _, _, device = owner
    thief = Authenticator(BASE, id=device.id, handle=device.handle)
    other = await signed_in(await new_customer())
    theirs, _ = await make(other)
    mixed = Authenticator(BASE, id=theirs.id, key=theirs.key, handle=device.handle)
    nameless = Authenticator(BASE, id=theirs.id, key=theirs.key)
    unknown = Authenticator(BASE, handle=device.handle)
    for forger in (thief, mixed, nameless, unknown):
        async with stranger(app) as browser:
            assert (await alone(browser, forger)).status_code == 401
            assert "cdp_session" not in browser.cookies


GARBAGE = ["", "{", "null", "[]", "{}", '{"id":"a","rawId":"a","type":"public-key","response":{}}', "x" * 40_000]


@pytest.mark.parametrize("given", GARBAGE, ids=range(len(GARBAGE)))
async def test_garbage_is_one_refusal(app, owner, given):
    _, browser, _ = owner
    async with stranger(app) as other:
        fields = forms(await other.get(SIGN_IN))[ALONE]
        assert (await other.post(ALONE, data={**fields, "credential": given})).status_code == 401
    fields = forms(await browser.get(PASSKEYS))[PASSKEYS]
    answer = await browser.post(PASSKEYS, data={**fields, "name": "Phone", "credential": given})
    assert answer.status_code == 422


async def test_registering_is_checked_too(platform, new_customer, signed_in, owner):
    _, _, device = owner
    browser = await signed_in(name := await new_customer())
    for forged in ({"origin": elsewhere(BASE)}, {"device": Authenticator(BASE, id=device.id)}):
        _, answer = await make(browser, **forged)
        assert answer.status_code == 422
    for wrong in ("", "x" * 101):
        _, answer = await make(browser, name=wrong)
        assert answer.status_code == 422
    assert not await stored(platform, name)
    assert await living_sessions(platform, name) == [["pwd"]]


async def test_it_is_removed_by_its_owner_alone(app, platform, owner, new_customer, signed_in):
    name, browser, device = owner
    (row,) = await stored(platform, name)
    other = await signed_in(await new_customer())
    await make(other)
    fields = forms(await other.get(SECURITY))[f"{SECURITY}/remove-passkey"]
    assert (await other.post(f"{SECURITY}/remove-passkey", data={**fields, "id": str(row.id)})).status_code == 404
    assert len(await stored(platform, name)) == 1
    answer = await submit(browser, SECURITY, action=f"{SECURITY}/remove-passkey")
    assert answer.headers["location"] == f"{SECURITY}?done=removed"
    assert ("passkey.removed", None) in await events(platform, name)
    async with stranger(app) as late:
        assert (await alone(late, device)).status_code == 401
        assert (await submit(late, SIGN_IN, username=name, password=PASSWORD)).headers["location"] == "/account"


@pytest.mark.parametrize(
    ("url", "works"),
    [
        ("http://localhost:8000", True),
        ("https://data.example", True),
        ("http://127.0.0.1:8000", False),
        ("https://[2001:db8::1]", False),
        ("https://192.0.2.4", False),
        ("http://data.example", False),
    ],
)
def test_it_works_where_browsers_let_it(settings, url, works):
    assert passkeys.works_at(settings.model_copy(update={"base_url": url})) is works


async def test_a_site_without_a_name_says_why(platform, new_customer):
    bare = "http://127.0.0.1:8000"
    async with serving(platform.settings.model_copy(update={"base_url": bare})) as app, visitor(app, base=bare) as one:
        page = await one.get(SIGN_IN)
        assert "data-options" not in page.text
        await submit(one, SIGN_IN, username=await new_customer(), password=PASSWORD)
        shown = await one.get(PASSKEYS)
    assert "bound to a site" in shown.text
    assert "data-options" not in shown.text
