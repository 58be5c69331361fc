"""``cdp up`` with API and worker: ready means ready, what dies comes back, and nothing survives the supervisor."""

import os
import signal
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from cdp.embedded.layout import layout_of
from tests.embedded.conftest import Terminal, is_alive, wait_for

pytestmark = pytest.mark.faults

PARTS = {"postgres", "valkey", "worker", "api"}


def _up(terminal: Terminal, **extra: str) -> dict:
    done = terminal.run("up", "--detach", **extra)
    assert done.returncode == 0, done.stderr
    status = terminal.status()
    assert status["is_ready"]
    assert set(status["parts"]) == PARTS
    assert done.stdout == f"ready: {status['url']}\n"
    return status


def _readyz(url: str) -> int:
    with urllib.request.urlopen(f"{url}/readyz", timeout=10) as answer:
        return answer.status


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def _listener(port: int) -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        yield taken.getsockname()[1]


def test_everything_is_up_and_ends_in_order(terminal: Terminal):
    port = _free_port()
    status = _up(terminal, CDP_PORT=str(port))
    assert status["url"] == f"http://localhost:{port}"
    assert _readyz(status["url"]) == 200
    with terminal.postgres() as connection:
        assert connection.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)
    assert terminal.run("down").stdout == "stopped\n"
    assert not any(is_alive(part["pid"]) for part in status["parts"].values())


def test_a_killed_process_comes_back_and_a_killed_supervisor_takes_all_along(terminal: Terminal):
    status = _up(terminal, CDP_PORT=str(_free_port()))
    for name in ("worker", "api"):
        os.kill(status["parts"][name]["pid"], signal.SIGKILL)
    wait_for(lambda: {p["restarts"] for p in _own(terminal)} == {1}, "both are started again")
    wait_for(lambda: {p["state"] for p in _own(terminal)} == {"running"}, "both run again")
    assert _readyz(status["url"]) == 200
    pids = [part["pid"] for part in terminal.status()["parts"].values()]
    os.kill(terminal.status()["pid"], signal.SIGKILL)
    wait_for(lambda: not any(is_alive(pid) for pid in pids), "every part ends with the supervisor")
    _up(terminal, CDP_PORT=str(_free_port()))


def _own(terminal: Terminal) -> list[dict]:
    parts = terminal.status()["parts"]
    return [parts["worker"], parts["api"]]


@pytest.fixture
def default_port_is_taken() -> Iterator[None]:
    with ExitStack() as stack:
        with suppress(OSError):  # somebody has it already: just as good
            stack.enter_context(_listener(8000))
        yield


@pytest.mark.usefixtures("default_port_is_taken")
def test_a_taken_default_port_gives_way_and_a_named_one_does_not(terminal: Terminal):
    status = _up(terminal)
    assert not status["url"].endswith(":8000")
    assert _readyz(status["url"]) == 200
    terminal.run("down")
    with _listener(0) as port:
        refused = terminal.run("up", CDP_PORT=str(port))
    assert refused.returncode == 1
    assert f"Port {port} is taken" in refused.stderr
    assert "(PORT_TAKEN)" in refused.stderr


def test_what_cannot_start_stops_the_rest_and_says_why(terminal: Terminal):
    """A certificate that is not there: the API ends before it is ready."""
    failed = terminal.run("up", "--detach", CDP_TLS_CERT_FILE="/nowhere/cert.pem", CDP_PORT=str(_free_port()))
    assert failed.returncode == 1
    assert "(STACK_FAILED)" in failed.stderr
    assert "api ended with code" in failed.stderr
    assert not terminal.status()["is_running"]
    assert not layout_of(terminal.settings).postgres_socket.exists()


def test_a_verb_alone_finds_the_running_stack(terminal: Terminal):
    _up(terminal, CDP_PORT=str(_free_port()))
    again = terminal.run("migrate")
    assert again.returncode == 0, again.stderr
