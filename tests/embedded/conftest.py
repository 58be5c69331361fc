"""A terminal in front of an embedded stack of the test's own."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psycopg
import pytest
import redis

from cdp.core.settings import Settings
from cdp.embedded.layout import layout_of, resolve

PATIENCE_S = 60


class Terminal:
    """Runs verbs of ``cdp`` on one state folder, as a person would."""

    def __init__(self, folder: Path, prefix: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.prefix = prefix

    @property
    def settings(self) -> Settings:
        """Settings as the verbs see them, unresolved."""
        return Settings(state_dir=self.folder, database_url="", redis_url="", objects_url="")

    def environment(self, extra: Mapping[str, str]) -> dict[str, str]:
        """The environment of this run without its own CDP_ settings."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("CDP_")}
        return inherited | {"CDP_STATE_DIR": str(self.folder)} | extra

    def run(self, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
        """Run one verb to its end."""
        command = [*self.prefix, sys.executable, "-m", "cdp", *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, env=self.environment(extra), timeout=PATIENCE_S, check=False
        )

    def start(self, *arguments: str, **extra: str) -> subprocess.Popen[str]:
        """Start one verb that stays."""
        command = [*self.prefix, sys.executable, "-m", "cdp", *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=self.environment(extra))

    def up(self, **extra: str) -> None:
        """Start the servers alone and return when they are ready."""
        done = self.run("up", "--detach", "--no-processes", **extra)
        assert done.returncode == 0, done.stderr

    def status(self, **extra: str) -> dict:
        """``cdp status --json``, parts by name."""
        found = json.loads(self.run("status", "--json", **extra).stdout)
        return found | {"parts": {part["name"]: part for part in found["parts"]}}

    def postgres(self) -> psycopg.Connection:
        """A connection as the owner."""
        return psycopg.connect(resolve(self.settings).database_owner_url, autocommit=True)

    def valkey(self) -> redis.Redis:
        """A client."""
        return redis.Redis.from_url(resolve(self.settings).redis_url, decode_responses=True)


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Wait until it holds; says what did not happen."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S} s: {what}"
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that only waits for its parent to read its exit code does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def terminal(stack_folder: Path) -> Iterator[Terminal]:
    found = Terminal(stack_folder)
    yield found
    found.run("down")


@pytest.fixture
def log_of(stack_folder: Path) -> Callable[[str], str]:
    return lambda name: (layout_of(Settings(state_dir=stack_folder)).log / f"{name}.log").read_text()
