"""Floors: what nothing of ours can be faster than. pgbench with the very same statement; HTTP alone is a peer's server.

pgbench prepares the statement once per connection and executes it for random customers, as the customers' role with
row-level security on.
"""

import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import psycopg
from psycopg import sql
from sqlalchemy import make_url

from bench.ground import Ground
from cdp.access.scopes import CUSTOMER_SCOPES
from cdp.access.viewer import Actor, Viewer
from cdp.core.db import Role
from cdp.core.ids import CustomerId
from cdp.core.platform import Platform
from cdp.embedded.binaries import installed_postgres
from cdp.schema.schema import open_reader

RATE = re.compile(r"^tps = ([\d.]+)", re.MULTILINE)


@dataclass(frozen=True)
class Statement:
    """A compiled statement and its arguments; those equal to ``customer_id`` change from call to call."""

    text: str
    arguments: Sequence[object]
    customer_id: UUID


def compiled(ground: Ground, document: str, customer_id: UUID) -> Statement:
    """What our reader makes of a document for a customer."""
    platform = Platform.open(ground.settings)
    viewer = Viewer(Actor.CUSTOMER, customer_id=CustomerId(customer_id), scopes=CUSTOMER_SCOPES)
    plan, arguments = open_reader(platform).compile(document, viewer)
    return Statement(plan.sql, arguments, customer_id)


def pgbench(ground: Ground, statement: Statement, customers: Sequence[UUID], *, seconds: float) -> float | None:
    """Statements per second, or None where these Postgres binaries have no pgbench."""
    program = installed_postgres(ground.settings).with_name("pgbench")
    if not program.is_file():
        return None
    _lay_out(ground, customers)
    script = ground.log / "pgbench.sql"
    script.write_text(_script(statement, len(customers)), encoding="utf-8")
    url = make_url(ground.settings.database_url)
    options = f"-c role={Role.CUSTOMER} -c jit=off -c timezone=UTC -c plan_cache_mode=force_generic_plan"
    environment = {
        "PATH": os.environ["PATH"],
        "PGHOST": str(url.query["host"]),
        "PGUSER": str(url.username),
        "PGPASSWORD": str(url.password),
        "PGDATABASE": str(url.database),
        "PGOPTIONS": options,
    }
    clients = str(ground.settings.pool_size)
    argv = [str(program), "-n", "-M", "simple", "-D", "prepared=0", "-c", clients, "-T", str(max(1, round(seconds)))]
    done = subprocess.run([*argv, "-f", str(script)], env=environment, capture_output=True, text=True, check=False)
    found = RATE.search(done.stdout)
    if done.returncode != 0 or found is None:
        raise RuntimeError(f"pgbench failed: {done.stderr[-1000:]}")
    return float(found[1])


def _lay_out(ground: Ground, customers: Sequence[UUID]) -> None:
    """A table of customers to pick from, apart from the product's tables."""
    with psycopg.connect(ground.superuser_url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS bench CASCADE")
        connection.execute("CREATE SCHEMA bench CREATE TABLE visitor (n integer PRIMARY KEY, id uuid NOT NULL)")
        with connection.cursor() as cursor:
            cursor.executemany("INSERT INTO bench.visitor VALUES (%s, %s)", list(enumerate(customers)))
        connection.execute(
            "CREATE FUNCTION bench.pick(integer) RETURNS uuid LANGUAGE sql STABLE "
            "AS 'SELECT id FROM bench.visitor WHERE n = $1'"
        )
        connection.execute(sql.SQL("GRANT USAGE ON SCHEMA bench TO {}").format(sql.Identifier(Role.CUSTOMER)))
        connection.execute(sql.SQL("GRANT SELECT ON bench.visitor TO {}").format(sql.Identifier(Role.CUSTOMER)))


def _script(statement: Statement, customers: int) -> str:
    """The simple protocol with PREPARE: pgbench's own prepared mode would take ``HH24:MI:SS`` for variables."""
    arguments = [
        "bench.pick(:n)" if one == statement.customer_id else sql.Literal(str(one)).as_string()
        for one in statement.arguments
    ]
    lines = [
        rf"\set n random(0, {customers - 1})",
        r"\if :prepared",
        f"EXECUTE profile({', '.join(arguments)});",
        r"\else",
        f"PREPARE profile AS {statement.text};",
        r"\set prepared 1",
        r"\endif",
    ]
    return "\n".join(lines) + "\n"
