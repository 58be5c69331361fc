"""Authenticator apps and recovery codes: set up, asked for at sign-in and step-up, used once, not to be guessed."""

import secrets
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from cdp.access.strength import Strength
from cdp.core.db import Role
from cdp.operations.accounts.sessions import find
from cdp.tables.account import session
from cdp.tables.second_factor import half_sign_in, recovery_code
from tests.accounts.second_factor import (
    SECURITY,
    events,
    living_sessions,
    recovery_codes_on,
    sealed_secret,
    secret_on,
    set_up,
)
from tests.browser import forms, serving, submit, visitor
from tests.mailbox import mailed
from tests.site import PASSWORD

SIGN_IN = "/account/sign-in"
SECOND = "/account/sign-in/second"


async def halfway(browser, name, *, page=SIGN_IN):
    answer = await submit(browser, page, username=name, password=PASSWORD)
    assert (answer.status_code, answer.headers["location"].partition("?")[0]) == (303, f"{page}/second"), answer.text
    return answer.headers["location"]


def stranger(app):
    return visitor(app, address=f"198.51.{secrets.randbelow(250)}.{secrets.randbelow(250)}")


@pytest.fixture
async def protected(platform, new_customer, signed_in):
    """Somebody with an authenticator app, and the browser it was set up in."""
    name = await new_customer()
    browser = await signed_in(name)
    return name, browser, await set_up(browser, platform)


async def test_setting_one_up_signs_everybody_else_out(platform, new_customer, signed_in):
    name, bystander = await new_customer(), await new_customer()
    mine, elsewhere = await signed_in(name), await signed_in(name)
    await signed_in(bystander)
    phone = await set_up(mine, platform)
    assert await living_sessions(platform, name) == [["pwd", "otp", "mfa"]]
    assert await living_sessions(platform, bystander) == [["pwd"]]
    assert (await elsewhere.get(SECURITY)).status_code == 303
    assert phone.secret.encode() not in await sealed_secret(platform, name)
    assert ("totp.added", None) in await events(platform, name)
    assert (await mailed(platform, name))[-1] == "second_factor_changed"
    assert await mailed(platform, bystander) == ["account_registered"]
    shown = (await mine.get(SECURITY)).text
    assert "10 left" in shown
    assert not [code for code in phone.codes if code in shown]


async def test_nothing_is_kept_before_the_first_code_is_right(platform, new_customer, signed_in):
    name = await new_customer()
    browser, at = await signed_in(name), f"{SECURITY}/authenticator"
    page = await browser.get(at)
    wrong = await browser.post(at, data={**forms(page)[at], "code": "000000"})
    assert wrong.status_code == 422
    assert secret_on(wrong) == secret_on(page), "the same secret is shown again: it is in the app already"
    forged = await browser.post(at, data={**forms(page)[at], "sealed": "AAAA", "code": "000000"})
    assert forged.status_code == 422
    assert await sealed_secret(platform, name) is None
    assert await living_sessions(platform, name) == [["pwd"]]


async def test_a_secret_of_another_session_is_not_taken(platform, new_customer, signed_in):
    """Otherwise an attacker could let their victim set up the attacker's phone."""
    one, other, at = await signed_in(await new_customer()), await signed_in(name := await new_customer()), None
    at = f"{SECURITY}/authenticator"
    foreign = await one.get(at)
    mine = forms(await other.get(at))[at]
    from_elsewhere = forms(foreign)[at]["sealed"]
    answer = await other.post(at, data={**mine, "sealed": from_elsewhere, "code": "123456"})
    assert answer.status_code == 422
    assert await sealed_secret(platform, name) is None


async def test_the_password_alone_opens_nothing(app, platform, protected):
    name, _, phone = protected
    async with stranger(app) as browser:
        where = await halfway(browser, name)
        assert "cdp_session" not in browser.cookies
        assert (await browser.get(SECURITY)).headers["location"].startswith(SIGN_IN)
        answer = await submit(browser, where, action=SECOND, code=phone.code(platform))
        assert (answer.status_code, answer.headers["location"]) == (303, "/account")
        found = await find(platform, browser.cookies["cdp_session"])
        assert (found.viewer.amr, found.viewer.acr) == (("pwd", "otp", "mfa"), Strength.MULTI_FACTOR)
        assert "cdp_half" not in browser.cookies
        assert (await browser.get(SECOND)).headers["location"].startswith(SIGN_IN), "it is used up"


async def test_a_code_counts_once_in_every_browser(app, platform, protected):
    name, _, phone = protected
    code = phone.code(platform)
    async with stranger(app) as first, stranger(app) as second:
        where, same = await halfway(first, name), await halfway(second, name)
        assert (await submit(first, where, action=SECOND, code=code)).status_code == 303
        replayed = await submit(second, same, action=SECOND, code=code)
        assert replayed.status_code == 401
        earlier = await submit(second, same, action=SECOND, code=phone.code(platform, ahead=-1))
        assert earlier.status_code == 401, "an older step than the last is a replay too"
        assert "cdp_session" not in second.cookies
        assert (await submit(second, same, action=SECOND, code=phone.code(platform, ahead=1))).status_code == 303


async def test_a_recovery_code_counts_once_and_only_for_its_owner(app, platform, protected, new_customer, signed_in):
    name, _, phone = protected
    other = await signed_in(foreign := await new_customer())
    theirs = await set_up(other, platform)
    async with stranger(app) as browser:
        where = await halfway(browser, name)
        assert (await submit(browser, where, action=SECOND, code=theirs.codes[0])).status_code == 401
        typed = phone.codes[0].upper().replace("-", " ")
        assert (await submit(browser, where, action=SECOND, code=typed)).status_code == 303
    async with stranger(app) as browser:
        where = await halfway(browser, name)
        assert (await submit(browser, where, action=SECOND, code=phone.codes[0])).status_code == 401
    assert ("recovery_code.used", None) in await events(platform, name)
    assert ("recovery_code.used", None) not in await events(platform, foreign)
    assert (await mailed(platform, name))[-1] == "second_factor_changed"


async def test_new_recovery_codes_replace_the_old(app, platform, protected):
    name, browser, phone = protected
    answer = await submit(browser, SECURITY, action=f"{SECURITY}/recovery-codes")
    fresh = recovery_codes_on(answer)
    assert len(fresh) == 10
    assert not set(fresh) & set(phone.codes)
    async with stranger(app) as elsewhere:
        where = await halfway(elsewhere, name)
        assert (await submit(elsewhere, where, action=SECOND, code=phone.codes[3])).status_code == 401
        assert (await submit(elsewhere, where, action=SECOND, code=fresh[3])).status_code == 303
    async with platform.db.transaction(Role.WORKER) as tx:
        hashes = await tx.all(select(recovery_code.c.code_hash))
    assert not any(code.replace("-", "").encode() in row.code_hash for code in fresh for row in hashes)


async def test_step_up_asks_for_both(platform, protected):
    name, browser, phone = protected
    async with platform.db.transaction(Role.WORKER) as tx:
        found = await find(platform, browser.cookies["cdp_session"])
        past = session.c.authenticated_at - timedelta(hours=1)
        await tx.execute(update(session).where(session.c.id == found.id).values(authenticated_at=past))
    assert "reauth=1" in (await browser.get("/account/delete")).headers["location"]
    answer = await submit(
        browser, f"{SIGN_IN}?reauth=1&next=/account/delete", action=SIGN_IN, password=PASSWORD, reauth="1"
    )
    assert answer.headers["location"] == f"{SECOND}?next=%2Faccount%2Fdelete"
    assert "reauth=1" in (await browser.get("/account/delete")).headers["location"], "half is not fresh"
    done = await submit(browser, answer.headers["location"], action=SECOND, code=phone.code(platform))
    assert done.headers["location"] == "/account/delete"
    assert (await browser.get("/account/delete")).status_code == 200
    assert await living_sessions(platform, name) == [["pwd", "otp", "mfa"]], "renewed, not another one"


async def test_guessing_ends_with_the_half_sign_in_and_then_slows(app, platform, protected, signed_in):
    name, owner, phone = protected
    await submit(owner, "/account/sign-out")
    statuses = []
    async with stranger(app) as attacker:
        for _ in range(3):
            where = await halfway(attacker, name)
            for guess in range(5):
                answer = await submit(attacker, where, action=SECOND, code=f"{guess:06}")
                statuses.append(answer.status_code)
                if answer.status_code == 303:
                    break
            if 429 in statuses:
                break
    # five tries a half sign-in; the account's eleventh guess waits, whoever makes it
    assert statuses[:5] == [401] * 4 + [303]
    assert 429 in statuses
    assert int(answer.headers["retry-after"]) >= 1
    where = await halfway(owner, name)
    assert (await submit(owner, where, action=SECOND, code=phone.code(platform, ahead=1))).status_code == 303
    assert ("session.refused", "BAD_CODE") in await events(platform, name)
    assert ("session.refused", "TOO_MANY_TRIES") in await events(platform, name)


async def test_half_a_sign_in_ends_in_time_and_with_the_password(app, platform, protected):
    name, browser, _ = protected
    async with stranger(app) as attacker:
        where = await halfway(attacker, name)
        await submit(browser, f"{SECURITY}/password", password="a wholly new sentence")
        answer = await attacker.get(where)
        assert answer.headers["location"].startswith(SIGN_IN), "the password it knew is no more"
    async with stranger(app) as slow:
        answer = await submit(slow, SIGN_IN, username=name, password="a wholly new sentence")
        async with platform.db.transaction(Role.WORKER) as tx:
            await tx.execute(update(half_sign_in).values(expires_at=func.now() - timedelta(seconds=1)))
        assert (await slow.get(answer.headers["location"])).headers["location"].startswith(SIGN_IN)


async def test_another_browser_can_not_go_on(app, protected):
    name, _, _ = protected
    async with stranger(app) as mine, stranger(app) as thief:
        where = await halfway(mine, name)
        assert (await thief.get(where)).headers["location"].startswith(SIGN_IN)
        thief.cookies.set("cdp_half", "made up")
        assert (await thief.get(where)).headers["location"].startswith(SIGN_IN)
        console = mine.cookies["cdp_half"]
        thief.cookies.set("cdp_console_half", console)
        assert (await thief.get("/console/sign-in/second")).headers["location"].startswith("/console/sign-in")


async def test_it_is_removed_again(app, platform, protected):
    name, browser, _ = protected
    answer = await submit(browser, SECURITY, action=f"{SECURITY}/remove-authenticator")
    assert answer.headers["location"] == f"{SECURITY}?done=removed"
    assert await sealed_secret(platform, name) is None
    assert ("totp.removed", None) in await events(platform, name)
    async with stranger(app) as elsewhere:
        answer = await submit(elsewhere, SIGN_IN, username=name, password=PASSWORD)
        assert answer.headers["location"] == "/account"


async def test_staff_who_need_a_second_factor_set_it_up_before_they_get_in(fresh_settings, platform, new_staff):
    strict = platform.settings.model_copy(update={"staff_second_factor": True})
    name = await new_staff("agent")
    async with serving(strict) as app, stranger(app) as browser:
        second = "/console/sign-in/second"
        where = await halfway(browser, name, page="/console/sign-in")
        assert "cdp_console" not in browser.cookies
        phone = await set_up(browser, platform, at=second)
        assert (await browser.get("/console/security")).status_code == 200
        kept = await submit(browser, "/console/security", action="/console/security/remove-authenticator")
        assert (kept.status_code, "second factor" in kept.text) == (409, True)
        await submit(browser, "/console/sign-out")
        where = await halfway(browser, name, page="/console/sign-in")
        assert "Your password was right" in (await browser.get(where)).text
        assert (await submit(browser, where, action=second, code=phone.code(platform))).status_code == 303
        assert (await browser.get("/console/security")).status_code == 200


async def test_a_session_from_before_the_rule_is_over_with_it(platform, new_staff, signed_in):
    browser = await signed_in(await new_staff("agent"), page="/console/sign-in")
    assert (await browser.get("/console/security")).status_code == 200
    strict = platform.settings.model_copy(update={"staff_second_factor": True})
    async with serving(strict) as app, visitor(app) as same:
        same.cookies.set("cdp_console", browser.cookies["cdp_console"])
        assert (await same.get("/console/security")).headers["location"].startswith("/console/sign-in")
