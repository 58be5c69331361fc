"""Pushed requests: the browser carries a reference; and an authorization page that nobody can frame or post to."""

import asyncio
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from sqlalchemy import func, select, update

from cdp.core.db import Role
from cdp.tables.oauth import oauth_grant, oauth_pushed_request
from tests.browser import forms, visitor
from tests.oauth.conftest import REDIRECT, location, new_verifier
from tests.oauth.keyring import new_key, proof
from tests.site import PASSWORD


def _parameters(program, verifier: str, **changed) -> dict[str, str]:
    fields = dict(parse_qsl(urlsplit(program.request(verifier, **changed)).query))
    return fields if program.secret is None else {n: v for n, v in fields.items() if n != "client_id"}


async def _push(program, verifier: str, **changed) -> str:
    answer = await program.post("/oauth/par", **_parameters(program, verifier, **changed))
    assert answer.status_code == 201, answer.text
    assert (answer.headers["cache-control"], answer.headers["pragma"]) == ("no-store", "no-cache")
    assert answer.json()["expires_in"] == 600
    return answer.json()["request_uri"]


def _address(program, reference: str, **more: str) -> str:
    return "/oauth/authorize?" + urlencode({"client_id": program.client_id, "request_uri": reference, **more})


@pytest.mark.parametrize("confidential", [False, True])
async def test_the_whole_way(new_program, new_customer, signed_in, confidential):
    program, verifier = await new_program(confidential=confidential), new_verifier()
    reference = await _push(program, verifier)
    browser = await signed_in(await new_customer())
    # What is written beside the reference does not count.
    answer = await browser.get(_address(program, reference, scope="openid privacy:erase", state="evil"))
    found = location(answer)
    assert (found["state"], found["iss"]) == ("st4te", "http://localhost:8000")
    tokens = (await program.exchange(found["code"], verifier)).json()
    assert tokens["scope"] == "openid offline_access profile:read"


async def test_a_reference_survives_signing_in_and_agreeing(app, new_program, new_customer):
    program, name, verifier = await new_program(first_party=False), await new_customer(), new_verifier()
    reference = await _push(program, verifier)
    async with visitor(app) as browser:
        answer = await browser.get(_address(program, reference))
        page = await browser.get(answer.headers["location"])
        assert "form-action 'self' https://shop.example;" in page.headers["content-security-policy"]
        fields = {**forms(page)["/account/sign-in"], "username": name, "password": PASSWORD}
        answer = await browser.get((await browser.post("/account/sign-in", data=fields)).headers["location"])
        page = await browser.get(answer.headers["location"])
        assert "Read your profile, orders and activity" in page.text
        fields = {**forms(page)["/account/connect"], "answer": "yes"}
        back = await browser.get((await browser.post("/account/connect", data=fields)).headers["location"])
    assert (await program.exchange(location(back)["code"], verifier)).status_code == 200


async def test_a_reference_is_good_for_one_answer(platform, new_program, new_customer, signed_in):
    program, other = await new_program(), await new_program()
    browser = await signed_in(await new_customer())
    reference = await _push(program, new_verifier())
    for wrong in (reference + "x", reference[:-1], "urn:ietf:params:oauth:request_uri:"):
        assert (await browser.get(_address(program, wrong))).status_code == 400
    assert (await browser.get(_address(other, reference))).status_code == 400
    client = select(oauth_grant.metadata.tables["oauth_client"].c.id).filter_by(client_id=program.client_id)
    answers = await asyncio.gather(*(browser.get(_address(program, reference)) for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [303, 400, 400]
    async with platform.db.transaction(Role.WORKER) as tx:
        opened = select(func.count()).where(oauth_grant.c.client_id.in_(client))
        assert await tx.scalar(opened) == 1, "the other two left nothing behind"
    late, kept = await _push(program, new_verifier()), await _push(other, new_verifier())
    async with platform.db.transaction(Role.WORKER) as tx:
        past = update(oauth_pushed_request).where(oauth_pushed_request.c.client_id.in_(client))
        await tx.execute(past.values(expires_at=oauth_pushed_request.c.created_at))
    assert (await browser.get(_address(program, late))).status_code == 400
    assert "code" in location(await browser.get(_address(other, kept)))


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"redirect_uri": "https://evil.example/"}, "invalid_request"),
        ({"code_challenge": None, "code_challenge_method": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": None}, "unsupported_response_type"),
        ({"scope": "everything"}, "invalid_scope"),
        ({"scope": "openid customers:read profile:read"}, "invalid_scope"),
        ({"prompt": "none login"}, "invalid_request"),
        ({"max_age": "soon"}, "invalid_request"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"dpop_jkt": "short"}, "invalid_request"),
        ({"request_uri": "urn:ietf:params:oauth:request_uri:x"}, "invalid_request"),
        ({"request": "eyJ"}, "request_not_supported"),
        ({"state": "s" * 9000}, "invalid_request"),
        ({"redirect_uri": "https://shop.example/\u20ac"}, "invalid_request"),
        ({"authorization_details": "[]x"}, "invalid_authorization_details"),
        ({"authorization_details": '[{"type":"everything"}]'}, "invalid_authorization_details"),
    ],
)
async def test_everything_is_checked_when_it_is_pushed(new_program, changed, error):
    program = await new_program(confidential=True, scopes=("openid", "profile:read", "customers:read"))
    given = {"scope": "openid", **changed}
    answer = await program.post("/oauth/par", **_parameters(program, new_verifier(), **given))
    assert (answer.status_code, answer.json()["error"]) == (400, error), answer.text
    assert "location" not in answer.headers


async def test_who_pushes_proves_itself(new_program):
    program, other = await new_program(confidential=True), await new_program(confidential=True)
    fields = _parameters(program, new_verifier())
    program.secret = "guessed"
    refused = await program.post("/oauth/par", **fields)
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
    named = {**fields, "client_id": program.client_id}
    assert (await other.post("/oauth/par", **named)).json()["error"] == "invalid_request"
    assert (await other.http.get("/oauth/par")).status_code == 405


async def test_a_client_can_be_held_to_it(new_program, new_customer, signed_in):
    program = await new_program(requires_pushed=True)
    browser, verifier = await signed_in(await new_customer()), new_verifier()
    refused = location(await browser.get(program.request(verifier)))
    assert (refused["error"], refused["state"]) == ("invalid_request", "st4te")
    assert "code" in location(await browser.get(_address(program, await _push(program, verifier))))


async def test_a_proof_when_pushing_binds_the_code(new_program, new_customer, signed_in):
    program, key, verifier = await new_program(), new_key(), new_verifier()
    fields = _parameters(program, verifier)
    headers = {"dpop": proof(key, "POST", "/oauth/par")}
    pushed = (await program.http.post("/oauth/par", data=fields, headers=headers)).json()
    again = await program.http.post("/oauth/par", data=fields, headers=headers)
    assert again.json()["error"] == "invalid_dpop_proof"
    claimed = {**fields, "dpop_jkt": new_key().thumbprint()}
    other = await program.http.post("/oauth/par", data=claimed, headers={"dpop": proof(key, "POST", "/oauth/par")})
    assert other.json()["error"] == "invalid_dpop_proof"
    browser = await signed_in(await new_customer())
    code = location(await browser.get(_address(program, pushed["request_uri"])))["code"]
    assert (await program.exchange(code, verifier)).json()["error"] == "invalid_grant"


@pytest.mark.parametrize("destination", ["iframe", "frame", "embed", "object", "empty", "image"])
async def test_nobody_frames_or_fetches_the_page(new_program, new_customer, signed_in, destination):
    program, browser = await new_program(), await signed_in(await new_customer())
    address = program.request(new_verifier())
    answer = await browser.get(address, headers={"sec-fetch-dest": destination, "sec-fetch-site": "cross-site"})
    assert (answer.status_code, "location" in answer.headers) == (400, False)
    assert answer.headers["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    shown = await browser.get(address, headers={"sec-fetch-dest": "document", "sec-fetch-site": "cross-site"})
    assert "code" in location(shown)


async def test_a_foreign_form_is_refused_and_our_own_is_not(new_program, new_customer, signed_in):
    program, browser = await new_program(), await signed_in(await new_customer())
    fields = _parameters(program, new_verifier())
    for headers in (
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site", "sec-fetch-dest": "document", "origin": REDIRECT},
    ):
        answer = await browser.post("/oauth/authorize", data=fields, headers=headers)
        assert (answer.status_code, "location" in answer.headers) == (400, False)
    answer = await browser.post("/oauth/authorize", data=fields, headers={"origin": "http://localhost:8000"})
    assert answer.headers["location"].startswith("/oauth/authorize?")
    assert "code" in location(await browser.get(answer.headers["location"]))
