"""A downloaded export in a folder: fetched resumably, checked offline against its signed manifest.

The manifest is written last, so that a folder with one is a folder that was whole. Checking reads no database and no
network: bytes, SHA-256 and records of every file, nothing missing, nothing extra, counts that add up, the signature.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from cdp.access.viewer import Viewer
from cdp.core.db import Role
from cdp.core.errors import Unavailable
from cdp.core.platform import Platform
from cdp.core.sign import Verdict, canonical, check
from cdp.operations import audit
from cdp.operations.bulk import control
from cdp.operations.bulk.finishing import MANIFEST
from cdp.operations.bulk.formats import unpacker
from cdp.operations.bulk.manifests import KIND, VERSION
from cdp.tables.bulk import BulkCompression

READ_BYTES = 1024 * 1024

Keys = Mapping[str, str]
Told = Callable[[int], None]


class FileChanged(Unavailable):
    """A file is not the one the manifest names; it was removed here: download again."""

    code = "FILE_CHANGED"


@dataclass(frozen=True)
class Report:
    """What a check found."""

    verdict: Verdict
    problems: tuple[str, ...]
    reference: str | None = None
    signer: str | None = None
    files: int = 0
    records: int = 0

    @property
    def is_valid(self) -> bool:
        """Whether everything holds and the signer is known."""
        return self.verdict is Verdict.VALID and not self.problems

    @property
    def is_consistent(self) -> bool:
        """Whether nothing contradicts itself, but nobody we know vouches for it."""
        return self.verdict is Verdict.UNKNOWN_SIGNER and not self.problems


def name_of(entry: Mapping[str, Any]) -> str:
    """A file's name in a folder: the last piece of its URL."""
    return str(entry.get("url")).rpartition("/")[2]


def entries(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Every file a manifest names."""
    return [*manifest["output"], *manifest["deleted"]]


async def download(platform: Platform, viewer: Viewer, export_id: UUID, folder: Path, told: Told) -> dict[str, Any]:
    """Fetch a finished export; what is there already is kept and continued. ``told`` hears of bytes as they come.

    Raises what ``control.fetch`` raises, and FileChanged.
    """
    async with audit.refusing(platform.db, viewer, "bulk_export.fetched"):
        return await _download(platform, viewer, export_id, folder, told)


async def _download(platform: Platform, viewer: Viewer, export_id: UUID, folder: Path, told: Told) -> dict[str, Any]:
    async with platform.db.transaction(Role.WORKER) as tx:
        signed = await control.manifest(tx, viewer, export_id)
    manifest: dict[str, Any] = json.loads(signed)
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    for entry in entries(manifest):
        target = _Target(folder / name_of(entry), entry["bytes"], entry["sha256"])
        there = await asyncio.to_thread(target.begun)
        told(there)
        if there < target.size_bytes or not there:
            file = await control.fetch(platform, viewer, export_id, target.path.name, start=there)
            async for chunk in file.chunks:
                await asyncio.to_thread(target.append, chunk)
                told(len(chunk))
        await asyncio.to_thread(target.check)
    await asyncio.to_thread((folder / MANIFEST).write_bytes, signed)
    return manifest


@dataclass(frozen=True)
class _Target:
    """A file to be, as the manifest has it."""

    path: Path
    size_bytes: int
    sha256: str

    def begun(self) -> int:
        """How much of it is there; what is too long is not it."""
        if self.path.exists() and self.path.stat().st_size > self.size_bytes:
            self.path.unlink()
        self.path.touch()
        return self.path.stat().st_size

    def append(self, chunk: bytes) -> None:
        """Go on."""
        with self.path.open("ab") as file:
            file.write(chunk)

    def check(self) -> None:
        """Raise FileChanged unless it is the one."""
        if _measure(self.path) != (self.size_bytes, self.sha256):
            self.path.unlink()
            raise FileChanged


def verify_folder(folder: Path, keys: Keys) -> Report:
    """Check a downloaded export. Raises OSError when the folder can not be read."""
    try:
        signed = (folder / MANIFEST).read_bytes()
        manifest = json.loads(signed)
        is_ours = manifest["kind"] == KIND and canonical(manifest) == signed
    except (FileNotFoundError, ValueError, TypeError, KeyError, RecursionError):
        return Report(Verdict.INVALID, ("There is no manifest of an export: it is not whole.",))
    if not is_ours or manifest.get("version") != VERSION:
        return Report(Verdict.INVALID, ("The manifest is not the one that was issued.",))
    verdict = check(manifest, keys)
    problems = ["The signature does not fit the manifest."] if verdict is Verdict.INVALID else []
    problems += _problems(folder, manifest)
    signer = manifest.get("signature", {}).get("keyId")
    listed = entries(manifest)
    return Report(verdict, tuple(problems), manifest["reference"], signer, len(listed), manifest["exported"])


def _problems(folder: Path, manifest: Mapping[str, Any]) -> Iterator[str]:
    listed = {name_of(entry): entry for entry in entries(manifest)}
    there = {path.name for path in folder.iterdir() if path.is_file()} - {MANIFEST}
    yield from (f"{name} is missing." for name in sorted(listed.keys() - there))
    yield from (f"{name} is not in the manifest." for name in sorted(there - listed.keys()))
    for name in sorted(there & listed.keys()):
        entry = listed[name]
        if _measure(folder / name) != (entry["bytes"], entry["sha256"]):
            yield f"{name} was changed."
        elif ".ndjson" in name and _lines(folder / name) != entry["count"]:
            yield f"{name} holds another number of records."
    excluded = sum(entry["count"] for entry in manifest["excluded"])
    exported = sum(entry["count"] for entry in manifest["output"])
    if manifest["exported"] != exported or manifest["selected"] != exported + excluded:
        yield "The counts do not add up."


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(READ_BYTES):
            yield chunk


def _measure(path: Path) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    for chunk in _chunks(path):
        digest.update(chunk)
        size += len(chunk)
    return size, digest.hexdigest()


def _lines(path: Path) -> int:
    packed = {".gz": BulkCompression.GZIP, ".zst": BulkCompression.ZSTD}
    opener = unpacker(packed.get(path.suffix, BulkCompression.NONE))
    return sum(opener.feed(chunk).count(b"\n") for chunk in _chunks(path)) + opener.finish().count(b"\n")
