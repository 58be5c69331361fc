"""The console is tested over the whole application, by people who work there.

agent       a browser in which an agent is signed in, freshly
colleague   the same for any role: ``browser = await colleague("privacy_officer")``
"""

from collections.abc import Awaitable, Callable

import httpx
import pytest

from cdp.core.db import Database
from cdp.core.platform import Platform
from tests.browser import forms
from tests.population import Person, make_person
from tests.site import app, new_customer, new_staff, platform, signed_in

__all__ = ["app", "new_customer", "new_staff", "platform", "signed_in"]

Colleague = Callable[..., Awaitable[httpx.AsyncClient]]


@pytest.fixture
def colleague(new_staff, signed_in) -> Colleague:
    async def sign_in(*roles: str) -> httpx.AsyncClient:
        return await signed_in(await new_staff(*roles), page="/console/sign-in")

    return sign_in


@pytest.fixture
async def agent(colleague: Colleague) -> httpx.AsyncClient:
    return await colleague("agent")


@pytest.fixture
def db(platform: Platform) -> Database:
    return platform.db


@pytest.fixture
async def person(db: Database) -> Person:
    return await make_person(db)


async def look_up(browser: httpx.AsyncClient, typed: str) -> httpx.Response:
    """Search as the page does: post, then follow."""
    shown = await browser.get("/console")
    posted = await browser.post("/console", data={**forms(shown)["/console"], "q": typed})
    return await browser.get(posted.headers["location"]) if posted.status_code == 303 else posted
