"""``cdp backup`` and ``cdp restore``: a copy of the database, and its return with every erasure since."""

import json
from pathlib import Path
from typing import Annotated

import typer

from cdp.cli.environment import read_settings
from cdp.cli.opened import with_platform
from cdp.core.errors import InvalidInput
from cdp.core.platform import Platform
from cdp.embedded.binaries import installed_postgres
from cdp.operations.backups import backup as backups
from cdp.operations.backups import replay as replays
from cdp.operations.backups import restore as restores
from cdp.operations.backups.dump import Programs
from cdp.operations.backups.replay import Replayed

app = typer.Typer()

AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


class NothingToRestore(InvalidInput):
    """Name a backup, or replay the erasure journal with --replay."""

    code = "NOTHING_TO_RESTORE"


class NotConfirmed(InvalidInput):
    """Nothing was restored: what is in the database now would be lost. Add --yes."""

    code = "NOT_CONFIRMED"


def _programs() -> Programs:
    """Postgres's programs beside the embedded server's binary, or where CDP_PG_BIN says."""
    server = installed_postgres(read_settings())
    return Programs(server.with_name("pg_dump"), server.with_name("pg_restore"))


@app.command()
def backup(
    *,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder the file goes into.")] = Path("backups"),
    as_json: AsJson = False,
) -> None:
    """Write one sealed file of the whole database; the platform may go on serving.

    The key store is not part of it: copy that apart, or the file can not be read.
    """
    made = with_platform(lambda platform: backups.make(platform, _programs(), out))
    if as_json:
        print(json.dumps({"reference": made.reference, "file": str(made.path), "rows": made.rows, "bytes": made.bytes}))
    else:
        print(f"{made.path}: {made.rows:,} rows, {made.bytes:,} bytes, sealed")
        print("The keys are not in it: copy the key store apart.")


@app.command()
def restore(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="A backup.")] = None,
    *,
    replay: Annotated[
        bool,
        typer.Option("--replay", help="Only replay the erasure journal, over a database restored otherwise."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Replace what is in the database now.")] = False,
    as_json: AsJson = False,
) -> None:
    """Put a backup in the place of the database, then erase again whom the journal names, before anything is served.

    API and workers must be stopped; with the embedded stack: cdp down, then cdp up --no-processes.
    """
    if (file is None) != replay:
        raise NothingToRestore
    if file is None:
        _tell(with_platform(replays.replay), as_json=as_json)
        return
    if not yes:
        raise NotConfirmed
    path = file

    async def put_back(platform: Platform) -> restores.Restored:
        return await restores.restore(platform, _programs(), path)

    done = with_platform(put_back)
    if not as_json:
        print(f"{done.reference} of {done.created_at[:19]} is in place: {done.rows:,} rows")
    _tell(done.replayed, as_json=as_json)


def _tell(done: Replayed, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"entries": done.entries, "erased": done.erased, "certificates": done.certificates}))
    else:
        print(f"replayed {done.entries} entries of the journal: {done.erased} people erased again")
