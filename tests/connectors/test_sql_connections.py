"""Connections to other people's servers: kept for some seconds, looked at before use, thrown away after trouble."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import OperationalError

from cdp.connectors.base import State
from cdp.connectors.sql.database import KEPT, Database
from tests.connectors.conformance import key_of, records_of, steps
from tests.connectors.test_sql import DEAF, Shop, mariadb_shop, postgres_shop, sqlite_shop

__all__ = ["mariadb_shop", "postgres_shop", "sqlite_shop"]

# The sessions of the platform in the shop's database.
SESSIONS = {
    "postgresql": "SELECT pid FROM pg_stat_activity WHERE application_name = 'cdp' AND datname = current_database()",
    "mariadb": "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()",
}


@pytest.fixture
def served(postgres_shop: Shop) -> Shop:
    """The shop on a server where nobody is connected."""
    end_all(postgres_shop)
    return postgres_shop


def sessions(harness: Shop) -> list[int]:
    with harness.engine.connect() as connection:
        return list(connection.scalars(text(SESSIONS[harness.url.get_backend_name()])))


def end_all(harness: Shop) -> None:
    for number in sessions(harness):
        with suppress(OperationalError), harness.engine.connect() as connection:  # it may just have ended
            connection.execute(text(f"SELECT pg_terminate_backend({number})"))
    while sessions(harness):
        time.sleep(0.02)


async def until(seen: Callable[[], bool]) -> None:
    while not seen():  # noqa: ASYNC110 - a server ends them
        await asyncio.sleep(0.02)


async def test_the_steps_of_a_person_share_a_connection(served: Shop) -> None:
    subject = await served.person()
    assert [outcome.state for outcome in await steps(served.connector, subject)] == [State.DONE] * 3
    assert len(sessions(served)) == 1


async def test_mariadb_is_greeted_anew_by_every_step(mariadb_shop: Shop) -> None:
    subject = await mariadb_shop.person()
    assert [outcome.state for outcome in await steps(mariadb_shop.connector, subject)] == [State.DONE] * 3
    await until(lambda: not sessions(mariadb_shop))  # it shows those that were closed for a moment more


async def test_a_connection_that_the_server_ended_is_not_used(served: Shop) -> None:
    bystander, subject = await served.person(), await served.person()
    others = await served.held(bystander)
    for step in ("check", "erase", "verify"):
        outcome = await getattr(served.connector, step)(subject, key_of(subject, step))
        assert outcome.state is State.DONE
        end_all(served)
    assert await served.held(bystander) == others


async def test_no_more_than_a_few_are_kept(served: Shop) -> None:
    people = [await served.person() for _ in range(KEPT + 4)]
    found = await asyncio.gather(*(served.connector.check(one, key_of(one, "check")) for one in people))
    assert {outcome.state for outcome in found} == {State.DONE}
    await until(lambda: len(sessions(served)) <= KEPT)


async def test_nothing_of_a_step_that_failed_is_left_in_its_connection(served: Shop) -> None:
    """Temporary tables of MariaDB outlive a rollback."""
    failing, after = await served.person(), await served.person()
    with served.engine.begin() as connection:
        connection.exec_driver_sql(DEAF[served.url.get_backend_name()]["undo"])
    outcome = await served.connector.erase(failing, key_of(failing, "erase"))
    assert (outcome.state, outcome.code) == (State.FAILED, "LEFT_BEHIND")
    await until(lambda: not sessions(served))
    with served.engine.begin() as connection:
        on = " ON parcel" if served.url.get_backend_name() == "postgresql" else ""
        connection.exec_driver_sql(f"DROP TRIGGER deaf{on}")
    again = await served.connector.erase(failing, key_of(failing, "erase"))
    assert again.state is State.DONE
    assert (await served.connector.erase(after, key_of(after, "erase"))).state is State.DONE


async def test_kept_connections_are_let_go(served: Shop) -> None:
    database = Database(make_url(served.url), timeout_s=14, kept_s=0.1)  # of a time-out nobody else has: its own
    for _ in range(2):
        with database.looking() as connection:
            connection.execute(text("SELECT 1"))
        await until(lambda: len(sessions(served)) == 1)
        database.let_go_soon()
        await until(lambda: not sessions(served))


@dataclass
class Wire:
    """A way to the shop's server which, cut, still carries the greeting and then nothing, as a stopped server does."""

    server: Path
    carries: asyncio.Event = field(default_factory=asyncio.Event)

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_unix_connection(self.server)
        with suppress(OSError):
            await asyncio.gather(self._copy(reader, forth), self._copy(back, writer))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while words := await reader.read(65536):
            if words[:1] in (b"Q", b"P"):  # a statement
                await self.carries.wait()
            writer.write(words)
            await writer.drain()
        writer.close()


@pytest.fixture
async def wired(postgres_shop: Shop) -> AsyncIterator[tuple[Shop, Wire]]:
    """The shop behind a wire."""
    url = make_url(postgres_shop.url)
    wire = Wire(Path(str(url.query["host"])) / f".s.PGSQL.{url.port or 5432}")
    wire.carries.set()
    listening = await asyncio.start_server(wire.carry, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    yield Shop(postgres_shop.platform, url.set(host="127.0.0.1", port=port, query={}), postgres_shop.engine), wire
    wire.carries.set()
    listening.close()


async def test_a_server_that_falls_silent_holds_up_no_other(wired: tuple[Shop, Wire], sqlite_shop: Shop) -> None:
    silent, wire = wired
    subject, elsewhere = await silent.person(), await sqlite_shop.person()
    assert (await silent.connector.check(subject, "k")).state is State.DONE
    wire.carries.clear()

    asked = [asyncio.create_task(silent.connector.check(subject, "k")) for _ in range(48)]
    await asyncio.sleep(0)
    assert (await sqlite_shop.connector.erase(elsewhere, "k")).state is State.DONE
    assert not any(one.done() for one in asked)
    wire.carries.set()
    assert {outcome.state for outcome in await asyncio.gather(*asked)} == {State.DONE}
    assert (await silent.connector.erase(subject, "k")).state is State.DONE


async def test_a_reader_whose_server_falls_silent_can_be_stopped(wired: tuple[Shop, Wire]) -> None:
    silent, wire = wired
    subject = await silent.person()
    whole = await records_of(silent.connector, subject)
    wire.carries.clear()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await records_of(silent.connector, subject)
    wire.carries.set()
    assert await records_of(silent.connector, subject) == whole
    end_all(silent)
