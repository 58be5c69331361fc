"""``pg_dump`` and ``pg_restore``, fed by pipes: nothing readable of a dump ever touches a disk.

A dump is taken as the worker's role, from which no policy hides a row; a password goes by the environment, never on a
command line. Source: https://www.postgresql.org/docs/18/app-pgdump.html
"""

import asyncio
import os
import re
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from cdp.core.db import Role, asyncpg_arguments
from cdp.core.errors import Unavailable

READ_BYTES = 256 * 1024
LONGEST_SAID = 2_000
# What Postgres quotes of a row is somebody's.
_QUOTED = re.compile(r'"[^"\n]*"|\([^)\n]*\)=\([^)\n]*\)')


class ProgramFailed(Unavailable):
    """A program of Postgres did not do its work."""

    code = "POSTGRES_PROGRAM_FAILED"


@dataclass(frozen=True)
class Programs:
    """Where Postgres's programs are."""

    dump: Path
    restore: Path


async def dumped(programs: Programs, url: str, *, snapshot: str) -> AsyncIterator[bytes]:
    """A dump of everything as a snapshot has it, compressed, in chunks. Raises ProgramFailed at the end."""
    process = await asyncio.create_subprocess_exec(
        programs.dump,
        "--format=custom",
        f"--snapshot={snapshot}",
        f"--role={Role.WORKER.value}",
        "--enable-row-security",
        "--no-owner",
        "--no-comments",
        "--no-large-objects",
        "--no-publications",
        "--no-subscriptions",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=_environment(url),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    said = asyncio.create_task(process.stderr.read())
    try:
        while chunk := await process.stdout.read(READ_BYTES):
            yield chunk
        await _ended(process, await said)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def restored(programs: Programs, url: str, chunks: AsyncIterable[bytes]) -> None:
    """Put a dump into an empty schema, in one transaction. Raises ProgramFailed."""
    process = await asyncio.create_subprocess_exec(
        programs.restore,
        "--single-transaction",
        "--exit-on-error",
        "--no-owner",
        "--no-comments",
        "--dbname=",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=_environment(url),
    )
    assert process.stdin is not None
    assert process.stderr is not None
    said = asyncio.create_task(process.stderr.read())
    try:
        async for chunk in chunks:
            process.stdin.write(chunk)
            await process.stdin.drain()
        process.stdin.close()
        await _ended(process, await said)
    except (BrokenPipeError, ConnectionResetError):
        await _ended(process, await said)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _ended(process: asyncio.subprocess.Process, said: bytes) -> None:
    if await process.wait() != 0:
        lines = _QUOTED.sub("…", said.decode(errors="replace"))[-LONGEST_SAID:].strip()
        raise ProgramFailed(f"A program of Postgres failed: {lines}")


def _environment(url: str) -> dict[str, str]:
    """How the programs reach the database, and nothing else of ours."""
    arguments = asyncpg_arguments(url)
    names = {"PGHOST": "host", "PGPORT": "port", "PGUSER": "user", "PGPASSWORD": "password", "PGDATABASE": "database"}
    given = {name: str(arguments[key]) for name, key in names.items() if arguments.get(key) is not None}
    if "ssl" in arguments:
        given["PGSSLMODE"] = str(arguments["ssl"])
    return {"PATH": os.environ.get("PATH", ""), "PGTZ": "UTC", "PGAPPNAME": "cdp/backup", **given}
