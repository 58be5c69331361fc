"""Authorization code with PKCE, as an app from outside walks it; and each way to walk it wrong."""

import asyncio

import pytest
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc import jwt
from joserfc.jwk import KeySet
from sqlalchemy import func, select

from cdp.core.db import Role
from cdp.operations.oauth.tokens import viewer_from_bearer
from cdp.tables.audit import audit_event
from tests.browser import forms, visitor
from tests.oauth.conftest import REDIRECT, location, new_verifier
from tests.site import PASSWORD


@pytest.mark.parametrize("confidential", [False, True])
async def test_the_whole_way(platform, new_program, new_customer, signed_in, confidential):
    program = await new_program(confidential=confidential)
    browser = await signed_in(await new_customer())
    verifier = new_verifier()
    answer = await browser.get(program.request(verifier))
    found = location(answer)
    assert answer.headers["location"].startswith(REDIRECT + "?")
    assert (found["state"], found["iss"]) == ("st4te", "http://localhost:8000")
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]

    exchanged = await program.exchange(found["code"], verifier)
    assert exchanged.headers["cache-control"] == "no-store"
    tokens = exchanged.json()
    assert (tokens["token_type"], tokens["expires_in"]) == ("Bearer", 600)

    keys = KeySet.import_key_set((await program.http.get("/oauth/jwks")).json())
    access = jwt.decode(tokens["access_token"], keys, ["RS256"])
    assert access.header["typ"] == "at+jwt"
    assert {"iss", "aud", "sub", "client_id", "iat", "exp", "jti", "auth_time"} <= set(access.claims)
    identity = jwt.decode(tokens["id_token"], keys, ["RS256"])
    assert (identity.claims["nonce"], identity.claims["aud"]) == ("n0nce", program.client_id)
    assert identity.claims["sub"] == access.claims["sub"]

    viewer = await viewer_from_bearer(platform, tokens["access_token"])
    assert str(viewer.customer_id) == access.claims["sub"]
    assert viewer.scopes == {"openid", "offline_access", "profile:read"}
    told = (await program.userinfo(tokens["access_token"])).json()
    assert told["sub"] == access.claims["sub"]
    assert (told["given_name"], told["email_verified"]) == ("Ada", False)


async def test_who_is_not_signed_in_signs_in_and_comes_back(app, new_program, new_customer):
    program, name, verifier = await new_program(), await new_customer(), new_verifier()
    async with visitor(app) as browser:
        answer = await browser.get(program.request(verifier))
        page = await browser.get(answer.headers["location"])
        # The browser follows the redirect to the app under the policy of the page that posted.
        assert "form-action 'self' https://shop.example;" in page.headers["content-security-policy"]
        fields = {**forms(page)["/account/sign-in"], "username": name, "password": PASSWORD}
        signed = await browser.post("/account/sign-in", data=fields)
        back = await browser.get(signed.headers["location"])
    assert (await program.exchange(location(back)["code"], verifier)).status_code == 200


async def test_a_code_used_again_kills_its_tokens_and_nobody_elses(
    platform, new_program, new_customer, signed_in, settle_revocations
):
    program, verifier = await new_program(), new_verifier()
    browser = await signed_in(await new_customer())
    bystander = await program.sign_in(browser)
    code = await program.code(browser, verifier)
    tokens = (await program.exchange(code, verifier)).json()
    again = await program.exchange(code, verifier)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    settle_revocations()
    assert (await program.userinfo(tokens["access_token"])).status_code == 401
    assert (await program.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await program.userinfo(bystander["access_token"])).status_code == 200
    assert (await program.refresh(bystander["refresh_token"])).status_code == 200
    async with platform.db.transaction(Role.WORKER) as tx:
        found = select(func.count()).where(
            audit_event.c.action == "grant.ended", audit_event.c.code == "TOKEN_REPLAYED"
        )
        assert await tx.scalar(found) >= 1


async def test_of_two_exchanges_at_once_one_wins(new_program, new_customer, signed_in):
    program, verifier = await new_program(), new_verifier()
    code = await program.code(await signed_in(await new_customer()), verifier)
    answers = await asyncio.gather(*(program.exchange(code, verifier) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400]


async def test_another_client_can_neither_use_nor_burn_a_code(new_program, new_customer, signed_in):
    program, other, verifier = await new_program(), await new_program(), new_verifier()
    code = await program.code(await signed_in(await new_customer()), verifier)
    assert (await other.exchange(code, verifier)).json()["error"] == "invalid_grant"
    assert (await program.exchange(code, verifier)).status_code == 200


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"code_verifier": "x" * 43}, "invalid_grant"),
        ({"code_verifier": "short"}, "invalid_request"),
        ({"code_verifier": ""}, "invalid_request"),
        ({"redirect_uri": "https://shop.example/other"}, "invalid_grant"),
        ({"grant_type": "password", "username": "a", "password": "b"}, "unsupported_grant_type"),
        ({"client_id": "nobody"}, "invalid_client"),
    ],
)
async def test_a_wrong_exchange_is_refused(new_program, new_customer, signed_in, changed, error):
    program, verifier = await new_program(), new_verifier()
    code = await program.code(await signed_in(await new_customer()), verifier)
    fields = {
        "grant_type": "authorization_code",
        "client_id": program.client_id,
        "code": code,
        "redirect_uri": REDIRECT,
        "code_verifier": verifier,
        **changed,
    }
    answer = await program.http.post("/oauth/token", data=fields)
    assert answer.status_code in {400, 401}
    assert answer.json()["error"] == error


async def test_the_challenge_itself_is_no_verifier(new_program, new_customer, signed_in):
    """Downgrading S256 to plain would let the challenge, which everybody sees, stand for the verifier."""
    program, verifier = await new_program(), new_verifier()
    code = await program.code(await signed_in(await new_customer()), verifier)
    answer = await program.exchange(code, create_s256_code_challenge(verifier), code_challenge_method="plain")
    assert answer.json()["error"] == "invalid_grant"


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"code_challenge": None, "code_challenge_method": None}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"scope": "openid everything"}, "invalid_scope"),
        ({"scope": None}, "invalid_scope"),
        ({"scope": "systems:read"}, "invalid_scope"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"prompt": "none login"}, "invalid_request"),
        ({"max_age": "soon"}, "invalid_request"),
        ({"request": "eyJ"}, "request_not_supported"),
        ({"nonce": "\x00"}, "invalid_request"),
        ({"nonce": "n" * 600}, "invalid_request"),
    ],
)
async def test_a_wrong_request_is_told_to_the_client(new_program, new_customer, signed_in, changed, error):
    program = await new_program(confidential=True)
    browser = await signed_in(await new_customer())
    answer = await browser.get(program.request(new_verifier(), **changed))
    assert answer.headers["location"].startswith(REDIRECT + "?")
    found = location(answer)
    assert (found["error"], found["state"], found["iss"]) == (error, "st4te", "http://localhost:8000")
    assert "code" not in found


@pytest.mark.parametrize(
    "changed",
    [
        {"redirect_uri": "https://shop.example/callback/"},
        {"redirect_uri": "https://shop.example/callback?more=1"},
        {"redirect_uri": "https://shop.example.evil.example/callback"},
        {"redirect_uri": 'https://evil.example/"ü\\'},
        {"redirect_uri": None},
        {"client_id": "nobody"},
        {"client_id": "\x00"},
        {"client_id": None},
    ],
)
async def test_a_request_of_doubtful_origin_goes_nowhere(new_program, new_customer, signed_in, changed):
    program = await new_program()
    browser = await signed_in(await new_customer())
    answer = await browser.get(program.request(new_verifier(), **changed))
    assert answer.status_code == 400
    assert "location" not in answer.headers
    assert "evil.example" not in answer.text
    assert "AUTHORIZATION_REFUSED" in answer.text


async def test_a_strange_state_comes_back_as_it_was(new_program, new_customer, signed_in):
    program = await new_program()
    browser = await signed_in(await new_customer())
    strange = "a b&c=d#e/\u00e4\U0001f986\x00%41+"
    assert location(await browser.get(program.request(new_verifier(), state=strange)))["state"] == strange
    refused = location(await browser.get(program.request(new_verifier(), state=strange, code_challenge="x")))
    assert (refused["error"], refused["state"]) == ("invalid_request", strange)


async def test_a_doubled_parameter_is_refused(new_program, new_customer, signed_in):
    program = await new_program()
    browser = await signed_in(await new_customer())
    answer = await browser.get(program.request(new_verifier()) + "&scope=openid")
    assert answer.status_code == 400 or location(answer)["error"] == "invalid_request"
    twice = {"content-type": "application/x-www-form-urlencoded"}
    doubled = await program.http.post("/oauth/token", content="grant_type=refresh_token&grant_type=x", headers=twice)
    assert doubled.json()["error"] == "invalid_request"


async def test_garbage_at_the_token_endpoint_is_refused_in_form(new_program):
    program = await new_program()
    for headers in (
        {"authorization": "Basic /////w=="},
        {"authorization": "Basic \x7f"},
        {"authorization": "Basic"},
        {"authorization": "Basic bm9ib2R5OngK"},
    ):
        answer = await program.http.post("/oauth/token", data={"grant_type": "refresh_token"}, headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
        assert answer.headers["www-authenticate"].startswith("Basic")
    as_json = await program.http.post("/oauth/token", json={"grant_type": "refresh_token"})
    assert (as_json.status_code, as_json.json()["error"]) == (400, "invalid_request")


async def test_a_confidential_client_needs_its_secret(new_program, new_customer, signed_in):
    program, verifier = await new_program(confidential=True), new_verifier()
    code = await program.code(await signed_in(await new_customer()), verifier)
    program.secret = "guessed"
    answer = await program.exchange(code, verifier)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    program.secret = None
    assert (await program.exchange(code, verifier)).json()["error"] == "invalid_client"


async def test_sign_in_again_when_the_app_demands_it(app, new_program, new_customer, signed_in):
    program, name = await new_program(), await new_customer()
    browser = await signed_in(name)
    for demand in ({"prompt": "login"}, {"max_age": "0"}):
        verifier = new_verifier()
        answer = await browser.get(program.request(verifier, **demand))
        assert answer.headers["location"].startswith("/account/sign-in?")
        # Coming back without having signed in changes nothing.
        unmoved = await browser.get(location(answer)["next"])
        assert unmoved.headers["location"].startswith("/account/sign-in?")
        page = await browser.get(answer.headers["location"])
        fields = {**forms(page)["/account/sign-in"], "password": PASSWORD}
        signed = await browser.post("/account/sign-in", data=fields)
        back = await browser.get(signed.headers["location"])
        assert (await program.exchange(location(back)["code"], verifier)).status_code == 200
    relaxed = await browser.get(program.request(new_verifier(), max_age="3600"))
    assert "code" in location(relaxed)


async def test_silent_sign_in_never_asks(app, new_program, new_customer, signed_in):
    program = await new_program()
    async with visitor(app) as stranger:
        found = location(await stranger.get(program.request(new_verifier(), prompt="none")))
    assert found["error"] == "login_required"
    browser = await signed_in(await new_customer())
    assert "code" in location(await browser.get(program.request(new_verifier(), prompt="none")))
    foreign = await new_program(first_party=False)
    found = location(await browser.get(foreign.request(new_verifier(), prompt="none")))
    assert found["error"] == "consent_required"
