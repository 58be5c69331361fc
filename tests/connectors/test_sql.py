"""The sql kind, on SQLite and on a second Postgres server: the conformance suite, and what only databases can do wrong."""

import json
import os
from collections.abc import AsyncIterator, Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, make_url, select, text

from cdp.connectors.base import ConfigurationInvalid, Connector, State, Subject, System
from cdp.connectors.registry import connect, problems
from cdp.core.ids import SystemId, new_id
from cdp.core.platform import Platform
from tests import peers
from tests.connectors import shop
from tests.connectors.conformance import SearchingConformance, key_of, steps


def system_for(platform: Platform, url: URL, mapping: Any, **configuration: Any) -> System:
    """A system row whose password, if any, is sealed."""
    system_id = SystemId(new_id())
    sealed = None
    if url.password:
        sealed = platform.sealer.seal(json.dumps({"password": url.password}).encode(), f"system:{system_id}")
        url = url._replace(password=None)
    plain = {"url": url.render_as_string(), "mapping": mapping, **configuration}
    return System(system_id, "shop", "sql", plain, sealed)


class Shop:
    """The shop in one database."""

    def __init__(self, platform: Platform, url: URL, engine: Engine) -> None:
        self.platform, self.url, self.engine = platform, url, engine
        self.connector = self.connect_to(url)

    def connect_to(self, url: URL, mapping: Any = shop.MAPPING) -> Connector:
        return connect(system_for(self.platform, url, mapping), self.platform)

    async def person(self) -> Subject:
        with self.engine.begin() as connection:
            return shop.move_in(connection)

    async def unreachable(self) -> Connector:
        elsewhere = {
            "sqlite": {"database": "/nowhere/shop.sqlite"},
            "postgresql": {"host": "127.0.0.1", "port": 1, "query": {}},
        }
        return self.connect_to(self.url.set(**elsewhere[self.url.get_backend_name()]))

    async def everything(self) -> object:
        with self.engine.begin() as connection:
            return shop.everything(connection)

    async def held(self, subject: Subject) -> list[str]:
        mark = shop.mark_of(subject)
        with self.engine.begin() as connection:
            found = shop.everything(connection)
        return [repr(row) for rows in found.values() for row in rows if mark in repr(row).lower()]

    async def come_back(self, subject: Subject) -> None:
        with self.engine.begin() as connection:
            lines = select(shop.ledger.c.id).where(shop.ledger.c.name == "erased").order_by(shop.ledger.c.id)
            for ledger_id in connection.scalars(lines):
                known = {"ledger_id": ledger_id, "position": 99}
                connection.execute(shop.ledger_line.insert().values(**known, remark="They called again"))

    def texts(self, subject: Subject) -> list[str]:
        mark = shop.mark_of(subject)
        return [
            f"Zoë {mark}",
            f"Street {mark}",
            f"/for/{mark}",
            f"To {mark}",
            f"DE00 {mark}",
            f"Zoe.{mark}@Example.com",
        ]


@pytest.fixture
def sqlite_shop(tmp_path: Path, platform: Platform) -> Iterator[Shop]:
    url = make_url(f"sqlite:///{tmp_path}/shop.sqlite")
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        shop.metadata.create_all(connection)
        peers.took_part(f"sqlite {connection.scalar(text('SELECT sqlite_version()'))}")
    yield Shop(platform, url, engine)


@pytest.fixture
def postgres_shop(other_postgres_url: str, platform: Platform) -> Iterator[Shop]:
    url = make_url(other_postgres_url).set(drivername="postgresql")
    engine = create_engine(url.set(drivername="postgresql+psycopg"), poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
        shop.metadata.create_all(connection)
    yield Shop(platform, url, engine)


class TestSqlite(SearchingConformance):
    @pytest.fixture
    async def harness(self, sqlite_shop: Shop) -> Shop:
        return sqlite_shop


class TestPostgres(SearchingConformance):
    @pytest.fixture
    async def harness(self, postgres_shop: Shop) -> Shop:
        return postgres_shop
