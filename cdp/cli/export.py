"""``cdp export create | list | show | cancel | download | verify``: bulk exports, for operators and data teams."""

import json
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import httpx
import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from sqlalchemy import Row, select

from cdp.access.viewer import SYSTEM
from cdp.cli.environment import read_settings
from cdp.cli.opened import with_platform
from cdp.compiler.bulk import BulkCompiler
from cdp.core.clock import iso
from cdp.core.db import Role
from cdp.core.errors import InvalidInput
from cdp.core.platform import Platform
from cdp.embedded.layout import layout_of
from cdp.operations import pinned_keys
from cdp.operations.bulk import control, folders, kickoff, watch
from cdp.operations.bulk.kickoff import Wanted
from cdp.operations.bulk.states import BulkExportMissing
from cdp.schema.schema import open_reader
from cdp.tables.bulk import BulkCompression, BulkFormat, BulkStatus, bulk_export

app = typer.Typer(name="export", help="Bulk exports: many customers at once, for a purpose.", no_args_is_help=True)

FAILED = 1
UNKNOWN_SIGNER = 3

AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output, one JSON object a line.")]
Reference = Annotated[str, typer.Argument(metavar="REFERENCE", help="For example BE-7K2M-9QXD.")]


class InputUnreadable(InvalidInput):
    """A file of the command can not be read."""

    code = "INPUT_UNREADABLE"


@app.command()
def create(
    *,
    query: Annotated[str, typer.Option(metavar="FILE|-", help="GraphQL query over the connection customers.")],
    purpose: Annotated[str, typer.Option(help="Code of the purpose; see the query purposes.")] = "",
    variables: Annotated[Path | None, typer.Option(metavar="FILE", help="JSON object of variables.")] = None,
    format_: Annotated[BulkFormat, typer.Option("--format", help="What the files are.")] = BulkFormat.NDJSON,
    compression: Annotated[BulkCompression, typer.Option(help="How they are packed.")] = BulkCompression.NONE,
    personal: Annotated[bool, typer.Option(help="With fields that identify people; needs approval.")] = False,
    recipient: Annotated[str, typer.Option(help="Who gets it: keeps pseudonyms the same.")] = "",
    since: Annotated[str, typer.Option(help="Watermark, or manifest, of an earlier export.")] = "",
    idempotency_key: Annotated[str, typer.Option(help="Asking again with it answers with the same export.")] = "",
    watching: Annotated[bool, typer.Option("--watch", help="Stay until it is finished.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Download it there; implies --watch.")] = None,
    as_json: AsJson = False,
) -> None:
    """Ask for an export. What is wrong with the query is said at once."""
    wanted = Wanted(
        query=_text(query),
        purpose=purpose or None,
        variables=_variables(variables),
        format=format_,
        compression=compression,
        personal=personal,
        recipient=recipient or None,
        since=_watermark(since),
        idempotency_key=idempotency_key or None,
    )

    async def ask(platform: Platform) -> BulkStatus | None:
        reader = open_reader(platform)
        try:
            compiler = BulkCompiler(reader.graph, reader.limits)
            asked = await kickoff.run_query(platform, compiler, SYSTEM, wanted)
        finally:
            await reader.close()
        _say({"reference": asked.reference, "id": str(asked.id), "isNew": asked.is_new}, as_json=as_json)
        if not watching and out is None:
            return None
        status = await _watch(platform, asked.id, as_json=as_json)
        if status is BulkStatus.COMPLETED and out is not None:
            await _download(platform, asked.id, out, as_json=as_json)
        return status

    if with_platform(ask) not in {None, BulkStatus.COMPLETED}:
        raise typer.Exit(FAILED)


@app.command(name="list")
def list_(*, limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50, as_json: AsJson = False) -> None:
    """List exports, newest first."""

    async def read(platform: Platform) -> list[Row[Any]]:
        newest = select(bulk_export).order_by(bulk_export.c.created_at.desc(), bulk_export.c.id.desc())
        async with platform.db.transaction(Role.WORKER) as tx:
            return [*await tx.all(newest.limit(limit))]

    rows = with_platform(read)
    if as_json:
        print(json.dumps([_line(row) for row in rows]))
        return
    table = Table("reference", "state", "format", "purpose", "asked", "records", "bytes")
    for row in rows:
        counts = [str(row.record_count if row.record_count is not None else ""), str(row.size_bytes or "")]
        table.add_row(row.reference, row.status, row.format, row.purpose, iso(row.created_at)[:16], *counts)
    Console().print(table)


@app.command()
def show(reference: Reference, *, as_json: AsJson = False) -> None:
    """Show one export; a finished one with its manifest."""

    async def read(platform: Platform) -> dict[str, Any]:
        row = await _find(platform, reference)
        async with platform.db.transaction(Role.WORKER) as tx:
            found = await control.progress(tx, SYSTEM, row.id)
        manifest = json.loads(found.manifest) if found.manifest else None
        return {**_line(found.row), "partsDone": found.parts_done, "manifest": manifest}

    found = with_platform(read)
    if as_json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name}: {json.dumps(value, indent=1) if isinstance(value, dict) else value}")


@app.command()
def cancel(reference: Reference, *, as_json: AsJson = False) -> None:
    """Stop an export; destroy the files of a finished one."""

    async def stop(platform: Platform) -> BulkStatus:
        row = await _find(platform, reference)
        async with platform.db.transaction(Role.WORKER) as tx:
            await control.cancel(tx, SYSTEM, row.id)
        status: BulkStatus = (await _find(platform, reference)).status
        return status

    _say({"reference": reference, "state": with_platform(stop)}, as_json=as_json)


@app.command()
def download(
    reference: Reference,
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where to.")],
    as_json: AsJson = False,
) -> None:
    """Download a finished export; goes on where it broke off, checks every file."""

    async def fetch(platform: Platform) -> None:
        await _download(platform, (await _find(platform, reference)).id, out, as_json=as_json)

    with_platform(fetch)


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A downloaded export.")],
    *,
    keys: Annotated[str, typer.Option("--keys", metavar="FILE|URL", help="Public keys; default: pinned ones.")] = "",
    as_json: AsJson = False,
) -> None:
    """Check a downloaded export, offline: every byte, every count, and who signed it.

    Exit code 0 when it is whole, 1 when it is not, 3 when it is consistent but nobody whose key is known signed it.
    """
    try:
        report = folders.verify_folder(folder, _keys(keys))
    except OSError as error:
        raise InputUnreadable(f"The folder can not be read: {error.strerror}") from None
    said = {"reference": report.reference, "verdict": report.verdict, "valid": report.is_valid, "keyId": report.signer}
    counts = {"files": report.files, "records": report.records, "problems": list(report.problems)}
    if as_json:
        print(json.dumps({**said, **counts}))
    elif report.is_valid or report.is_consistent:
        words = "valid" if report.is_valid else "consistent, signer unknown"
        print(f"{words}: {report.reference}, {report.files} files, {report.records} records, key {report.signer}")
    for problem in () if as_json else report.problems:
        print(f"not valid: {problem}", file=sys.stderr)
    if report.is_consistent:
        raise typer.Exit(UNKNOWN_SIGNER)
    if not report.is_valid:
        raise typer.Exit(FAILED)


async def _watch(platform: Platform, export_id: UUID, *, as_json: bool) -> BulkStatus:
    """Show how far it is until it is settled: a bar on a terminal, a line a change for machines."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), disable=as_json or not sys.stderr.isatty()) as bars:
        bar = bars.add_task("waiting", total=None)
        async with aclosing(watch.versions(platform.db, export_id)) as versions:
            async for _ in versions:
                async with platform.db.transaction(Role.WORKER) as tx:
                    found = await control.progress(tx, SYSTEM, export_id)
                row = found.row
                bars.update(bar, description=row.status, completed=found.parts_done, total=row.part_count or None)
                if as_json:
                    print(json.dumps({**_line(row), "partsDone": found.parts_done}), flush=True)
    status: BulkStatus = row.status
    if not as_json:
        print(f"{row.reference}: {status}{f' ({row.code})' if row.code else ''}")
    return status


async def _download(platform: Platform, export_id: UUID, out: Path, *, as_json: bool) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=Console(stderr=True), disable=as_json or not sys.stderr.isatty()) as bars:
        bar = bars.add_task("downloading", total=None)
        manifest = await folders.download(platform, SYSTEM, export_id, out, lambda size: bars.update(bar, advance=size))
    files = len(folders.entries(manifest))
    _say({"downloaded": str(out), "files": files, "records": manifest["exported"]}, as_json=as_json)


async def _find(platform: Platform, reference: str) -> Row[Any]:
    async with platform.db.transaction(Role.WORKER) as tx:
        row = await tx.first(select(bulk_export).where(bulk_export.c.reference == reference))
    if row is None:
        raise BulkExportMissing
    return row


def _line(row: Row[Any]) -> dict[str, Any]:
    return {
        "reference": row.reference,
        "id": str(row.id),
        "state": row.status.value,
        "code": row.code,
        "format": row.format.value,
        "purpose": row.purpose,
        "createdAt": iso(row.created_at),
        "parts": row.part_count,
        "records": row.record_count,
        "bytes": row.size_bytes,
    }


def _say(found: dict[str, Any], *, as_json: bool) -> None:
    print(json.dumps(found) if as_json else ", ".join(f"{name}: {value}" for name, value in found.items()), flush=True)


def _text(given: str) -> str:
    try:
        return sys.stdin.read() if given == "-" else Path(given).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise InputUnreadable("The query can not be read.") from None


def _variables(given: Path | None) -> dict[str, Any] | None:
    try:
        found = json.loads(given.read_bytes()) if given else None
    except (OSError, ValueError):
        raise InputUnreadable("The variables can not be read.") from None
    if not isinstance(found, dict | None):
        raise InputUnreadable("Variables are a JSON object.")
    return found


def _watermark(given: str) -> str | None:
    """A watermark as it is, or the one a manifest carries."""
    path = Path(given)
    if given and len(given) < 255 and path.is_file():
        try:
            return str(json.loads(path.read_bytes())["watermark"])
        except (OSError, ValueError, KeyError, TypeError):
            raise InputUnreadable("The manifest can not be read.") from None
    return given or None


def _keys(given: str) -> dict[str, str]:
    try:
        if given.startswith(("http://", "https://")):
            answer = httpx.get(given, timeout=15, follow_redirects=False)
            return pinned_keys.read(answer.raise_for_status().content)
        pinned = Path(given) if given else pinned_keys.pinned(layout_of(read_settings()).state)
        return pinned_keys.read(pinned.read_bytes()) if given or pinned.exists() else {}
    except (OSError, ValueError, httpx.HTTPError):
        raise InputUnreadable("The keys can not be read.") from None
