"""The embedded Valkey: the doorbell's queue, on a Unix socket, appended to disk and never evicting."""

import signal
import socket
from pathlib import Path

from cdp.embedded.layout import Layout
from cdp.embedded.process import BARE_ENVIRONMENT, Command, end_leftovers


class Valkey:
    """How to run the embedded Valkey at a layout."""

    name = "valkey"

    def __init__(self, layout: Layout, binary: Path) -> None:
        self.layout = layout
        self.binary = binary

    def prepare(self) -> None:
        """Clear what a killed server left."""
        end_leftovers(self.layout.valkey, self.binary.name, signal.SIGTERM)
        self.layout.valkey_socket.unlink(missing_ok=True)

    def command(self) -> Command:
        """The server itself; no snapshots, the append-only file is the state."""
        options = {
            "port": "0",
            "unixsocket": str(self.layout.valkey_socket),
            "unixsocketperm": "700",
            "dir": str(self.layout.valkey),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            "databases": "64",
            "daemonize": "no",
            "always-show-logo": "no",
        }
        flags = [flag for name, value in options.items() for flag in (f"--{name}", value)]
        return Command(
            self.name,
            [str(self.binary), *flags],
            self.layout.account,
            death_signal=signal.SIGTERM,
            stop_signals=[(signal.SIGTERM, 20.0)],
            environment=BARE_ENVIRONMENT,
            output=self.layout.log / "valkey.log",
        )

    def is_ready(self, pid: int) -> bool:  # noqa: ARG002 - Postgres needs the pid, the protocol is one
        """Whether it answers a PING; while it reads its file it answers LOADING."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(2)
            try:
                connection.connect(str(self.layout.valkey_socket))
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
            except OSError:
                return False

    def welcome(self) -> None:
        """Nothing to set up."""
