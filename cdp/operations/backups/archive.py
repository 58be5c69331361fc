"""A backup as a file: a ZIP of a sealed dump and a signed manifest.

The dump is sealed under a key of its own in the key store, which is in no backup: destroying that key ends the backup,
wherever its copies lie. The manifest says what is inside, to the byte and to the row.
"""

import hashlib
import json
import os
import zipfile
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cdp.core.errors import Conflict
from cdp.core.sign import Document, Verdict, canonical, check

KIND = "cdp.backup"
VERSION = 1
MANIFEST, DUMP = "manifest.json", "database.sealed"
READ_BYTES = 1024 * 1024
LARGEST_MANIFEST_BYTES = 16 * 1024 * 1024


class BackupBroken(Conflict):
    """This backup is not one of ours, or it was changed."""

    code = "BACKUP_BROKEN"


@dataclass(frozen=True)
class Measured:
    """Size and hash of the sealed dump."""

    bytes: int
    sha256: str


class Writer:
    """Writes an archive under another name, which becomes its own once it is whole and on the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(f"{path.name}.part")
        descriptor = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._file = os.fdopen(descriptor, "wb")
        self._archive = zipfile.ZipFile(self._file, "w", zipfile.ZIP_STORED, allowZip64=True)

    async def dump(self, chunks: AsyncIterable[bytes]) -> Measured:
        """Write the sealed dump."""
        digest, size = hashlib.sha256(), 0
        with self._archive.open(DUMP, "w", force_zip64=True) as member:
            async for chunk in chunks:
                member.write(chunk)
                digest.update(chunk)
                size += len(chunk)
        return Measured(size, digest.hexdigest())

    def finish(self, manifest: Document) -> None:
        """Write the manifest and give the file its name."""
        self._archive.writestr(MANIFEST, canonical(manifest))
        self._archive.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._part.replace(self._path)

    def abandon(self) -> None:
        """Remove what was begun; after ``finish`` there is nothing to remove."""
        with suppress(ValueError):  # a member that was not finished
            self._archive.close()
        self._file.close()
        self._part.unlink(missing_ok=True)


def read_manifest(path: Path, keys: Mapping[str, str]) -> Mapping[str, Any]:
    """The manifest of a backup, if one of these keys signed it. Raises BackupBroken."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(MANIFEST) as member:
            raw = member.read(LARGEST_MANIFEST_BYTES)
        read = json.loads(raw)
        is_ours = isinstance(read, dict) and (read.get("kind"), read.get("version")) == (KIND, VERSION)
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError, RecursionError, NotImplementedError) as error:
        raise BackupBroken from error
    if not is_ours or check(read, keys) is not Verdict.VALID:
        raise BackupBroken
    return dict(read)


def check_dump(path: Path, manifest: Mapping[str, Any]) -> None:
    """Hold the sealed dump against its manifest, byte for byte. Raises BackupBroken."""
    digest, size = hashlib.sha256(), 0
    try:
        with zipfile.ZipFile(path) as archive, archive.open(DUMP) as member:
            while chunk := member.read(READ_BYTES):
                digest.update(chunk)
                size += len(chunk)
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        raise BackupBroken from error
    if {"bytes": size, "sha256": digest.hexdigest()} != manifest["database"]:
        raise BackupBroken


async def read_dump(path: Path) -> AsyncIterator[bytes]:
    """The sealed dump in chunks."""
    with zipfile.ZipFile(path) as archive, archive.open(DUMP) as member:
        while chunk := member.read(READ_BYTES):
            yield chunk
