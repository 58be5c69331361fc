"""``cdp request list | show | retry``: privacy requests, for operators."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cdp.access.viewer import SYSTEM
from cdp.cli.opened import with_platform
from cdp.core.clock import iso
from cdp.core.db import Role
from cdp.core.platform import Platform
from cdp.operations.requests import docket, requests
from cdp.operations.requests.docket import Case, Line
from cdp.tables.request import RequestStatus

app = typer.Typer(name="request", help="Privacy requests, for operators.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
Reference = Annotated[str, typer.Argument(metavar="REFERENCE", help="For example ER-7K2M-9QXD.")]


@app.command(name="list")
def list_(
    *,
    status: Annotated[RequestStatus | None, typer.Option(help="Only those in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, newest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List requests, newest first, with the time by which each must be answered."""

    async def read(platform: Platform) -> list[Line]:
        async with platform.db.transaction(Role.WORKER) as tx:
            return await docket.listed(tx, status=status, limit=limit)

    lines = with_platform(read)
    if as_json:
        print(json.dumps([_line(one) for one in lines]))
        return
    table = Table("reference", "type", "state", "received", "due")
    for one in lines:
        table.add_row(one.reference, one.type, one.status, iso(one.requested_at)[:16], iso(one.due_at)[:10])
    Console().print(table)


@app.command()
def show(reference: Reference, *, as_json: AsJson = False) -> None:
    """Show one request: every system, every step, how it ended."""

    async def read(platform: Platform) -> Case:
        async with platform.db.transaction(Role.WORKER) as tx:
            return await docket.case(tx, reference)

    found = with_platform(read)
    if as_json:
        tasks = [
            {
                "system": one.system,
                "step": one.step,
                "state": one.status,
                "attempt": one.attempt,
                "code": one.code,
                "nextRunAt": iso(one.next_run_at),
            }
            for one in found.tasks
        ]
        print(json.dumps({**_line(found.line), "tasks": tasks, "certificate": found.certificate}))
        return
    table = Table("system", "step", "state", "try", "code", title=f"{found.line.reference} {found.line.status}")
    for one in found.tasks:
        table.add_row(one.system, one.step, one.status, str(one.attempt), one.code or "")
    Console().print(table)
    if found.certificate:
        print(f"certificate: {found.certificate}")


@app.command()
def retry(reference: Reference, *, as_json: AsJson = False) -> None:
    """Work again on a request that needs attention, from the step that failed."""

    async def again(platform: Platform) -> None:
        async with platform.db.transaction(Role.WORKER) as tx:
            await requests.retry(tx, SYSTEM, reference)

    with_platform(again)
    print(json.dumps({"reference": reference, "retried": True}) if as_json else f"{reference}: trying again")


def _line(one: Line) -> dict[str, str]:
    return {
        "reference": one.reference,
        "type": one.type,
        "state": one.status,
        "requestedAt": iso(one.requested_at),
        "dueAt": iso(one.due_at),
    }
