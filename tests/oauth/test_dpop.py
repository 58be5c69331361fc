"""Proof of possession: a bound token is worth nothing without its key, and a proof nothing a second time."""

import asyncio
import time

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from cdp.operations.oauth.tokens import TokenInvalid, viewer_from_bearer
from tests.browser import BASE
from tests.oauth.conftest import new_verifier
from tests.oauth.keyring import new_key, proof, signed

TOKEN = "/oauth/token"


async def _exchange(program, browser, key, **changed):
    verifier = new_verifier()
    code = await program.code(browser, verifier, **changed)
    program.http.headers["dpop"] = proof(key, "POST", TOKEN)
    try:
        return await program.exchange(code, verifier)
    finally:
        del program.http.headers["dpop"]


async def _refresh(program, token: str, key=None):
    fields = {"grant_type": "refresh_token", "refresh_token": token, "client_id": program.client_id}
    auth = (program.client_id, program.secret) if program.secret else None
    headers = {"dpop": proof(key, "POST", TOKEN)} if key else {}
    return await program.http.post(TOKEN, data=fields, auth=auth, headers=headers)


async def _use(program, token: str, sent: str | None, *, path="/oauth/userinfo", scheme="DPoP", method="GET", **more):
    headers = {"authorization": f"{scheme} {token}", "accept": "application/json"} | ({"dpop": sent} if sent else {})
    return await program.http.request(method, path, headers=headers, **more)


@pytest.mark.parametrize(
    "key", [new_key(), OKPKey.generate_key("Ed25519"), RSAKey.generate_key(2048)], ids=["EC", "OKP", "RSA"]
)
async def test_tokens_are_bound_to_the_key(platform, new_program, new_customer, signed_in, key):
    program = await new_program()
    tokens = (await _exchange(program, await signed_in(await new_customer()), key)).json()
    assert tokens["token_type"] == "DPoP"
    token = tokens["access_token"]
    answer = await _use(program, token, proof(key, "GET", "/oauth/userinfo", token=token))
    assert answer.status_code == 200, answer.text
    asked = {"json": {"query": "{ viewer { kind } }"}, "path": "/graphql", "method": "POST"}
    told = await _use(program, token, proof(key, "POST", "/graphql", token=token), **asked)
    assert told.json() == {"data": {"viewer": {"kind": "CUSTOMER"}}}
    with pytest.raises(TokenInvalid):
        await viewer_from_bearer(platform, token)
    for path, more in (("/oauth/userinfo", {}), ("/graphql", {"json": asked["json"], "method": "POST"})):
        borne = await _use(program, token, None, path=path, scheme="Bearer", **more)
        assert (borne.status_code, borne.headers["www-authenticate"]) == (401, 'Bearer error="invalid_token"')
        bare = await _use(program, token, None, path=path, **more)
        assert bare.status_code == 401
        assert bare.headers["www-authenticate"].startswith('DPoP error="invalid_dpop_proof", algs="ES256 ')


async def test_a_bearer_token_stays_one(new_program, new_customer, signed_in):
    program = await new_program()
    token = (await program.sign_in(await signed_in(await new_customer())))["access_token"]
    refused = await _use(program, token, proof(new_key(), "GET", "/oauth/userinfo", token=token))
    assert (refused.status_code, refused.json()["code"]) == (401, "TOKEN_INVALID")
    assert refused.headers["www-authenticate"].startswith('DPoP error="invalid_token", algs=')
    assert (await program.userinfo(token)).status_code == 200


async def test_a_proof_is_good_once(new_program, new_customer, signed_in):
    program, key = await new_program(), new_key()
    token = (await _exchange(program, await signed_in(await new_customer()), key)).json()["access_token"]
    sent = proof(key, "GET", "/oauth/userinfo", token=token)
    answers = await asyncio.gather(*(_use(program, token, sent) for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401]
    # Another key's proof with the same jti is another proof.
    same_id = proof(key, "GET", "/oauth/userinfo", token=token, jti="one")
    assert (await _use(program, token, same_id)).status_code == 200
    verifier = new_verifier()
    twice = proof(key, "POST", TOKEN)
    headers = {"dpop": twice}
    nothing = {"grant_type": "refresh_token", "refresh_token": verifier, "client_id": program.client_id}
    assert (await program.http.post(TOKEN, data=nothing, headers=headers)).json()["error"] == "invalid_grant"
    assert (await program.http.post(TOKEN, data=nothing, headers=headers)).json()["error"] == "invalid_dpop_proof"


def _bent(key: ECKey, token: str) -> dict[str, str]:
    now, path = int(time.time()), "/oauth/userinfo"
    good = proof(key, "GET", path, token=token)
    head, body, _ = good.split(".")
    private = {"typ": "dpop+jwt", "jwk": key.as_dict(private=True)}
    claims = {"htm": "GET", "htu": BASE + path, "iat": now, "jti": "x"}
    secret = OctKey.generate_key()
    return {
        "another key": proof(new_key(), "GET", path, token=token),
        "another method": proof(key, "POST", path, token=token),
        "another path": proof(key, "GET", "/graphql", token=token),
        "another host": proof(key, "GET", path, token=token, htu="https://evil.example" + path),
        "another token": proof(key, "GET", path, token=token + "x"),
        "no token": proof(key, "GET", path),
        "too old": proof(key, "GET", path, token=token, iat=now - 120),
        "of tomorrow": proof(key, "GET", path, token=token, iat=now + 120),
        "no time": proof(key, "GET", path, token=token, iat=None),
        "no jti": proof(key, "GET", path, token=token, jti=None),
        "another type": proof(key, "GET", path, token=token, header={"typ": "JWT"}),
        "a private key": signed(key, private, {**claims, "ath": "x"}),
        "no key": signed(key, {"typ": "dpop+jwt"}, claims),
        "a shared secret": _signed_by_secret(secret, claims),
        "no signature": f"{head}.{body}.",
        "no address": proof(key, "GET", path, token=token, htu=None),
        "a port that is none": proof(key, "GET", path, token=token, htu="http://localhost:x/"),
        "nonsense": "x",
        "several": f"{good}, {good}",
    }


def _signed_by_secret(secret: OctKey, claims: dict[str, object]) -> str:
    return jwt.encode({"alg": "HS256", "typ": "dpop+jwt", "jwk": secret.as_dict()}, claims, secret, ["HS256"])


async def test_a_bent_proof_proves_nothing(new_program, new_customer, signed_in):
    program, key = await new_program(), new_key()
    token = (await _exchange(program, await signed_in(await new_customer()), key)).json()["access_token"]
    for name, sent in _bent(key, token).items():
        refused = await _use(program, token, sent)
        assert (refused.status_code, refused.json()["code"]) == (401, "INVALID_DPOP_PROOF"), name
    for written in (BASE + "/oauth/userinfo?x=1#y", "HTTP://LOCALHOST:8000/oauth/userinfo"):
        good = proof(key, "GET", "/oauth/userinfo", token=token, htu=written)
        assert (await _use(program, token, good)).status_code == 200, written


async def test_a_public_clients_refresh_token_is_bound(new_program, new_customer, signed_in):
    program, key = await new_program(), new_key()
    tokens = (await _exchange(program, await signed_in(await new_customer()), key)).json()
    for thief in (None, new_key()):
        assert (await _refresh(program, tokens["refresh_token"], thief)).json()["error"] == "invalid_grant"
    mine = (await _refresh(program, tokens["refresh_token"], key)).json()
    assert mine["token_type"] == "DPoP"
    # Used up: whoever presents it again, even with the key, ends the family.
    assert (await _refresh(program, tokens["refresh_token"], key)).status_code == 400
    assert (await _refresh(program, mine["refresh_token"], key)).status_code == 400


async def test_a_confidential_client_may_change_its_key(new_program, new_customer, signed_in):
    program, key = await new_program(confidential=True), new_key()
    tokens = (await _exchange(program, await signed_in(await new_customer()), key)).json()
    told = (await program.post("/oauth/introspect", token=tokens["access_token"])).json()
    assert (told["token_type"], told["cnf"]) == ("DPoP", {"jkt": key.thumbprint()})
    other = new_key()
    moved = (await _refresh(program, tokens["refresh_token"], other)).json()
    told = (await program.post("/oauth/introspect", token=moved["access_token"])).json()
    assert told["cnf"] == {"jkt": other.thumbprint()}


async def test_a_code_can_be_bound_too(new_program, new_customer, signed_in):
    program, key = await new_program(), new_key()
    browser = await signed_in(await new_customer())
    bound = {"dpop_jkt": key.thumbprint()}
    assert (await _exchange(program, browser, new_key(), **bound)).json()["error"] == "invalid_grant"
    assert (await _exchange(program, browser, key, **bound)).json()["token_type"] == "DPoP"
    verifier = new_verifier()
    stolen = await program.code(browser, verifier, **bound)
    assert (await program.exchange(stolen, verifier)).json()["error"] == "invalid_grant"


async def test_a_client_can_be_held_to_it(platform, new_program, new_customer, signed_in):
    program, key = await new_program(requires_dpop=True), new_key()
    browser, verifier = await signed_in(await new_customer()), new_verifier()
    bare = await program.exchange(await program.code(browser, verifier), verifier)
    assert bare.json()["error"] == "invalid_request"
    assert (await _exchange(program, browser, key)).status_code == 200


async def test_a_stream_goes_on_with_the_proof_it_began_with(new_program, new_customer, signed_in):
    program, key = await new_program(), new_key()
    token = (await _exchange(program, await signed_in(await new_customer()), key)).json()["access_token"]
    headers = {"authorization": f"DPoP {token}", "dpop": proof(key, "POST", "/graphql", token=token)}
    asked = {"query": "{ viewer { kind } }"}
    answer = await program.http.post("/graphql", json=asked, headers={**headers, "accept": "text/event-stream"})
    assert "event: next" in answer.text
    assert "CUSTOMER" in answer.text
