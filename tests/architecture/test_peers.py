"""The closing table of a test run: who took part, who did not, and when that fails the run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT

MODULE = """
from tests import peers

def test_there():
    peers.took_part("postgres 18.6")

def test_missing():
    peers.missing("chromium", "apt install chromium")

def test_also_missing():
    peers.missing("mariadb", "apt install mariadb-server")

def test_missing_otherwise():
    peers.missing("network", "plug it in")
"""


def _run(folder: Path, *arguments: str, require_all: bool = False) -> subprocess.CompletedProcess[str]:
    (folder / "test_module.py").write_text(MODULE)
    (folder / "pytest.ini").write_text("[pytest]\n")
    environment = {name: value for name, value in os.environ.items() if name != "CDP_REQUIRE_ALL"}
    environment |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    environment |= {"CDP_REQUIRE_ALL": "1"} if require_all else {}
    command = [sys.executable, "-m", "pytest", "-p", "tests.peers", "-q", *arguments, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, env=environment, check=False)


@pytest.mark.parametrize("arguments", [(), ("-p", "xdist", "-n", "2")], ids=["alone", "xdist"])
def test_a_missing_peer_is_named_with_its_remedy(tmp_path: Path, arguments: tuple[str, ...]):
    done = _run(tmp_path, *arguments)
    assert done.returncode == 0, done.stdout
    assert "took part: postgres 18.6\n" in done.stdout
    remedy = "as root: apt install chromium mariadb-server; plug it in"
    assert f"did not take part: chromium, mariadb, network; {remedy}\n" in done.stdout
    assert "1 passed, 3 skipped" in done.stdout.splitlines()[-1]


def test_the_gate_fails_when_a_peer_is_missing(tmp_path: Path):
    done = _run(tmp_path, require_all=True)
    assert done.returncode == 1
    assert "chromium is missing: apt install chromium" in done.stdout
    assert "3 failed, 1 passed" in done.stdout.splitlines()[-1]
