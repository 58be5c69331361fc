"""What a run found: a table for people, a JSON file for comparing runs, and whether the targets hold."""

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.load import Round

# Cores used by others above which ratios say more about the others.
NOISE = 0.2
FOLDER = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Target:
    """A figure of this run and the bound it must keep."""

    what: str
    found: float
    bound: float
    at_least: bool
    spread: tuple[float, float] | None = None

    @property
    def holds(self) -> bool:
        """Whether the bound is kept."""
        return self.found >= self.bound if self.at_least else self.found <= self.bound


@dataclass
class Report:
    """Everything one run found. ``facts`` are figures without a bound."""

    customers: int
    concurrency: int
    pool_size: int
    rounds: dict[str, list[Round]] = field(default_factory=dict)
    floors: dict[str, list[Round]] = field(default_factory=dict)
    targets: list[Target] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether every target holds."""
        return all(target.holds for target in self.targets)


def ratio(what: str, ours: Sequence[Round], theirs: Sequence[Round], bound: float) -> Target:
    """Requests per second against a peer: the median of the rounds' own ratios, which cancels slow minutes."""
    ratios = [mine.rate / other.rate for mine, other in zip(ours, theirs, strict=True)]
    return Target(what, statistics.median(ratios), bound, at_least=True, spread=(min(ratios), max(ratios)))


def cpu(what: str, ours: Sequence[Round], bound_ms: float) -> Target:
    """CPU milliseconds per request of the server's process."""
    found = [each.cpu_ms for each in ours]
    return Target(what, statistics.median(found), bound_ms, at_least=False, spread=(min(found), max(found)))


def show(report: Report, console: Console) -> None:
    """Print the tables."""
    table = Table(title=f"Profile query, {report.customers:,} customers, {report.concurrency} connections")
    for name in (
        "server",
        "requests/s",
        "from – to",
        "p50 ms",
        "p99 ms",
        "CPU ms/request",
        "Postgres ms",
        "load ms",
        "strangers",
    ):
        table.add_column(name, justify="left" if name == "server" else "right")
    for name, rounds in (report.rounds | report.floors).items():
        rates = [each.rate for each in rounds]
        table.add_row(
            name,
            f"{statistics.median(rates):,.0f}",
            f"{min(rates):,.0f} – {max(rates):,.0f}",
            f"{statistics.median(each.p50_ms for each in rounds):.2f}",
            f"{statistics.median(each.p99_ms for each in rounds):.2f}",
            f"{statistics.median(each.cpu_ms for each in rounds):.3f}",
            f"{statistics.median(each.postgres_ms for each in rounds):.3f}",
            f"{statistics.median(each.client_ms for each in rounds):.3f}",
            f"{max(each.strangers for each in rounds):.0%}",
        )
    console.print(table)
    console.print("CPU, Postgres and load: milliseconds of processor time per request; strangers: cores others used")
    if (others := max(each.strangers for rounds in report.rounds.values() for each in rounds)) > NOISE:
        console.print(f"[yellow]up to {others:.1f} cores did other work: measure again when it is quiet[/]")
    for what, found in report.facts.items():
        console.print(f"{what}: {found}")
    for target in report.targets:
        show_target(target, console)


def show_target(target: Target, console: Console) -> None:
    """Print one figure against its bound."""
    sign = "≥" if target.at_least else "≤"
    spread = f" ({target.spread[0]:.2f} – {target.spread[1]:.2f})" if target.spread else ""
    verdict = "[green]holds[/]" if target.holds else "[red]missed[/]"
    console.print(f"{target.what}: [bold]{target.found:.2f}[/]{spread}, wanted {sign} {target.bound:g}: {verdict}")


def keep(report: Report) -> Path:
    """Write the JSON file; its path."""
    FOLDER.mkdir(exist_ok=True)
    file = FOLDER / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    found = {"machine": machine(), **asdict(report), "holds": report.holds}
    file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return file


def machine() -> Mapping[str, str | int]:
    """What the figures depend on."""
    processor = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    return {
        "processor": processor[0] if processor else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": f"{os.getloadavg()[0]:.2f}",
    }
