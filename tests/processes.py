"""Real processes for tests: workers of the platform, and a Valkey that can be stopped and started again."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cdp.core.settings import Settings
from cdp.embedded.binaries import installed_valkey

STARTED_WITHIN_S = 60.0
ENDED_WITHIN_S = 30.0


class OwnProcess:
    """A process of the platform under its own settings; its log lines are kept in a file."""

    def __init__(self, settings: Settings, log: Path, verb: str) -> None:
        self.log = log
        names = {
            "CDP_ENV": "test",
            "CDP_PORT": settings.port,
            "CDP_STATE_DIR": settings.state_dir,
            "CDP_DATABASE_URL": settings.database_url,
            "CDP_REDIS_URL": settings.redis_url,
            "CDP_OBJECTS_URL": settings.objects_url,
            "CDP_LEASE_S": settings.lease_s,
            "CDP_SWEEP_S": settings.sweep_s,
            "CDP_RETRY_BASE_S": settings.retry_base_s,
            "CDP_RETRY_LONGEST_S": settings.retry_longest_s,
            "CDP_TASK_TIMEOUT_S": settings.task_timeout_s,
            "CDP_MAX_ATTEMPTS": settings.max_attempts,
            "CDP_RESIDUAL_EVERY": settings.residual_every.total_seconds(),
            "CDP_SYSTEM_CONCURRENCY": settings.system_concurrency,
            "CDP_AUDIT_SEQUENCE_S": settings.audit_sequence_s,
            "CDP_COOLING_OFF": settings.cooling_off.total_seconds(),
            "CDP_BULK_PART_ROWS": settings.bulk_part_rows,
            "CDP_BULK_MAX_BYTES_PER_S": settings.bulk_max_bytes_per_s,
            "CDP_STEP_UP_MAX_AGE_S": settings.step_up_max_age_s,
            "CDP_ALLOW_PRIVATE_TARGETS": "true",
            "CDP_LOG_FORMAT": "json",
        }
        given = {"PATH": os.environ["PATH"], **{name: str(value) for name, value in names.items()}}
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cdp", verb], stdout=output, stderr=output, env=given
            )

    def await_word(self, text: str) -> None:
        """Wait until its log says so."""
        deadline = time.monotonic() + STARTED_WITHIN_S
        while text not in self.said():
            assert self._process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.05)

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def limit_files(self, most_bytes: int) -> None:
        """Let the kernel refuse to make any file longer than this (EFBIG), as a full disk would; -1: no limit."""
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (most_bytes, resource.RLIM_INFINITY))

    def kill(self) -> None:
        """SIGKILL: nothing is finished, nothing is given back."""
        self._process.kill()
        self._process.wait(ENDED_WITHIN_S)

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(ENDED_WITHIN_S)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None


class Worker(OwnProcess):
    """A worker process; ``is_patient`` waits until it works."""

    def __init__(self, settings: Settings, log: Path, *, is_patient: bool = True) -> None:
        super().__init__(settings, log, "worker")
        if is_patient:
            self.await_word("worker.started")


class Api(OwnProcess):
    """An API process on the port of the settings; whoever calls it tries until it answers."""

    def __init__(self, settings: Settings, log: Path) -> None:
        super().__init__(settings, log, "api")


@contextmanager
def worker(settings: Settings, log: Path) -> Iterator[Worker]:
    """A worker for the length of a block, however it ends."""
    one = Worker(settings, log)
    try:
        yield one
    finally:
        if one.is_running:
            one.kill()


class Valkey:
    """A Valkey server of the test's own on a Unix socket, which loses everything when it stops."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.url = f"unix://{folder}/valkey.sock"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        binary = installed_valkey(Settings())
        options = [
            "--port",
            "0",
            "--unixsocket",
            f"{self._folder}/valkey.sock",
            "--dir",
            str(self._folder),
            "--save",
            "",
        ]
        self._process = subprocess.Popen([str(binary), *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + STARTED_WITHIN_S
        while not (self._folder / "valkey.sock").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(ENDED_WITHIN_S)
            (self._folder / "valkey.sock").unlink(missing_ok=True)
            self._process = None
