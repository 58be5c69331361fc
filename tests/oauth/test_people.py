"""What a person decides: agreeing to an app of somebody else, signing in as staff, signing out through an app."""

import pytest
from sqlalchemy import select, update

from cdp.access.viewer import Actor
from cdp.core.db import Role
from cdp.operations.oauth.tokens import viewer_from_bearer
from cdp.tables.oauth import oauth_grant
from cdp.tables.staff import staff
from tests.browser import forms, submit, title
from tests.oauth.conftest import REDIRECT, location, new_verifier
from tests.site import PASSWORD

STAFF_SCOPE = "openid offline_access customers:read"


async def _answer(browser, program, verifier: str, answer: str, **changed):
    """Go through to the question of consent, answer it, and come back to the app."""
    asked = await browser.get(program.request(verifier, **changed))
    assert asked.headers["location"].startswith("/account/connect?")
    page = await browser.get(asked.headers["location"])
    fields = {**forms(page)["/account/connect"], "answer": answer}
    back = await browser.post("/account/connect", data=fields)
    return page, await browser.get(back.headers["location"])


async def test_an_app_of_somebody_else_asks_once(new_program, new_customer, signed_in):
    program = await new_program(first_party=False)
    browser = await signed_in(await new_customer())
    verifier = new_verifier()
    page, back = await _answer(browser, program, verifier, "yes")
    assert "Corner shop" in title(page)
    assert "Read your profile, orders and activity" in page.text
    assert "form-action 'self' https://shop.example;" in page.headers["content-security-policy"]
    assert (await program.exchange(location(back)["code"], verifier)).status_code == 200
    assert "code" in location(await browser.get(program.request(new_verifier())))
    assert "code" in location(await browser.get(program.request(new_verifier(), scope="openid")))
    more = await browser.get(program.request(new_verifier(), scope="openid profile:read profile:write"))
    assert more.headers["location"].startswith("/account/connect?")
    again = await browser.get(program.request(new_verifier(), prompt="consent"))
    assert again.headers["location"].startswith("/account/connect?")
    somebody = await signed_in(await new_customer())
    asked = await somebody.get(program.request(new_verifier()))
    assert asked.headers["location"].startswith("/account/connect?")


async def test_no_means_no(platform, new_program, new_customer, signed_in):
    program = await new_program(first_party=False)
    browser = await signed_in(await new_customer())
    _, back = await _answer(browser, program, new_verifier(), "no")
    assert back.headers["location"].startswith(REDIRECT + "?")
    found = location(back)
    assert (found["error"], found["state"], found["iss"]) == ("access_denied", "st4te", "http://localhost:8000")
    async with platform.db.transaction(Role.WORKER) as tx:
        client = select(oauth_grant.c.id).join_from(oauth_grant, oauth_grant.metadata.tables["oauth_client"])
        client = client.where(oauth_grant.metadata.tables["oauth_client"].c.client_id == program.client_id)
        assert await tx.first(client) is None


async def test_nobody_can_agree_for_somebody_else(new_program, new_customer, signed_in):
    """The answer is bound to session, client and scopes: stolen into another request it is worth nothing."""
    program, other = await new_program(first_party=False), await new_program(first_party=False)
    attacker, victim = await signed_in(await new_customer()), await signed_in(await new_customer())
    asked = await attacker.get(program.request(new_verifier()))
    page = await attacker.get(asked.headers["location"])
    fields = {**forms(page)["/account/connect"], "answer": "yes"}
    address = (await attacker.post("/account/connect", data=fields)).headers["location"]
    assert "code" in location(await attacker.get(address))
    stolen = await victim.get(address)
    assert stolen.headers["location"].startswith("/account/connect?")
    widened = await attacker.get(address.replace("profile%3Aread", "profile%3Aread+profile%3Awrite"))
    assert widened.headers["location"].startswith("/account/connect?")
    moved = await attacker.get(address.replace(program.client_id, other.client_id))
    assert moved.headers["location"].startswith("/account/connect?")
    unproven = {**fields, "csrf": "x" * 43}
    assert (await victim.post("/account/connect", data=unproven)).status_code == 403


async def test_staff_sign_in_at_the_console_and_carry_their_roles(
    platform, new_program, new_staff, new_customer, signed_in
):
    program = await new_program(scopes=("openid", "offline_access", "customers:read", "profile:read"))
    name = await new_staff("agent", "supervisor")
    browser = await signed_in(await new_customer())
    asked = await browser.get(program.request(new_verifier(), scope=STAFF_SCOPE))
    assert asked.headers["location"].startswith("/console/sign-in?"), "a customer's session is not asked"
    answer = await submit(browser, asked.headers["location"], username=name, password=PASSWORD)
    verifier = new_verifier()
    assert answer.headers["location"].startswith("/oauth/authorize?")
    tokens = await program.exchange(await program.code(browser, verifier, scope=STAFF_SCOPE), verifier)
    viewer = await viewer_from_bearer(platform, tokens.json()["access_token"])
    assert (viewer.actor, viewer.roles) == (Actor.STAFF, {"agent", "supervisor"})
    assert (viewer.customer_id, viewer.purpose) == (None, "customer_service")
    assert (await program.userinfo(tokens.json()["access_token"])).json()["name"] == "Bo"
    mixed = location(await browser.get(program.request(new_verifier(), scope="openid customers:read profile:read")))
    assert mixed["error"] == "invalid_scope"


async def test_staff_who_left_get_nothing_new(platform, new_program, new_staff, signed_in):
    program = await new_program(scopes=("openid", "offline_access", "customers:read"))
    name = await new_staff("agent")
    browser = await signed_in(name, page="/console/sign-in")
    tokens = await program.sign_in(browser, scope=STAFF_SCOPE)
    async with platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(update(staff).where(staff.c.username == name).values(active=False))
    answer = await program.refresh(tokens["refresh_token"])
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    asked = await browser.get(program.request(new_verifier(), scope=STAFF_SCOPE))
    assert asked.headers["location"].startswith("/console/sign-in?")


async def test_an_app_signs_its_person_out(new_program, new_customer, signed_in, settle_revocations):
    program = await new_program()
    browser, bystander = await signed_in(await new_customer()), await signed_in(await new_customer())
    tokens = await program.sign_in(browser, scope="openid")
    wanted = {"id_token_hint": tokens["id_token"], "post_logout_redirect_uri": "https://shop.example/bye", "state": "x"}
    answer = await browser.get("/oauth/logout", params=wanted)
    assert answer.headers["location"] == "https://shop.example/bye?state=x"
    assert (await browser.get(program.request(new_verifier()))).headers["location"].startswith("/account/sign-in")
    settle_revocations()
    assert (await program.refresh(tokens["refresh_token"])).status_code == 400
    assert "code" in location(await bystander.get(program.request(new_verifier())))


async def test_an_app_can_not_sign_somebody_else_out(new_program, new_customer, signed_in):
    program = await new_program()
    mine, theirs = await signed_in(await new_customer()), await signed_in(await new_customer())
    tokens = await program.sign_in(mine, scope="openid")
    for wanted in ({"id_token_hint": tokens["id_token"]}, {}, {"client_id": program.client_id}):
        answer = await theirs.get("/oauth/logout", params=wanted)
        assert answer.headers["location"].startswith("/account/sign-out")
    assert "code" in location(await theirs.get(program.request(new_verifier())))


async def test_logout_leads_only_to_registered_addresses(new_program, new_customer, signed_in):
    program = await new_program()
    browser = await signed_in(await new_customer())
    tokens = await program.sign_in(browser, scope="openid")
    wanted = {"id_token_hint": tokens["id_token"], "post_logout_redirect_uri": "https://evil.example/"}
    answer = await browser.get("/oauth/logout", params=wanted)
    assert answer.headers["location"] == "/account/sign-in"
    broken = await browser.get("/oauth/logout", params={"id_token_hint": "nonsense"})
    assert (broken.status_code, broken.json()["error"]) == (400, "invalid_request")


async def test_asked_first_then_sent_back(new_program, new_customer, signed_in):
    program = await new_program()
    browser = await signed_in(await new_customer())
    wanted = {"client_id": program.client_id, "post_logout_redirect_uri": "https://shop.example/bye"}
    answer = await browser.get("/oauth/logout", params=wanted)
    page = await browser.get(answer.headers["location"])
    assert "form-action 'self' https://shop.example;" in page.headers["content-security-policy"]
    done = await browser.post("/account/sign-out", data=forms(page)["/account/sign-out"])
    assert done.headers["location"] == "https://shop.example/bye"


@pytest.mark.parametrize("after", ["https://evil.example/", "eyJ", "AAAA", "ü"])
async def test_a_made_up_address_after_signing_out_is_ignored(new_customer, signed_in, after):
    browser = await signed_in(await new_customer())
    answer = await submit(browser, "/account/sign-out", after=after)
    assert answer.headers["location"] == "/account/sign-in"
