"""Make a backup: the whole database as one snapshot has it, sealed, with a signed manifest.

The key store is never part of it, so that whoever finds a backup finds nothing, and what was shredded stays so. The
object store is not part of it either: its files are sealed under keys of their own, and the erasure journal in it must
always be the newest.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from cdp.access.viewer import SYSTEM
from cdp.core.clock import iso
from cdp.core.db import Role
from cdp.core.errors import Unavailable
from cdp.core.ids import new_id, new_reference
from cdp.core.platform import Platform
from cdp.core.seal import seal_stream
from cdp.core.sign import Document
from cdp.operations import audit, journal
from cdp.operations.backups.archive import KIND, VERSION, Writer
from cdp.operations.backups.dump import Programs, dumped
from cdp.operations.residual.catalogue import hidden, targets

NOT_INCLUDED = (
    ("key-store", "Keys that must be able to die are in no backup; without their folder this one can not be read."),
    ("object-store", "Packages, documents, certificates and the erasure journal outlive the database by themselves."),
)


class BackupRefused(Unavailable):
    """Not every row can be seen, so this would not be a whole backup."""

    code = "BACKUP_REFUSED"


@dataclass(frozen=True)
class Made:
    """A backup that is there."""

    reference: str
    path: Path
    rows: int
    bytes: int


def key_name(reference: str) -> str:
    """Name of a backup's key in the key store."""
    return f"backup-{reference.lower()}"


async def make(platform: Platform, programs: Programs, folder: Path) -> Made:
    """Write a backup into a folder. Raises BackupRefused, ProgramFailed."""
    await asyncio.to_thread(folder.mkdir, mode=0o700, parents=True, exist_ok=True)
    reference = new_reference("BK")
    path = folder / f"cdp-{iso(platform.clock())[:19].replace(':', '')}-{reference}.zip"
    writer = Writer(path)
    try:
        connection = await platform.db.connect_raw(Role.WORKER)
        try:
            manifest = await _write(platform, programs, connection, writer, reference)
        finally:
            await connection.close()
        writer.finish(manifest)
    finally:
        writer.abandon()
    async with platform.db.transaction(Role.WORKER) as tx:
        await audit.record(
            tx,
            SYSTEM,
            "backup.made",
            subject_ref=None,
            object_type="Backup",
            object_id=new_id(),
            details={"reference": reference, "sha256": manifest["database"]["sha256"]},
        )
    return Made(reference, path, sum(manifest["tables"].values()), manifest["database"]["bytes"])


async def _write(
    platform: Platform, programs: Programs, connection: asyncpg.Connection, writer: Writer, reference: str
) -> Document:
    transaction = connection.transaction(isolation="repeatable_read", readonly=True)
    await transaction.start()
    try:
        every = await targets(connection)
        if unseen := hidden(every):
            raise BackupRefused(f"Not every row can be seen of: {', '.join(unseen)}")
        snapshot = await connection.fetchval("SELECT pg_export_snapshot()")
        counts = await counted(connection, [target.name for target in every])
        marker = await connection.fetchrow("SELECT sequence, sha256 FROM journal_entry ORDER BY sequence DESC LIMIT 1")
        revision = await connection.fetchval("SELECT version_num FROM alembic_version")
        key = platform.keys.create(key_name(reference))
        owner_url = platform.settings.database_owner_url or platform.settings.database_url
        measured = await writer.dump(seal_stream(key, dumped(programs, owner_url, snapshot=snapshot)))
    finally:
        await transaction.rollback()
    head = journal.NOTHING if marker is None else journal.Head(marker["sequence"], marker["sha256"].hex())
    return platform.signer.sign(
        {
            "version": VERSION,
            "kind": KIND,
            "reference": reference,
            "createdAt": iso(platform.clock()),
            "revision": revision,
            "postgres": connection.get_server_version().major,
            "database": {"bytes": measured.bytes, "sha256": measured.sha256},
            "tables": counts,
            "journal": {"sequence": head.sequence, "sha256": head.sha256},
            "key": key_name(reference),
            "notIncluded": [{"what": what, "why": why} for what, why in NOT_INCLUDED],
        }
    )


async def counted(connection: asyncpg.Connection, tables: list[str]) -> dict[str, int]:
    """Rows of each table, as the connection's snapshot has them."""
    counts = " UNION ALL ".join(f"SELECT '{name}', count(*) FROM \"{name}\"" for name in tables)  # noqa: S608 - names of the catalogue
    return {row[0]: row[1] for row in await connection.fetch(counts)}
