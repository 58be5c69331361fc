"""A real server on a real port, and an OAuth client nobody here wrote: Authlib's own, by discovery alone."""

import logging
from collections.abc import Iterator

import httpx
import pytest
from authlib.integrations.httpx_client import AsyncOAuth2Client, OAuthError
from joserfc import jwt
from joserfc.jwk import KeySet

from cdp.access.viewer import SYSTEM
from cdp.core.db import Role
from cdp.operations.accounts.accounts import Registration, register
from cdp.operations.oauth import clients
from tests.browser import forms
from tests.oauth.conftest import REDIRECT, new_verifier
from tests.site import PASSWORD, listening


class _Listener(logging.Handler):
    """Hears everything any library logs."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.name} {record.getMessage()}")


@pytest.fixture
def listener() -> Iterator[_Listener]:
    found, root = _Listener(), logging.getLogger()
    level = root.level
    root.addHandler(found)
    root.setLevel(logging.DEBUG)
    yield found
    root.removeHandler(found)
    root.setLevel(level)


async def test_an_independent_client_signs_in_and_no_log_tells_a_secret(settings, listener, capfd):
    async with listening(settings) as (base, platform):
        logging.getLogger().addHandler(listener)  # configuring the log at the start has removed it
        logging.getLogger().setLevel(logging.DEBUG)
        async with platform.db.transaction(Role.WORKER) as tx:
            added = await clients.add(tx, SYSTEM, "Shop", redirect_uris=[REDIRECT], confidential=True, first_party=True)
        email = f"{new_verifier()[:8].lower()}@example.org"
        await register(platform, Registration(email, PASSWORD, accepts_policy=True))
        async with httpx.AsyncClient(base_url=base) as browser:
            seen = await _walk(base, added, browser, email)
    written = capfd.readouterr()
    logged = "\n".join([*listener.lines, written.out, written.err])
    assert "uvicorn" in logged, "the listener hears nothing"
    assert not [secret for secret in seen if secret in logged]
    assert email not in logged


async def _walk(base: str, added: clients.NewClient, browser: httpx.AsyncClient, email: str) -> list[str]:
    """Discovery, code, tokens, keys, userinfo, refresh, revocation; answers every secret that was seen."""
    server = (await browser.get("/.well-known/openid-configuration")).json()
    assert server["issuer"] == base
    client = AsyncOAuth2Client(
        client_id=added.client.client_id,
        client_secret=added.secret,
        redirect_uri=REDIRECT,
        scope="openid offline_access profile:read",
        code_challenge_method="S256",
        token_endpoint=server["token_endpoint"],
    )
    async with client:
        verifier = new_verifier()
        address, state = client.create_authorization_url(server["authorization_endpoint"], code_verifier=verifier)
        back = await _as_person(browser, address, email)
        tokens = await client.fetch_token(authorization_response=back, state=state, code_verifier=verifier)
        keys = KeySet.import_key_set((await client.get(server["jwks_uri"])).json())
        subject = jwt.decode(tokens["id_token"], keys, ["RS256"]).claims["sub"]
        told = (await client.get(server["userinfo_endpoint"])).json()
        assert (told["sub"], told["email"]) == (subject, email)
        fresh = dict(await client.refresh_token(server["token_endpoint"]))
        assert fresh["refresh_token"] != tokens["refresh_token"]
        held = await client.introspect_token(server["introspection_endpoint"], token=fresh["access_token"])
        assert held.json()["active"] is True
        await client.revoke_token(server["revocation_endpoint"], token=fresh["refresh_token"])
        with pytest.raises(OAuthError, match="invalid_grant"):
            await client.refresh_token(server["token_endpoint"], refresh_token=fresh["refresh_token"])
    return [verifier, tokens["access_token"], tokens["refresh_token"], fresh["refresh_token"], tokens["id_token"]]


async def _as_person(browser: httpx.AsyncClient, address: str, email: str) -> str:
    """Sign in where the app sent the browser; the address it is sent back to."""
    page = await browser.get(address, follow_redirects=True)
    fields = {**forms(page)["/account/sign-in"], "username": email, "password": PASSWORD}
    answer = await browser.post("/account/sign-in", data=fields)
    while not answer.headers["location"].startswith(REDIRECT):
        answer = await browser.get(answer.headers["location"])
    return answer.headers["location"]
