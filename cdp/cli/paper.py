"""``cdp paper import FILE``: put an office's list of paper records into the register."""

import json
from pathlib import Path
from typing import Annotated

import typer

from cdp.access.viewer import SYSTEM
from cdp.cli.opened import with_platform
from cdp.core.platform import Platform
from cdp.operations.paper import filing
from cdp.operations.paper.filing import Register

app = typer.Typer(name="paper", help="Paper records in offices.", no_args_is_help=True)
# As many lines that were refused are shown; --json has them all.
SHOWN = 20


@app.callback()
def paper() -> None:
    """Paper records in offices."""


@app.command(name="import")
def import_(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="CSV: " + ", ".join((*filing.COLUMNS, filing.ISSUER)))],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Register every line of a CSV file once. Exit code 1 when a line was refused."""

    async def register(platform: Platform) -> Register:
        return await filing.file(platform, SYSTEM, path)

    done = with_platform(register)
    if as_json:
        refused = [{"line": line, "code": code} for line, code in done.refused]
        print(json.dumps({"registered": done.registered, "known": done.known, "refused": refused}))
    else:
        print(f"registered {done.registered}, already known {done.known}, refused {len(done.refused)}")
        for line, code in done.refused[:SHOWN]:
            print(f"  line {line}: {code}")
    if done.refused:
        raise typer.Exit(1)
