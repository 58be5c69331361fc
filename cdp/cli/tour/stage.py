"""The stage of the tour: the embedded stack with short waits, the demo's people, and their copies in other systems."""

import asyncio
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select, update

from cdp.access.viewer import SYSTEM
from cdp.cli.tour import systems as outside
from cdp.cli.tour.systems import Copy
from cdp.cli.tour.visitor import TourFailed
from cdp.core.db import Role
from cdp.core.platform import Platform
from cdp.core.settings import Settings
from cdp.embedded.layout import Layout, layout_of, resolve
from cdp.embedded.lock import Record, holder, read_record
from cdp.operations import systems
from cdp.operations.systems import Registration
from cdp.tables.system import system

# Short enough to watch, long enough to see: a customer's undo, a worker's death and its successor.
PACE = {
    "CDP_COOLING_OFF": "4",
    "CDP_LEASE_S": "5",
    "CDP_SWEEP_S": "1",
    "CDP_RESIDUAL_EVERY": "0",
    "CDP_CANARY_EVERY": "0",
    "CDP_ALLOW_PRIVATE_TARGETS": "true",
    "CDP_LOG_LEVEL": "warning",
}
STARTED_WITHIN_S = 240.0
STOPPED_WITHIN_S = 60.0
POLL_S = 0.1


@dataclass(frozen=True)
class Stage:
    """What the tour plays on."""

    settings: Settings
    layout: Layout
    folder: Path
    url: str

    @property
    def crm(self) -> Path:
        """The CRM's database file."""
        return self.folder / "crm.sqlite"

    @property
    def newsletter(self) -> Path:
        """The newsletter's database file."""
        return self.folder / "newsletter.sqlite"

    def worker_pid(self) -> int:
        """Process of the worker, as the supervisor says."""
        record = read_record(self.layout.record, holder(self.layout.lock))
        parts = record.parts if record else ()
        pid = next((part.pid for part in parts if part.name == "worker"), None)
        if pid is None:
            raise TourFailed("the worker is not running")
        return pid


@contextmanager
def stack(settings: Settings) -> Iterator[Record]:
    """Run ``cdp up`` as a child with the demo's pace; yields its record once it is ready."""
    layout = layout_of(settings)
    if (pid := holder(layout.lock)) is not None:
        raise TourFailed(f"the stack is already running (pid {pid}); stop it with: cdp down")
    environment = os.environ | {name: os.environ.get(name, value) for name, value in PACE.items()}
    child = subprocess.Popen(
        [sys.executable, "-m", "cdp", "up"], env=environment, stdin=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield _ready(layout, child)
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
        child.wait(STOPPED_WITHIN_S)


def _ready(layout: Layout, child: subprocess.Popen[bytes]) -> Record:
    deadline = time.monotonic() + STARTED_WITHIN_S
    while child.poll() is None and time.monotonic() < deadline:
        record = read_record(layout.record, child.pid)
        if record is not None and record.is_ready and holder(layout.lock) == child.pid:
            return record
        time.sleep(POLL_S)
    raise TourFailed("the stack did not start")


@contextmanager
def newsletter_service(folder: Path) -> Iterator[tuple[int, str]]:
    """Run the newsletter as a process of its own; yields its port and the secret both sides sign with."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    secret = secrets.token_urlsafe(32)
    secret_file = folder / "newsletter.secret"
    secret_file.touch(mode=0o600)
    secret_file.write_text(secret, encoding="ascii")
    module, database = "cdp.cli.tour.newsletter", folder / "newsletter.sqlite"
    command = [sys.executable, "-m", module, str(port), str(database), str(secret_file)]
    with ExitStack() as cleanup:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603 - our own module
        cleanup.callback(child.wait)
        cleanup.callback(child.terminate)
        _await_port(port)
        yield port, secret


def _await_port(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(POLL_S)
    raise TourFailed("the newsletter service did not start")


async def connect(stage: Stage, platform: Platform, people: list[Copy], *, port: int, secret: str) -> list[str]:
    """Make every outside system anew with copies of the people, and register it; returns titles."""
    owner = resolve(stage.settings).database_owner_url or platform.settings.database_url
    made = [
        await asyncio.to_thread(outside.create_crm, stage.crm, people),
        await asyncio.to_thread(outside.create_warehouse, owner, platform.settings.database_url, people),
        await asyncio.to_thread(outside.create_newsletter, stage.newsletter, port, secret, people),
    ]
    for registration in made:
        await _register(platform, registration)
    return [registration.title for registration in made]


async def _register(platform: Platform, registration: Registration) -> None:
    """Register anew: an earlier demo's row is removed, or disabled where its tasks prove something."""
    async with platform.db.transaction(Role.WORKER) as tx:
        known = await tx.scalar(select(system.c.id).where(system.c.name == registration.name))
        if known is not None:
            retired = f"{registration.name}-{secrets.token_hex(3)}"
            await tx.execute(update(system).where(system.c.id == known).values(name=retired, enabled=False))
    await systems.add(platform, SYSTEM, registration)
