"""Restore a backup: in the place of what is there, which stays where anything goes wrong.

A new database is filled beside the old one, counted against the manifest and brought up to the present version; only
then it takes the old one's name. Nothing may be connected meanwhile, and nothing is served before the journal is
replayed. The owner needs the right to create databases.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import structlog
from sqlalchemy import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from cdp.access.viewer import SYSTEM
from cdp.core.db import Database, Role, asyncpg_arguments
from cdp.core.errors import Conflict, Forbidden
from cdp.core.ids import new_id
from cdp.core.keys import KeyGone
from cdp.core.platform import Platform
from cdp.core.seal import open_stream
from cdp.operations import audit, journal, signing_keys
from cdp.operations.backups import replay
from cdp.operations.backups.archive import BackupBroken, check_dump, read_dump, read_manifest
from cdp.operations.backups.backup import counted
from cdp.operations.backups.dump import Programs, restored
from cdp.operations.backups.replay import Replayed
from cdp.tables.migration import make_roles, upgrade

FRESH, OLD = "_restoring", "_before_restore"
# Where one is connected while databases are made and renamed.
MAINTENANCE = "postgres"
OTHERS = """
SELECT count(*) FROM pg_stat_activity
 WHERE datname = current_database() AND application_name LIKE 'cdp/%' AND pid <> pg_backend_pid()
"""


log = structlog.get_logger()


class DatabaseInUse(Conflict):
    """Something still works with this database; stop API and workers first."""

    code = "DATABASE_IN_USE"


class RestoreRefused(Forbidden):
    """The owner of the database may not create and rename databases; an administrator grants CREATEDB."""

    code = "RESTORE_REFUSED"


class BackupKeyGone(KeyGone):
    """The key of this backup was destroyed, or is in another key store; it can not be read."""

    code = "BACKUP_KEY_GONE"


@dataclass(frozen=True)
class Restored:
    """A backup that is in place, and what was replayed after it."""

    reference: str
    created_at: str
    rows: int
    replayed: Replayed


async def restore(platform: Platform, programs: Programs, path: Path) -> Restored:
    """Put a backup in the place of the database and replay every erasure since.

    Raises BackupBroken, BackupKeyGone, JournalBroken, DatabaseInUse, RestoreRefused and ProgramFailed, each of which
    leaves the old state in its place.
    """
    manifest = read_manifest(path, signing_keys.known(platform))
    await asyncio.to_thread(check_dump, path, manifest)
    try:
        key = platform.keys.get(str(manifest["key"]))
    except KeyGone as error:
        raise BackupKeyGone from error
    marker = journal.Head(manifest["journal"]["sequence"], manifest["journal"]["sha256"])
    await _publish_what_is_left(platform)
    await journal.newer(platform, marker)
    await _require_alone(platform)
    async with _beside_the_old(platform) as new:
        await asyncio.to_thread(make_roles, new.owner_url, app_url=platform.settings.database_url)
        await restored(programs, new.owner_url, open_stream(key, read_dump(path)))
        await _count(new.app_url, manifest)
        await asyncio.to_thread(upgrade, new.owner_url, app_url=platform.settings.database_url)
    return await finish(platform, manifest)


async def finish(platform: Platform, manifest: Mapping[str, Any]) -> Restored:
    """Replay what the journal has beyond the backup, and note in both that a restore happened."""
    done = await replay.replay(platform)
    reference = str(manifest["reference"])
    async with platform.db.transaction(Role.WORKER) as tx:
        await journal.append_restore(tx, platform, reference, done.entries)
        await audit.record(
            tx,
            SYSTEM,
            "database.restored",
            subject_ref=None,
            object_type="Backup",
            object_id=new_id(),
            details={"reference": reference, "replayed": done.entries, "erased": done.erased},
        )
    await journal.publish(platform)
    return Restored(reference, str(manifest["createdAt"]), sum(manifest["tables"].values()), done)


async def _publish_what_is_left(platform: Platform) -> None:
    """Entries that the database about to go has not put into the object store yet; an empty one has none."""
    try:
        await journal.publish(platform)
    except (SQLAlchemyError, OSError):
        log.warning("restore.journal_not_published")  # a broken database is why one restores


async def _require_alone(platform: Platform) -> None:
    """Sessions of the application's own login are visible to it, whatever role they have become."""
    await platform.db.close()
    connection = await asyncpg.connect(**asyncpg_arguments(platform.settings.database_url))
    try:
        if await connection.fetchval(OTHERS):
            raise DatabaseInUse
    finally:
        await connection.close()


@dataclass(frozen=True)
class _Beside:
    """The database that is filled, under another name."""

    owner_url: str
    app_url: str


@asynccontextmanager
async def _beside_the_old(platform: Platform) -> AsyncIterator[_Beside]:
    """A new database for the length of a block, in the place of the old one after it, gone if the block fails."""
    settings = platform.settings
    owner = make_url(settings.database_owner_url or settings.database_url)
    name = str(owner.database)
    fresh, old = f"{name}{FRESH}", f"{name}{OLD}"
    admin = _named(owner, MAINTENANCE)
    await _run(admin, _drop(fresh), f"CREATE DATABASE {_quoted(fresh)}")
    try:
        yield _Beside(_named(owner, fresh), _named(make_url(settings.database_url), fresh))
    except BaseException:
        await asyncio.shield(_run(admin, _drop(fresh)))
        raise
    await _run(admin, _drop(old), f"ALTER DATABASE {_quoted(name)} RENAME TO {_quoted(old)}")
    await _run(admin, f"ALTER DATABASE {_quoted(fresh)} RENAME TO {_quoted(name)}")
    try:
        await _run(admin, _drop(old))
    except asyncpg.PostgresError:
        log.warning("restore.old_database_stays", name=old)  # an autovacuum is in it; the next restore removes it


def _named(url: URL, database: str) -> str:
    return url.set(database=database).render_as_string(hide_password=False)


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def _drop(name: str) -> str:
    return f"DROP DATABASE IF EXISTS {_quoted(name)} WITH (FORCE)"


async def _run(url: str, *statements: str) -> None:
    """Run statements about databases, none of which can be in a transaction. Raises RestoreRefused."""
    connection = await asyncpg.connect(**asyncpg_arguments(url))
    try:
        for statement in statements:  # each is a step that can not be undone by another's failure
            await connection.execute(statement)
    except asyncpg.InsufficientPrivilegeError as error:
        raise RestoreRefused from error
    finally:
        await connection.close()


async def _count(app_url: str, manifest: Mapping[str, Any]) -> None:
    """Hold every table against the manifest, row count by row count. Raises BackupBroken."""
    connection = await Database(app_url).connect_raw(Role.WORKER)
    try:
        found = await counted(connection, list(manifest["tables"]))
    finally:
        await connection.close()
    if found != manifest["tables"]:
        raise BackupBroken
