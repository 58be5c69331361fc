"""Start and stop the embedded servers: for the supervisor, and for tests and benchmarks that want the two alone."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from cdp.core.settings import Settings
from cdp.embedded.binaries import postgres_bin, valkey_server
from cdp.embedded.layout import Layout, create, layout_of, leave, parts_of, settings_for
from cdp.embedded.lock import held
from cdp.embedded.postgres import Postgres
from cdp.embedded.process import POLL_S, Child, Command, ProcessFailed, log_tail, start
from cdp.embedded.valkey import Valkey

# Postgres may have a write-ahead log to replay before it is ready.
READY_WITHIN_S = 300.0


class Server(Protocol):
    """What the supervisor must know of a server."""

    name: str

    def prepare(self) -> None:
        """Make ready to start: create what is missing, clear what a killed one left. Runs before every start."""

    def command(self) -> Command:
        """What to run."""

    def is_ready(self, pid: int) -> bool:
        """Whether the process takes connections."""

    def welcome(self) -> None:
        """Set up what needs the running server; must be safe to repeat."""


def servers_of(settings: Settings, layout: Layout, *, durable: bool = True) -> list[Server]:
    """Servers the settings leave to us, in the order they start."""
    parts = parts_of(settings)
    needed: list[Server] = []
    if parts.postgres:
        needed.append(Postgres(layout, postgres_bin(settings, layout), durable=durable))
    if parts.valkey:
        needed.append(Valkey(layout, valkey_server(settings, layout)))
    return needed


@contextmanager
def servers(settings: Settings, *, durable: bool = True) -> Iterator[Settings]:
    """Run the embedded servers for the length of the block; yields settings with every URL filled.

    Call it from the main thread. ``durable=False`` is for throw-away data: faster, and lost in a power cut.
    Raises AlreadyRunning when another process holds this state folder.
    """
    layout = layout_of(settings)
    create(layout)
    with held(layout.lock):
        children: list[Child] = []
        try:
            start_servers(servers_of(settings, layout, durable=durable), children)
            yield settings_for(settings, layout)
        finally:
            stop_all(children)
            leave(layout)


def start_servers(needed: Sequence[Server], children: list[Child]) -> None:
    """Start all, then wait for all. What has started is in ``children`` even when a later one fails."""
    for server in needed:
        server.prepare()
        children.append(start(server.command()))
    for server, child in zip(needed, children[-len(needed) :] if needed else [], strict=True):
        wait_until_ready(server, child)
        server.welcome()


def wait_until_ready(server: Server, child: Child) -> None:
    """Wait while the process lives.

    Raises ProcessFailed with the end of its output when it does not become ready.
    """
    deadline = time.monotonic() + READY_WITHIN_S
    while not server.is_ready(child.pid):
        code = child.exit_code()
        if code is not None or time.monotonic() > deadline:
            output = log_tail(child.command.output) if child.command.output else ""
            reason = f"ended with code {code}" if code is not None else "is not ready"
            raise ProcessFailed(f"{server.name} {reason}. Its last words:\n{output}")
        time.sleep(POLL_S)


def stop_all(children: Sequence[Child]) -> None:
    """Stop in the reverse of the order of starting: nobody loses a server it still uses."""
    for child in reversed(children):
        child.stop()
