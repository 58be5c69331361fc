"""Apps that register themselves: off unless set, by an invitation that is good once."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from cdp.access.viewer import SYSTEM
from cdp.core.db import Role
from cdp.core.errors import InvalidInput
from cdp.operations.oauth import clients, registration
from cdp.tables.audit import audit_event
from cdp.tables.oauth import oauth_registration_token
from tests.browser import serving, visitor
from tests.oauth.keyring import new_key

APP = {"client_name": "Wren", "redirect_uris": ["https://wren.example/back"]}
KEYS = {"keys": [new_key().as_dict(private=False)]}


@pytest.fixture(scope="module")
async def open_app(settings):
    """An application at which apps may register."""
    async with serving(settings.model_copy(update={"client_registration": True})) as found:
        yield found


async def _invite(app) -> str:
    platform = app.state.platform
    async with platform.db.transaction(Role.WORKER) as tx:
        return await registration.invite(tx, SYSTEM, "Wren Ltd", now=platform.clock(), life=timedelta(days=1))


async def _register(app, token: str | None, metadata: object = APP, **more):
    headers = {"authorization": f"Bearer {token}"} if token else {}
    async with visitor(app) as http:
        return await http.post(
            "/oauth/register", headers={**headers, "accept": "application/json"}, json=metadata, **more
        )


async def test_it_is_off_unless_set(app, open_app):
    token = await _invite(open_app)
    assert (await _register(app, token)).status_code == 404
    async with visitor(app) as closed, visitor(open_app) as opened:
        told = [(await http.get("/.well-known/openid-configuration")).json() for http in (closed, opened)]
    assert "registration_endpoint" not in told[0]
    assert told[1]["registration_endpoint"].endswith("/oauth/register")


async def test_an_invited_app_registers_once(open_app):
    platform, token, other = open_app.state.platform, await _invite(open_app), await _invite(open_app)
    answers = await asyncio.gather(*(_register(open_app, token) for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [201, 401, 401]
    answer = next(answer for answer in answers if answer.status_code == 201)
    assert (answer.headers["cache-control"], answer.headers["pragma"]) == ("no-store", "no-cache")
    shown = answer.json()
    assert (shown["client_name"], shown["token_endpoint_auth_method"]) == ("Wren", "client_secret_basic")
    assert (shown["client_secret_expires_at"], shown["grant_types"]) == (0, ["authorization_code"])
    async with platform.db.transaction(Role.WORKER) as tx:
        client = await clients.find(tx, shown["client_id"])
        actions = select(audit_event.c.action, audit_event.c.actor_kind).where(audit_event.c.object_id == client.id)
        assert [tuple(row) for row in await tx.all(actions)] == [("client.added", "anonymous")]
        invited = select(oauth_registration_token).where(oauth_registration_token.c.client_id == client.id)
        row = await tx.first(invited)
        events = select(audit_event.c.action).where(audit_event.c.object_id == row.id)
        assert [event.action for event in await tx.all(events)] == ["client.invited"]
    assert client.check_client_secret(shown["client_secret"])
    assert (client.first_party, "customers:read" in client.scopes) == (False, False)
    assert (await _register(open_app, other)).status_code == 201


@pytest.mark.parametrize("token", [None, "", "guessed", "\x7f"])
async def test_nobody_registers_uninvited(open_app, token):
    refused = await _register(open_app, token)
    assert (refused.status_code, refused.json()["code"]) == (401, "INVITATION_INVALID")
    assert refused.headers["www-authenticate"].startswith("Bearer")


async def test_an_old_invitation_is_refused(open_app):
    platform, token, kept = open_app.state.platform, await _invite(open_app), await _invite(open_app)
    mine = oauth_registration_token.c.token_hash == registration.digest(token)
    async with platform.db.transaction(Role.WORKER) as tx:
        past = oauth_registration_token.c.created_at
        await tx.execute(update(oauth_registration_token).where(mine).values(expires_at=past))
        with pytest.raises(InvalidInput):
            await registration.invite(tx, SYSTEM, "X", now=platform.clock(), life=timedelta(days=31))
    assert (await _register(open_app, token)).status_code == 401
    assert (await _register(open_app, kept)).status_code == 201


async def test_it_may_bring_keys_and_bind_itself(open_app):
    bound = {"require_pushed_authorization_requests": True, "dpop_bound_access_tokens": True}
    wish = {**APP, **bound, "token_endpoint_auth_method": "private_key_jwt", "jwks": KEYS, "scope": "openid"}
    wish |= {"grant_types": ["authorization_code", "refresh_token"], "authorization_details_types": ["profile_access"]}
    shown = (await _register(open_app, await _invite(open_app), wish)).json()
    assert {name: shown[name] for name in bound} == bound
    assert (shown["jwks"], shown["scope"], "client_secret" in shown) == (KEYS, "openid", False)
    assert shown["authorization_details_types"] == ["profile_access"]
    public = {**APP, "token_endpoint_auth_method": "none"}
    assert "client_secret" not in (await _register(open_app, await _invite(open_app), public)).json()


WRONG = {
    "a foreign address": ({"redirect_uris": ["http://wren.example/"]}, "invalid_redirect_uri"),
    "a fragment": ({"redirect_uris": ["https://wren.example/#x"]}, "invalid_redirect_uri"),
    "no address": ({"redirect_uris": []}, "invalid_client_metadata"),
    "text for addresses": ({"redirect_uris": "https://wren.example/"}, "invalid_client_metadata"),
    "too many": ({"redirect_uris": ["https://wren.example/"] * 11}, "invalid_client_metadata"),
    "no name": ({"client_name": None}, "invalid_client_metadata"),
    "a long name": ({"client_name": "w" * 300}, "invalid_client_metadata"),
    "staff": ({"scope": "openid customers:read"}, "invalid_client_metadata"),
    "its own name": ({"grant_types": ["client_credentials"]}, "invalid_client_metadata"),
    "implicit": ({"grant_types": ["authorization_code", "implicit"]}, "invalid_client_metadata"),
    "tokens": ({"response_types": ["token"]}, "invalid_client_metadata"),
    "hmac": ({"token_endpoint_auth_method": "client_secret_jwt"}, "invalid_client_metadata"),
    "keys elsewhere": (
        {"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "https://x/"},
        "invalid_client_metadata",
    ),
    "no keys": ({"token_endpoint_auth_method": "private_key_jwt"}, "invalid_client_metadata"),
    "keys and a secret": ({"jwks": KEYS}, "invalid_client_metadata"),
    "a partner's type": ({"authorization_details_types": ["partner_access"]}, "invalid_client_metadata"),
    "a secret key": (
        {"token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [new_key().as_dict(private=True)]}},
        "invalid_client_metadata",
    ),
}


@pytest.mark.parametrize(("changed", "error"), WRONG.values(), ids=WRONG)
async def test_a_wrong_wish_is_told_and_costs_nothing(open_app, changed, error):
    token = await _invite(open_app)
    refused = await _register(open_app, token, {**APP, **changed})
    assert (refused.status_code, refused.json()["error"]) == (400, error)
    assert (await _register(open_app, token)).status_code == 201, "the invitation is still good"


async def test_garbage_is_refused_in_form(open_app):
    token = await _invite(open_app)
    async with visitor(open_app) as http:
        for content, kind in (("{", "application/json"), ("[]", "application/json"), ("a=b", "text/plain")):
            headers = {"authorization": f"Bearer {token}", "content-type": kind}
            answer = await http.post("/oauth/register", content=content, headers=headers)
            assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client_metadata")
