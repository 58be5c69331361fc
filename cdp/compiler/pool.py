"""A slim pool of asyncpg connections of one database role, each holding its prepared statements.

Why not ``asyncpg.Pool``: it resets every connection between two uses, which costs a round trip and all held statements.
Nothing here needs a reset: statements are single, read-only, and set their subject for themselves alone.
JSON arrives as bytes (a codec that decodes nothing), plans are generic, and the server itself ends what takes too long.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Any

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement

from cdp.compiler.durability import Durability
from cdp.core.db import Database, Role, asyncpg_arguments
from cdp.core.errors import InvalidInput, PlatformError, Unavailable

HELD_STATEMENTS = 100
GRACE_S = 5.0
"""How much longer than the server's own time-out we wait before the connection counts as dead."""


_DEAD = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what asyncpg says once the server has said goodbye to an idle connection
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
)


class QueryTimedOut(PlatformError):
    """This took too long and was stopped; ask for less."""

    code = "TIMEOUT"
    status = 503


def _as_bytes(value: bytes) -> bytes:
    return value


async def connect(
    database: Database, role: Role, *, statement_timeout_s: float, leaves_traces: bool, awaits_log: bool = True
) -> asyncpg.Connection:
    """Open a connection whose JSON arrives as bytes and whose statements the server stops in time.

    Where they leave traces and do not await the log, they commit without it being on disk: their answers wait for that.
    """
    settings = database.server_settings(role) | {
        "plan_cache_mode": "force_generic_plan",
        "statement_timeout": str(int(statement_timeout_s * 1000)),
        "default_transaction_read_only": "off" if leaves_traces else "on",
    }
    if not awaits_log:
        settings["synchronous_commit"] = "off"
    connection: asyncpg.Connection = await asyncpg.connect(
        **asyncpg_arguments(database.url), server_settings=settings, statement_cache_size=0
    )
    await connection.set_type_codec("json", schema="pg_catalog", format="binary", encoder=_as_bytes, decoder=_as_bytes)
    return connection


class Held:
    """One connection and the statements it has prepared, the least recently used leaving first."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection
        self._prepared = 0
        self._statements: OrderedDict[str, PreparedStatement[asyncpg.Record]] = OrderedDict()

    async def row(self, sql: str, arguments: Sequence[Any], *, timeout_s: float) -> Sequence[bytes | None]:
        """Run a statement that answers with one row."""
        statement = self._statements.get(sql)
        if statement is None:
            # Without a name of our own asyncpg would use the unnamed statement and have it parsed anew for every call.
            self._prepared += 1
            statement = await self.connection.prepare(sql, name=f"held_{self._prepared}", timeout=timeout_s)
            self._statements[sql] = statement
            if len(self._statements) > HELD_STATEMENTS:
                self._statements.popitem(last=False)
        else:
            self._statements.move_to_end(sql)
        return tuple(await statement.fetchrow(*arguments, timeout=timeout_s) or ())


class Pool:
    """At most ``size`` connections as one role; waiting callers are served in order.

    They are read-only, but where ``leaves_traces``, for viewers who do so by reading: each statement then commits on
    disk, or, given a ``durability``, a row with traces waits for its word.
    """

    def __init__(
        self,
        database: Database,
        role: Role,
        *,
        size: int,
        statement_timeout_s: float,
        leaves_traces: bool = False,
        durability: Durability | None = None,
    ) -> None:
        self._database = database
        self._role = role
        self._size = size
        self._timeout_s = statement_timeout_s
        self._leaves_traces = leaves_traces
        self._durability = durability
        self._open = 0
        self._idle: deque[Held] = deque()
        self._waiting: deque[asyncio.Future[Held | None]] = deque()
        self._closing: set[asyncio.Task[None]] = set()

    async def traced_row(self, sql: str, arguments: Sequence[Any]) -> Sequence[bytes | None]:
        """Like ``row``, of a statement that records what it reads; its record is on disk when this returns."""
        assert self._leaves_traces, "this pool only reads"
        if self._durability is None:
            return await self.row(sql, arguments)
        line = await self._durability.line()
        line.reading += 1
        try:
            row = await self.row(sql, arguments)
        finally:
            line.reading -= 1
        await line.settle()
        return row

    async def row(self, sql: str, arguments: Sequence[Any]) -> Sequence[bytes | None]:
        """Run a statement on some connection. Raises QueryTimedOut, Unavailable, asyncpg.PostgresError."""
        held, is_used = await self._take()
        try:
            row = await held.row(sql, arguments, timeout_s=self._timeout_s + GRACE_S)
        except asyncpg.QueryCanceledError as error:
            self._give(held)
            raise QueryTimedOut from error
        except (asyncpg.exceptions.DataError, asyncpg.DataError, UnicodeError):
            self._give(held)
            raise InvalidInput from None
        except _DEAD:
            self._drop(held)
            if is_used:  # an idle connection had died: the server was restarted, say
                return await self.row(sql, arguments)
            raise Unavailable from None
        except asyncpg.PostgresError:
            self._give(held)
            raise
        except BaseException:  # cancelled or timed out on our side: the statement is still running
            self._abandon(held)
            raise
        self._give(held)
        return row

    async def _take(self) -> tuple[Held, bool]:
        while True:
            if self._idle:
                return self._idle.pop(), True
            if self._open < self._size:
                self._open += 1
                try:
                    connection = await connect(
                        self._database,
                        self._role,
                        statement_timeout_s=self._timeout_s,
                        leaves_traces=self._leaves_traces,
                        awaits_log=self._durability is None,
                    )
                    return Held(connection), False
                except BaseException as error:
                    self._open -= 1
                    self._wake()
                    if isinstance(error, OSError | asyncpg.PostgresError | asyncpg.InterfaceError):
                        raise Unavailable from error
                    raise
            waiter: asyncio.Future[Held | None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            try:
                handed = await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._pass_on(waiter.result())
                raise
            if handed is not None:
                return handed, True

    def _give(self, held: Held) -> None:
        if held.connection.is_closed():
            self._open -= 1
            self._wake()
        else:
            self._pass_on(held)

    def _pass_on(self, held: Held | None) -> None:
        """Hand a connection to who has waited longest: left idle, whoever comes by next would overtake them."""
        if not self._wake(held) and held is not None:
            self._idle.append(held)

    def _drop(self, held: Held) -> None:
        self._open -= 1
        held.connection.terminate()
        self._wake()

    def _abandon(self, held: Held) -> None:
        """Close a connection in use; asyncpg first asks the server to stop what it runs for us."""
        self._open -= 1
        closing = asyncio.get_running_loop().create_task(_close(held.connection))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        self._wake()

    def _wake(self, held: Held | None = None) -> bool:
        """Give the first who waits this connection, or the right to open one; false when nobody waits."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(held)
                return True
        return False

    async def close(self) -> None:
        """Close the idle connections and wait for those being closed."""
        while self._idle:
            held = self._idle.popleft()
            self._open -= 1
            await held.connection.close()
        await asyncio.gather(*self._closing)


async def _close(connection: asyncpg.Connection) -> None:
    try:
        await connection.close(timeout=GRACE_S)
    except (TimeoutError, *_DEAD):
        connection.terminate()
