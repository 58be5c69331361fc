"""Object files through obstore: local disk, memory and S3 behind one interface (https://developmentseed.org/obstore)."""

import asyncio
import os
import re
import secrets
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import NotFoundError
from obstore.store import LocalStore, MemoryStore, S3Store

from cdp.core.errors import NotFound

if TYPE_CHECKING:
    from obstore.store import RetryConfig  # exists for type checkers only

PART_BYTES = 8 * 1024 * 1024
S3_PART_BYTES, DISK_PART_BYTES = 5 * 1024 * 1024, 1024 * 1024
"""The smallest part that S3 takes; a disk takes any."""
_HALF = re.compile(r"#\d+$")
RETRY_S = 60.0
"""So long answers 5xx and broken connections are tried again here; what lasts longer is the caller's to try again."""


class ObjectMissing(NotFound):
    """The file is not in the object store."""

    code = "OBJECT_MISSING"


class Blobs:
    """A bucket of objects. Keys are slash-separated and never contain personal data."""

    def __init__(self, url: str, *, retry_s: float = RETRY_S) -> None:
        self.url = url
        self._store: Any = _open(url, retry_s)
        parts = urlsplit(url)
        self._folder = Path(unquote(parts.path)) if parts.scheme == "file" else None
        self._smallest_part_bytes = S3_PART_BYTES if self._folder is None else DISK_PART_BYTES

    async def put(self, key: str, payload: bytes) -> None:
        """Write one small object; it appears whole or not at all."""
        await obstore.put_async(self._store, key, payload)

    async def put_durable(self, key: str, payload: bytes) -> None:
        """Write one small object that is still there after a power failure once this returns.

        S3 promises that by itself; on local disk file and folders are flushed.
        """
        if self._folder is None:
            await self.put(key, payload)
        else:
            await asyncio.to_thread(_write_durably, self._folder, key, payload)

    async def put_stream(self, key: str, chunks: AsyncIterable[bytes], *, at_once: int = 2) -> int:
        """Write a stream in parts with bounded memory and return its bytes; nothing appears if the stream breaks.

        ``at_once`` parts are on their way at a time, each in memory; a single one is the smallest the store takes.
        """
        size, part = 0, PART_BYTES if at_once > 1 else self._smallest_part_bytes
        async with obstore.open_writer_async(self._store, key, buffer_size=part, max_concurrency=at_once) as writer:
            async for chunk in chunks:
                size += len(chunk)
                await writer.write(chunk)
        return size

    async def get(self, key: str) -> bytes:
        """Read one object whole. Raises ObjectMissing."""
        try:
            return bytes(await (await obstore.get_async(self._store, key)).bytes_async())
        except (NotFoundError, FileNotFoundError) as error:
            raise ObjectMissing from error

    async def get_range(self, key: str, start: int, length: int) -> bytes:
        """Read ``length`` bytes from ``start``. Raises ObjectMissing."""
        try:
            return bytes(await obstore.get_range_async(self._store, key, start=start, length=length))
        except (NotFoundError, FileNotFoundError) as error:
            raise ObjectMissing from error

    async def stream(self, key: str) -> AsyncIterator[bytes]:
        """Read an object in chunks of about 1 MiB. Raises ObjectMissing."""
        try:
            result = await obstore.get_async(self._store, key)
        except (NotFoundError, FileNotFoundError) as error:
            raise ObjectMissing from error
        async for chunk in result.stream(min_chunk_size=1024 * 1024):
            yield bytes(chunk)

    async def size(self, key: str) -> int:
        """Bytes of an object. Raises ObjectMissing."""
        try:
            return int((await obstore.head_async(self._store, key))["size"])
        except (NotFoundError, FileNotFoundError) as error:
            raise ObjectMissing from error

    async def delete(self, key: str) -> None:
        """Delete an object and what was begun of it; a missing one is fine."""
        with suppress(NotFoundError, FileNotFoundError):
            await obstore.delete_async(self._store, key)
        if self._folder is not None:
            await asyncio.to_thread(_drop_halves, self._folder, key)

    async def keys(self, prefix: str, *, after: str | None = None) -> list[str]:
        """All keys below a prefix, sorted; with ``after`` only those that come later in that order."""
        found: list[str] = []
        async for batch in obstore.list(self._store, prefix=prefix, offset=after):
            found += [str(entry["path"]) for entry in batch]
        return sorted(key for key in found if after is None or key > after)

    async def all_keys(self, prefix: str) -> list[str]:
        """As ``keys``, and those of which there is only what somebody who died has begun to write.

        Only a local disk shows that; S3 ends unfinished uploads by a rule of the bucket (docs/bulk-exports.md).
        """
        begun = [] if self._folder is None else await asyncio.to_thread(_begun, self._folder, prefix)
        return sorted({*await self.keys(prefix), *begun})


def _begun(folder: Path, prefix: str) -> list[str]:
    """Keys of files that are not finished: the store writes them beside, under a name with a number."""
    found = [*(folder / prefix).rglob("*#*")] if (folder / prefix).is_dir() else []
    return [str(path.relative_to(folder)).rpartition("#")[0] for path in found if _HALF.search(path.name)]


def _drop_halves(folder: Path, key: str) -> None:
    path = folder / key
    if not path.parent.is_dir():
        return
    with os.scandir(path.parent) as entries:
        halves = [one.path for one in entries if one.name.startswith(f"{path.name}#") and _HALF.search(one.name)]
    for half in halves:
        Path(half).unlink(missing_ok=True)
    if halves:
        _remove_empty(path.parent, folder)


def _remove_empty(place: Path, top: Path) -> None:
    with suppress(OSError):  # not empty: somebody else's
        while place != top:
            place.rmdir()
            place = place.parent


def _write_durably(folder: Path, key: str, payload: bytes) -> None:
    path = folder / key
    _make_folder(path.parent)
    # The store does not list names like this; one that a crash left behind is nobody's.
    fresh = path.with_name(f"{path.name}#{secrets.randbelow(10**15)}")
    with fresh.open("xb") as file:
        file.write(payload)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    _flush(path.parent)


def _make_folder(folder: Path) -> None:
    """Make a folder that is still there after a power failure, and those above it."""
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for one in made:
        _flush(one.parent)


def _flush(folder: Path) -> None:
    """Flush a folder's list of names."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _retry(retry_s: float) -> "RetryConfig":
    return {
        "max_retries": 10_000,  # the time decides
        "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=3), "base": 2},
        "retry_timeout": timedelta(seconds=retry_s),
    }


def _open(url: str, retry_s: float) -> object:
    parts = urlsplit(url)
    match parts.scheme:
        case "file":
            folder = Path(unquote(parts.path))
            _make_folder(folder)
            return LocalStore(folder, automatic_cleanup=True)
        case "memory":
            return MemoryStore()
        case "s3":
            return S3Store(bucket=parts.netloc, prefix=parts.path.strip("/") or None, retry_config=_retry(retry_s))
        case scheme:
            raise ValueError(f"CDP_OBJECTS_URL: {scheme or 'a URL without a scheme'} is not file, s3 or memory")
