"""``cdp retention preview | run``: what is past its time, counted or removed."""

import json
from collections.abc import Mapping
from typing import Annotated

import typer

from cdp.access.viewer import SYSTEM
from cdp.cli.opened import with_platform
from cdp.core.db import Role
from cdp.core.platform import Platform
from cdp.operations.retention import purges

app = typer.Typer(name="retention", help="What is past its time.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


@app.command()
def preview(*, as_json: AsJson = False) -> None:
    """Count what a purge would remove now, rule by rule; nothing changes."""

    async def count(platform: Platform) -> Mapping[str, int]:
        async with platform.db.transaction(Role.WORKER) as tx:
            return await purges.preview(tx)

    _show(with_platform(count), as_json=as_json)


@app.command()
def run(*, as_json: AsJson = False) -> None:
    """Remove it now; the worker does so once a day by itself."""

    async def remove(platform: Platform) -> Mapping[str, int]:
        async with platform.db.transaction(Role.WORKER) as tx:
            run_id = await purges.ask(tx, SYSTEM)
        async with platform.db.transaction(Role.WORKER) as tx:
            claimed = await purges.claim(tx, run_id)
        return await purges.carry_out(platform, claimed) if claimed else {}

    _show(with_platform(remove), as_json=as_json)


def _show(counts: Mapping[str, int], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(dict(counts)))
        return
    for code, rows in counts.items():
        print(f"{code}: {rows}")
    if not counts:
        print("nothing is past its time")
