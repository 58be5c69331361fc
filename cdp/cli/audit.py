"""``cdp audit export | status``: the audit log as a file to be checked anywhere, and how the log stands."""

import json
from pathlib import Path
from typing import Annotated

import typer

from cdp.access.viewer import SYSTEM
from cdp.cli.opened import with_platform
from cdp.core.clock import iso
from cdp.core.db import Role
from cdp.core.platform import Platform
from cdp.operations import pinned_keys, signing_keys
from cdp.operations.audit import export as log
from cdp.operations.audit.state import State, state

app = typer.Typer(name="audit", help="The audit log.", no_args_is_help=True)

LOG_FILE = "audit-log.ndjson"
FAILED = 1
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


@app.command()
def export(
    target: Annotated[
        Path, typer.Argument(metavar="FILE|DIR", help="A file; or a folder, which also gets the public keys.")
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Write the whole log, its signed heads included, for `cdp verify --log`. It names people by pseudonyms alone."""
    is_folder = target.is_dir() or not target.suffix
    file = target / LOG_FILE if is_folder else target

    async def write(platform: Platform) -> int:
        return await write_log(platform, file)

    file.parent.mkdir(parents=True, exist_ok=True)
    written = with_platform(write)
    keys = file.with_name(pinned_keys.FILE) if is_folder else None
    print(json.dumps({"file": str(file), "lines": written}) if as_json else f"{file}: {written} lines")
    if keys is not None and not as_json:
        print(f"check it anywhere: cdp verify --log {file} --keys {keys}")


async def write_log(platform: Platform, file: Path) -> int:
    """Write the log, and the public keys beside it; returns the lines. The file appears whole or not at all."""
    fresh, written = file.with_name(f".{file.name}.new"), 0
    try:
        with fresh.open("wb") as out:
            async for line in log.lines(platform, SYSTEM):
                out.write(line + b"\n")
                written += 1
        fresh.replace(file)
    finally:
        fresh.unlink(missing_ok=True)
    if file.name == LOG_FILE:
        known = json.dumps(signing_keys.document(platform), indent=1)
        file.with_name(pinned_keys.FILE).write_text(known + "\n", encoding="utf-8")
    return written


@app.command()
def status(*, as_json: AsJson = False) -> None:
    """Say how many events are in the tree, how many wait, and whether any was lost (exit code 1)."""

    async def read(platform: Platform) -> State:
        async with platform.db.transaction(Role.WORKER) as tx:
            return await state(tx)

    found = with_platform(read)
    signed = iso(found.signed_at) if found.signed_at else None
    if as_json:
        print(
            json.dumps({"entries": found.entries, "waiting": found.waiting, "lost": found.lost, "headSignedAt": signed})
        )
    else:
        print(f"{found.entries} entries, {found.waiting} waiting, {found.lost} lost; head signed {signed or 'never'}")
    if found.lost:
        raise typer.Exit(FAILED)
