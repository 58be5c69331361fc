"""One supervised child process: start it so that it cannot outlive us, stop it politely, then firmly."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cdp.core.errors import Unavailable
from cdp.embedded import launch
from cdp.embedded.account import Account

POLL_S = 0.01
# What the servers see of our environment: nothing. They run as another account, and ours may hold keys.
BARE_ENVIRONMENT: Mapping[str, str] = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


class ProcessFailed(Unavailable):
    """A process of the embedded stack did not start."""

    code = "PROCESS_FAILED"


@dataclass(frozen=True)
class Command:
    """What to run. ``environment`` None inherits ours; servers get a bare one, so that our secrets stay ours.

    ``output`` None shares our standard output. ``death_signal`` is what the kernel sends when we are gone.
    """

    name: str
    argv: Sequence[str]
    account: Account
    death_signal: signal.Signals
    stop_signals: Sequence[tuple[signal.Signals, float]]
    environment: Mapping[str, str] | None = None
    output: Path | None = None


class Child:
    """A running process of ours."""

    def __init__(self, command: Command, process: subprocess.Popen[bytes]) -> None:
        self.command = command
        self.process = process
        self.started_at = time.time()

    @property
    def pid(self) -> int:
        """Process id; launch.py execs, so it stays the same."""
        return self.process.pid

    def exit_code(self) -> int | None:
        """Exit code, negative for a signal; None while it runs."""
        return self.process.poll()

    def stop(self) -> None:
        """Send each stop signal and wait its seconds; at last SIGKILL to the whole group."""
        for number, patience_s in self.command.stop_signals:
            if self.exit_code() is not None:
                return
            self.process.send_signal(number)
            try:
                self.process.wait(patience_s)
            except subprocess.TimeoutExpired:
                continue
        if self.exit_code() is None:
            os.killpg(self.pid, signal.SIGKILL)
            self.process.wait()


def start(command: Command) -> Child:
    """Start a child in its own process group, so that Ctrl-C reaches us alone and we stop things in order.

    Only from the main thread: the parent-death signal fires when the *thread* that forked ends.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("a supervised process must be started from the main thread")
    prefix = [sys.executable, "-I", "-S", launch.__file__]
    identity = [os.getpid(), int(command.death_signal), command.account.uid, command.account.gid]
    output = _open_log(command.output) if command.output else None
    try:
        process = subprocess.Popen(
            [*prefix, *map(str, identity), *command.argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
            env=command.environment,
            process_group=0,
        )
    finally:
        if output:
            output.close()
    return Child(command, process)


def log_tail(path: Path, *, lines: int = 12) -> str:
    """The last lines of a process's output, for the sentence that says why it failed."""
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 16_384))
        return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-lines:])


def end_leftovers(folder: Path, program: str, polite: signal.Signals, *, patience_s: float = 30.0) -> None:
    """Wait for servers of a killed supervisor to finish dying, then end them.

    Both servers work inside their data folder, so the kernel tells us who they are; a pid file may name a stranger.
    """
    if not list(_at_work(folder, program)):
        return
    deadline = time.monotonic() + patience_s
    for number, share in ((None, 0.3), (polite, 0.6), (signal.SIGKILL, 1.0)):
        until = deadline - patience_s * (1 - share)
        for pid in list(_at_work(folder, program)):
            if number is not None:
                _signal(pid, number)
        while time.monotonic() < until:
            if not list(_at_work(folder, program)):
                return
            time.sleep(POLL_S)
    raise ProcessFailed(f"An old {program} process in {folder} does not end.")


def _at_work(folder: Path, program: str) -> Iterator[int]:
    """Pids of a program whose working folder is this one."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            is_here = (entry / "cwd").readlink() == folder
            is_program = (entry / "exe").readlink().name.removesuffix(" (deleted)") == program
        except OSError:  # ended meanwhile, or a process of somebody else
            continue
        if is_here and is_program:
            yield int(entry.name)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _open_log(path: Path) -> BinaryIO:
    """Open for append, readable by us alone; one old file is kept so that a restart loop cannot fill the disk."""
    if path.exists() and path.stat().st_size > 8 * 1024 * 1024:
        path.replace(path.with_suffix(".old"))
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")
