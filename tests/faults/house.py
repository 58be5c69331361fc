"""The platform's own machinery, of which any part may die: servers, workers and an API, with somebody who kills them.

Postgres keeps its promises here (fsync and synchronous commits are on), because it is stopped in the middle of work.
"""

import asyncio
import os
import random
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import redis
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from cdp.core.db import Role
from cdp.core.settings import Environment, Settings
from cdp.embedded.binaries import postgres_for
from cdp.embedded.layout import create, layout_of, leave, settings_for
from cdp.embedded.lock import held
from cdp.embedded.parts import Kept, start_all, stop_all
from cdp.embedded.postgres import Postgres
from cdp.embedded.process import start
from cdp.tables.migration import upgrade
from cdp.tables.request import privacy_request
from tests.engine import Engine
from tests.faults.recovery import Recovery
from tests.processes import Api, OwnProcess, Valkey, Worker

WORKERS = 3
API = "api"
TEND_S = LOOK_S = 0.5


class PostgresServer:
    """A Postgres of the test's own that can be stopped as if the power had gone for it alone."""

    def __init__(self, settings: Settings) -> None:
        self._layout = layout_of(settings)
        self._part = Postgres(self._layout, postgres_for(settings, self._layout))
        self._running: list[Kept] = []
        self.settings = settings

    def start(self) -> None:
        start_all([self._part], self._running)

    def stop_immediately(self) -> None:
        """SIGQUIT, the immediate shutdown: no checkpoint, every connection cut."""
        child = self._running[0].child
        os.kill(child.pid, signal.SIGQUIT)
        child.process.wait(30)

    def start_again(self) -> None:
        self._part.prepare()
        child = self._running[0].child = start(self._part.command())
        deadline = time.monotonic() + 60
        while not self._part.is_ready(child.pid):
            assert time.monotonic() < deadline, "Postgres did not come back"
            time.sleep(0.02)

    def stop(self) -> None:
        stop_all(self._running)


@contextmanager
def own_postgres(folder: Path) -> Iterator[PostgresServer]:
    """A migrated Postgres in a state folder of its own."""
    settings = Settings(env=Environment.TEST, state_dir=folder, redis_url="redis://not-started")
    settings = settings.model_copy(update={"database_url": "", "database_owner_url": ""})
    layout = layout_of(settings)
    create(layout)
    with held(layout.lock):
        server = PostgresServer(settings)
        try:
            server.start()
            server.settings = settings_for(settings, layout)
            upgrade(server.settings.database_owner_url, app_url=server.settings.database_url)
            yield server
        finally:
            server.stop()
            leave(layout)
            shutil.rmtree(layout.state, ignore_errors=True)


class House:
    """Workers and API, each replaced as soon as it was killed or ended, as a supervisor does."""

    def __init__(self, settings: Settings, postgres: PostgresServer, valkey: Valkey, logs: Path) -> None:
        self.settings, self.postgres, self.valkey = settings, postgres, valkey
        self.kills = 0
        self._is_closed = False
        self._logs = logs
        self._members: dict[str, OwnProcess] = {}
        self._born = 0

    @property
    def names(self) -> list[str]:
        return [*(f"worker {number}" for number in range(WORKERS)), API]

    def open(self) -> None:
        for name in self.names:
            self._start(name)
        for name in self.names[:WORKERS]:
            self._members[name].await_word("worker.started")

    def _start(self, name: str) -> None:
        self._born += 1
        log = self._logs / f"{name.replace(' ', '-')}.{self._born}.log"
        if name == API:
            self._members[name] = Api(self.settings, log)
        else:
            self._members[name] = Worker(self.settings, log, is_patient=False)

    @property
    def at_work(self) -> list[str]:
        """Who has come up since its birth; killing the others would only keep everybody waiting."""
        return [name for name, one in self._members.items() if one.is_running and self._is_up(name, one)]

    def _is_up(self, name: str, one: OwnProcess) -> bool:
        if name != API:
            return "worker.started" in one.said()
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.settings.port)) == 0

    def kill(self, name: str) -> int:
        """SIGKILL one and put a new one in its place; the pid of the dead."""
        dead = self._members[name]
        dead.kill()
        self.kills += 1
        self._start(name)
        return dead.pid

    async def tend(self) -> None:
        """Start again who ended by themselves, until the house is closed."""
        while not self._is_closed:
            for name, one in list(self._members.items()):
                if not one.is_running:
                    self._start(name)
            await asyncio.sleep(TEND_S)

    def close(self) -> None:
        self._is_closed = True  # who is started after this would wait for Postgres for ever
        for one in self._members.values():
            if one.is_running:
                one.kill()

    def said(self) -> str:
        """Everything all of them logged."""
        return "".join(log.read_text(encoding="utf-8") for log in sorted(self._logs.glob("*.log")))


async def kill_now_and_then(house: House, recovery: Recovery, chance: random.Random, stop: asyncio.Event) -> None:
    """Kill one of them every 3 to 8 seconds, and watch how what it had in hand is taken up."""
    while not await _stopped(stop, chance.uniform(3.0, 8.0)):
        if not (names := house.at_work):
            continue
        name = chance.choice(names)
        pid = house.kill(name)
        if name != API:
            await recovery.mourn(pid)


async def break_servers(house: House, stop: asyncio.Event) -> None:
    """Flush Valkey, take it away for a while, and stop Postgres immediately, twice."""
    deeds: list[tuple[float, Any]] = [
        (3.0, lambda: _flush(house.settings.redis_url)),
        (2.0, house.postgres.stop_immediately),
        (0.7, house.postgres.start_again),
        (3.0, house.valkey.stop),
        (3.0, house.valkey.start),
        (3.0, house.postgres.stop_immediately),
        (1.2, house.postgres.start_again),
    ]
    is_down = False
    for pause_s, deed in deeds:
        if await _stopped(stop, pause_s) and not is_down:
            return
        deed()
        is_down = deed in (house.postgres.stop_immediately, house.valkey.stop)


def _flush(url: str) -> None:
    with redis.Redis.from_url(url) as client:
        client.flushall()


async def _stopped(stop: asyncio.Event, within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            await stop.wait()
    except TimeoutError:
        return False
    return True


async def all_closed(engine: Engine, references: list[str], *, within_s: float) -> None:
    """Wait until all of them are over; seldom asked, since the workers need the time. Raises TimeoutError."""
    is_open = privacy_request.c.reference.in_(references) & privacy_request.c.key_id.is_not(None)
    left = None
    async with asyncio.timeout(within_s):
        while left != 0:
            await asyncio.sleep(LOOK_S)
            with suppress(SQLAlchemyError, OSError):  # Postgres may just be away
                async with engine.platform.db.transaction(Role.WORKER) as tx:
                    left = await tx.scalar(select(func.count()).where(is_open))
