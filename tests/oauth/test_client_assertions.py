"""private_key_jwt and client credentials: a program proves itself by its key and acts in its own name."""

import asyncio
import json
import time

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from sqlalchemy import func, select

from cdp.access.viewer import SYSTEM, Actor
from cdp.core.db import Role
from cdp.operations import expired
from cdp.operations.oauth import clients
from cdp.operations.oauth.clients import ClientNeedsCredentials, UnknownAuthorizationType
from cdp.operations.oauth.proofs import UnusableKey
from cdp.operations.oauth.tokens import viewer_from_bearer
from cdp.tables.audit import audit_event
from cdp.tables.oauth import oauth_grant
from tests.browser import BASE, visitor
from tests.oauth.keyring import assertion, new_key

KEY = new_key()
DETAIL = {"type": "partner_access", "purpose": "support", "grant": "0198c0de-0000-7000-8000-000000000000"}
CREDENTIALS = {"grant_type": "client_credentials"}


async def _add(platform, *, keys=(KEY,), secret=False, **more) -> clients.NewClient:
    jwks = None if secret else {"keys": [key.as_dict(private=False) for key in keys]}
    given = {"grant_types": ["client_credentials"], "scopes": ["customers:read", "systems:read"], **more}
    async with platform.db.transaction(Role.WORKER) as tx:
        return await clients.add(tx, SYSTEM, "Partner", redirect_uris=[], confidential=secret, jwks=jwks, **given)


@pytest.fixture
async def http(app):
    async with visitor(app) as found:
        yield found


@pytest.mark.parametrize("kind", ["EC", "OKP", "RSA"])
@pytest.mark.parametrize("audience", [BASE, f"{BASE}/oauth/token", [BASE]])
async def test_a_program_acts_in_its_own_name(platform, http, kind, audience):
    key = {"EC": KEY, "OKP": OKPKey.generate_key("Ed25519"), "RSA": RSAKey.generate_key(2048)}[kind]
    client_id = (await _add(platform, keys=[new_key(), key])).client.client_id
    answer = await http.post("/oauth/token", data={**CREDENTIALS, **assertion(key, client_id, aud=audience)})
    assert answer.status_code == 200, answer.text
    assert (answer.headers["cache-control"], answer.headers["pragma"]) == ("no-store", "no-cache")
    tokens = answer.json()
    assert (tokens["token_type"], tokens["scope"]) == ("Bearer", "customers:read systems:read")
    assert "refresh_token" not in tokens
    viewer = await viewer_from_bearer(platform, tokens["access_token"])
    assert (viewer.actor, viewer.client_id, viewer.authenticated_at) == (Actor.CLIENT, client_id, None)
    assert (viewer.customer_id, viewer.staff_id, viewer.roles) == (None, None, frozenset())


async def test_it_sees_nothing_that_no_rule_gives_it(platform, http):
    added = await _add(platform, secret=True)
    auth = (added.client.client_id, added.secret)
    token = (await http.post("/oauth/token", data=CREDENTIALS, auth=auth)).json()["access_token"]
    headers = {"authorization": f"Bearer {token}", "accept": "application/json"}
    asked = {"query": "{ viewer { kind customer { id } } customers(first: 1) { nodes { id } } }"}
    told = (await http.post("/graphql", json=asked, headers=headers)).json()
    assert told["data"] == {"viewer": {"kind": "CLIENT", "customer": None}, "customers": None}
    assert {error["extensions"]["code"] for error in told["errors"]} == {"FORBIDDEN"}
    refused = await http.get("/oauth/userinfo", headers=headers)
    assert refused.status_code == 403


async def test_its_grant_is_recorded_revoked_and_forgotten(platform, http):
    added = await _add(platform, secret=True)
    auth = (added.client.client_id, added.secret)
    one, other = [(await http.post("/oauth/token", data=CREDENTIALS, auth=auth)).json() for _ in range(2)]
    grants = select(oauth_grant.c.id).where(oauth_grant.c.client_id == added.client.id)
    async with platform.db.transaction(Role.WORKER) as tx:
        ids = [row.id for row in await tx.all(grants)]
        opened = select(func.count()).where(
            audit_event.c.action == "grant.opened",
            audit_event.c.object_id.in_(ids),
            audit_event.c.actor_kind == "client",
        )
        assert (len(ids), await tx.scalar(opened)) == (2, 2)
    assert (await http.post("/oauth/revoke", data={"token": one["access_token"]}, auth=auth)).status_code == 200
    told = [
        (await http.post("/oauth/introspect", data={"token": each["access_token"]}, auth=auth)).json()["active"]
        for each in (one, other)
    ]
    assert told == [False, True]
    async with platform.db.transaction(Role.WORKER) as tx:
        yesterday = oauth_grant.c.created_at - expired.SETTLED_AFTER
        await tx.execute(oauth_grant.update().where(oauth_grant.c.id.in_(ids)).values(created_at=yesterday))
        await expired.forget(tx, limit=1000)
        assert await tx.all(grants) == []


async def test_of_the_same_assertion_at_once_one_is_good(platform, http):
    client_id = (await _add(platform)).client.client_id
    sent = {**CREDENTIALS, **assertion(KEY, client_id)}
    answers = await asyncio.gather(*(http.post("/oauth/token", data=sent) for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [200, 400, 400]
    assert (await http.post("/oauth/token", data={**CREDENTIALS, **assertion(KEY, client_id)})).status_code == 200


def _bent(client_id: str, other: str) -> dict[str, dict[str, str]]:
    now, shared = int(time.time()), OctKey.generate_key()
    good = assertion(KEY, client_id)
    secret = json.dumps(KEY.as_dict(private=False))
    claims = {"iss": client_id, "sub": client_id, "aud": BASE, "exp": now + 60, "jti": "once"}
    hmac = jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(secret), ["HS256"])
    head, body, _ = good["client_assertion"].split(".")
    return {
        "another key": assertion(new_key(), client_id),
        "another client": assertion(KEY, other),
        "nobody": assertion(KEY, "nobody"),
        "issued by another": assertion(KEY, client_id, iss=other),
        "no subject": assertion(KEY, client_id, sub=None),
        "another audience": assertion(KEY, client_id, aud="https://evil.example"),
        "several audiences": assertion(KEY, client_id, aud=[BASE, "https://evil.example"]),
        "no audience": assertion(KEY, client_id, aud=None),
        "expired": assertion(KEY, client_id, exp=now - 60),
        "good for an hour": assertion(KEY, client_id, exp=now + 3600),
        "no expiry": assertion(KEY, client_id, exp=None),
        "infinite": assertion(KEY, client_id, exp=float("inf")),
        "issued tomorrow": assertion(KEY, client_id, iat=now + 86400),
        "no jti": assertion(KEY, client_id, jti=None),
        "long jti": assertion(KEY, client_id, jti="j" * 300),
        "number for a jti": assertion(KEY, client_id, jti=1),
        "our public key as a secret": {**good, "client_assertion": hmac},
        "a shared secret": {**good, "client_assertion": jwt.encode({"alg": "HS256"}, claims, shared, ["HS256"])},
        "no signature": {**good, "client_assertion": f"{head}.{body}."},
        "none": {**good, "client_assertion": f"eyJhbGciOiJub25lIn0.{body}."},
        "not text": {**good, "client_assertion": "\u20ac.\u20ac.\u20ac"},
        "huge": {**good, "client_assertion": "a" * 20_000},
        "empty": {**good, "client_assertion": ""},
        "another type": {**good, "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"},
        "no type": {"client_assertion": good["client_assertion"]},
        "named differently": {**assertion(KEY, client_id), "client_id": other},
    }


async def test_a_bent_assertion_proves_nobody(platform, http):
    client_id, other = [(await _add(platform, keys=[key])).client.client_id for key in (KEY, new_key())]
    for name, fields in _bent(client_id, other).items():
        answer = await http.post("/oauth/token", data={**CREDENTIALS, **fields})
        assert answer.json().get("error") == "invalid_client", name
        assert answer.status_code in {400, 401}


async def test_one_way_to_prove_oneself_and_its_own(platform, http, new_program):
    with_keys, with_secret = await _add(platform), await _add(platform, secret=True)
    client_id = with_keys.client.client_id
    twice = {**CREDENTIALS, **assertion(KEY, client_id), "client_secret": "x"}
    assert (await http.post("/oauth/token", data=twice)).json()["error"] == "invalid_request"
    both = await http.post(
        "/oauth/token", data={**CREDENTIALS, **assertion(KEY, client_id)}, auth=(client_id, "guessed")
    )
    assert both.json()["error"] == "invalid_request"
    for fields in (
        {"client_id": client_id},
        {"client_id": client_id, "client_secret": "guessed"},
        {"client_id": with_secret.client.client_id},
        assertion(KEY, with_secret.client.client_id),
        assertion(KEY, (await new_program()).client_id),
    ):
        answer = await http.post("/oauth/token", data={**CREDENTIALS, **fields})
        assert answer.json()["error"] == "invalid_client", fields


async def test_it_gets_what_it_was_given(platform, http, new_program):
    added = await _add(platform, authorization_types=["partner_access"])
    client_id = added.client.client_id

    async def ask(**fields: str):
        return (await http.post("/oauth/token", data={**CREDENTIALS, **assertion(KEY, client_id), **fields})).json()

    assert (await ask(scope="systems:read"))["scope"] == "systems:read"
    for strange in ("requests:work", "systems:read profile:read", "openid", "everything"):
        assert (await ask(scope=strange))["error"] == "invalid_scope"
    # A grant that nobody gave; tests/partners has those that somebody did.
    refused = await ask(authorization_details=json.dumps([DETAIL]))
    assert refused["error"] == "invalid_authorization_details"
    person = await new_program(confidential=True)
    refused = await person.post("/oauth/token", **CREDENTIALS)
    assert refused.json()["error"] == "unauthorized_client"


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"authorization_types": ["everything"]}, UnknownAuthorizationType),
        ({"keys": ()}, UnusableKey),
        ({"keys": (ECKey.generate_key("P-384"),)}, UnusableKey),
        ({"keys": (OKPKey.generate_key("X25519"),)}, UnusableKey),
        ({"keys": (OctKey.generate_key(),)}, UnusableKey),
        ({"keys": (KEY,) * 11}, UnusableKey),
    ],
    ids=["type", "none", "curve", "exchange", "shared", "many"],
)
async def test_keys_are_public_and_strong(platform, changed, error):
    with pytest.raises(error):
        await _add(platform, **changed)


async def test_who_acts_in_its_own_name_can_prove_itself(platform):
    async with platform.db.transaction(Role.WORKER) as tx:
        for given in ({}, {"confidential": True, "jwks": {"keys": [KEY.as_dict(private=False)]}}):
            with pytest.raises(ClientNeedsCredentials):
                await clients.add(tx, SYSTEM, "X", redirect_uris=[], grant_types=["client_credentials"], **given)
        with pytest.raises(UnusableKey):  # whoever sends a private key has just lost it
            await clients.add(tx, SYSTEM, "X", redirect_uris=[], jwks={"keys": [KEY.as_dict(private=True)]})


async def test_a_client_that_can_not_prove_itself_leaves_an_event(platform, http):
    known = await _add(platform, secret=True)
    for path, client_id in (
        ("token", known.client.client_id),
        ("par", known.client.client_id),
        ("introspect", known.client.client_id),
        ("token", "somebody@example.org"),
    ):
        answer = await http.post(f"/oauth/{path}", data={**CREDENTIALS, "token": "x"}, auth=(client_id, "guessed"))
        assert answer.json()["error"] == "invalid_client"
    async with platform.db.transaction(Role.WORKER) as tx:
        log = audit_event.c
        newest = select(log.action, log.outcome, log.code, log.object_id, log.details).order_by(log.id.desc()).limit(4)
        strange, *others = [tuple(row) for row in await tx.all(newest)]
    assert strange == ("client.authenticated", "refused", "INVALID_CLIENT", None, {})
    assert others == [("client.authenticated", "refused", "INVALID_CLIENT", known.client.id, {})] * 3
