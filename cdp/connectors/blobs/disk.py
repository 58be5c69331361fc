"""A folder on this machine as a store; links are never followed out of it, and never taken for what they point to."""

import os
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread

from cdp.connectors.base import Code, Outcome, Problem, State
from cdp.connectors.blobs.store import CHUNK_BYTES, Entry, Trouble

T = TypeVar("T")


class Disk:
    """Files below ``root``; keys are paths relative to it."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def entries(self, prefix: str) -> list[Entry]:
        """Walk the folder, or look at the one file."""
        return await _in_thread(lambda: self._entries(prefix))

    async def contents(self, entry: Entry) -> AsyncIterator[bytes]:
        """Read the file; a link's content is where it points, which is not ours to give away."""
        path = self._root / entry.key
        if path.is_symlink():
            return
        try:
            async with await anyio.open_file(path, "rb") as opened:
                while chunk := await opened.read(CHUNK_BYTES):
                    yield chunk
        except OSError as error:
            raise _trouble(error) from None

    async def locked(self, entries: Sequence[Entry]) -> int:  # noqa: ARG002
        """None: a folder knows no locks."""
        return 0

    async def remove(self, entries: Sequence[Entry]) -> None:
        """Unlink the files and the folders that are empty afterwards, and make that durable."""
        await _in_thread(lambda: self._remove(entries))

    async def probe(self, prefix: str) -> tuple[Problem, ...]:  # noqa: ARG002
        """The folder is there and takes changes."""
        if not await _in_thread(self._root.is_dir):
            return (Problem(Code.UNREACHABLE, "url", "There is no such folder"),)
        if not os.access(self._root, os.R_OK | os.W_OK | os.X_OK):
            return (Problem(Code.NOT_ALLOWED, "url", "The folder may not be read and changed"),)
        return ()

    def _entries(self, prefix: str) -> list[Entry]:
        if not self._root.is_dir():  # an unmounted disk must not pass for an empty one
            raise Trouble(Outcome(State.RETRY, Code.UNREACHABLE))
        start = self._within(prefix.removesuffix("/"))
        if not prefix.endswith("/"):
            return [self._entry(start)] if start.is_symlink() or start.is_file() else []
        if not start.is_dir() or start.is_symlink():
            return []
        found: list[Entry] = []
        for folder, folders, files in os.walk(start, onerror=_raise):
            linked = [name for name in folders if (Path(folder) / name).is_symlink()]
            found += [self._entry(Path(folder) / name) for name in sorted([*files, *linked])]
        return found

    def _within(self, key: str) -> Path:
        """The path of a key, refused where a link on the way leads elsewhere."""
        path = self._root / key
        if not path.parent.resolve().is_relative_to(self._root.resolve()):
            raise Trouble(Outcome(State.FAILED, "OUTSIDE_THE_FOLDER"))
        return path

    def _entry(self, path: Path) -> Entry:
        return Entry(path.relative_to(self._root).as_posix(), path.lstat().st_size)

    def _remove(self, entries: Sequence[Entry]) -> None:
        touched: set[Path] = set()
        for entry in entries:
            path = self._within(entry.key)
            path.unlink(missing_ok=True)
            touched.add(path.parent)
        for folder in sorted(touched, key=lambda one: len(one.parts), reverse=True):
            _sync(self._prune(folder))

    def _prune(self, folder: Path) -> Path:
        """Remove empty folders upwards; return the first that stays."""
        while folder != self._root and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent
        return folder if folder.is_dir() else self._root


def _sync(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _raise(error: OSError) -> None:
    raise error


async def _in_thread(work: Callable[[], T]) -> T:
    try:
        return await anyio.to_thread.run_sync(work)
    except OSError as error:
        raise _trouble(error) from None


def _trouble(error: OSError) -> Trouble:
    """A path is personal: only what kind of trouble it was leaves."""
    if isinstance(error, PermissionError):
        return Trouble(Outcome(State.FAILED, Code.NOT_ALLOWED))
    return Trouble(Outcome(State.RETRY, Code.UNREACHABLE))
