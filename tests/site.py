"""Fixtures of a whole application over the worker's database; a conftest imports those it wants.

app             the application, its lifespan running
new_customer    registers somebody: ``name = await new_customer()``; the password is PASSWORD
new_staff       the same for a member of staff: ``name = await new_staff("agent")``
signed_in       a browser in which that somebody is signed in
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest
import uvicorn
from sqlalchemy import update
from starlette.applications import Starlette

from cdp.app import build
from cdp.core.db import Role
from cdp.core.platform import Platform
from cdp.core.settings import Settings
from cdp.operations.accounts.accounts import Registration, register
from cdp.operations.accounts.passwords import hash_password
from cdp.tables.account import account
from cdp.tables.staff import staff
from tests.browser import serving, submit, visitor
from tests.population import Person

PASSWORD = "plum-tree under snow"


async def give_account(platform: Platform, person: Person) -> str:
    """Let somebody of ``tests.population`` sign in with their e-mail address and PASSWORD; answers the address."""
    password_hash = await hash_password(platform.settings, PASSWORD)
    async with platform.db.transaction(Role.WORKER) as tx:
        mine = update(account).where(account.c.customer_id == person.customer_id)
        await tx.execute(mine.values(username=person.email, password_hash=password_hash))
    return person.email


@pytest.fixture(scope="session")
async def app(settings: Settings) -> AsyncIterator[Starlette]:
    async with serving(settings) as found:
        yield found


@pytest.fixture(scope="session")
def platform(app: Starlette) -> Platform:
    return app.state.platform


@pytest.fixture(scope="session")
def new_customer(platform: Platform) -> Callable[[], Awaitable[str]]:
    async def make() -> str:
        email = f"ada.{secrets.token_hex(6)}@example.org"
        await register(platform, Registration(email, PASSWORD, accepts_policy=True, given_name="Ada"))
        return email

    return make


@pytest.fixture(scope="session")
def new_staff(platform: Platform) -> Callable[..., Awaitable[str]]:
    async def make(*roles: str) -> str:
        username = f"agent.{secrets.token_hex(6)}@example.org"
        password_hash = await hash_password(platform.settings, PASSWORD)
        values = {"username": username, "name": "Bo", "password_hash": password_hash, "roles": list(roles)}
        async with platform.db.transaction(Role.WORKER) as tx:
            await tx.execute(staff.insert().values(**values))
        return username

    return make


@asynccontextmanager
async def listening(settings: Settings, *, port: int | None = None) -> AsyncIterator[tuple[str, Platform]]:
    """The application behind uvicorn on a free port of this machine; base address and platform."""
    if port is None:
        probe = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
        port = probe.sockets[0].getsockname()[1]
        probe.close()
        await probe.wait_closed()
    settings = settings.model_copy(update={"port": port})
    app = build(settings)
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, access_log=False, proxy_headers=False)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.02)
        assert not serving.done(), "the server did not start"
    try:
        yield settings.url, app.state.platform
    finally:
        server.should_exit = True
        await serving


@pytest.fixture
async def signed_in(app: Starlette) -> AsyncIterator[Callable[..., Awaitable[httpx.AsyncClient]]]:
    async with AsyncExitStack() as stack:

        async def sign_in(username: str, *, page: str = "/account/sign-in") -> httpx.AsyncClient:
            browser = await stack.enter_async_context(visitor(app, address=f"203.0.113.{secrets.randbelow(250)}"))
            answer = await submit(browser, page, username=username, password=PASSWORD)
            assert answer.status_code == 303, answer.text
            return browser

        yield sign_in
