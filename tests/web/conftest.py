"""An application over the worker's database, and customers of the test's own."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from starlette.applications import Starlette

from cdp.core.settings import Settings
from cdp.operations.accounts import Registration, register
from tests.browser import serving

PASSWORD = "plum-tree under snow"


@pytest.fixture(scope="session")
async def app(settings: Settings) -> AsyncIterator[Starlette]:
    async with serving(settings) as found:
        yield found


@pytest.fixture
def new_customer(app: Starlette) -> Callable[[], Awaitable[str]]:
    """Registers somebody; answers the user name. The password is PASSWORD."""

    async def make() -> str:
        email = f"ada.{secrets.token_hex(6)}@example.org"
        await register(app.state.platform, Registration(email, PASSWORD, accepts_policy=True, given_name="Ada"))
        return email

    return make
