"""The whole site as people meet it: API and worker as processes of their own, two connected systems, a real Chromium.

site        the running site; ``await site.newcomer()`` is somebody with data in every system who can sign in
browser     Chromium without a screen
open_page   a page of a fresh browser profile; when it closes, nothing may have left the origin or broken the policy
"""

import asyncio
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright
from sqlalchemy import update

from cdp.access.viewer import SYSTEM
from cdp.core.db import Role
from cdp.core.platform import Platform
from cdp.core.settings import Settings
from cdp.embedded.ports import is_free
from cdp.operations import systems
from cdp.operations.systems import Registration
from cdp.tables.contact import email_address
from tests import peers
from tests.conftest import PROJECT, fresh_place
from tests.connectors.webhook_peer import SECRET, Peer, served
from tests.population import Person, make_person
from tests.site import give_account

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
STARTED_WITHIN_S = 60.0
# A page that says no has a status that says so, which Chromium notes; all else it reports, violations of the policy
# among them, is a fault.
REFUSAL = "Failed to load resource: the server responded with a status of 4"


@dataclass
class Site:
    """Where it runs, and what is behind it."""

    settings: Settings
    platform: Platform
    crm: Path
    newsletter: Peer

    @property
    def url(self) -> str:
        return self.settings.url

    async def newcomer(self) -> tuple[Person, str]:
        """Somebody with a row of every kind here and in both other systems; the user name is the e-mail address."""
        person = await make_person(self.platform.db)
        await give_account(self.platform, person)
        self.known_elsewhere(person.email)
        return person, person.email

    def known_elsewhere(self, email: str) -> None:
        """Let both connected systems hold something about an address."""
        with sqlite3.connect(self.crm) as connection:
            connection.execute("INSERT INTO contact (mail, note) VALUES (?, 'asked about delivery')", (email,))
        connection.close()
        self.newsletter.people[email] = {"subscription": [{"list": "monthly"}]}

    def in_crm(self, email: str) -> int:
        connection = sqlite3.connect(self.crm)
        try:
            return int(connection.execute("SELECT count(*) FROM contact WHERE mail = ?", (email,)).fetchone()[0])
        finally:
            connection.close()

    async def prove(self, email: str) -> None:
        """As if the person had followed the link in the letter to this address."""
        async with self.platform.db.transaction(Role.WORKER) as tx:
            mine = update(email_address).where(email_address.c.normalized == email)
            await tx.execute(mine.values(verified_at=self.platform.clock()))


@pytest.fixture(scope="module")
def place(running: Settings, worker_name: str) -> Iterator[Settings]:
    with fresh_place(running, worker_name) as settings:
        yield settings.model_copy(update={"port": _free_port(), "base_url": ""})


def _free_port() -> int:
    """A port nobody listens on, neither on 127.0.0.1 nor on ::1, where a browser looks first for ``localhost``."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = int(probe.getsockname()[1])
        if is_free("127.0.0.1", port):
            return port


@pytest.fixture(scope="module")
async def site(place: Settings) -> AsyncIterator[Site]:
    """Shared by a file's tests: use your own people."""
    environment = os.environ | {
        "CDP_ENV": "test",
        "CDP_PORT": str(place.port),
        "CDP_STATE_DIR": str(place.state_dir),
        "CDP_DATABASE_URL": place.database_url,
        "CDP_REDIS_URL": place.redis_url,
        "CDP_OBJECTS_URL": place.objects_url,
        "CDP_COOLING_OFF": "2",
        "CDP_SWEEP_S": "0.5",
        "CDP_ALLOW_PRIVATE_TARGETS": "true",
        "CDP_LOG_FORMAT": "json",
    }
    platform = Platform.open(place)
    folder = place.state_dir
    folder.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(platform.close)
        peer = stack.enter_context(served())
        for verb in ("worker", "api"):
            child = stack.enter_context(_running(verb, environment, folder / f"{verb}.log"))
        crm = folder / "crm.sqlite"
        await _answers(place.url, child)
        await _connect(platform, crm, peer)
        yield Site(place, platform, crm, peer)


@contextmanager
def _running(verb: str, environment: dict[str, str], log: Path) -> "Iterator[subprocess.Popen[bytes]]":
    with log.open("wb") as output:
        command = [sys.executable, "-m", "cdp", verb]
        child = subprocess.Popen(command, env=environment, cwd=PROJECT, stdout=output, stderr=output)
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


async def _answers(url: str, child: "subprocess.Popen[bytes]") -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        for _ in range(int(STARTED_WITHIN_S / 0.1)):
            assert child.poll() is None, "the API did not start; its log is api.log"
            try:
                if (await client.get(f"{url}/readyz")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)
    raise AssertionError("the API did not become ready")


async def _connect(platform: Platform, crm: Path, peer: Peer) -> None:
    with sqlite3.connect(crm) as connection:
        connection.execute("CREATE TABLE contact (id INTEGER PRIMARY KEY, mail TEXT NOT NULL UNIQUE, note TEXT)")
    connection.close()
    identity = {"column": "mail", "type": "email", "normalise": "lower"}
    mapping = {"tables": [{"name": "contact", "rows": "delete", "identities": [identity]}]}
    reached = {"url": f"sqlite:///{crm}", "mapping": mapping}
    await systems.add(platform, SYSTEM, Registration("crm", "Customer relations", "sql", reached, {}, 10))
    configuration = {"url": peer.url, "timeout_s": 5, "identifiers": ["email"]}
    await systems.add(
        platform, SYSTEM, Registration("newsletter", "Newsletter", "webhook", configuration, {"secret": SECRET}, 20)
    )


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    if CHROMIUM is None:
        peers.missing("chromium", "apt install chromium")
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        peers.took_part(f"chromium {launched.version}")
        yield launched
        await launched.close()


@dataclass
class Watched:
    """A browser profile whose every request and complaint is noted."""

    context: BrowserContext
    origin: str
    strangers: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def follow(self, page: Page) -> None:
        page.on("console", lambda said: self._hear(said.type, said.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _hear(self, kind: str, text: str) -> None:
        if kind in {"error", "warning"} and not text.startswith(REFUSAL):
            self.complaints.append(text)

    def note(self, address: str) -> None:
        parts = urlsplit(address)
        if parts.scheme in {"http", "https", "ws", "wss"} and f"{parts.scheme}://{parts.netloc}" != self.origin:
            self.strangers.append(address)


OpenPage = Callable[..., Awaitable[Page]]


@pytest.fixture
async def open_page(site: Site, browser: Browser) -> AsyncIterator[OpenPage]:
    """``page = await open_page(java_script_enabled=False, viewport=…)``."""
    profiles: list[Watched] = []

    async def make(**options: object) -> Page:
        context = await browser.new_context(base_url=site.url, locale="en-GB", timezone_id="Europe/Berlin", **options)
        watched = Watched(context, site.url)
        profiles.append(watched)
        context.on("request", lambda request: watched.note(request.url))
        context.on("page", watched.follow)
        return await context.new_page()

    yield make
    for watched in profiles:
        await watched.context.close()
        assert not watched.strangers, "a request left the origin"
        assert not watched.complaints, "the browser complained"
