"""Bulk exports against the raw COPY of the same rows: ``python -m bench.bulk --customers N``; exit 1 below a target.

Workers are processes as ``cdp worker`` starts them, on the ground's database and a store of their own. Times run from
the kick-off to the signed manifest. Each round measures the copy and everything of ours once, so that a slow minute of
the machine slows them all.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

from sqlalchemy import make_url, select

from bench import peers
from bench.documents import PROFILE
from bench.ground import Ground, ground
from bench.load import WrongAnswer
from bench.results import Target, machine
from bench.twin import FixedPool
from cdp.access.scopes import CUSTOMER_SCOPES, STAFF_SCOPES
from cdp.access.viewer import SYSTEM, Actor, Viewer
from cdp.compiler.bulk import INNER_KEY, OUTER_KEY, BulkCompiler, BulkOptions, BulkPlan
from cdp.compiler.cursors import CursorSeal
from cdp.compiler.reader import Reader
from cdp.core.db import Role
from cdp.core.ids import CustomerId, global_id
from cdp.core.platform import Platform
from cdp.embedded.binaries import installed_postgres
from cdp.operations.bulk import control, kickoff
from cdp.operations.bulk.kickoff import Wanted
from cdp.schema.schema import open_reader
from cdp.tables.bulk import BULK_SETTLED, BulkFormat, BulkStatus, PartStatus, bulk_export, bulk_part
from cdp.tables.customer import customer
from tests.twin.twin import Request, twin_schema

PURPOSE = "orders"
QUERY = """{ customers { nodes {
  id country locale createdAt preferences { key value } currentConsents { purposeCode action }
  orders { nodes { status placedAt currency total items { sku title quantity unitPrice } } }
} } }"""
FORMATS = (BulkFormat.NDJSON, BulkFormat.PARQUET, BulkFormat.CSV)
PAGE, PAGES = 100, 10
# Each customer by an id of its own, all at once: DataLoaders make one statement a table of them.
PAGED = f"""query Page({" ".join(f"$id{n}: ID!" for n in range(PAGE))}) {{
  {" ".join(f"c{n}: customer(id: $id{n}) {{ ...all }}" for n in range(PAGE))}
}}
fragment all on Customer {{
  id country locale createdAt preferences {{ key value }} currentConsents {{ purposeCode action }}
  orders {{ nodes {{ status placedAt currency total items {{ sku title quantity unitPrice }} }} }}
}}"""
READS, THROTTLED_BYTES_PER_S, BESIDE = 1_000, 2_000_000, 3.0
ONE_WORKER, TWO_WORKERS, RESOLVERS, PARQUET, CSV, MEMORY_MB = 1.15, 0.75, 25.0, 2.0, 3.0, 64.0
STARTED_WITHIN_S, DONE_WITHIN_S = 60.0, 1800.0


@dataclass(frozen=True)
class Run:
    """One export: seconds from its kick-off, bytes, and the most memory a worker took above what it had idle."""

    seconds: float
    size_bytes: int
    memory_mb: float


@dataclass
class Worker:
    """A worker process."""

    process: subprocess.Popen[bytes]
    idle_kb: int = 0

    def begin(self) -> None:
        """Measure memory from here on (proc(5), clear_refs)."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5", encoding="ascii")
        self.idle_kb = self._memory("VmRSS")

    def grown_mb(self) -> float:
        """Most memory above idle since then."""
        return (self._memory("VmHWM") - self.idle_kb) / 1024

    def _memory(self, name: str) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(next(line for line in status.splitlines() if line.startswith(name)).split()[1])


def main() -> int:
    """Run everything; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.bulk", description=__doc__)
    parser.add_argument("--customers", type=int, default=200_000 if os.environ.get("BENCH_FULL") else 100_000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with ground(asked.customers) as made:
        found = asyncio.run(measure(made, rounds=asked.rounds))
    for target in found:
        sign, verdict = ("≥" if target.at_least else "≤"), ("holds" if target.holds else "missed")
        print(f"{target.what}: {target.found:.2f} {target.spread or ''}, wanted {sign} {target.bound:g}: {verdict}")
    print(json.dumps(machine()))
    return 0 if all(target.holds for target in found) else 1


async def measure(made: Ground, *, rounds: int) -> list[Target]:
    """The rounds, and what they come to."""
    copies: list[float] = []
    paged: list[float] = []
    beside: list[float] = []
    ones: dict[BulkFormat, list[Run]] = {one: [] for one in FORMATS}
    twos: list[Run] = []
    with tempfile.TemporaryDirectory(prefix="cdp-bench-") as folder:
        settings = made.settings.model_copy(update={"objects_url": Path(folder).as_uri(), "redis_url": ""})
        place = replace(made, settings=settings)
        async with _opened(place) as (platform, compiler):
            plan = compiler.compile(QUERY, replace(SYSTEM, purpose=PURPOSE), BulkOptions())
            for number in range(rounds):
                copies.append(_copy(place, plan))
                paged.append(await _resolvers(platform))
                with workers(place, 1) as [first]:
                    for format_ in FORMATS:
                        ones[format_].append(await _export(platform, compiler, [first], format_))
                beside.append(await _beside(place, platform, compiler))
                with workers(place, 2) as both:
                    twos.append(await _export(platform, compiler, both, BulkFormat.NDJSON))
                said = ", ".join(f"{one} {runs[-1].seconds:.1f} s" for one, runs in ones.items())
                size = ones[BulkFormat.NDJSON][-1].size_bytes / 1e6
                print(
                    f"round {number + 1}: copy {copies[-1]:.1f} s ({size:.0f} MB), {said}, two {twos[-1].seconds:.1f} s"
                )
    found = _targets(copies, ones, twos, [one * made.population.customers for one in paged])
    spread = (min(beside), max(beside))
    what = "p99 of a profile query beside a throttled export / idle"
    return [*found, Target(what, statistics.median(beside), BESIDE, at_least=False, spread=spread)]


def _targets(
    copies: Sequence[float],
    ones: Mapping[BulkFormat, Sequence[Run]],
    twos: Sequence[Run],
    paged: Sequence[float],
) -> list[Target]:
    lines = [run.seconds for run in ones[BulkFormat.NDJSON]]
    faster = [theirs / ours for theirs, ours in zip(paged, lines, strict=True)]
    found = [
        _ratio("one worker / copy", lines, copies, ONE_WORKER),
        _ratio("two workers / copy", [run.seconds for run in twos], copies, TWO_WORKERS),
        Target(
            "pages through resolvers / one worker",
            statistics.median(faster),
            RESOLVERS,
            at_least=True,
            spread=(min(faster), max(faster)),
        ),
        _ratio("Parquet / NDJSON", [run.seconds for run in ones[BulkFormat.PARQUET]], lines, PARQUET),
        _ratio("CSV / NDJSON", [run.seconds for run in ones[BulkFormat.CSV]], lines, CSV),
    ]
    for format_, runs in ones.items():
        most = max(run.memory_mb for run in runs)
        found.append(Target(f"MB above idle, {format_}", most, MEMORY_MB, at_least=False))
    return found


def _ratio(what: str, ours: Sequence[float], theirs: Sequence[float], bound: float) -> Target:
    """The median of the rounds' own ratios."""
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return Target(what, statistics.median(ratios), bound, at_least=False, spread=(min(ratios), max(ratios)))


@asynccontextmanager
async def _opened(place: Ground) -> AsyncIterator[tuple[Platform, BulkCompiler]]:
    platform = Platform.open(place.settings)
    reader = open_reader(platform)
    try:
        yield platform, BulkCompiler(reader.graph, reader.limits)
    finally:
        await reader.close()
        await platform.close()


@contextmanager
def workers(place: Ground, count: int, **environment: str) -> Iterator[list[Worker]]:
    """So many worker processes, ready."""
    known = peers.platform_environment(place, port=8000) | {"CDP_LOG_LEVEL": "info"} | environment
    found: list[Worker] = []
    with tempfile.TemporaryDirectory(prefix="cdp-bench-") as folder:
        logs = [Path(folder) / f"{number}.log" for number in range(count)]
        try:
            for log in logs:
                with log.open("wb") as output:
                    argv = [sys.executable, "-m", "cdp", "worker"]
                    found.append(Worker(subprocess.Popen(argv, env=known, stdout=output, stderr=output)))
            deadline = time.monotonic() + STARTED_WITHIN_S
            while not all("worker.started" in log.read_text(encoding="utf-8") for log in logs):
                if time.monotonic() > deadline:
                    raise peers.PeerFailed("a worker did not start")
                time.sleep(0.1)
            yield found
        finally:
            for one in found:
                one.process.terminate()
            for one in found:
                one.process.wait(30)


async def _export(platform: Platform, compiler: BulkCompiler, made: Sequence[Worker], format_: BulkFormat) -> Run:
    for one in made:
        one.begin()
    began = time.monotonic()
    asked = await kickoff.run_query(platform, compiler, SYSTEM, Wanted(QUERY, PURPOSE, format=format_))
    while time.monotonic() - began < DONE_WITHIN_S:
        async with platform.db.transaction(Role.WORKER) as tx:
            row = await tx.first(select(bulk_export).where(bulk_export.c.id == asked.id))
        if row is not None and row.status in BULK_SETTLED:
            if row.status is not BulkStatus.COMPLETED:
                raise WrongAnswer(f"the export ended {row.status} ({row.code})")
            return Run(time.monotonic() - began, row.size_bytes, max(one.grown_mb() for one in made))
        await asyncio.sleep(0.05)
    raise WrongAnswer("the export did not end")


async def _beside(place: Ground, platform: Platform, compiler: BulkCompiler) -> float:
    """The p99 of profile queries while one throttled worker exports, against the p99 before it."""
    reader = open_reader(platform)
    try:
        async with platform.db.transaction(Role.WORKER) as tx:
            people = [CustomerId(row.id) for row in await tx.all(select(customer.c.id).limit(READS))]
        await _p99(reader, people)  # plans and pages are warm
        idle = await _p99(reader, people)
        with workers(place, 1, CDP_BULK_MAX_BYTES_PER_S=str(THROTTLED_BYTES_PER_S)):
            asked = await kickoff.run_query(platform, compiler, SYSTEM, Wanted(QUERY, PURPOSE))
            await _until_running(platform, asked.id)
            busy = await _p99(reader, people)
            async with platform.db.transaction(Role.WORKER) as tx:
                await control.cancel(tx, SYSTEM, asked.id)
        return busy / idle
    finally:
        await reader.close()


async def _until_running(platform: Platform, export_id: UUID) -> None:
    began = time.monotonic()
    while time.monotonic() - began < STARTED_WITHIN_S:
        async with platform.db.transaction(Role.WORKER) as tx:
            running = select(bulk_part.c.id).where(
                bulk_part.c.bulk_export_id == export_id, bulk_part.c.status == PartStatus.RUNNING
            )
            if await tx.scalar(running.limit(1)) is not None:
                return
        await asyncio.sleep(0.1)
    raise WrongAnswer("the throttled export did not begin")


async def _p99(reader: Reader, people: Sequence[CustomerId]) -> float:
    times = []
    for one in people:
        viewer = Viewer(Actor.CUSTOMER, customer_id=one, scopes=CUSTOMER_SCOPES)
        began = time.monotonic()
        await reader.rows(PROFILE, viewer, {})
        times.append(time.monotonic() - began)
    return statistics.quantiles(times, n=100)[-1]


async def _resolvers(platform: Platform) -> float:
    """Seconds a customer costs who is read by pages of resolvers and DataLoaders; the first pages stand for all."""
    schema, seal = twin_schema(), CursorSeal(bytes(32))
    db = FixedPool(platform.settings.database_url, pool_size=4)
    viewer = Viewer(Actor.STAFF, roles=frozenset({"privacy_officer"}), scopes=STAFF_SCOPES, purpose="customer_service")
    last, began, people = UUID(int=0), time.monotonic(), 0
    try:
        for _ in range(PAGES):
            async with platform.db.transaction(Role.WORKER) as tx:
                following = select(customer.c.id).where(customer.c.id > last).order_by(customer.c.id).limit(PAGE)
                ids = [row.id for row in await tx.all(following)]
            named = {f"id{n}": global_id("Customer", one) for n, one in enumerate(ids)}
            answer = await schema.execute(PAGED, variable_values=named, context_value=Request(db, viewer, seal))
            if answer.errors or answer.data is None or None in answer.data.values():
                raise WrongAnswer(f"the resolvers failed: {answer.errors}")
            people, last = people + len(answer.data), ids[-1]
        return (time.monotonic() - began) / people
    finally:
        await db.close()


def _copy(place: Ground, plan: BulkPlan) -> float:
    r"""Seconds of psql's ``\copy`` of the very statement into a file."""
    bounds: dict[str, object] = {
        "lower": None,
        "upper": None,
        "purpose": PURPOSE,
        "since": None,
        "areas": [],
        "suppressed": [],
    }
    statement = plan.output.sql
    values = plan.output.bind(plan.call, bounds)
    for number in range(len(values), 0, -1):
        statement = statement.replace(f"${number}", _literal(values[number - 1]))
    url = make_url(place.settings.database_url)
    options = f"-c role={Role.WORKER} -c jit=off -c timezone=UTC -c {INNER_KEY}={'36' * 64} -c {OUTER_KEY}={'5c' * 64}"
    environment = {
        "PATH": os.environ["PATH"],
        "PGHOST": str(url.query["host"]),
        "PGUSER": str(url.username),
        "PGPASSWORD": str(url.password),
        "PGDATABASE": str(url.database),
        "PGOPTIONS": options,
    }
    line = " ".join(statement.split("\n"))
    with tempfile.NamedTemporaryFile(prefix="cdp-bench-") as file:
        command = rf"\copy ({line}) TO '{file.name}' (FORMAT csv, QUOTE e'\x01', DELIMITER e'\x02')"
        argv = [str(installed_postgres(place.settings).with_name("psql")), "-qX", "-v", "ON_ERROR_STOP=1"]
        began = time.monotonic()
        done = subprocess.run(argv, input=command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise WrongAnswer(f"psql failed:\n{done.stderr[-1000:]}")
        return time.monotonic() - began


def _literal(value: object) -> str:
    """A bound value as SQL; the only ones here are ours."""
    match value:
        case None:
            return "NULL"
        case list():
            return "'{}'"
        case _:
            return "'" + str(value).replace("'", "''") + "'"


if __name__ == "__main__":
    sys.exit(main())
