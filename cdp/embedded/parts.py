"""Parts of the stack: what a supervisor must know of one, how several start and stop, and how one is kept up."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cdp.core.errors import PlatformError
from cdp.embedded.lock import PartRecord
from cdp.embedded.process import POLL_S, Child, Command, ProcessFailed, log_tail, start

# Postgres may have a write-ahead log to replay before it is ready.
READY_WITHIN_S = 300.0
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 15.0
# A part that ran this long counts as healthy again: its next failure starts with the short pause.
STEADY_S = 60.0


class Part(Protocol):
    """One process of the stack."""

    name: str

    def prepare(self) -> None:
        """Make ready to start: create what is missing, clear what a killed one left. Runs before every start."""

    def command(self) -> Command:
        """What to run."""

    def is_ready(self, pid: int) -> bool:
        """Whether the process takes work."""

    def welcome(self) -> None:
        """Set up what needs the running process; must be safe to repeat."""


@dataclass
class Kept:
    """A started part. ``next_try`` is set while it is down and waits for its next start."""

    part: Part
    child: Child
    failures: int = 0
    restarts: int = 0
    next_try: float | None = None

    def tend(self, now: float) -> str | None:
        """Note that the part has ended, or start it again when its pause is over; what happened, in words.

        ``now`` is monotonic: a clock that is set back must not keep a server down.
        """
        if self.next_try is None:
            code = self.child.exit_code()
            if code is not None:
                return self._pause(now, f"ended with code {code}")
            if time.time() - self.child.started_at > STEADY_S:
                self.failures = 0
            return None
        if now < self.next_try:
            return None
        try:
            self.part.prepare()
            self.child = start(self.part.command())
        except (PlatformError, OSError) as error:
            return self._pause(now, str(error))
        self.next_try = None
        self.restarts += 1
        return f"{self.part.name}: started again, pid {self.child.pid}"

    def record(self) -> PartRecord:
        """For ``cdp status``."""
        pid = self.child.pid if self.next_try is None else None
        return PartRecord(self.part.name, pid, self.child.started_at, self.restarts)

    def _pause(self, now: float, reason: str) -> str:
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**self.failures)
        self.failures += 1
        self.next_try = now + pause_s
        return f"{self.part.name}: {reason}; next start in {pause_s:g} s"


def start_all(parts: Sequence[Part], running: list[Kept]) -> None:
    """Start all, then wait for all. What has started is in ``running`` even when a later one fails.

    Raises ProcessFailed with the end of its output when one does not become ready.
    """
    started = []
    for part in parts:
        part.prepare()
        started.append(Kept(part, start(part.command())))
        running.append(started[-1])
    for kept in started:
        _wait_until_ready(kept)
        kept.part.welcome()


def stop_all(running: Sequence[Kept]) -> None:
    """Stop in the reverse of the order of starting: nobody loses a server it still uses."""
    for kept in reversed(running):
        kept.child.stop()


def _wait_until_ready(kept: Kept) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while not kept.part.is_ready(kept.child.pid):
        code = kept.child.exit_code()
        if code is not None or time.monotonic() > deadline:
            reason = f"ended with code {code}" if code is not None else f"was not ready within {READY_WITHIN_S:g} s"
            output = kept.child.command.output
            last_words = f"; the end of {output}:\n{log_tail(output)}" if output else ""
            raise ProcessFailed(f"{kept.part.name} {reason}{last_words}")
        time.sleep(POLL_S)
