"""One supervisor per state folder: a held flock, and a record of what it runs.

The kernel drops a flock with its holder, however that died, so there is no stale lock to clean up
(https://man7.org/linux/man-pages/man2/flock.2.html). Files are opened close-on-exec: no child inherits the lock.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from cdp.core.errors import Conflict


class AlreadyRunning(Conflict):
    """The stack is already running."""

    code = "ALREADY_RUNNING"


@dataclass(frozen=True)
class PartRecord:
    """One running part: ``since`` is a Unix time, ``pid`` None while it waits for its next start."""

    name: str
    pid: int | None
    since: float
    restarts: int = 0


@dataclass(frozen=True)
class Record:
    """What one supervisor runs."""

    pid: int
    since: float
    url: str
    is_ready: bool
    parts: tuple[PartRecord, ...]


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock.

    Raises AlreadyRunning, naming the holder, when somebody else does.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            pid = holder(path)
            raise AlreadyRunning(f"The stack is already running (pid {pid}); stop it with: cdp down") from error
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(handle)


def holder(path: Path) -> int | None:
    """Pid of the supervisor that holds the lock; None when nobody does."""
    try:
        handle = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        return int(os.pread(handle, 32, 0) or b"0") or None
    finally:
        os.close(handle)


def write_record(path: Path, record: Record) -> None:
    """Replace the record in one step, so that a reader never sees half of it."""
    partial = path.with_suffix(".new")
    partial.write_text(json.dumps(asdict(record)), encoding="utf-8")
    partial.chmod(0o600)
    partial.replace(path)


def read_record(path: Path, holder_pid: int | None) -> Record | None:
    """The record of the supervisor that holds the lock; None before it wrote one: what lies there is a dead one's."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    parts = tuple(PartRecord(**part) for part in found.pop("parts"))
    record = Record(**found, parts=parts)
    return record if record.pid == holder_pid else None
