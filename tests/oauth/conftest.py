"""The authorization server is tested from outside, as an app and a browser meet it."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from starlette.applications import Starlette

from cdp.access.viewer import SYSTEM
from cdp.core.db import Role
from cdp.core.platform import Platform
from cdp.operations.oauth import clients
from cdp.operations.oauth.tokens import issuer_of
from tests.browser import BASE
from tests.site import app, new_customer, new_staff, platform, signed_in

__all__ = ["app", "new_customer", "new_staff", "platform", "signed_in"]

REDIRECT = "https://shop.example/callback"
SCOPE = "openid offline_access profile:read"


@dataclass
class Program:
    """An app of the test's own: its registration, and the back channel to the token endpoint."""

    client_id: str
    secret: str | None
    http: httpx.AsyncClient

    def request(self, verifier: str, **changed: str | None) -> str:
        """Address of an authorization request; ``None`` leaves a parameter out."""
        wanted = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": REDIRECT,
            "scope": SCOPE,
            "state": "st4te",
            "nonce": "n0nce",
            "code_challenge": create_s256_code_challenge(verifier),
            "code_challenge_method": "S256",
            **changed,
        }
        return "/oauth/authorize?" + urlencode({name: value for name, value in wanted.items() if value is not None})

    async def code(self, browser: httpx.AsyncClient, verifier: str, **changed: str | None) -> str:
        """Send a signed-in browser through and answer the code."""
        answer = await browser.get(self.request(verifier, **changed))
        found = location(answer)
        assert "code" in found, answer.headers
        return found["code"]

    async def post(self, path: str, **fields: str) -> httpx.Response:
        """Post to an endpoint as this client."""
        auth = (self.client_id, self.secret) if self.secret else None
        given = fields if self.secret else {"client_id": self.client_id, **fields}
        return await self.http.post(path, data=given, auth=auth)

    async def exchange(self, code: str, verifier: str, **changed: str) -> httpx.Response:
        wanted = {"redirect_uri": REDIRECT, "code_verifier": verifier, **changed}
        return await self.post("/oauth/token", grant_type="authorization_code", code=code, **wanted)

    async def refresh(self, token: str, **more: str) -> httpx.Response:
        return await self.post("/oauth/token", grant_type="refresh_token", refresh_token=token, **more)

    async def sign_in(self, browser: httpx.AsyncClient, **changed: str | None) -> dict[str, str]:
        """The whole flow: tokens of who is signed in."""
        verifier = new_verifier()
        answer = await self.exchange(await self.code(browser, verifier, **changed), verifier)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def userinfo(self, token: str) -> httpx.Response:
        return await self.http.get("/oauth/userinfo", headers={"authorization": f"Bearer {token}"})


def new_verifier() -> str:
    return secrets.token_urlsafe(48)


def location(answer: httpx.Response) -> dict[str, str]:
    """Parameters of the address an answer redirects to."""
    assert answer.status_code == 303, (answer.status_code, answer.text)
    return {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}


@pytest.fixture
async def new_program(app: Starlette, platform: Platform) -> AsyncIterator[Callable[..., Awaitable[Program]]]:
    async with AsyncExitStack() as stack:

        async def make(
            *,
            confidential: bool = False,
            first_party: bool = True,
            scopes: tuple[str, ...] | None = None,
            **more: object,
        ) -> Program:
            async with platform.db.transaction(Role.WORKER) as tx:
                added = await clients.add(
                    tx,
                    SYSTEM,
                    "Corner shop",
                    redirect_uris=[REDIRECT, "https://shop.example/other"],
                    confidential=confidential,
                    post_logout_redirect_uris=["https://shop.example/bye"],
                    scopes=scopes,
                    first_party=first_party,
                    **more,
                )
            transport = httpx.ASGITransport(app)
            http = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url=BASE))
            return Program(added.client.client_id, added.secret, http)

        yield make


@pytest.fixture
def settle_revocations(platform: Platform) -> Callable[[], None]:
    """Spare a test the two seconds until a process looks for what others have ended."""
    return issuer_of(platform).look_again
