"""``python -m bench.profile``: the profile query against peers and floors in interleaved rounds; hostile documents."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from bench import floors, peers, results
from bench.documents import POSTGRAPHILE, PROFILE, Json, postgraphile_profile, profile, request
from bench.ground import Ground, ground
from bench.hostile import Blocks
from bench.load import Order, Round, Shot, WrongAnswer, collect, fire_apart
from bench.peers import Server
from bench.results import Report
from bench.seed import seeding
from bench.twin import CUSTOMER_HEADER
from bench.visitors import Visitor, visitors

CONCURRENCY = 16
VISITORS = 2_000
WARM_S = 0.7
# One unmeasured round each: node compiles what it runs often, everybody fills caches.
FIRST_WARM_S = 5.0
HOSTILE_DOCUMENTS = 2_000

NAIVE_RATIO = 15.0
POSTGRAPHILE_RATIO = 2.5
CPU_MS = 0.30
BLOCK_MS = 50.0


@dataclass(frozen=True)
class Contender:
    """A server that takes part, the requests it gets, and how its answers are read."""

    server: Server
    requests: Sequence[bytes]
    read: Callable[[bytes], Json]


def main() -> int:
    """Run everything; the exit code."""
    asked = _arguments()
    console = Console(width=130)
    with ground(asked.customers) as made, ExitStack() as stack:
        report = Report(asked.customers, CONCURRENCY, made.settings.pool_size)
        guests = visitors(made, VISITORS, seed=asked.seed)
        contenders = _contenders(made, guests, stack)
        console.print("checking every answer against every other …")
        shots = _agree(contenders, report)
        _rounds(made, contenders, shots, asked, report, console)
        _judge(report, made)
        _floors(made, guests, contenders[0], shots[0], asked, report)
        _hostile(made, guests[0], report)
    results.show(report, console)
    console.print(f"kept in {results.keep(report)}")
    return 0 if report.holds else 1


def _arguments() -> argparse.Namespace:
    full = bool(os.environ.get("BENCH_FULL"))
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=__doc__)
    parser.add_argument("--customers", type=int, default=1_000_000 if full else 100_000)
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds")
    parser.add_argument("--seconds", type=float, default=20.0 if full else 5.0, help="length of one round")
    parser.add_argument("--seed", type=int, default=1, help="which customers ask, and in which order")
    return parser.parse_args()


def _contenders(made: Ground, guests: Sequence[Visitor], stack: ExitStack) -> list[Contender]:
    """Ours first."""
    bearers = [request(PROFILE, headers=[f"Authorization: Bearer {guest.token}"]) for guest in guests]
    named = [request(PROFILE, headers=[f"{CUSTOMER_HEADER}: {guest.customer_id}"]) for guest in guests]
    by_id = [request(POSTGRAPHILE, {"id": str(guest.customer_id)}) for guest in guests]
    return [
        Contender(stack.enter_context(peers.ours(made)), bearers, profile),
        Contender(stack.enter_context(peers.twin(made)), named, profile),
        Contender(stack.enter_context(peers.postgraphile(made)), by_id, postgraphile_profile),
    ]


def _agree(contenders: Sequence[Contender], report: Report) -> list[list[Shot]]:
    """Ask each server for every customer; the same profile must come from all. What came is expected from then on."""
    found: list[list[Shot]] = []
    truth: list[Json] = []
    for contender in contenders:
        bodies = collect(contender.server.port, contender.requests, concurrency=CONCURRENCY)
        profiles = [contender.read(body) for body in bodies]
        truth = truth or profiles
        for ours, theirs in zip(truth, profiles, strict=True):
            if ours != theirs:
                name = contender.server.name
                raise WrongAnswer(f"{name} disagrees:\n{json.dumps(ours)[:2000]}\n{json.dumps(theirs)[:2000]}")
        mean = statistics.mean(map(len, bodies))
        report.facts[f"answer of {contender.server.name}"] = f"{mean:,.0f} bytes on average"
        found.append([Shot(*pair) for pair in zip(contender.requests, bodies, strict=True)])
    return found


def _rounds(
    made: Ground,
    contenders: Sequence[Contender],
    shots: Sequence[Sequence[Shot]],
    asked: argparse.Namespace,
    report: Report,
    console: Console,
) -> None:
    """Each round measures every server once, so that a slow minute of the machine slows them all."""
    for contender, theirs in zip(contenders, shots, strict=True):
        _fire(made, contender.server, theirs, seconds=FIRST_WARM_S, seed=asked.seed)
    for number in range(asked.rounds):
        for contender, theirs in zip(contenders, shots, strict=True):
            done = _fire(made, contender.server, theirs, seconds=asked.seconds, seed=asked.seed * 1000 + number)
            report.rounds.setdefault(contender.server.name, []).append(done)
        rates = "  ".join(f"{name} {rounds[-1].rate:,.0f}/s" for name, rounds in report.rounds.items())
        console.print(f"round {number + 1}: {rates}")


def _fire(made: Ground, server: Server, shots: Sequence[Shot], *, seconds: float, seed: int) -> Round:
    return fire_apart(
        Order(
            port=server.port,
            pid=server.pid,
            postgres_pid=made.postgres_pid,
            shots=shots,
            concurrency=CONCURRENCY,
            warm_s=WARM_S,
            seconds=seconds,
            seed=seed,
        )
    )


def _judge(report: Report, made: Ground) -> None:
    ours, naive, postgraphile = report.rounds.values()
    report.targets += [
        results.ratio("ours / naive twin", ours, naive, NAIVE_RATIO),
        results.ratio("ours / PostGraphile", ours, postgraphile, POSTGRAPHILE_RATIO),
        results.cpu("CPU ms per request outside Postgres", ours, CPU_MS),
        seeding(made.population.seconds, made.population.customers),
    ]


def _floors(
    made: Ground,
    guests: Sequence[Visitor],
    ours: Contender,
    shots: Sequence[Shot],
    asked: argparse.Namespace,
    report: Report,
) -> None:
    """The statement without HTTP, and HTTP without the statement."""
    rate = statistics.median(each.rate for each in report.rounds[ours.server.name])
    statement = floors.compiled(made, PROFILE, guests[0].customer_id)
    alone = floors.pgbench(made, statement, [guest.customer_id for guest in guests], seconds=asked.seconds)
    if alone is not None:
        report.facts["the same statement by pgbench"] = f"{alone:,.0f}/s; ours reaches {rate / alone:.2f} of it"
    typical = sorted(shots, key=lambda shot: len(shot.body))[len(shots) // 2]
    with tempfile.TemporaryDirectory(prefix="cdp-bench-") as folder:
        answer = Path(folder) / "answer"
        answer.write_bytes(typical.body)
        with peers.constant(made, answer) as server:
            done = _fire(made, server, [typical], seconds=asked.seconds, seed=asked.seed)
    report.floors[server.name] = [done]


def _hostile(made: Ground, guest: Visitor, report: Report) -> None:
    """The longest time one of many hostile documents keeps the event loop."""
    argv = [sys.executable, "-m", "bench.hostile", guest.token, str(HOSTILE_DOCUMENTS)]
    # Without its budget: one guest asks everything, and would soon be told to wait.
    environment = peers.platform_environment(made, port=8000) | {"CDP_GRAPHQL_BUDGET": "0"}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise WrongAnswer(f"the hostile documents broke something:\n{done.stderr[-3000:]}")
    blocks = Blocks(**json.loads(done.stdout))
    statuses = ", ".join(f"{count} × {status}" for status, count in sorted(blocks.statuses.items()))
    worst = "longest block of the event loop by a hostile document, ms"
    report.targets.append(results.Target(worst, blocks.worst_ms, BLOCK_MS, at_least=False))
    report.facts[f"longest block of the event loop by {blocks.documents:,} hostile documents"] = (
        f"{blocks.worst_ms:.1f} ms ({blocks.worst_kind}), 99 % within {blocks.p99_ms:.1f} ms; answers {statuses}"
    )


if __name__ == "__main__":
    sys.exit(main())
