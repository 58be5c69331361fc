"""``cdp residual list | run | again``: what the search for traces of erased people found, and where."""

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
from cdp.operations.residual import checks, passes
from cdp.operations.residual.checks import Found

app = typer.Typer(name="residual", help="What is left of people who were erased.", no_args_is_help=True)


@app.command(name="list")
def list_(*, as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False) -> None:
    """List erasures of which something was found: table, column and number of rows. Exit code 1 when there are any."""

    async def read(platform: Platform) -> list[Found]:
        async with platform.db.transaction(Role.WORKER) as tx:
            return await checks.found(tx)

    found = with_platform(read)
    if as_json:
        print(json.dumps([_line(one) for one in found]))
    elif found:
        table = Table("request", "table", "column", "type", "rows", "looked for")
        for one in found:
            looked = iso(one.checked_at)[:16] if one.checked_at else ""
            for place in one.findings:
                table.add_row(one.reference, place.table, place.column, place.type, str(place.rows), looked)
        Console().print(table)
    else:
        print("nothing is left of anybody")
    if found:
        raise typer.Exit(1)


@app.command()
def run() -> None:
    """Look for everybody who waits, now."""
    made = with_platform(passes.run)
    print("done; see: cdp residual list" if made else "nobody waits, or a pass is under way")


@app.command()
def again(reference: Annotated[str, typer.Argument(help="The request, ER-….")]) -> None:
    """Look again for somebody of whom something was found, once it is gone."""

    async def look(platform: Platform) -> bool:
        async with platform.db.transaction(Role.WORKER) as tx:
            await checks.again(tx, SYSTEM, reference)
        return await passes.run(platform)

    print("looked again; see: cdp residual list" if with_platform(look) else "a pass is under way; the next one looks")


def _line(one: Found) -> dict[str, object]:
    places = [{"table": p.table, "column": p.column, "type": p.type, "rows": p.rows} for p in one.findings]
    return {
        "request": one.reference,
        "status": one.status.value,
        "checkedAt": iso(one.checked_at) if one.checked_at else None,
        "findings": places,
    }
