"""Tokens after they were issued: refresh with rotation, revocation, introspection, expiry, and tokens of others."""

import asyncio
import hmac
import json
import time

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey
from joserfc.jws import extract_compact
from sqlalchemy import delete, update

from cdp.core.db import Role
from cdp.core.platform import Platform
from cdp.core.sign import encode
from cdp.operations.accounts import sessions
from cdp.operations.oauth.token_keys import RELOAD_EVERY_S
from cdp.operations.oauth.tokens import (
    ENDED_EVERY_S,
    TYP,
    Issuer,
    TokenExpired,
    TokenInvalid,
    issuer_of,
    viewer_from_bearer,
)
from cdp.tables.oauth import oauth_code, oauth_grant, oauth_token
from tests.browser import forms

LIFE_S = 600.0  # of tokens


async def test_refresh_rotates_and_keeps_the_time_of_the_sign_in(new_program, new_customer, signed_in):
    program = await new_program()
    first = await program.sign_in(await signed_in(await new_customer()))
    second = (await program.refresh(first["refresh_token"])).json()
    assert second["refresh_token"] != first["refresh_token"]
    assert second["access_token"] != first["access_token"]
    assert second["scope"] == first["scope"]
    one, other = (_claims(tokens["id_token"]) for tokens in (first, second))
    assert one["auth_time"] == other["auth_time"]
    assert (await program.userinfo(second["access_token"])).status_code == 200


async def test_a_refresh_token_used_again_ends_its_family_and_no_other(
    new_program, new_customer, signed_in, settle_revocations
):
    program = await new_program()
    browser = await signed_in(await new_customer())
    bystander = await program.sign_in(browser)
    stranger = await program.sign_in(await signed_in(await new_customer()))
    first = await program.sign_in(browser)
    second = (await program.refresh(first["refresh_token"])).json()
    assert (await program.refresh(first["refresh_token"])).json()["error"] == "invalid_grant"
    settle_revocations()
    assert (await program.refresh(second["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await program.userinfo(second["access_token"])).status_code == 401
    for untouched in (bystander, stranger):
        assert (await program.userinfo(untouched["access_token"])).status_code == 200
        assert (await program.refresh(untouched["refresh_token"])).status_code == 200


async def test_of_two_refreshes_at_once_exactly_one_wins(new_program, new_customer, signed_in):
    program = await new_program()
    tokens = await program.sign_in(await signed_in(await new_customer()))
    answers = await asyncio.gather(*(program.refresh(tokens["refresh_token"]) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400, 400]
    winner = next(answer for answer in answers if answer.status_code == 200).json()
    # Two used one token: nobody can tell the thief, so the whole family is gone.
    assert (await program.refresh(winner["refresh_token"])).status_code == 400


async def test_a_refresh_asks_for_less_never_for_more(new_program, new_customer, signed_in):
    program = await new_program()
    tokens = await program.sign_in(await signed_in(await new_customer()), scope="openid profile:read")
    more = await program.refresh(tokens["refresh_token"], scope="openid profile:write")
    assert more.json()["error"] == "invalid_scope"
    less = (await program.refresh(tokens["refresh_token"], scope="openid")).json()
    assert less["scope"] == "openid"
    whole = (await program.refresh(less["refresh_token"])).json()
    assert whole["scope"] == "openid profile:read"


async def test_userinfo_needs_a_token_with_openid(new_program, new_customer, signed_in):
    program = await new_program()
    browser = await signed_in(await new_customer())
    plain = await program.sign_in(browser, scope="profile:read")
    assert "id_token" not in plain
    refused = await program.userinfo(plain["access_token"])
    assert (refused.status_code, refused.json()["code"]) == (403, "INSUFFICIENT_SCOPE")
    assert refused.headers["www-authenticate"] == 'Bearer error="insufficient_scope", scope="openid"'
    bare = (await program.userinfo((await program.sign_in(browser, scope="openid"))["access_token"])).json()
    assert set(bare) == {"sub"}
    nobody = await program.http.get("/oauth/userinfo", cookies=dict(browser.cookies))
    assert (nobody.status_code, nobody.headers["www-authenticate"]) == (401, "Bearer")


async def test_another_client_can_not_refresh_or_revoke(new_program, new_customer, signed_in):
    program, other = await new_program(), await new_program()
    tokens = await program.sign_in(await signed_in(await new_customer()))
    assert (await other.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await other.post("/oauth/revoke", token=tokens["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await program.refresh(tokens["refresh_token"])).status_code == 200


async def test_an_expired_refresh_token_is_refused(platform, new_program, new_customer, signed_in):
    program = await new_program()
    tokens = await program.sign_in(await signed_in(await new_customer()))
    async with platform.db.transaction(Role.WORKER) as tx:
        grant_id = _claims(tokens["access_token"])["grant_id"]
        past = oauth_token.c.issued_at
        await tx.execute(update(oauth_token).where(oauth_token.c.family_id == grant_id).values(expires_at=past))
    assert (await program.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
async def test_revocation_ends_the_grant_at_once(new_program, new_customer, signed_in, kind):
    program = await new_program()
    browser = await signed_in(await new_customer())
    bystander, tokens = await program.sign_in(browser), await program.sign_in(browser)
    assert (await program.userinfo(tokens["access_token"])).status_code == 200
    answer = await program.post("/oauth/revoke", token=tokens[kind], token_type_hint=kind)
    assert answer.status_code == 200
    refused = await program.userinfo(tokens["access_token"])
    assert (refused.status_code, refused.json()["code"]) == (401, "TOKEN_INVALID")
    assert refused.headers["www-authenticate"].startswith('Bearer error="invalid_token"')
    assert (await program.refresh(tokens["refresh_token"])).status_code == 400
    assert (await program.userinfo(bystander["access_token"])).status_code == 200
    assert (await program.post("/oauth/revoke", token=tokens[kind])).status_code == 200
    assert (await program.post("/oauth/revoke", token="nonsense")).status_code == 200
    assert (await program.post("/oauth/revoke")).json()["error"] == "invalid_request"


async def test_introspection_tells_a_client_about_its_own_tokens(new_program, new_customer, signed_in):
    program, other = await new_program(confidential=True), await new_program(confidential=True)
    tokens = await program.sign_in(await signed_in(await new_customer()))
    told = (await program.post("/oauth/introspect", token=tokens["access_token"])).json()
    assert (told["active"], told["client_id"]) == (True, program.client_id)
    assert told["sub"] == _claims(tokens["access_token"])["sub"]
    assert (await program.post("/oauth/introspect", token=tokens["refresh_token"])).json()["active"] is True
    assert (await other.post("/oauth/introspect", token=tokens["access_token"])).json() == {"active": False}
    assert (await program.post("/oauth/introspect", token="nonsense")).json() == {"active": False}
    public = await new_program()
    refused = await public.post("/oauth/introspect", token=tokens["access_token"])
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")


async def test_another_process_notices_within_seconds(platform, new_program, new_customer, signed_in):
    program = await new_program()
    tokens = await program.sign_in(await signed_in(await new_customer()))
    other_process = Issuer(platform)
    await other_process.check(tokens["access_token"])
    await program.post("/oauth/revoke", token=tokens["refresh_token"])
    await asyncio.sleep(ENDED_EVERY_S + 0.1)
    with pytest.raises(TokenInvalid):
        await other_process.check(tokens["access_token"])


async def test_a_deleted_grant_is_noticed_too(platform, new_program, new_customer, signed_in, settle_revocations):
    """An erasure deletes rows instead of revoking them."""
    program = await new_program()
    tokens = await program.sign_in(await signed_in(await new_customer()))
    viewer = await viewer_from_bearer(platform, tokens["access_token"])
    async with platform.db.transaction(Role.WORKER) as tx:
        for table in (oauth_code, oauth_token, oauth_grant):
            await tx.execute(delete(table).where(table.c.customer_id == viewer.customer_id))
    settle_revocations()
    with pytest.raises(TokenInvalid):
        await viewer_from_bearer(platform, tokens["access_token"])


async def test_signed_out_everywhere_means_apps_too(platform, new_program, new_customer, signed_in, settle_revocations):
    program = await new_program()
    browser, bystander = await signed_in(await new_customer()), await signed_in(await new_customer())
    tokens, others = await program.sign_in(browser), await program.sign_in(bystander)
    viewer = await viewer_from_bearer(platform, tokens["access_token"])
    async with platform.db.transaction(Role.WORKER) as tx:
        ended = await sessions.end_everywhere(tx, customer_id=viewer.customer_id, now=platform.clock())
    assert ended == 2
    settle_revocations()
    with pytest.raises(TokenInvalid):
        await viewer_from_bearer(platform, tokens["access_token"])
    assert (await browser.get("/account/sign-out")).status_code == 200
    assert "/account/sign-in" in (await browser.get("/account/connect")).headers["location"]
    assert (await program.userinfo(others["access_token"])).status_code == 200


async def test_signing_out_ends_grants_without_offline_access(new_program, new_customer, signed_in, settle_revocations):
    program = await new_program()
    browser = await signed_in(await new_customer())
    bound = await program.sign_in(browser, scope="openid profile:read")
    lasting = await program.sign_in(browser, scope="openid offline_access profile:read")
    page = await browser.get("/account/sign-out")
    await browser.post("/account/sign-out", data=forms(page)["/account/sign-out"])
    settle_revocations()
    assert (await program.refresh(bound["refresh_token"])).status_code == 400
    assert (await program.userinfo(bound["access_token"])).status_code == 401
    assert (await program.refresh(lasting["refresh_token"])).status_code == 200


def _claims(token: str) -> dict:
    return json.loads(extract_compact(token.encode()).payload)


async def _is_refused(platform: Platform, token: str) -> bool:
    try:
        await viewer_from_bearer(platform, token)
    except TokenInvalid:
        return True
    return False


def _hmac_signed(claims: dict, key: RSAKey) -> str:
    """The classic: a verifier that lets the token choose takes the public key for a shared secret."""
    head = encode(json.dumps({"alg": "HS256", "kid": key.kid, "typ": TYP}).encode())
    body = encode(json.dumps(claims).encode())
    return f"{head}.{body}." + encode(hmac.digest(key.as_pem(private=False), f"{head}.{body}".encode(), "sha256"))


def _forged(platform: Platform, token: str) -> dict[str, str]:
    """Tokens that look right, each wrong in one way."""
    issuer, claims, now = issuer_of(platform), _claims(token), int(time.time())
    ours = issuer.keys.signing
    stranger = RSAKey.generate_key(2048)
    header = {"alg": "RS256", "kid": str(ours.kid), "typ": TYP}
    head, body, signature = token.split(".")
    return {
        "another key": jwt.encode(header, claims, stranger),
        "an unknown key": jwt.encode({**header, "kid": "nobody"}, claims, stranger),
        "no signature": f"{head}.{body}.",
        "no algorithm": f"{encode(json.dumps({'alg': 'none', 'typ': TYP}).encode())}.{body}.",
        "our public key as a secret": _hmac_signed(claims, ours),
        "another type": jwt.encode({**header, "typ": "JWT"}, claims, ours),
        "another issuer": issuer.keys.sign({**claims, "iss": "https://evil.example"}, typ=TYP),
        "another audience": issuer.keys.sign({**claims, "aud": "https://evil.example"}, typ=TYP),
        "another subject": issuer.keys.sign({**claims, "sub": str(claims["grant_id"])}, typ=TYP),
        "another client": issuer.keys.sign({**claims, "client_id": "nobody"}, typ=TYP),
        "no grant": issuer.keys.sign({**claims, "grant_id": "0198c0de-0000-7000-8000-000000000000"}, typ=TYP),
        "nonsense for a grant": issuer.keys.sign({**claims, "grant_id": "x"}, typ=TYP),
        "no expiry": issuer.keys.sign({n: v for n, v in claims.items() if n != "exp"}, typ=TYP),
        "a text for a time": issuer.keys.sign({**claims, "auth_time": "yesterday"}, typ=TYP),
        "issued tomorrow": issuer.keys.sign({**claims, "iat": now + 86400}, typ=TYP),
        "one letter changed": f"{head}.{body}.{signature[:-2]}{'AA' if not signature.endswith('AA') else 'BB'}",
        "three dots": "..",
        "not text": "\udcff",
        "an emoji": "🦆",
        "far too long": "a" * 100_000,
        "an empty one": "",
    }


async def test_tokens_of_others_are_refused(platform, new_program, new_customer, signed_in):
    program = await new_program()
    token = (await program.sign_in(await signed_in(await new_customer())))["access_token"]
    await viewer_from_bearer(platform, token)
    for name, forged in _forged(platform, token).items():
        assert await _is_refused(platform, forged), name


async def test_an_id_token_is_no_access_token(platform, new_program, new_customer, signed_in):
    program = await new_program()
    tokens = await program.sign_in(await signed_in(await new_customer()))
    with pytest.raises(TokenInvalid):
        await viewer_from_bearer(platform, tokens["id_token"])
    with pytest.raises(TokenInvalid):
        await viewer_from_bearer(platform, tokens["refresh_token"])


async def test_an_expired_token_is_named_so_also_from_the_cache(platform, new_program, new_customer, signed_in):
    program = await new_program()
    token = (await program.sign_in(await signed_in(await new_customer())))["access_token"]
    claims, issuer = _claims(token), issuer_of(platform)
    past = issuer.keys.sign({**claims, "exp": int(time.time()) - 1}, typ=TYP)
    with pytest.raises(TokenExpired):
        await viewer_from_bearer(platform, past)
    soon = issuer.keys.sign({**claims, "exp": int(time.time()) + 2}, typ=TYP)
    await viewer_from_bearer(platform, soon)
    await asyncio.sleep(2.1)
    with pytest.raises(TokenExpired):
        await viewer_from_bearer(platform, soon)


async def test_keys_rotate_with_overlap(platform, new_program, new_customer, signed_in):
    program = await new_program()
    browser = await signed_in(await new_customer())
    old = await program.sign_in(browser)
    other_process = Issuer(platform)
    issuer_of(platform).keys.rotate(life_s=LIFE_S)
    new = await program.sign_in(browser)
    kids = [key["kid"] for key in (await program.http.get("/oauth/jwks")).json()["keys"]]
    assert len(kids) == 2
    assert _kid(new["access_token"]) == kids[0] != _kid(old["access_token"]) == kids[1]
    for token in (old["access_token"], new["access_token"]):
        assert (await viewer_from_bearer(platform, token)).customer_id is not None
    # Another process that still holds the old set looks again when it meets an unknown key, though not at every token.
    other_process.keys._loaded_at -= 6
    assert (await other_process.check(new["access_token"])).client_id == program.client_id


def _kid(token: str) -> str:
    return extract_compact(token.encode()).headers()["kid"]


async def test_a_rotation_is_seen_by_nobody_outside(platform, new_program, new_customer, signed_in):
    """A token from before goes on at every door until its life is over; so does its ID token."""
    program = await new_program(confidential=True)
    browser = await signed_in(await new_customer())
    old = await program.sign_in(browser)
    issuer_of(platform).keys.rotate(life_s=LIFE_S)
    assert (await program.userinfo(old["access_token"])).status_code == 200
    assert (await program.post("/oauth/introspect", token=old["access_token"])).json()["active"] is True
    new = (await program.refresh(old["refresh_token"])).json()
    assert _kid(new["access_token"]) != _kid(old["access_token"])
    asked = {"query": "{ viewer { kind } }"}
    headers = {"authorization": f"Bearer {old['access_token']}"}
    assert (await program.http.post("/graphql", json=asked, headers=headers)).status_code == 200
    bye = await browser.get("/oauth/logout", params={"id_token_hint": old["id_token"]})
    assert bye.headers["location"] == "/account/sign-in", "the old ID token still proves who asks"
    # A process that has not seen the old token before knows its key only until that is dropped.
    long_ago = -2 * RELOAD_EVERY_S - 1
    issuer_of(platform).keys.rotate(life_s=long_ago)
    with pytest.raises(TokenInvalid):
        await Issuer(platform).check(old["access_token"])
    assert (await Issuer(platform).check(new["access_token"])).client_id == program.client_id
