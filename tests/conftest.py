"""Fixtures every test may use: a real Postgres and a real Valkey, one pair a run, one database a worker.

The pair lives in its own folder under ``.cdp/tests`` and ends with the run, however that ends. The schema is migrated
once, into a template; every worker's database, and every ``fresh_*`` one, is a clone of it.

    settings, db, platform, database_url, owner_url, redis_url    shared by a worker's tests: use your own customers
    fresh_settings, fresh_database, fresh_platform                 an empty database and Valkey of your own
    other_postgres_url                                             another real server, as a connected system has it
    stack_folder                                                   an empty state folder for a stack of your own
"""

import gc
import os
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import hypothesis
import psycopg
import pytest
import redis
from psycopg import sql
from sqlalchemy import make_url

from cdp.cli import COLLECT_AFTER
from cdp.core.db import Database
from cdp.core.platform import Platform
from cdp.core.settings import Environment, Settings
from cdp.embedded.layout import layout_of
from cdp.embedded.lock import holder
from cdp.embedded.servers import servers
from cdp.tables.migration import upgrade
from tests import peers

PROJECT = Path(__file__).parent.parent
TESTS_STATE = PROJECT / ".cdp" / "tests"
TEMPLATE = "cdp_template"
ALONE = "alone"


class ServerPair:
    """The servers of this run: started once, by whoever needs them first in the process that owns them."""

    def __init__(self) -> None:
        self._exit = ExitStack()
        self._settings: Settings | None = None

    def start(self) -> Settings:
        """Start them, or answer with the running ones."""
        if self._settings is None:
            _sweep_old_runs()
            self._settings = self._exit.enter_context(_own_servers("run"))
        return self._settings

    def stop(self) -> None:
        """Stop them and remove their folder."""
        self._exit.close()


# No deadlines: a machine that is busy is not wrong. What the gate found stays in .hypothesis for the next run.
hypothesis.settings.register_profile("gate", deadline=None)
hypothesis.settings.register_profile("soak", deadline=None, max_examples=3000, print_blob=True)
hypothesis.settings.load_profile("gate")

PAIR = pytest.StashKey[ServerPair]()


def pytest_configure(config: pytest.Config) -> None:
    gc.set_threshold(*COLLECT_AFTER)
    config.stash[PAIR] = ServerPair()
    config.pluginmanager.register(peers, "peers")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node) -> None:
    """Runs in the controller of xdist for every worker: they share the controller's pair."""
    running = node.config.stash[PAIR].start()
    node.workerinput["state_dir"] = str(running.state_dir)
    node.workerinput["database_url"] = running.database_url
    node.workerinput["database_owner_url"] = running.database_owner_url
    node.workerinput["redis_url"] = running.redis_url


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[PAIR].stop()


@pytest.fixture(scope="session")
def worker_name(request: pytest.FixtureRequest) -> str:
    """Name of this xdist worker, gw0 …; "alone" without xdist."""
    return getattr(request.config, "workerinput", {}).get("workerid", ALONE)


@pytest.fixture(scope="session")
def running(request: pytest.FixtureRequest) -> Settings:
    """Settings of the running servers."""
    given = getattr(request.config, "workerinput", None)
    if given is None:
        found = request.config.stash[PAIR].start()
    else:
        names = ("state_dir", "database_url", "database_owner_url", "redis_url")
        found = Settings(env=Environment.TEST, **{name: given[name] for name in names})
    with psycopg.connect(found.database_owner_url) as connection:
        peers.took_part(f"postgres {connection.info.parameter_status('server_version')}")
    with redis.Redis.from_url(found.redis_url) as client:
        peers.took_part(f"valkey {client.info('server')['valkey_version']}")
    return found


@pytest.fixture(scope="session")
def settings(running: Settings, worker_name: str) -> Settings:
    """Settings of a platform whose database and queue this worker has to itself."""
    url = _clone(running, f"cdp_{worker_name}")
    return _settings_for(running, worker_name, url, valkey_database=2 * _number(worker_name))


@pytest.fixture(scope="session")
def database_url(settings: Settings) -> str:
    return settings.database_url


@pytest.fixture(scope="session")
def owner_url(settings: Settings) -> str:
    return settings.database_owner_url


@pytest.fixture(scope="session")
def redis_url(settings: Settings) -> str:
    return settings.redis_url


@pytest.fixture(scope="session")
async def db(settings: Settings) -> AsyncIterator[Database]:
    database = Database(settings.database_url)
    yield database
    await database.close()


@pytest.fixture
def fresh_settings(running: Settings, worker_name: str) -> Iterator[Settings]:
    """A platform nobody has used: own database, own state folder, an emptied Valkey database."""
    with fresh_place(running, worker_name) as fresh:
        yield fresh


@contextmanager
def fresh_place(running: Settings, worker_name: str) -> Iterator[Settings]:
    """What ``fresh_settings`` gives, for fixtures that live longer than a test."""
    name = f"cdp_{worker_name}_{secrets.token_hex(4)}"
    url = _clone(running, name)
    fresh = _settings_for(running, name, url, valkey_database=2 * _number(worker_name) + 1)
    with redis.Redis.from_url(fresh.redis_url) as client:
        client.flushdb()
    yield fresh
    with _as_owner(running) as connection:
        drop_database(connection, name)
    shutil.rmtree(fresh.state_dir, ignore_errors=True)


@pytest.fixture
async def fresh_database(fresh_settings: Settings) -> AsyncIterator[Database]:
    database = Database(fresh_settings.database_url)
    yield database
    await database.close()


@pytest.fixture(scope="session")
async def platform(settings: Settings) -> AsyncIterator[Platform]:
    opened = Platform.open(settings)
    yield opened
    await opened.close()


@pytest.fixture
async def fresh_platform(fresh_settings: Settings) -> AsyncIterator[Platform]:
    opened = Platform.open(fresh_settings)
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def other_postgres_url() -> Iterator[str]:
    """URL of an empty database on a second server, as its owner."""
    with _own_servers("other", redis_url="redis://not-started") as other:
        yield other.database_owner_url


@pytest.fixture
def stack_folder() -> Iterator[Path]:
    """An empty state folder, reachable by the servers' account, for a stack of the test's own."""
    folder = TESTS_STATE / f"stack-{os.getpid()}-{secrets.token_hex(4)}"
    yield folder
    shutil.rmtree(layout_of(Settings(state_dir=folder)).state, ignore_errors=True)


@contextmanager
def _own_servers(purpose: str, *, redis_url: str = "") -> Iterator[Settings]:
    settings = Settings(env=Environment.TEST, state_dir=TESTS_STATE / f"{purpose}-{os.getpid()}")
    settings = settings.model_copy(update={"database_url": "", "redis_url": redis_url, "objects_url": ""})
    try:
        with servers(settings, durable=False) as running:
            yield running
    finally:
        shutil.rmtree(layout_of(settings).state, ignore_errors=True)


def _sweep_old_runs() -> None:
    """Remove folders of runs that were killed. A young one may belong to a run that has not locked it yet."""
    for folder in TESTS_STATE.glob("*-*"):
        if time.time() - folder.stat().st_mtime > 600 and holder(folder / "lock") is None:
            shutil.rmtree(folder, ignore_errors=True)


def _settings_for(running: Settings, name: str, database_url: str, *, valkey_database: int) -> Settings:
    state = running.state_dir / name
    owner = _in_database(running.database_owner_url, str(make_url(database_url).database))
    return Settings(
        env=Environment.TEST,
        state_dir=state,
        database_url=database_url,
        database_owner_url=owner,
        redis_url=f"{running.redis_url}?db={valkey_database}",
        objects_url=(state / "objects").as_uri(),
        allow_private_targets=True,
    )


def _clone(running: Settings, name: str) -> str:
    """Make a database from the migrated template; its URL for the application's login role."""
    _make_template(running)
    with _as_owner(running) as connection:
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY")
        connection.execute(statement.format(sql.Identifier(name), sql.Identifier(TEMPLATE)))
    return _in_database(running.database_url, name)


def drop_database(connection: psycopg.Connection, name: str) -> None:
    """Drop a database with whoever is in it. An autovacuum belongs to nobody we may end; it is soon done."""
    for _ in range(100):
        try:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        except psycopg.errors.InsufficientPrivilege:
            time.sleep(0.2)
        else:
            return
    raise TimeoutError(f"{name} stays in use")


def _make_template(running: Settings) -> None:
    """Migrate once a run. It gets its name when it is whole; an advisory lock keeps other workers waiting."""
    with _as_owner(running) as connection:
        connection.execute("SELECT pg_advisory_lock(7)")
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (TEMPLATE,)).fetchone():
            return
        connection.execute("DROP DATABASE IF EXISTS cdp_unfinished")
        connection.execute("CREATE DATABASE cdp_unfinished")
        upgrade(_in_database(running.database_owner_url, "cdp_unfinished"), app_url=running.database_url)
        connection.execute(sql.SQL("ALTER DATABASE cdp_unfinished RENAME TO {}").format(sql.Identifier(TEMPLATE)))


@contextmanager
def _as_owner(running: Settings) -> Iterator[psycopg.Connection]:
    with psycopg.connect(_in_database(running.database_owner_url, "postgres"), autocommit=True) as connection:
        yield connection


def _in_database(url: str, name: str) -> str:
    return make_url(url).set(database=name).render_as_string(hide_password=False)


def _number(worker_name: str) -> int:
    """0 for a run without xdist, 1 … for its workers."""
    return 0 if worker_name == ALONE else int(worker_name.removeprefix("gw")) + 1
