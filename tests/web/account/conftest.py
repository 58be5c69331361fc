"""The account pages over a platform of their own whose work the test does itself: nothing happens unasked.

desk        the application and the engine behind it; ``await desk.newcomer()`` is a signed-in somebody
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta

import httpx
import pytest
from sqlalchemy import select, update
from starlette.applications import Starlette

from cdp.access.viewer import Actor
from cdp.core.db import Role
from cdp.core.settings import Settings
from cdp.jobs.workplace import Workplace
from cdp.operations.accounts import sessions
from cdp.tables.account import account, session
from tests.browser import serving, submit, visitor
from tests.conftest import fresh_place
from tests.engine import QUICK, Engine
from tests.population import Person, make_person
from tests.site import PASSWORD, give_account

WEEK = timedelta(days=7)


@dataclass
class Desk:
    """One application, its engine, and browsers that close with the test."""

    app: Starlette
    engine: Engine
    browsers: AsyncExitStack

    async def stranger(self) -> httpx.AsyncClient:
        """A browser nobody has signed in with."""
        return await self.browsers.enter_async_context(visitor(self.app))

    async def newcomer(self) -> tuple[Person, httpx.AsyncClient]:
        """Somebody with a row of every kind, freshly signed in."""
        platform, browser = self.engine.platform, await self.stranger()
        person = await make_person(platform.db)
        username = await give_account(platform, person)
        async with platform.db.transaction(Role.WORKER) as tx:
            account_id = await tx.scalar(select(account.c.id).where(account.c.customer_id == person.customer_id))
            who = sessions.Person(Actor.CUSTOMER, account_id, username, person.customer_id, person.audit_ref)
            client = sessions.Client("192.0.2.1", "tests")
            token = await sessions.start(tx, who, client, now=platform.clock(), settings=platform.settings)
        browser.cookies.set(sessions.cookie_name(platform.settings, Actor.CUSTOMER), token)
        return person, browser

    async def sign_in(self, email: str) -> httpx.AsyncClient:
        """Through the form."""
        browser = await self.stranger()
        answer = await submit(browser, "/account/sign-in", username=email, password=PASSWORD)
        assert answer.status_code == 303, answer.text
        return browser

    async def grow_stale(self, person: Person) -> None:
        """As if the sign-in had been an hour ago."""
        then = self.engine.platform.clock() - timedelta(hours=1)
        await self._sessions(person, authenticated_at=then)

    async def sign_out_everywhere(self, person: Person) -> None:
        await self._sessions(person, revoked_at=self.engine.platform.clock())

    async def _sessions(self, person: Person, **values: object) -> None:
        async with self.engine.platform.db.transaction(Role.WORKER) as tx:
            await tx.execute(update(session).where(session.c.customer_id == person.customer_id).values(**values))

    async def copy(self, browser: httpx.AsyncClient) -> str:
        """Ask for a copy through the page; answers its reference."""
        answer = await submit(browser, "/account/download")
        assert answer.status_code == 303, answer.text
        return answer.headers["location"].rsplit("/", 1)[1]

    async def deletion(self, browser: httpx.AsyncClient) -> str:
        """Ask for deletion through the page; answers its reference."""
        answer = await submit(browser, "/account/delete", confirmation="delete")
        assert answer.status_code == 303, answer.text
        return answer.headers["location"].rsplit("/", 1)[1]

    async def finish(self, reference: str) -> None:
        """Let a deletion run to its end."""
        await self.engine.work()
        await self.engine.cool_off(reference)
        await self.engine.work()


@pytest.fixture(scope="module")
def place(running: Settings, worker_name: str) -> Iterator[Settings]:
    with fresh_place(running, worker_name) as settings:
        yield settings.model_copy(update={**QUICK, "cooling_off": WEEK, "redis_url": ""})


@pytest.fixture(scope="module")
async def office(place: Settings) -> AsyncIterator[Starlette]:
    async with serving(place) as app:
        yield app


@pytest.fixture
async def desk(office: Starlette) -> AsyncIterator[Desk]:
    async with AsyncExitStack() as browsers:
        place = Workplace(office.state.platform, office.state.reader, "tests")
        yield Desk(office, Engine(office.state.platform, place), browsers)
