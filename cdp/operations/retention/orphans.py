"""Keys and sealed files that no row names: whoever made them died before the row was committed.

A document and the identifiers of a request are sealed before the row that names their key is written, and a key that
was never used seals nothing; but a document without its row would stay readable for good, whatever is erased later.
They are looked for after a week, which no request takes between its key and its row.
"""

from datetime import datetime, timedelta

from sqlalchemy import select, union_all

from cdp.core.db import Role
from cdp.core.platform import Platform
from cdp.operations.requests import exports
from cdp.tables import metadata
from cdp.tables.export import export

AGE = timedelta(days=7)
# First part of a key's name, and the folder of the one file that is sealed under it, if there is one.
KINDS = {"evidence-": "evidence/", "attachment-": "attachments/", "request-": None, "export-": None}


async def destroy(platform: Platform, *, now: datetime) -> int:
    """Destroy keys nobody names, and the files sealed under them; returns how many. Doing it again finds nothing."""
    keys, before = platform.keys, (now - AGE).timestamp()
    old = [name for prefix in KINDS for name in keys.names(prefix) if 0 < keys.made_at(name) < before]
    lost = sorted(set(old) - await _named(platform)) if old else []
    for name in lost:
        keys.destroy(name)
    for prefix, folder in KINDS.items():
        if folder is not None:
            await _unreadable(platform, prefix, folder)
    return len(lost)


async def _named(platform: Platform) -> set[str]:
    """Every key that a row names."""
    columns = [table.c.key_id for table in metadata.sorted_tables if "key_id" in table.c]
    async with platform.db.transaction(Role.WORKER) as tx:
        rows = await tx.all(union_all(*(select(one.label("name")).where(one.is_not(None)) for one in columns)))
        packages = await tx.all(select(export.c.id))
    return {str(row.name) for row in rows} | {exports.key_name(row.id) for row in packages}


async def _unreadable(platform: Platform, prefix: str, folder: str) -> None:
    """Delete files whose key is gone."""
    for name in await platform.blobs.keys(folder):
        if not platform.keys.exists(f"{prefix}{name.removeprefix(folder)}"):
            await platform.blobs.delete(name)
