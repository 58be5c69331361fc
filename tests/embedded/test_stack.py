"""``cdp up`` and its siblings: what starts, what it is replaced by, what it leaves behind."""

import json
import os
import signal
import stat
import threading
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from cdp.core.settings import Environment, Settings
from cdp.embedded.layout import EmbeddedRefused, StackNotRunning, StateNotOurs, layout_of, resolve
from cdp.embedded.lock import AlreadyRunning
from cdp.embedded.passwords import PasswordsLost
from cdp.embedded.servers import servers
from tests.embedded.conftest import Terminal, is_alive

pytestmark = pytest.mark.stack


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_restart_keeps_rows_and_queued_work(terminal: Terminal):
    terminal.up()
    with terminal.postgres() as connection:
        connection.execute("CREATE TABLE kept (word text)")
        connection.execute("INSERT INTO kept VALUES ('row')")
    with terminal.valkey() as client:
        client.rpush("queue", "job")
    assert terminal.run("down").stdout == "stopped\n"
    assert not terminal.status()["is_running"]
    terminal.up()
    with terminal.postgres() as connection:
        assert connection.execute("SELECT word FROM kept").fetchall() == [("row",)]
    with terminal.valkey() as client:
        assert client.lrange("queue", 0, -1) == ["job"]


def test_a_second_up_says_it_is_running_and_disturbs_nothing(terminal: Terminal):
    terminal.up()
    before = terminal.status()
    for arguments in (("up",), ("up", "--detach")):
        second = terminal.run(*arguments)
        assert second.returncode == 1
        assert f"already running (pid {before['pid']})" in second.stderr
        assert "(ALREADY_RUNNING)" in second.stderr
    after = terminal.status()
    assert after["pid"] == before["pid"]
    assert after["parts"]["postgres"]["pid"] == before["parts"]["postgres"]["pid"]


def test_status_and_down_tell_the_truth_without_a_stack(terminal: Terminal):
    assert terminal.run("status").returncode == 1
    down = terminal.run("down")
    assert (down.returncode, down.stdout) == (0, "nothing is running\n")
    migrate = terminal.run("migrate")
    assert migrate.returncode == 1
    assert "(STACK_NOT_RUNNING)" in migrate.stderr


def test_ctrl_c_stops_everything_in_the_foreground(terminal: Terminal):
    process = terminal.start("up", "--no-processes")
    line = ""
    while not line.startswith("ready"):
        line = process.stdout.readline()
        assert line, "ended before it was ready"
    parts = terminal.status()["parts"]
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[0] == "stopped\n"
    assert process.returncode == 0
    assert not any(is_alive(part["pid"]) for part in parts.values())
    assert not layout_of(terminal.settings).postgres_socket.exists()


def test_all_state_lies_in_one_folder_that_others_cannot_read(terminal: Terminal):
    parent = terminal.folder.parent
    parent.mkdir(parents=True, exist_ok=True)
    mode_before, names_before = _mode(parent), set(parent.iterdir())
    terminal.up()
    layout = layout_of(terminal.settings)
    assert _mode(parent) == mode_before
    assert set(parent.iterdir()) - names_before >= {layout.state}
    assert layout.run.is_relative_to(layout.state)
    assert _mode(layout.passwords) == 0o600
    for folder in (layout.postgres, layout.valkey, layout.run, layout.log):
        assert _mode(folder) == 0o700
    owner = layout.postgres.stat().st_uid
    assert owner == layout.account.uid
    assert owner != 0
    with terminal.postgres() as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
        assert connection.execute("SHOW fsync").fetchone() == ("on",)
        locale = connection.execute("SELECT datlocprovider, datlocale FROM pg_database WHERE datname = 'cdp'")
        assert locale.fetchone() in {("b", "C.UTF-8"), (b"b", "C.UTF-8")}
    with terminal.valkey() as client:
        names = ("port", "appendonly", "maxmemory-policy")
        assert [client.config_get(name)[name] for name in names] == ["0", "yes", "noeviction"]


def test_the_socket_asks_for_a_password(terminal: Terminal):
    terminal.up()
    url = make_url(resolve(terminal.settings).database_url)
    for password in (None, "guess"):
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(url._replace(password=password).render_as_string(hide_password=False))


def test_the_servers_log_keeps_values_to_itself(terminal: Terminal, log_of):
    terminal.up()
    with terminal.postgres() as connection:
        connection.execute("CREATE TABLE people (email text PRIMARY KEY)")
        connection.execute("INSERT INTO people VALUES ('ada@example.org')")
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("INSERT INTO people VALUES ('ada@example.org')")
        with pytest.raises(psycopg.errors.InvalidTextRepresentation):
            connection.execute("SELECT 'ada@example.org'::int")
    terminal.run("down")
    assert "ada@" not in log_of("postgres")


def test_a_url_replaces_its_part_and_shows_no_password(terminal: Terminal, settings: Settings):
    replaced = {"CDP_DATABASE_URL": settings.database_url}
    terminal.up(**replaced)
    found = terminal.status(**replaced)
    assert found["parts"]["postgres"]["state"] == "external"
    assert make_url(settings.database_url).password not in str(found)
    assert found["parts"]["valkey"]["state"] == "running"
    layout = layout_of(terminal.settings)
    assert not layout.postgres.exists()
    filled = resolve(terminal.settings.model_copy(update={"database_url": settings.database_url}))
    assert filled.database_url == settings.database_url
    assert filled.redis_url == layout.redis_url
    with pytest.raises(StackNotRunning):
        resolve(terminal.settings)


def test_with_both_servers_replaced_nothing_is_started(terminal: Terminal, settings: Settings):
    replaced = {"CDP_DATABASE_URL": settings.database_url, "CDP_REDIS_URL": settings.redis_url}
    terminal.up(**replaced)
    states = {name: part["state"] for name, part in terminal.status(**replaced)["parts"].items()}
    assert states == {"postgres": "external", "valkey": "external"}
    assert not layout_of(terminal.settings).postgres.exists()


def test_production_refuses_embedded_services(terminal: Terminal, settings: Settings):
    refused = terminal.run("up", CDP_ENV="production", CDP_DATABASE_URL=settings.database_url)
    assert refused.returncode == 3
    assert "set CDP_REDIS_URL, CDP_OBJECTS_URL (EMBEDDED_REFUSED)" in refused.stderr
    assert not terminal.folder.exists()
    with pytest.raises(EmbeddedRefused), servers(terminal.settings.model_copy(update={"env": Environment.PRODUCTION})):
        pass
    whole = settings.model_copy(update={"env": Environment.PRODUCTION})
    assert resolve(whole) == whole


def test_servers_for_a_block_hold_the_lock_and_end_with_it(terminal: Terminal):
    with servers(terminal.settings, durable=False) as running:
        assert resolve(terminal.settings).database_url == running.database_url
        with pytest.raises(AlreadyRunning), servers(terminal.settings):
            pass
        assert terminal.run("up").returncode == 1
    with pytest.raises(StackNotRunning):
        resolve(terminal.settings)


def test_servers_start_from_the_main_thread_only(terminal: Terminal):
    caught = []

    def start() -> None:
        try:
            with servers(terminal.settings):
                pass
        except RuntimeError as error:
            caught.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert "main thread" in str(caught[0])


def test_a_path_too_long_or_too_odd_for_a_socket_moves_the_sockets_alone(stack_folder: Path):
    for name in ("n" * 100, "a folder's name"):
        settings = Settings(state_dir=stack_folder / name, database_url="", redis_url="", objects_url="")
        layout = layout_of(settings)
        with servers(settings, durable=False) as running:
            assert len(str(layout.postgres_socket)) < 108
            assert layout.postgres.is_relative_to(stack_folder)
            assert _mode(layout.run) == 0o700
            psycopg.connect(running.database_url).close()
        assert not layout.run.exists()


def test_lost_passwords_are_said_and_the_data_is_left_alone(terminal: Terminal):
    terminal.up()
    terminal.run("down")
    layout = layout_of(terminal.settings)
    layout.passwords.unlink()
    failed = terminal.run("up", "--no-processes")
    assert failed.returncode == 1
    assert "(PASSWORDS_LOST)" in failed.stderr
    assert (layout.postgres / "PG_VERSION").exists()
    with pytest.raises(PasswordsLost):
        layout.database_url("cdp_app")


def test_an_interrupted_first_start_is_made_again(terminal: Terminal):
    unfinished = layout_of(terminal.settings).state / "postgres.new"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("half")
    terminal.up()
    assert not unfinished.exists()


def test_data_of_another_major_version_is_not_touched(terminal: Terminal):
    terminal.up()
    terminal.run("down")
    (layout_of(terminal.settings).postgres / "PG_VERSION").write_text("17\n")
    failed = terminal.run("up", "--no-processes")
    assert failed.returncode == 1
    assert "made by Postgres 17" in failed.stderr
    assert "(OTHER_POSTGRES_VERSION)" in failed.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_refused(stack_folder: Path):
    stack_folder.mkdir(parents=True)
    os.chown(stack_folder, 65534, -1)
    with pytest.raises(StateNotOurs):
        layout_of(Settings(state_dir=stack_folder))
    os.chown(stack_folder, 0, -1)


def test_doctor_names_each_problem_and_its_remedy(terminal: Terminal):
    healthy = terminal.run("doctor", "--json")
    assert healthy.returncode == 0, healthy.stdout
    found = {check["name"]: check for check in json.loads(healthy.stdout)}
    assert "18." in found["postgres"]["found"]
    sick = terminal.run("doctor", CDP_PG_BIN="/nowhere", CDP_VALKEY_BIN="/bin/false")
    assert sick.returncode == 1
    assert "problem  postgres: /nowhere/postgres does not exist" in sick.stdout
    assert "problem  valkey: does not run" in sick.stdout
    assert not terminal.folder.exists()
    assert terminal.run("up", "--no-processes", CDP_PG_BIN="/nowhere").returncode == 1


def test_settings_are_refused_by_name_without_their_value(terminal: Terminal):
    done = terminal.run("status", CDP_PORT="secret-port")
    assert done.returncode == 2
    assert "CDP_PORT" in done.stderr
    assert "secret-port" not in done.stderr
