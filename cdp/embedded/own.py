"""Our own two processes as parts of the stack: ``cdp api`` and ``cdp worker``, and ``cdp migrate`` before them.

They read the environment like any other start of them; the supervisor only pins the port it chose and the state folder.
"""

import http.client
import os
import pwd
import signal
import ssl
import sys
from collections.abc import Mapping

from cdp.core.settings import Settings
from cdp.embedded.account import Account
from cdp.embedded.layout import Layout
from cdp.embedded.process import Command


class OwnProcess:
    """One verb of ours, run as a supervised process under the caller's account, on the caller's terminal."""

    def __init__(self, verb: str, environment: Mapping[str, str], *, patience_s: float) -> None:
        self.name = verb
        self.environment = environment
        self.patience_s = patience_s

    def prepare(self) -> None:
        """Nothing to make ready."""

    def command(self) -> Command:
        """The verb. When the supervisor is killed, the kernel kills it too: work under lease survives that, and a
        polite signal could leave it waiting for open streams while the next stack starts.
        """
        return Command(
            self.name,
            [sys.executable, "-m", "cdp", self.name],
            _caller(),
            death_signal=signal.SIGKILL,
            stop_signals=[(signal.SIGTERM, self.patience_s)],
            environment=self.environment,
        )

    def is_ready(self, pid: int) -> bool:  # noqa: ARG002 - the protocol is one
        """A process that runs is as ready as we can know."""
        return True

    def welcome(self) -> None:
        """Nothing to set up."""


class Api(OwnProcess):
    """The API process, ready when /readyz says so."""

    def __init__(self, environment: Mapping[str, str], settings: Settings) -> None:
        super().__init__("api", environment, patience_s=15.0)
        self.settings = settings

    def is_ready(self, pid: int) -> bool:  # noqa: ARG002 - the protocol is one
        """Ask over the network, as a load balancer would."""
        return answers_ready(self.settings)


def own_processes(settings: Settings, layout: Layout) -> list[OwnProcess]:
    """Worker and API, in the order they start; ``settings`` carry the chosen port."""
    environment = environment_of(settings, layout)
    return [OwnProcess("worker", environment, patience_s=30.0), Api(environment, settings)]


def environment_of(settings: Settings, layout: Layout) -> dict[str, str]:
    """The caller's environment with what the supervisor decided."""
    return os.environ | {"CDP_PORT": str(settings.port), "CDP_STATE_DIR": str(layout.asked_for)}


def answers_ready(settings: Settings) -> bool:
    """Whether /readyz of our own API answers 200. Its certificate is not checked: it names the public host."""
    host = "::1" if settings.host == "::" else "127.0.0.1" if settings.host == "0.0.0.0" else settings.host  # noqa: S104
    connection: http.client.HTTPConnection
    if settings.tls_cert_file:
        context = ssl._create_unverified_context()  # noqa: S323, SLF001 - our own process on this machine
        connection = http.client.HTTPSConnection(host, settings.port, timeout=5, context=context)
    else:
        connection = http.client.HTTPConnection(host, settings.port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _caller() -> Account:
    uid = os.geteuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    return Account(name, uid, os.getegid())
