"""``python -m bench.deletions``: how fast people are deleted from many systems, against what calling in turn takes.

wide       one deletion over 50 systems that answer in 200 ms each; a peer that asks one after the other is the floor
local      many deletions at once over five systems of this machine, one worker process
slow       the same over five systems that answer in 200 ms, one worker process and two that wait for twelve answers at
           a time; and one as it is delivered, which on two cores is limited by its own core instead
crowd      100,000 people erased from one database at once (bench.crowd)

Requests are opened first and the workers started then, so a rate is that of the workers alone. What limits it is said
with it: the processor time of the worker, of Postgres, and of everything else.
"""

import argparse
import asyncio
import hashlib
import os
import shutil
import signal
import statistics
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import redis
from rich.console import Console
from sqlalchemy import Engine, create_engine, func, make_url, select, text, update

from bench import crowd, results
from bench.load import children_of, cpu_of
from bench.peers import free_ports
from bench.results import Target
from cdp.access.scopes import CUSTOMER_SCOPES
from cdp.access.viewer import SYSTEM, Actor, Viewer
from cdp.connectors.base import Json
from cdp.core.db import Role
from cdp.core.ids import CustomerId
from cdp.core.platform import Platform
from cdp.core.settings import Settings
from cdp.embedded.account import Account
from cdp.embedded.layout import layout_of
from cdp.embedded.process import Command, start
from cdp.embedded.servers import servers
from cdp.operations import systems
from cdp.operations.population import seed as population
from cdp.operations.reference import ensure_reference
from cdp.operations.requests import requests
from cdp.operations.systems import Registration
from cdp.tables.contact import email_address
from cdp.tables.customer import customer
from cdp.tables.migration import upgrade
from cdp.tables.request import RequestStatus, privacy_request
from cdp.tables.system import system

WIDE, DELAY_MS, FEW = 50, 200, 5
WIDE_WITHIN_S = 3.0
LOCAL_RATE = 10.0
SECOND_BRINGS = 1.6
ROUNDS = 3
# Calls of one system at a time: what these systems were agreed to bear.
CONCURRENCY = 64
# Tasks a worker has in hand where waiting is to be the limit, and not one core of Python.
FEW_HANDS = 12


@dataclass
class Found:
    """Everything a run found."""

    targets: list[Target] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Somebody:
    """A customer with a verified address."""

    id: CustomerId
    email: str


class Scene:
    """One platform on servers of its own, with people to delete."""

    def __init__(self, platform: Platform, people: list[Somebody], folder: Path, postgres_pid: int) -> None:
        self.platform, self.folder, self._postgres_pid = platform, folder, postgres_pid
        self._people = people

    def take(self, count: int) -> list[Somebody]:
        """People nobody has deleted yet."""
        taken, self._people = self._people[:count], self._people[count:]
        if len(taken) < count:
            raise SystemExit("not enough people were seeded")
        return taken

    def peek(self) -> list[Somebody]:
        """Everybody who is left, in the order they are taken."""
        return list(self._people)

    async def connect(self, wanted: list[Registration]) -> None:
        """Connect these systems, and no other takes part from now on."""
        async with self.platform.db.transaction(Role.WORKER) as tx:
            await tx.execute(update(system).where(system.c.kind != systems.OWN).values(enabled=False))
        for one in wanted:
            try:
                await systems.add(self.platform, SYSTEM, one)
            except systems.SystemRefused as error:
                raise SystemExit(f"{one.name}: {error.extensions}") from error

    async def open(self, who: Somebody) -> None:
        """Ask for the deletion, as the person."""
        now = self.platform.clock()
        viewer = Viewer(Actor.CUSTOMER, customer_id=who.id, scopes=CUSTOMER_SCOPES, authenticated_at=now)
        async with self.platform.db.transaction(Role.CUSTOMER, subject=who.id) as tx:
            await requests.open_erasure(tx, viewer, self.platform)

    async def done(self) -> int:
        """How many requests are over; raises where one needs a person."""
        async with self.platform.db.transaction(Role.WORKER) as tx:
            counted = select(privacy_request.c.status, func.count().label("number")).group_by(privacy_request.c.status)
            found: dict[RequestStatus, int] = {row.status: row.number for row in await tx.all(counted)}
        if found.get(RequestStatus.NEEDS_ATTENTION):
            raise SystemExit("a deletion needs attention")
        return found.get(RequestStatus.COMPLETED, 0)

    async def finish(self, total: int) -> None:
        """Wait until so many are over."""
        while await self.done() < total:  # noqa: ASYNC110 - the workers are other processes
            await asyncio.sleep(0.02)

    def postgres_cpu_s(self) -> float:
        """Processor time of Postgres so far; of its living backends."""
        return sum(map(cpu_of, [self._postgres_pid, *children_of(self._postgres_pid)]))

    @contextmanager
    def workers(self, count: int, *, hands: int | None = None) -> Iterator[list[int]]:
        """Worker processes for the length of the block, up and waiting; their pids.

        ``hands`` is how many tasks each does at a time, as delivered unless given.
        """
        settings = self.platform.settings
        given = {name: value for name, value in os.environ.items() if not name.startswith("CDP_")} | {
            "CDP_STATE_DIR": str(settings.state_dir),
            "CDP_DATABASE_URL": settings.database_url,
            "CDP_REDIS_URL": settings.redis_url,
            "CDP_OBJECTS_URL": settings.objects_url,
            "CDP_COOLING_OFF": "0",
            "CDP_SYSTEM_CONCURRENCY": str(settings.system_concurrency),
            "CDP_ALLOW_PRIVATE_TARGETS": "true",
            "CDP_LOG_FORMAT": "json",
            **({"CDP_WORKER_CONCURRENCY": str(hands)} if hands else {}),
        }
        me = Account("", os.geteuid(), os.getegid())
        children, logs = [], []
        for number in range(count):
            log = self.folder / f"worker-{number}-{time.monotonic_ns()}.log"
            argv = [sys.executable, "-m", "cdp", "worker"]
            stop = [(signal.SIGTERM, 20.0)]
            command = Command("worker", argv, me, signal.SIGKILL, stop, environment=given, output=log)
            children.append(start(command))
            logs.append(log)
        try:
            while not all("worker.started" in log.read_text(encoding="utf-8") for log in logs):
                time.sleep(0.05)
            yield [child.pid for child in children]
        finally:
            for child in children:
                child.stop()


def slow_systems(ports: list[int]) -> list[Registration]:
    """HTTP systems, a port each."""
    people: dict[str, Json] = {
        "read": {"path": "/people", "query": {"email": "{email}"}, "records": "/items", "match": "/email"},
        "erase": {"path": "/people/{record/id}"},
    }
    made = []
    for port in ports:
        name = f"slow-{len(ports)}-{port}"
        configuration: dict[str, Any] = {
            "url": f"http://127.0.0.1:{port}",
            "timeout_s": 20,
            "auth": {"type": "none"},
            "collections": {"people": people},
        }
        made.append(Registration(name, name.capitalize(), "http", configuration, {}))
    return made


async def wide(scene: Scene, ports: list[int], found: Found, console: Console) -> None:
    """One deletion at a time over many systems."""
    await scene.connect(slow_systems(ports))
    people = scene.take(ROUNDS + 1)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{ports[0]}", timeout=30) as client:
        await client.put("/people", json=[one.email for one in people])
        took: list[float] = []
        with scene.workers(1) as pids:
            before = await scene.done()
            for number, one in enumerate(people):
                began, cpu = time.monotonic(), cpu_of(pids[0])
                await scene.open(one)
                await scene.finish(before + number + 1)
                took.append(time.monotonic() - began)
                console.print(f"wide: {took[-1]:.2f} s, of which the worker computed {cpu_of(pids[0]) - cpu:.2f} s")
        began = time.monotonic()
        for port in ports:
            for _ in range(2):
                answer = await client.get(f"http://127.0.0.1:{port}/people", params={"email": people[0].email})
                if answer.json()["items"]:
                    raise SystemExit("a person is still known")
        one_by_one_s = time.monotonic() - began
    found.facts[f"asking {WIDE} systems twice, one after the other"] = f"{one_by_one_s:.1f} s"
    # the first one finds everything cold
    best = statistics.median(took[1:])
    found.targets.append(Target(f"seconds to delete from {WIDE} systems", best, WIDE_WITHIN_S, at_least=False))


async def rate(scene: Scene, what: str, count: int, workers: int, found: Found, *, hands: int | None = None) -> float:
    """Deletions a second of so many workers; everything is opened before they start."""
    people = scene.take(count)
    before = await scene.done()
    began = time.monotonic()
    for one in people:
        await scene.open(one)
    opened_s = time.monotonic() - began
    with scene.workers(workers, hands=hands) as pids:
        began, ahead = time.monotonic(), await scene.done() - before
        cpu, postgres = sum(map(cpu_of, pids)), scene.postgres_cpu_s()
        await scene.finish(before + count)
        took = (time.monotonic() - began) * count / (count - ahead)
        cpu, postgres = sum(map(cpu_of, pids)) - cpu, scene.postgres_cpu_s() - postgres
    busy = cpu / took / workers
    limit = "its processor time: one core of Python" if busy > 0.8 else "waiting for systems, or cores others use"
    found.facts[what] = (
        f"{count / took:.1f}/s; a worker computes {busy:.0%} of the time ({1000 * cpu / count:.0f} ms a deletion), "
        f"Postgres {1000 * postgres / count:.0f} ms; what limits it: {limit} (opened at {count / opened_s:.0f}/s)"
    )
    return count / took


def local_systems(scene: Scene, people: list[Somebody], settings: Settings) -> list[Registration]:
    """Two SQLite files, a Postgres database, the Valkey of this machine and a folder, all knowing these people."""
    made, mark = [], time.monotonic_ns()
    for number in range(2):
        file = scene.folder / f"shop-{mark}-{number}.sqlite"
        _fill(create_engine(f"sqlite:///{file}"), people)
        made.append(_sql(f"file-{mark}-{number}", f"sqlite:///{file}", {}))
    url = make_url(settings.database_owner_url).set(drivername="postgresql+psycopg")
    with create_engine(url, isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text(f"CREATE DATABASE shop_{mark}"))
    there = url.set(database=f"shop_{mark}")
    _fill(create_engine(there), people)
    plain = there.set(drivername="postgresql")._replace(password=None).render_as_string()
    made.append(_sql(f"shop-{mark}", plain, {"password": str(there.password)}))
    with redis.Redis.from_url(f"{settings.redis_url}?db=5") as client:
        client.mset({f"profile:{hashed(one.email)}": one.email for one in people})
    places: list[Json] = [{"collection": "profile", "key": "profile:{email:sha256}"}]
    cache: dict[str, Json] = {"url": f"{settings.redis_url}?db=5", "places": places}
    made.append(Registration(f"cache-{mark}", "Cache", "valkey", cache, {}))
    letters = scene.folder / f"letters-{mark}"
    for one in people:
        (letters / hashed(one.email)).mkdir(parents=True)
        (letters / hashed(one.email) / "welcome.txt").write_text("Dear you")
    places = [{"collection": "letters", "folder": "{email:sha256}/"}]
    made.append(Registration(f"files-{mark}", "Files", "blobs", {"url": letters.as_uri(), "places": places}, {}))
    return made


def hashed(email: str) -> str:
    """How caches and folders name somebody."""
    return hashlib.sha256(email.encode()).hexdigest()


def _fill(database: Engine, people: list[Somebody]) -> None:
    with database.begin() as connection:
        connection.execute(text("CREATE TABLE client (id INTEGER PRIMARY KEY, email VARCHAR(200) NOT NULL)"))
        connection.execute(text("CREATE TABLE visit (client_id INTEGER REFERENCES client (id), page VARCHAR(50))"))
        connection.execute(text("CREATE INDEX client_email ON client (email)"))
        connection.execute(text("CREATE INDEX visit_client ON visit (client_id)"))
        rows = [{"id": number, "email": one.email} for number, one in enumerate(people)]
        connection.execute(text("INSERT INTO client VALUES (:id, :email)"), rows)
        connection.execute(text("INSERT INTO visit VALUES (:id, '/')"), rows)
    database.dispose()


def _sql(name: str, url: str, secrets: dict[str, Any]) -> Registration:
    reference: dict[str, Json] = {"columns": ["client_id"], "table": "client", "keys": ["id"]}
    tables: list[Json] = [
        {"name": "client", "rows": "delete", "identities": [{"type": "email", "column": "email"}]},
        {"name": "visit", "rows": "delete", "references": [reference]},
    ]
    return Registration(name, name.capitalize(), "sql", {"url": url, "mapping": {"tables": tables}}, secrets)


async def local(scene: Scene, count: int, found: Found, console: Console) -> None:
    """Many at once over systems of this machine."""
    await scene.connect(local_systems(scene, scene.peek()[:count], scene.platform.settings))
    alone = await rate(scene, f"{count} deletions over {FEW} local systems, one worker", count, 1, found)
    found.targets.append(Target("deletions a second over five local systems", alone, LOCAL_RATE, at_least=True))
    console.print(f"local: {alone:.1f}/s")


async def slow(scene: Scene, ports: list[int], count: int, found: Found, console: Console) -> None:
    """Many at once over slow systems, by one worker and by two."""
    everybody = scene.peek()
    await scene.connect(slow_systems(ports[:FEW]))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{ports[0]}", timeout=30) as client:
        await client.put("/people", json=[one.email for one in everybody])
    rates = []
    what = f"{count} deletions over {FEW} systems of {DELAY_MS} ms"
    for workers in (1, 2):
        each = f"{what}, {workers} worker(s) of {FEW_HANDS} tasks at a time"
        rates.append(await rate(scene, each, count, workers, found, hands=FEW_HANDS))
        console.print(f"slow, {workers} worker(s) of {FEW_HANDS}: {rates[-1]:.1f}/s")
    await rate(scene, f"{what}, one worker as it is delivered", count, 1, found)
    found.targets.append(Target("what a second worker brings", rates[1] / rates[0], SECOND_BRINGS, at_least=True))


@asynccontextmanager
async def scene(settings: Settings, folder: Path, people: int, postgres_pid: int) -> AsyncIterator[Scene]:
    """A migrated platform with so many customers."""
    upgrade(settings.database_owner_url, app_url=settings.database_url)
    platform = Platform.open(settings)
    try:
        async with platform.db.transaction(Role.WORKER) as tx:
            await ensure_reference(tx)
        await population.seed(settings, platform.db, SYSTEM, customers=people, seed_number=1, now=platform.clock())
        known = select(customer.c.id, email_address.c.normalized)
        known = known.join(email_address, email_address.c.customer_id == customer.c.id)
        proven = email_address.c.verified_at.is_not(None) & email_address.c.is_primary
        async with platform.db.transaction(Role.WORKER) as tx:
            rows = await tx.all(known.where(proven).order_by(customer.c.id))
        yield Scene(platform, [Somebody(CustomerId(row.id), row.normalized) for row in rows], folder, postgres_pid)
    finally:
        await platform.close()


@contextmanager
def peer(folder: Path) -> Iterator[list[int]]:
    """The slow peer in a process of its own; its ports."""
    ports = free_ports(WIDE)
    argv = [sys.executable, "-m", "bench.slow", str(DELAY_MS), *map(str, ports)]
    me = Account("", os.geteuid(), os.getegid())
    child = start(Command("slow", argv, me, signal.SIGKILL, [(signal.SIGTERM, 5.0)], output=folder / "slow.log"))
    try:
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{ports[-1]}/calls", trust_env=False)
            except httpx.HTTPError as error:
                if child.exit_code() is not None:
                    raise SystemExit("the slow peer ended: somebody else took one of its ports") from error
                time.sleep(0.05)
            else:
                break
        yield ports
    finally:
        child.stop()


async def run(asked: argparse.Namespace, settings: Settings, folder: Path, postgres_pid: int) -> Found:
    """Every part that was asked for."""
    found, console = Found(), Console(width=130)
    seeded = 4 * asked.deletions + 100
    with peer(folder) as ports:
        async with scene(settings, folder, seeded, postgres_pid) as made:
            if asked.part in {"wide", "all"}:
                await wide(made, ports, found, console)
            if asked.part in {"local", "all"}:
                await local(made, asked.deletions, found, console)
            if asked.part in {"slow", "all"}:
                await slow(made, ports, asked.deletions, found, console)
    return found


def main() -> int:
    """Run and judge; the exit code."""
    full = bool(os.environ.get("BENCH_FULL"))
    parser = argparse.ArgumentParser(prog="python -m bench.deletions", description=__doc__)
    parser.add_argument("--part", choices=("wide", "local", "slow", "crowd", "all"), default="all")
    parser.add_argument("--deletions", type=int, default=1_000 if full else 200)
    asked = parser.parse_args()
    folder = Path(".cdp") / f"bench-deletions-{os.getpid()}"
    wanted = Settings(
        state_dir=folder, cooling_off=timedelta(0), allow_private_targets=True, system_concurrency=CONCURRENCY
    )
    wanted = wanted.model_copy(update={"database_url": "", "redis_url": "", "objects_url": ""})
    layout = layout_of(wanted)
    try:
        with servers(wanted) as settings:
            pid = int((layout.postgres / "postmaster.pid").read_text(encoding="ascii").split()[0])
            found = asyncio.run(run(asked, settings, layout.log, pid))
            if asked.part in {"crowd", "all"}:
                targets, facts = crowd.compare(Platform.open(settings))
                found.targets += targets
                found.facts |= facts
    finally:
        shutil.rmtree(layout.state, ignore_errors=True)
    console = Console(width=130)
    for what, fact in found.facts.items():
        console.print(f"{what}: {fact}")
    for target in found.targets:
        results.show_target(target, console)
    return 0 if all(target.holds for target in found.targets) else 1


if __name__ == "__main__":
    sys.exit(main())
