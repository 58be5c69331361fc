"""``cdp import | seed``: bring customers in, real ones by a mapping file and made-up ones by a number."""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from cdp.access.viewer import SYSTEM
from cdp.cli.environment import read_settings
from cdp.core.errors import InvalidInput
from cdp.core.platform import Platform
from cdp.embedded.layout import resolve
from cdp.operations.imports import mapping, run
from cdp.operations.imports.report import Report
from cdp.operations.imports.sources import SourceUnreadable, TableMissing
from cdp.operations.imports.staging import ColumnMissing
from cdp.operations.population.refusal import CODE
from cdp.operations.population.seed import Seeded, seed

app = typer.Typer()
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]

FAILED = 1
REFUSED = 3
SHOWN_REJECTS = 20
REFUSALS = (mapping.MappingInvalid, ColumnMissing, TableMissing, SourceUnreadable, run.BrandUnknown)


@app.command(name="import")
def import_(
    source: Annotated[str, typer.Argument(metavar="FILE|URL", help="CSV or NDJSON, a folder of them, or a database.")],
    *,
    mapping_file: Annotated[Path, typer.Option("--mapping", "-m", help="Which column becomes what; YAML or JSON.")],
    strict: Annotated[bool, typer.Option("--strict", help="Write nothing if any row is not valid.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Do everything except writing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Import customers and orders; running it twice changes nothing.

    Exit code 1 when rows were not valid and the others were taken, 3 when nothing was written.
    """
    try:
        order = run.Order(source, mapping.read(mapping_file), is_strict=strict, is_dry_run=dry_run)
        report = asyncio.run(_import(order))
    except run.ImportRefused as refusal:
        _show(refusal.report, as_json=as_json)
        print(f"error: {refusal.message} ({refusal.code})", file=sys.stderr)
        raise typer.Exit(REFUSED) from None
    except REFUSALS as refusal:
        _explain(refusal)
        raise typer.Exit(REFUSED) from None
    _show(report, as_json=as_json)
    if not report.is_clean:
        raise typer.Exit(FAILED)


async def _import(order: run.Order) -> Report:
    platform = Platform.open(resolve(read_settings()))
    try:
        with _bars() as bars:
            tasks: dict[str, TaskID] = {}

            def show(step: run.Progress) -> None:
                if step.section not in tasks:
                    title = "writing" if step.total is not None else f"reading {step.section}"
                    tasks[step.section] = bars.add_task(title, total=step.total)
                bars.update(tasks[step.section], completed=step.done)

            return await run.run(platform.db, platform.pepper, SYSTEM, order, now=platform.clock(), progress=show)
    finally:
        await platform.close()


@app.command(name="seed")
def seed_(
    *,
    customers: Annotated[int, typer.Option("--customers", "-n", min=1, max=10_000_000, help="How many.")],
    number: Annotated[int, typer.Option("--seed", min=1, max=999_999, help="Same number, same population.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Load a made-up population: several countries, orders, consents, devices; nobody in it can sign in."""
    started = time.monotonic()
    seeded = asyncio.run(_seed(customers, number))
    seconds = round(time.monotonic() - started, 1)
    if as_json:
        print(json.dumps({"seed": number, "seconds": seconds, "rows": seeded.rows, "refused": seeded.refused}))
        return
    table = Table("table", "rows", title=f"seed {number} in {seconds} s")
    for name, count in seeded.rows.items():
        table.add_row(name, f"{count:,}")
    Console().print(table)
    if seeded.refused:
        print(f"rejected: {seeded.refused:,} people: {CODE}")


async def _seed(customers: int, number: int) -> Seeded:
    settings = resolve(read_settings())
    platform = Platform.open(settings)
    try:
        with _bars() as bars:
            task = bars.add_task("customers", total=customers)
            return await seed(
                settings,
                platform.db,
                SYSTEM,
                customers=customers,
                seed_number=number,
                now=platform.clock(),
                progress=lambda done: bars.update(task, completed=done),
            )
    finally:
        await platform.close()


@contextmanager
def _bars() -> Iterator[Progress]:
    """Progress bars on a terminal, nothing elsewhere."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        yield bars


def _show(report: Report, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(report.document()))
        return
    sections = list(report.outcomes)
    table = Table("", *sections, title=f"{report.source}{' (dry run)' if report.is_dry_run else ''}")
    counts = {section: report.counts(section) for section in sections}
    for name in counts["customers"]:
        table.add_row(name, *(f"{counts[section][name]:,}" for section in sections))
    Console().print(table)
    for code, count in sorted(report.notices.items()):
        print(f"notice: {code} × {count:,}")
    for entry in report.rejects[:SHOWN_REJECTS]:
        print(f"rejected: {entry.section} row {entry.row}: {entry.code}{f' in {entry.field}' if entry.field else ''}")
    if (more := sum(report.rejected_by_code.values()) - SHOWN_REJECTS) > 0:
        print(f"and {more:,} more; --json lists them")


def _explain(refusal: InvalidInput) -> None:
    """Name every place that is wrong; nothing here is a customer's."""
    print(f"error: {refusal.message} ({refusal.code})", file=sys.stderr)
    for fault in refusal.extensions.pop("errors", []):
        print(f"  {fault['path'] or 'the file'}: {fault['message']}", file=sys.stderr)
    for name, value in refusal.extensions.items():
        print(f"  {name}: {', '.join(value) if isinstance(value, list) else value}", file=sys.stderr)
