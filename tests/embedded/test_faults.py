"""The embedded stack under violence: whoever is killed, nothing is left running and nothing committed is lost."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from cdp.embedded.layout import layout_of
from tests.embedded.conftest import Terminal, is_alive, wait_for

pytestmark = pytest.mark.faults


def _pids(terminal: Terminal) -> dict[str, int]:
    return {name: part["pid"] for name, part in terminal.status()["parts"].items()}


def _processes_in(folder: Path) -> list[int]:
    """Every process that works inside the folder: servers and each of their children."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cwd").readlink().is_relative_to(folder):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def test_a_killed_supervisor_leaves_no_server_and_loses_nothing(terminal: Terminal):
    terminal.up()
    state = layout_of(terminal.settings).state
    with terminal.postgres() as connection:
        connection.execute("CREATE TABLE kept AS SELECT 'row' AS word")
    with terminal.valkey() as client:
        client.rpush("queue", "job")
    assert len(_processes_in(state)) > 2
    _kill(terminal.status()["pid"])
    wait_for(lambda: not _processes_in(state), "the servers end with their supervisor")
    assert not terminal.status()["is_running"]
    terminal.up()
    with terminal.postgres() as connection:
        assert connection.execute("SELECT word FROM kept").fetchall() == [("row",)]
    with terminal.valkey() as client:
        assert client.lrange("queue", 0, -1) == ["job"]


def test_a_new_stack_may_start_while_the_killed_ones_servers_still_stop(terminal: Terminal):
    terminal.up()
    with terminal.postgres() as connection:
        # Dirty pages make the old server's shutdown checkpoint take a while.
        connection.execute("CREATE TABLE big AS SELECT n, repeat('x', 500) AS filler FROM generate_series(1, 200000) n")
    _kill(terminal.status()["pid"])
    terminal.up()
    with terminal.postgres() as connection:
        assert connection.execute("SELECT count(*) FROM big").fetchone() == (200_000,)


@pytest.mark.parametrize("name", ["postgres", "valkey"])
def test_a_killed_server_comes_back_and_the_other_stays(terminal: Terminal, name: str):
    terminal.up()
    before = _pids(terminal)
    with terminal.postgres() as connection:
        connection.execute("CREATE TABLE kept AS SELECT 'row' AS word")
    with terminal.valkey() as client:
        client.rpush("queue", "job")
    _kill(before[name])
    wait_for(lambda: terminal.status()["parts"][name]["restarts"] == 1, f"{name} is started again")
    wait_for(lambda: terminal.status()["parts"][name]["state"] == "running", f"{name} answers again")
    after = _pids(terminal)
    assert after[name] != before[name]
    assert {other: pid for other, pid in after.items() if other != name} == {
        other: pid for other, pid in before.items() if other != name
    }
    wait_for(lambda: _has_row(terminal), "the row is there")
    with terminal.valkey() as client:
        assert client.lrange("queue", 0, -1) == ["job"]


def _has_row(terminal: Terminal) -> bool:
    try:
        with terminal.postgres() as connection:
            return connection.execute("SELECT word FROM kept").fetchall() == [("row",)]
    except psycopg.OperationalError:  # it still replays its log
        return False


def test_files_that_name_a_stranger_do_not_keep_a_server_from_starting(terminal: Terminal):
    terminal.up()
    terminal.run("down")
    layout = layout_of(terminal.settings)
    stranger = subprocess.Popen(
        ["sleep", "300"], **({"user": layout.account.uid, "group": layout.account.gid} if os.geteuid() == 0 else {})
    )
    try:
        for path in (layout.postgres / "postmaster.pid", layout.run / ".s.PGSQL.5432.lock"):
            path.write_text(f"{stranger.pid}\n{layout.postgres}\n1700000000\n5432\n{layout.run}\n\n\nready\n")
        for path in (layout.postgres_socket, layout.valkey_socket):
            path.write_text("")
        terminal.up()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_killed_first_start_is_followed_by_a_good_one(terminal: Terminal):
    process = terminal.start("up", "--no-processes")
    layout = layout_of(terminal.settings)
    wait_for((layout.state / "postgres.new").exists, "initdb is at work")
    _kill(process.pid)
    process.communicate()
    terminal.up()
    with terminal.postgres() as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


PARENT = """
import dataclasses, signal, sys, time
from cdp.embedded.own import OwnProcess
from cdp.embedded.process import start

stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print('here', flush=True); time.sleep(300)"
command = OwnProcess("worker", {}, patience_s=1).command()
child = start(dataclasses.replace(command, argv=[sys.executable, "-c", stubborn]))
print(child.pid, flush=True)
if sys.argv[1] == "stop":
    time.sleep(1)
    child.stop()
    print(child.exit_code(), flush=True)
time.sleep(300)
"""


@pytest.fixture
def parent() -> Callable[[str], subprocess.Popen[str]]:
    started: list[subprocess.Popen[str]] = []

    def start(how: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PARENT, how]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def _read_pid(process: subprocess.Popen[str]) -> int:
    """The child's greeting and its pid arrive in either order."""
    lines = {process.stdout.readline().strip(), process.stdout.readline().strip()}
    return int((lines - {"here"}).pop())


def test_our_own_processes_die_with_the_supervisor_even_when_they_ignore_signals(parent):
    process = parent("be killed")
    pid = _read_pid(process)
    assert is_alive(pid)
    _kill(process.pid)
    wait_for(lambda: not is_alive(pid), "the child dies with its parent")


def test_a_child_that_ignores_the_polite_signal_is_killed(parent):
    process = parent("stop")
    pid = _read_pid(process)
    assert process.stdout.readline().strip() == str(-signal.SIGKILL)
    assert not is_alive(pid)
