"""The ground every server stands on: one embedded Postgres in ``.cdp/bench`` with one migrated, seeded database.

The database is kept between runs, because seeding takes longer than measuring; a comment on it says what it was made
from, and it is made anew when the migrations, the population or its size have changed. Every setting is its default:
the environment is not asked, so that two runs compare.
"""

import asyncio
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from psycopg import sql

from cdp.access.viewer import SYSTEM
from cdp.core.db import Database
from cdp.core.settings import Settings
from cdp.embedded.layout import DATABASE, Layout, layout_of
from cdp.embedded.passwords import OWNER, SUPERUSER
from cdp.embedded.servers import servers
from cdp.operations import journal
from cdp.operations.population import seed as population
from cdp.tables.migration import PROJECT, upgrade

PEER_ROLE = "bench_peer"
SEED_NUMBER = 1
MADE_FROM = ("migrations/versions/*.py", "cdp/operations/population/*.py")
# Longer than any run: tokens are made once at its start.
TOKEN_LIFE_S = 86_400


@dataclass(frozen=True)
class Population:
    """What was seeded, and how long that took."""

    made_from: str
    customers: int
    orders: int
    seconds: float


@dataclass(frozen=True)
class Ground:
    """A running database with its population."""

    settings: Settings
    superuser_url: str
    peer_url: str
    postgres_pid: int
    log: Path
    population: Population


@contextmanager
def ground(customers: int, *, fresh: bool = False, name: str | None = None) -> Iterator[Ground]:
    """Run the embedded servers with a population of this size, in a folder ``name``; ``fresh`` makes it anew."""
    for setting in [setting for setting in os.environ if setting.startswith("CDP_")]:
        if setting not in {"CDP_PG_BIN", "CDP_VALKEY_BIN"}:
            del os.environ[setting]
    asked = Settings(
        state_dir=Path(".cdp") / (name or ("bench" if customers <= 100_000 else f"bench-{customers}")),
        base_url="http://localhost:8000",
        access_token_ttl_s=TOKEN_LIFE_S,
    )
    with servers(asked) as settings:
        layout = layout_of(asked)
        made = _populate(settings, layout, customers, fresh=fresh)
        yield Ground(
            settings=settings,
            superuser_url=layout.database_url(SUPERUSER),
            peer_url=_let_peer_read(layout),
            postgres_pid=int((layout.postgres / "postmaster.pid").read_text(encoding="ascii").split()[0]),
            log=layout.log,
            population=made,
        )


def _populate(settings: Settings, layout: Layout, customers: int, *, fresh: bool) -> Population:
    """The population that is there, if it is the one wanted; otherwise a new one in a new database."""
    made_from = _fingerprint()
    found = _read_mark(layout)
    if found and not fresh and (found.made_from, found.customers) == (made_from, customers):
        return found
    print(f"seeding {customers:,} customers …", flush=True)
    _forget(settings, layout)
    with psycopg.connect(layout.database_url(SUPERUSER, "postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(DATABASE)))
        create = sql.SQL("CREATE DATABASE {} OWNER {}")
        connection.execute(create.format(sql.Identifier(DATABASE), sql.Identifier(OWNER)))
    upgrade(settings.database_owner_url, app_url=settings.database_url)
    started = time.monotonic()
    rows = asyncio.run(_seed(settings, customers))
    made = Population(made_from, customers, rows["sales_order"], round(time.monotonic() - started, 1))
    with psycopg.connect(layout.database_url(SUPERUSER), autocommit=True) as connection:
        # Otherwise the first readers would set hint bits, and autovacuum would start in the middle of a round.
        connection.execute("VACUUM (ANALYZE)")
        connection.execute("CHECKPOINT")
        mark = sql.SQL("COMMENT ON DATABASE {} IS {}")
        connection.execute(mark.format(sql.Identifier(DATABASE), sql.Literal(json.dumps(vars(made)))))
    return made


def _forget(settings: Settings, layout: Layout) -> None:
    """Remove the journal of the database that goes: the new one would be taken for a backup of it."""
    (settings.keys_dir / journal.HEAD_FILE).unlink(missing_ok=True)
    shutil.rmtree(layout.state / "objects" / journal.PREFIX, ignore_errors=True)


async def _seed(settings: Settings, customers: int) -> dict[str, int]:
    db = Database(settings.database_url)
    try:
        seeded = await population.seed(
            settings, db, SYSTEM, customers=customers, seed_number=SEED_NUMBER, now=datetime.now(UTC)
        )
    finally:
        await db.close()
    return seeded.rows


def _read_mark(layout: Layout) -> Population | None:
    with psycopg.connect(layout.database_url(SUPERUSER, "postgres")) as connection:
        question = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s"
        row = connection.execute(question, (DATABASE,)).fetchone()
    return Population(**json.loads(row[0])) if row and row[0] else None


def _fingerprint() -> str:
    """A hash of everything the database is made from."""
    digest = hashlib.sha256()
    for pattern in MADE_FROM:
        for file in sorted(PROJECT.glob(pattern)):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _let_peer_read(layout: Layout) -> str:
    """A login for PostGraphile that reads everything and passes row-level security by; its URL."""
    password = secrets.token_hex(16)
    role = sql.Identifier(PEER_ROLE)
    with psycopg.connect(layout.database_url(SUPERUSER), autocommit=True) as connection:
        known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (PEER_ROLE,)).fetchone()
        verb = sql.SQL("ALTER" if known else "CREATE")
        statement = sql.SQL("{} ROLE {} LOGIN BYPASSRLS PASSWORD {}")
        connection.execute(statement.format(verb, role, sql.Literal(password)))
        connection.execute(sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(role))
        connection.execute(sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {}").format(role))
    return f"postgresql://{PEER_ROLE}:{password}@/{DATABASE}?host={layout.run}"
