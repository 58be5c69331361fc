"""Signing in, again, and out, as a browser does it; and every way an attacker would."""

import secrets
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from cdp.core.db import Role
from cdp.operations.accounts.csrf import CsrfRefused, csrf_token
from cdp.operations.accounts.sessions import find
from cdp.operations.oauth.callers import viewer_of
from cdp.operations.oauth.tokens import TokenInvalid
from cdp.tables.account import account, session
from cdp.tables.audit import audit_event
from cdp.tables.customer import customer
from tests.browser import forms, serving, submit, title, visitor, without_noise
from tests.site import PASSWORD


async def _row(platform, username: str):
    async with platform.db.transaction(Role.WORKER) as tx:
        return await tx.first(
            select(account.c.customer_id, account.c.last_sign_in_at, customer.c.audit_ref)
            .join_from(account, customer, customer.c.id == account.c.customer_id)
            .where(account.c.username == username)
        )


async def _events(platform, username: str) -> list[tuple[str, str, str | None]]:
    row = await _row(platform, username)
    async with platform.db.transaction(Role.WORKER) as tx:
        found = select(audit_event.c.action, audit_event.c.outcome, audit_event.c.code)
        found = found.where(audit_event.c.subject_ref == row.audit_ref).order_by(audit_event.c.id)
        return [tuple(event) for event in await tx.all(found)]


async def test_in_and_out(app, platform, new_customer):
    name, bystander = await new_customer(), await new_customer()
    async with visitor(app) as browser:
        answer = await submit(
            browser, "/account/sign-in?next=/account/download", username=f" {name.upper()} ", password=PASSWORD
        )
        assert (answer.status_code, answer.headers["location"]) == (303, "/account/download")
        again = await browser.get("/account/sign-in")
        assert again.headers["location"] == "/account", "who is signed in is not asked"
        out = await submit(browser, "/account/sign-out")
        assert out.headers["clear-site-data"] == '"cache", "storage"'
        assert "cdp_session" not in browser.cookies
    assert [event[0] for event in await _events(platform, name)] == [
        "account.registered",
        "session.started",
        "session.ended",
    ]
    assert (await _row(platform, name)).last_sign_in_at is not None
    assert [event[0] for event in await _events(platform, bystander)] == ["account.registered"]


async def test_a_session_ended_elsewhere_is_over(app, platform, new_customer, signed_in):
    browser = await signed_in(await new_customer())
    stolen = browser.cookies["cdp_session"]
    await submit(browser, "/account/sign-out")
    async with visitor(app) as thief:
        thief.cookies.set("cdp_session", stolen)
        answer = await thief.get("/account/connect?next=/")
    assert answer.headers["location"].startswith("/account/sign-in?")


async def test_an_idle_session_is_over(app, platform, new_customer, signed_in):
    browser, name = await signed_in(username := await new_customer()), username
    row = await _row(platform, name)
    async with platform.db.transaction(Role.WORKER) as tx:
        past = session.c.created_at - timedelta(seconds=1)
        await tx.execute(update(session).where(session.c.customer_id == row.customer_id).values(expires_at=past))
    answer = await browser.get("/account/connect?next=/")
    assert answer.headers["location"].startswith("/account/sign-in?")


async def test_nobody_learns_who_has_an_account(app, platform, new_customer):
    known = await new_customer()
    async with platform.db.transaction(Role.WORKER) as tx:
        passwordless = await new_customer()
        await tx.execute(update(account).where(account.c.username == passwordless).values(password_hash=None))
    answers = []
    for name in (known, passwordless, f"nobody.{secrets.token_hex(6)}@example.org", "x" * 400, "\x00"):
        async with visitor(app, address=f"198.51.100.{secrets.randbelow(250)}") as browser:
            answer = await submit(browser, "/account/sign-in", username=name, password="not the password")
            page = without_noise(answer).replace(name, "NAME")
            answers.append((answer.status_code, page, sorted(answer.headers), sorted(browser.cookies)))
    assert answers[0][0] == 401
    assert all(answer == answers[0] for answer in answers[1:3])
    assert all(answer[0] == 401 for answer in answers)
    assert ("session.refused", "refused", "BAD_CREDENTIALS") in await _events(platform, known)


async def test_the_error_leads_to_the_field(app, new_customer):
    async with visitor(app) as browser:
        answer = await submit(browser, "/account/sign-in", username=await new_customer(), password="wrong")
    assert title(answer).startswith("Error: ")
    assert '<a href="#password">' in answer.text
    assert 'aria-invalid="true"' in answer.text
    assert 'value="wrong"' not in answer.text


async def test_guessing_is_slowed_and_the_owner_still_gets_in(app, new_customer, signed_in):
    name = await new_customer()
    owner = await signed_in(name)
    await submit(owner, "/account/sign-out")
    async with visitor(app, address="198.51.100.77") as attacker:
        statuses = []
        for guess in range(8):
            answer = await submit(attacker, "/account/sign-in", username=name, password=f"guess number {guess}")
            statuses.append(answer.status_code)
        assert statuses == [401] * 6 + [429] * 2
        assert 1 <= int(answer.headers["retry-after"]) <= 4
        right = await submit(attacker, "/account/sign-in", username=name, password=PASSWORD)
        assert right.status_code == 429, "the brake holds before the password is looked at"
    assert (await submit(owner, "/account/sign-in", username=name, password=PASSWORD)).status_code == 303


@pytest.mark.parametrize(
    "path",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example/",
        "\\\\evil.example",
        "/\t/evil.example",
        "/ /evil.example",
        "javascript:alert(1)",
        "evil.example",
        "http:/evil.example",
        "/a\r\nset-cookie: x=y",
        "/" + "a" * 5000,
        "",
    ],
)
async def test_it_leads_nowhere_but_here(app, new_customer, path):
    async with visitor(app) as browser:
        answer = await submit(browser, "/account/sign-in", username=await new_customer(), password=PASSWORD, next=path)
        assert (answer.status_code, answer.headers["location"]) == (303, "/account")
        assert (await browser.get("/account/sign-in", params={"next": path})).headers["location"] == "/account"


async def test_step_up_renews_the_session_and_asks_only_for_the_password(app, platform, new_customer, signed_in):
    name = await new_customer()
    browser = await signed_in(name)
    before, row = browser.cookies["cdp_session"], await _row(platform, name)
    async with platform.db.transaction(Role.WORKER) as tx:
        past = session.c.authenticated_at - timedelta(hours=1)
        await tx.execute(update(session).where(session.c.customer_id == row.customer_id).values(authenticated_at=past))
    page = await browser.get("/account/sign-in?reauth=1&next=/account/delete")
    assert name in page.text
    assert 'type="password"' in page.text
    wrong = await browser.post(
        "/account/sign-in", data={**forms(page)["/account/sign-in"], "password": "nope nope nope"}
    )
    assert wrong.status_code == 401
    answer = await browser.post("/account/sign-in", data={**forms(page)["/account/sign-in"], "password": PASSWORD})
    assert answer.headers["location"] == "/account/delete"
    assert browser.cookies["cdp_session"] != before
    async with platform.db.transaction(Role.WORKER) as tx:
        rows = await tx.all(select(session).where(session.c.customer_id == row.customer_id))
    assert len(rows) == 1
    assert platform.clock() - rows[0].authenticated_at < timedelta(minutes=5)


async def test_somebody_elses_name_in_a_step_up_form_is_ignored(app, platform, new_customer, signed_in):
    name, other = await new_customer(), await new_customer()
    browser = await signed_in(name)
    answer = await submit(
        browser, "/account/sign-in?reauth=1", action="/account/sign-in", username=other, password=PASSWORD, reauth="1"
    )
    assert answer.status_code == 303
    assert [event[0] for event in await _events(platform, other)] == ["account.registered"]
    assert (await _events(platform, name))[-1][0] == "session.renewed"


async def test_a_forged_form_is_refused(app, new_customer, signed_in):
    name = await new_customer()
    browser = await signed_in(name)
    page = await browser.get("/account/sign-out")
    fields = forms(page)["/account/sign-out"]
    async with visitor(app) as stranger:
        foreign = forms(await stranger.get("/account/sign-in"))["/account/sign-in"]["csrf"]
    for forged, headers in (
        ({}, {}),
        ({"csrf": ""}, {}),
        ({"csrf": foreign}, {}),
        ({"csrf": fields["csrf"][:-1] + "é"}, {}),
        (fields, {"origin": "https://evil.example"}),
        (fields, {"origin": "null"}),
        (fields, {"sec-fetch-site": "cross-site"}),
        (fields, {"sec-fetch-site": "same-site"}),
    ):
        answer = await browser.post("/account/sign-out", data=forged, headers=headers)
        assert answer.status_code == 403, (forged, headers)
        assert "CSRF_REFUSED" in answer.text
    assert (await browser.get("/account/sign-in?reauth=1")).status_code == 200, "still signed in"
    ours = {"origin": "http://localhost:8000", "sec-fetch-site": "same-origin"}
    assert (await browser.post("/account/sign-out", data=fields, headers=ours)).status_code == 303


async def test_nobody_is_signed_in_to_a_foreign_account_unawares(app, new_customer):
    """Login CSRF: the attacker's own token does not fit the victim's browser."""
    name = await new_customer()
    async with visitor(app) as attacker, visitor(app) as victim:
        fields = forms(await attacker.get("/account/sign-in"))["/account/sign-in"]
        await victim.get("/account/sign-in")
        answer = await victim.post("/account/sign-in", data={**fields, "username": name, "password": PASSWORD})
    assert answer.status_code == 403


async def test_a_huge_form_is_refused(app):
    async with visitor(app) as browser:
        answer = await submit(browser, "/account/sign-in", username="x" * 100_000, password="y")
        assert answer.status_code == 413
        answer = await submit(browser, "/account/sign-in", username="x" * 2_000_000, password="y")
        assert answer.status_code == 413


async def test_cookies_are_closed_to_scripts_and_bound_to_the_host_over_tls(fresh_settings):
    secure = fresh_settings.model_copy(update={"base_url": "https://data.example"})
    async with serving(secure) as app, visitor(app, base="https://data.example") as browser:
        answer = await browser.get("/account/sign-in")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-cdp_form=")
    assert {"HttpOnly", "Secure", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))
    assert "Domain" not in cookie
    assert answer.headers["strict-transport-security"].startswith("max-age=")


async def test_a_customers_cookie_opens_no_console(app, new_customer, new_staff, signed_in):
    browser = await signed_in(await new_customer())
    browser.cookies.set("cdp_console", browser.cookies["cdp_session"])
    assert (await browser.get("/console/connect?next=/")).headers["location"].startswith("/console/sign-in?")
    agent = await signed_in(await new_staff("agent"), page="/console/sign-in")
    agent.cookies.set("cdp_session", agent.cookies["cdp_console"])
    assert (await agent.get("/account/connect?next=/")).headers["location"].startswith("/account/sign-in?")
    async with visitor(app) as other:
        wrong = await submit(other, "/console/sign-in", username=await new_customer(), password=PASSWORD)
    assert wrong.status_code == 401


async def test_a_session_speaks_for_its_owner_only_with_its_token(platform, new_customer, signed_in):
    browser = await signed_in(await new_customer())
    cookies = dict(browser.cookies)
    token = csrf_token(platform.pepper, (await find(platform, cookies["cdp_session"])).csrf_binding)
    viewer = await viewer_of(platform, {"x-csrf-token": token}, cookies)
    assert viewer.customer_id is not None
    assert (await viewer_of(platform, {}, {})).customer_id is None
    assert (await viewer_of(platform, {}, {"cdp_session": "made up"})).customer_id is None
    assert (await viewer_of(platform, {}, cookies, is_safe=True)).customer_id == viewer.customer_id
    with pytest.raises(CsrfRefused):
        await viewer_of(platform, {}, cookies)
    with pytest.raises(CsrfRefused):
        await viewer_of(platform, {"x-csrf-token": token, "sec-fetch-site": "cross-site"}, cookies)
    with pytest.raises(CsrfRefused):
        await viewer_of(platform, {"origin": "https://evil.example"}, cookies, is_safe=True)
    for authorization in ("Basic eDp5", "Bearer", "Bearer x", "x"):
        with pytest.raises(TokenInvalid):
            await viewer_of(platform, {"authorization": authorization}, cookies)
