"""100,000 people erased from one Postgres database: all at once, against a statement and a transaction a person.

The two peers do what scripts on the same library do: an UPDATE by primary key that writes the same tombstone and
constant, one transaction a person, and one transaction around all. They are given the key of the row; ours finds the
rows by address, sees that nobody is left, and leaves everybody else alone. Peers run on a share of the people, and
their time is scaled up; the figures of a bare driver are shown too.
"""

import asyncio
import hashlib
import hmac
import time
from collections.abc import Callable

import psycopg
from psycopg import sql
from sqlalchemy import Column, Connection, Engine, Integer, MetaData, String, Table, create_engine, make_url, update

from bench.results import Target
from cdp.connectors.base import Identifier, Json, State, Subject, System
from cdp.connectors.sql.connector import Sql
from cdp.core.ids import CustomerId, RequestId, SystemId, new_id
from cdp.core.platform import Platform

PEOPLE, BYSTANDERS = 100_000, 1_000
ALONE, INSIDE = 2_000, 20_000
PER_TRANSACTION, PER_UPDATE = 50.0, 8.0
MAPPING: Json = {
    "tables": [
        {
            "name": "client",
            "rows": "keep",
            "identities": [{"type": "email", "column": "email"}],
            "columns": {"id": "preserve", "email": "keyed_hash", "name": {"strategy": "constant", "value": "erased"}},
            "retention": {"basis": "Accounting records"},
        }
    ]
}
BARE = "UPDATE client SET email = %s, name = 'erased' WHERE id = %s"
CLIENT = Table("client", MetaData(), Column("id", Integer), Column("email", String), Column("name", String))


def compare(platform: Platform) -> tuple[list[Target], dict[str, str]]:
    """Erase them three ways, on the server of the platform; targets and facts."""
    name = f"crowd_{time.monotonic_ns()}"
    owner = make_url(platform.settings.database_owner_url).set(drivername="postgresql")
    with psycopg.connect(owner.render_as_string(hide_password=False), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    url = owner.set(database=name).render_as_string(hide_password=False)
    sealed = platform.sealer.seal(f'{{"url": "{url}"}}'.encode(), f"system:{(system_id := SystemId(new_id()))}")
    connector = Sql(System(system_id, "crowd", "sql", {"timeout_s": 600, "mapping": MAPPING}, sealed), platform)
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
    with psycopg.connect(url) as connection:
        alone_s = _timed(connection, lambda: _each_alone(engine)) * PEOPLE / ALONE
        inside_s = _timed(connection, lambda: _each_inside(engine)) * PEOPLE / INSIDE
        bare_s = _timed(connection, lambda: _bare(url)) * PEOPLE / INSIDE
        engine.dispose()
        _fill(connection)
        people = [_subject(number) for number in range(PEOPLE)]
        began = time.monotonic()
        asyncio.run(_erase_all(connector, people))
        at_once_s = time.monotonic() - began
        row = connection.execute("SELECT count(*) FROM client WHERE email LIKE '%@%'").fetchone()
        if row != (BYSTANDERS,):
            raise SystemExit(f"{row} people are left, not the {BYSTANDERS} bystanders")
    facts = {
        f"{PEOPLE:,} people at once": f"{at_once_s:.2f} s",
        "one transaction a person": f"{alone_s:.1f} s ({ALONE:,} of them measured)",
        "one UPDATE a person in one transaction": f"{inside_s:.1f} s ({INSIDE:,} of them measured)",
        "the same by a bare driver": f"{bare_s:.1f} s, {bare_s / at_once_s:.1f} × ours",
    }
    targets = [
        Target("a crowd, against one transaction a person", alone_s / at_once_s, PER_TRANSACTION, at_least=True),
        Target("a crowd, against one UPDATE a person", inside_s / at_once_s, PER_UPDATE, at_least=True),
    ]
    return targets, facts


def _timed(connection: psycopg.Connection, work: Callable[[], None]) -> float:
    _fill(connection)
    began = time.monotonic()
    work()
    return time.monotonic() - began


def _each_alone(engine: Engine) -> None:
    for number in range(ALONE):
        with engine.begin() as connection:
            _update(connection, number)


def _each_inside(engine: Engine) -> None:
    with engine.begin() as connection:
        for number in range(INSIDE):
            _update(connection, number)


def _update(connection: Connection, number: int) -> None:
    values = {"email": _tombstone(number), "name": "erased"}
    connection.execute(update(CLIENT).where(CLIENT.c.id == number).values(values))


def _bare(url: str) -> None:
    with psycopg.connect(url) as connection:
        for number in range(INSIDE):
            connection.execute(BARE, (_tombstone(number), number))


async def _erase_all(connector: Sql, people: list[Subject]) -> None:
    outcome = await connector.erase_many(people)
    if outcome.state is not State.DONE or sum(outcome.records.values()) != PEOPLE:
        raise SystemExit(f"the crowd was not erased: {outcome.code}")


def _subject(number: int) -> Subject:
    known = (Identifier("email", _email(number), verified=True),)
    secret = hashlib.sha256(str(number).encode()).digest()
    return Subject(RequestId(new_id()), CustomerId(new_id()), new_id(), known, secret)


def _email(number: int) -> str:
    return f"somebody.{number}@example.com"


def _tombstone(number: int) -> str:
    return "erased-" + hmac.digest(b"key", _email(number).encode(), "sha256").hex()[:32]


def _fill(connection: psycopg.Connection) -> None:
    connection.execute("DROP TABLE IF EXISTS client")
    connection.execute("CREATE TABLE client (id integer PRIMARY KEY, email varchar(120) NOT NULL, name varchar(80))")
    with connection.cursor() as cursor, cursor.copy("COPY client FROM STDIN") as stream:
        for number in range(PEOPLE + BYSTANDERS):
            stream.write_row((number, _email(number), f"Somebody {number}"))
    connection.execute("CREATE INDEX client_email ON client (email)")
    connection.commit()
    connection.autocommit = True
    connection.execute("VACUUM (ANALYZE) client")
    connection.autocommit = False
