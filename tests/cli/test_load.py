"""``cdp import`` and ``cdp seed`` as a person at a terminal has them: output, exit codes, a kill in the middle."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from cdp.core.settings import Settings

PEOPLE = "id,first,mail\n1,Ada,ada@example.com\n2,Bo,bo@example.com\n"
MAPPING = {
    "version": 1,
    "name": "shop",
    "customers": {
        "key": "id",
        "fields": {"given_name": "first"},
        "identities": [{"type": "email", "value": "mail"}],
        "emails": [{"address": "mail"}],
    },
}


def _environment(settings: Settings) -> dict[str, str]:
    return {
        **os.environ,
        "CDP_ENV": "test",
        "CDP_STATE_DIR": str(settings.state_dir),
        "CDP_DATABASE_URL": settings.database_url,
        "CDP_DATABASE_OWNER_URL": settings.database_owner_url,
        "CDP_REDIS_URL": settings.redis_url,
        "CDP_OBJECTS_URL": settings.objects_url,
    }


def _cdp(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cdp", *arguments],
        env=_environment(settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def _customers(settings: Settings) -> int:
    with psycopg.connect(settings.database_owner_url) as connection:
        connection.execute("SET ROLE cdp_worker")
        row = connection.execute("SELECT count(*) FROM customer").fetchone()
    assert row is not None
    return int(row[0])


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    (tmp_path / "people.csv").write_text(PEOPLE)
    (tmp_path / "shop.json").write_text(json.dumps(MAPPING))
    return str(tmp_path / "people.csv"), str(tmp_path / "shop.json")


def test_an_import_shows_counts_and_ends_with_zero(fresh_settings: Settings, files: tuple[str, str]):
    done = _cdp(fresh_settings, "import", files[0], "--mapping", files[1])
    assert (done.returncode, done.stderr) == (0, "")
    assert "created" in done.stdout
    assert _customers(fresh_settings) == 2
    done = _cdp(fresh_settings, "import", files[0], "--mapping", files[1], "--json")
    report = json.loads(done.stdout)
    assert report["sections"]["customers"] | {"read": 2, "unchanged": 2} == report["sections"]["customers"]


def test_a_dry_run_says_so_and_writes_nothing(fresh_settings: Settings, files: tuple[str, str]):
    done = _cdp(fresh_settings, "import", files[0], "-m", files[1], "--dry-run", "--json")
    assert json.loads(done.stdout)["dryRun"] is True
    assert _customers(fresh_settings) == 0


def test_bad_rows_end_with_one_and_strict_with_three(fresh_settings: Settings, files: tuple[str, str]):
    Path(files[0]).write_text(PEOPLE + "3,Cy,nonsense-address\n")
    done = _cdp(fresh_settings, "import", files[0], "-m", files[1], "--strict")
    assert done.returncode == 3
    assert "IMPORT_REFUSED" in done.stderr
    assert _customers(fresh_settings) == 0
    done = _cdp(fresh_settings, "import", files[0], "-m", files[1])
    assert done.returncode == 1
    assert "rejected: customers row 3: INVALID_EMAIL in identities.0.value" in done.stdout
    assert "nonsense-address" not in done.stdout + done.stderr
    assert _customers(fresh_settings) == 2


def test_a_mapping_that_does_not_fit_ends_with_three(fresh_settings: Settings, files: tuple[str, str]):
    document = json.loads(json.dumps(MAPPING))
    document["customers"]["fields"]["family_name"] = "surname"
    Path(files[1]).write_text(json.dumps(document))
    done = _cdp(fresh_settings, "import", files[0], "-m", files[1])
    assert done.returncode == 3
    assert "MAPPING_COLUMN_MISSING" in done.stderr
    assert "surname" in done.stderr
    document["customers"]["fields"]["shoe_size"] = "size"
    Path(files[1]).write_text(json.dumps(document))
    done = _cdp(fresh_settings, "import", files[0], "-m", files[1])
    assert done.returncode == 3
    assert "customers.fields.shoe_size" in done.stderr


@pytest.mark.parametrize("arguments", [("import", "x.csv"), ("import",), ("seed",), ("seed", "-n", "0")])
def test_wrong_usage_ends_with_two(fresh_settings: Settings, arguments: tuple[str, ...]):
    assert _cdp(fresh_settings, *arguments).returncode == 2


def test_a_seed_is_loaded_once(fresh_settings: Settings):
    done = _cdp(fresh_settings, "seed", "--customers", "25", "--seed", "5", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"]["customer"] == 25
    done = _cdp(fresh_settings, "seed", "--customers", "25", "--seed", "5")
    assert done.returncode == 1
    assert "SEED_PRESENT" in done.stderr
    assert _customers(fresh_settings) == 25


@pytest.mark.faults
def test_a_killed_seed_leaves_no_row_and_no_process(fresh_settings: Settings):
    process = subprocess.Popen(
        [sys.executable, "-m", "cdp", "seed", "--customers", "200000"],
        env=_environment(fresh_settings),
        start_new_session=True,
    )
    with psycopg.connect(fresh_settings.database_owner_url, autocommit=True) as connection:
        _wait(lambda: _is_copying(connection))
        children = _children(process.pid)
        assert children
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        _wait(lambda: not _is_copying(connection))
    _wait(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))
    assert _customers(fresh_settings) == 0


def _is_copying(connection: psycopg.Connection) -> bool:
    question = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'COPY%'"
    return connection.execute(question).fetchone() != (0,)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _wait(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
