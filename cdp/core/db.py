"""Postgres: one pool per database role, one commit site, doorbells rung after the commit.

Operations write through SQLAlchemy Core inside ``Database.transaction``; nothing else commits. The compiled reader
takes raw asyncpg connections from ``Database.reader_pool``. Every connection runs as one of the app roles from its
first packet on, so row-level security holds for both (https://www.postgresql.org/docs/18/ddl-rowsecurity.html).
"""

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, TypeAlias
from uuid import UUID

import asyncpg
from sqlalchemy import Executable, Row, event, func, make_url, select
from sqlalchemy.engine import URL, CursorResult, Engine
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from cdp.core.errors import Unavailable
from cdp.core.ids import CustomerId
from cdp.core.notices import CHANNEL, Notices

RESTED_S = 1.0
# A server that starts, stops or recovers, or has no room: as if nobody listened there.
NOT_NOW = (asyncpg.OperatorInterventionError, asyncpg.PostgresConnectionError, asyncpg.TooManyConnectionsError)
Parameters: TypeAlias = Mapping[str, Any] | Sequence[Mapping[str, Any]]


class DatabaseUnreachable(Unavailable):
    """The database cannot be reached."""

    code = "DATABASE_UNREACHABLE"


class Role(StrEnum):
    """Database roles; each pool runs as exactly one (created by the first migration)."""

    CUSTOMER = "cdp_customer"
    STAFF = "cdp_staff"
    WORKER = "cdp_worker"
    PARTNER = "cdp_partner"


@dataclass(frozen=True)
class Ring:
    """A doorbell to press after commit: the job's name and the row it is about, nothing else."""

    job: str
    row_id: UUID
    defer_s: float = 0.0


class Doorbell(Protocol):
    """Tells workers that a row is waiting; losing a ring costs time, never work."""

    async def ring(self, rings: Sequence[Ring]) -> None:
        """Wake a worker for each row. Never raises: the sweeper finds what was not rung."""


class SilentDoorbell:
    """A doorbell nobody hears: the sweeper alone finds the work."""

    async def ring(self, rings: Sequence[Ring]) -> None:
        """Do nothing."""


@dataclass
class Tx:
    """One open transaction: statements go in, rings are kept until it has committed."""

    connection: AsyncConnection
    role: Role
    rings: list[Ring] = field(default_factory=list)

    async def execute(self, statement: Executable, parameters: Parameters | None = None) -> CursorResult[Any]:
        """Run one statement."""
        return await self.connection.execute(statement, parameters)

    async def scalar(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401
        """First column of the first row, or None."""
        return (await self.execute(statement, parameters)).scalar()

    async def first(self, statement: Executable, parameters: Parameters | None = None) -> Row[Any] | None:
        """First row, or None."""
        return (await self.execute(statement, parameters)).first()

    async def all(self, statement: Executable, parameters: Parameters | None = None) -> Sequence[Row[Any]]:
        """All rows."""
        return (await self.execute(statement, parameters)).all()

    def ring(self, job: str, row_id: UUID, *, defer_s: float = 0.0) -> None:
        """Ask for a doorbell once this transaction has committed."""
        self.rings.append(Ring(job, row_id, defer_s))

    async def tell(self, topic: str) -> None:
        """Let every process that waits for this topic know once this transaction has committed."""
        await self.execute(select(func.pg_notify(CHANNEL, topic)))


@dataclass
class Look(Tx):
    """Statements without a transaction around them: for reads alone."""

    async def execute(self, statement: Executable, parameters: Parameters | None = None) -> CursorResult[Any]:
        """Run one SELECT. Raises TypeError for anything else."""
        if not statement.is_select:
            raise TypeError("whoever writes needs a transaction")
        return await super().execute(statement, parameters)


def sqlalchemy_url(url: str, *, driver: str = "postgresql+asyncpg") -> URL:
    """Read a ``postgres://`` URL and name the driver explicitly."""
    return make_url(url).set(drivername=driver)


def asyncpg_arguments(url: str) -> dict[str, Any]:
    """Turn a URL into keyword arguments of ``asyncpg.connect``; ``?host=/folder`` names a Unix socket."""
    parsed = make_url(url)
    query = {key: value if isinstance(value, str) else value[0] for key, value in parsed.query.items()}
    arguments: dict[str, Any] = {
        "host": query.pop("host", None) or parsed.host or "localhost",
        "port": int(query.pop("port", None) or parsed.port or 5432),
        "user": parsed.username,
        "password": parsed.password,
        "database": parsed.database,
    }
    if "sslmode" in query:
        arguments["ssl"] = query.pop("sslmode")
    return arguments


class Database:
    """All connections of this process."""

    def __init__(self, url: str, *, pool_size: int = 8, statement_timeout_s: float = 15.0) -> None:
        self.url = url
        self.pool_size = pool_size
        self.statement_timeout_s = statement_timeout_s
        self.doorbell: Doorbell = SilentDoorbell()
        self.notices = Notices(lambda: self.connect_raw(Role.WORKER))
        self._engines: dict[Role, AsyncEngine] = {}

    def engine(self, role: Role) -> AsyncEngine:
        """The SQLAlchemy engine whose connections run as ``role``."""
        if role not in self._engines:
            self._engines[role] = create_async_engine(
                sqlalchemy_url(self.url),
                # None beyond the pool: such a connection is closed when it comes back, and the next one made anew.
                pool_size=2 * self.pool_size,
                max_overflow=0,
                # The one that worked last knows the statements and the tables already.
                pool_use_lifo=True,
                connect_args={
                    "server_settings": self.server_settings(role),
                    "async_creator_fn": _connect,
                    # A worker has some two hundred statements; the driver's hundred would be prepared again and again.
                    "prepared_statement_cache_size": 500,
                },
            )
            _ping_rested(self._engines[role].sync_engine)
        return self._engines[role]

    def server_settings(self, role: Role) -> dict[str, str]:
        """Session settings every connection of a role starts with."""
        return {
            "role": role.value,
            "jit": "off",
            "timezone": "UTC",
            "application_name": f"cdp/{role.value}",
            "idle_in_transaction_session_timeout": "60s",
        }

    @asynccontextmanager
    async def transaction(self, role: Role, *, subject: CustomerId | None = None) -> AsyncIterator[Tx]:
        """Open a transaction as ``role``; commit at the end, then ring. This is the only commit of the platform.

        ``subject`` is the customer that row-level security lets through; as CUSTOMER without one, no row is visible.
        """
        async with self.engine(role).connect() as connection, connection.begin():
            tx = Tx(connection, role)
            if subject is not None:
                await tx.execute(select(func.set_config("cdp.subject", str(subject), True)))
            yield tx
        if tx.rings:
            await self.doorbell.ring(tx.rings)

    @asynccontextmanager
    async def looking(self, role: Role) -> AsyncIterator[Tx]:
        """Read without a transaction: every statement sees what is committed by then, as in one of READ COMMITTED.

        It spares the round trips that begin and end one.
        """
        async with self.engine(role).connect() as connection:
            yield Look(await connection.execution_options(isolation_level="AUTOCOMMIT"), role)

    async def connect_raw(self, role: Role) -> asyncpg.Connection:
        """One asyncpg connection outside any pool: snapshots, COPY, LISTEN."""
        return await asyncpg.connect(**asyncpg_arguments(self.url), server_settings=self.server_settings(role))

    async def close(self) -> None:
        """Close every pool."""
        await self.notices.close()
        for engine in self._engines.values():
            await engine.dispose()
        self._engines.clear()


async def _connect(*args: Any, **options: Any) -> asyncpg.Connection:  # noqa: ANN401 - asyncpg's own arguments
    """Connect. SQLAlchemy hands on what asyncpg raises here; who asks for a connection knows OSError."""
    try:
        return await asyncpg.connect(*args, **options)
    except (*NOT_NOW, OSError) as error:
        raise ConnectionError(type(error).__name__) from error


def _ping_rested(engine: Engine) -> None:
    """Ask a connection for a sign of life only after it has rested: a ping before each transaction is a fifth of it.

    One that died in between fails its transaction, as it would have a moment later, and takes the others out of the
    pool with it. Source: https://docs.sqlalchemy.org/en/21/core/pooling.html#custom-legacy-pessimistic-ping
    """

    @event.listens_for(engine, "checkin")
    def rest(_: object, record: ConnectionPoolEntry) -> None:
        record.info["rests_since"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def ping(connection: DBAPIConnection, record: ConnectionPoolEntry, _: object) -> None:
        driver, now = record.driver_connection, time.monotonic()
        is_closed = isinstance(driver, asyncpg.Connection) and driver.is_closed()
        is_rested = now - record.info.get("rests_since", now) > RESTED_S
        if is_closed or (is_rested and not _is_alive(engine, connection)):
            raise DisconnectionError


def _is_alive(engine: Engine, connection: DBAPIConnection) -> bool:
    try:
        return engine.dialect.do_ping(connection)
    except engine.dialect.loaded_dbapi.Error:
        return False


@asynccontextmanager
async def owner_transaction(owner_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A transaction of the owner on a raw connection: for loads by COPY, which row-level security forbids app roles."""
    connection = await asyncpg.connect(**asyncpg_arguments(owner_url), server_settings={"timezone": "UTC"})
    try:
        async with connection.transaction():
            yield connection
    finally:
        await connection.close()
