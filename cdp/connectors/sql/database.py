"""Somebody else's database: connections with time-outs, and the functions the dialects spell differently.

Connections to Postgres are kept for some seconds: greeting it anew costs both sides more than most steps do. They are
theirs, so they are few, never old, looked at before use, and thrown away after any trouble. MariaDB greets cheaply, and
is greeted anew each time. So are files: one that was replaced would be found erased, and the new one would not be.
Drivers are imported by SQLAlchemy when a system first needs them. On Postgres ``row_security`` is off: a policy that
would hide rows from us then raises instead, so that hidden rows can not pass as erased ones
(https://www.postgresql.org/docs/18/ddl-rowsecurity.html).
"""

import asyncio
import hashlib
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias
from urllib.parse import quote
from weakref import WeakKeyDictionary

from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    Engine,
    NullPool,
    QueuePool,
    Text,
    cast,
    create_engine,
    event,
    func,
    literal,
)
from sqlalchemy.dialects.mysql import CHAR as MYSQL_CHAR
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

TextColumn: TypeAlias = ColumnElement[str]

CONNECT_TIMEOUT_S = 5
# So many idle connections of a server are kept, for so long.
KEPT, KEPT_S = 8, 15.0
_HMAC_BLOCK = 64
_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))


class DriverMissing(Exception):
    """SQLAlchemy knows no such dialect, or its driver is not installed here."""


@dataclass(frozen=True)
class Database:
    """One database by URL. Every block of work is one transaction on a connection of its own."""

    url: URL = field(repr=False)
    timeout_s: int
    kept_s: float = KEPT_S

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that commits at the end of the block. Raises SQLAlchemyError or DriverMissing."""
        options = {"cdp_begin": "BEGIN IMMEDIATE"}
        if self.url.get_backend_name() in MARIADB:
            options["isolation_level"] = "READ COMMITTED"  # the read-back must see everybody's rows
        with self._connected(options) as connection, connection.begin():
            yield connection

    @contextmanager
    def looking(self, *, writes: bool = False) -> Iterator[Connection]:
        """A transaction on one snapshot that is always rolled back; ``writes`` when it will try changes."""
        options = {"cdp_begin": "BEGIN IMMEDIATE" if writes else "BEGIN"}
        if self.url.get_backend_name() == "postgresql":
            options["isolation_level"] = "REPEATABLE READ"
        with self._connected(options) as connection:
            transaction = connection.begin()
            try:
                yield connection
            finally:
                transaction.rollback()

    def let_go_soon(self) -> None:
        """See to it that kept connections are closed before long; for the event loop, after every use."""
        with suppress(DriverMissing):
            engine, loop = self._engine(), asyncio.get_running_loop()
            if isinstance(engine.pool, QueuePool) and _LET_GO_AT.get(engine, 0.0) <= loop.time():
                _LET_GO_AT[engine] = loop.call_later(self.kept_s, engine.dispose).when()

    @contextmanager
    def _connected(self, options: Mapping[str, Any]) -> Iterator[Connection]:
        with self._engine().connect().execution_options(**options) as connection:
            try:
                yield connection
            except BaseException:
                connection.invalidate()  # whatever happened to it, nobody else shall have it
                raise

    def _engine(self) -> Engine:
        try:
            return _engine(self.url, self.timeout_s)
        except (NoSuchModuleError, ModuleNotFoundError, ArgumentError) as error:
            raise DriverMissing from error


_KEPT: dict[str, Any] = {"pool_size": KEPT, "max_overflow": -1, "pool_pre_ping": True, "pool_use_lifo": True}
# Until when connections are kept, by the monotonic clock of every event loop.
_LET_GO_AT: WeakKeyDictionary[Engine, float] = WeakKeyDictionary()


@lru_cache(maxsize=64)
def _engine(url: URL, timeout_s: int) -> Engine:
    match url.get_backend_name():
        case "postgresql":
            return _postgres(url, timeout_s)
        case "sqlite":
            return _sqlite(url, timeout_s)
        case "mysql" | "mariadb":
            return _mariadb(url, timeout_s)
        case _:
            return create_engine(url, poolclass=NullPool, hide_parameters=True)


def _postgres(url: URL, timeout_s: int) -> Engine:
    settings = {
        "statement_timeout": f"{timeout_s}s",
        "lock_timeout": f"{timeout_s * 500}ms",  # before the statement's, so that a lock is told from a slow query
        "idle_in_transaction_session_timeout": "60s",
        "row_security": "off",
        "temp_buffers": "64MB",  # a crowd's are read again and again; taken only as far as they are used
    }
    return create_engine(
        url.set(drivername="postgresql+psycopg"),
        **_KEPT,
        hide_parameters=True,
        connect_args={
            "prepare_threshold": None,  # there may be a pooler between us that knows nothing of prepared statements
            "connect_timeout": CONNECT_TIMEOUT_S,
            "tcp_user_timeout": timeout_s * 1000,
            "application_name": "cdp",
            "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
        },
    )


def _mariadb(url: URL, timeout_s: int) -> Engine:
    """In strict mode: otherwise what does not fit is cut silently, and a tombstone cut short is never found again."""
    settings = {
        "sql_mode": "'TRADITIONAL'",
        "innodb_lock_wait_timeout": max(1, timeout_s // 2),
        "max_statement_time": timeout_s + 1,  # after the lock's, so that a lock is told from a slow query
    }
    return create_engine(
        url.set(drivername="mariadb+pymysql").update_query_dict({"charset": "utf8mb4"}),
        poolclass=NullPool,  # a greeting is cheap there, and a temporary table would outlive its transaction
        hide_parameters=True,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_S,
            "read_timeout": timeout_s + CONNECT_TIMEOUT_S,
            "write_timeout": timeout_s + CONNECT_TIMEOUT_S,
            "init_command": "SET SESSION " + ", ".join(f"{name} = {value}" for name, value in settings.items()),
        },
    )


def _sqlite(url: URL, timeout_s: int) -> Engine:
    def connect() -> sqlite3.Connection:
        # mode=rw: a missing file is an error, not a new and empty database in which nobody is found
        connection = sqlite3.connect(
            f"file:{quote(url.database or '')}?mode=rw",
            uri=True,
            timeout=min(CONNECT_TIMEOUT_S, timeout_s / 2),
            isolation_level=None,
            check_same_thread=False,
        )
        deadline = time.monotonic() + timeout_s
        connection.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
        connection.execute("PRAGMA foreign_keys = ON")
        for name, arguments, function in _SQLITE_FUNCTIONS:
            connection.create_function(name, arguments, function, deterministic=True)
        return connection

    engine = create_engine("sqlite://", creator=connect, poolclass=NullPool, hide_parameters=True)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("cdp_begin", "BEGIN"))

    return engine


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _digits(value: object) -> str | None:
    text = _text(value)
    return None if text is None else digits_of(text)


def _lower(value: object) -> str | None:
    text = _text(value)
    return None if text is None else text.lower()


def _sha256(value: object) -> str | None:
    text = _text(value)
    return None if text is None else hashlib.sha256(text.encode()).hexdigest()


def _hmac(key: bytes, value: object) -> str | None:
    text = _text(value)
    return None if text is None else hmac_of(key, text)


_SQLITE_FUNCTIONS: tuple[tuple[str, int, Callable[..., str | None]], ...] = (
    ("cdp_digits", 1, _digits),
    ("cdp_lower", 1, _lower),
    ("cdp_sha256", 1, _sha256),
    ("cdp_hmac", 2, _hmac),
)


def digits_of(text: str) -> str:
    """The ASCII digits of a text, as the databases' functions find them."""
    return "".join(character for character in text if character in "0123456789")


def hmac_of(key: bytes, text: str) -> str:
    """HMAC-SHA256 in hexadecimal, as the databases' functions compute it."""
    return keyed(key, text.encode()).hex()


def keyed(key: bytes, message: bytes) -> bytes:
    """HMAC-SHA256 from its definition (RFC 2104): of short messages a third faster than ``hmac.digest``.

    That looks its algorithm up anew at every call, and a crowd needs two of a person.
    """
    inner, outer = _pads(key)
    return hashlib.sha256(outer + hashlib.sha256(inner + message).digest()).digest()


def _bytes(column: TextColumn) -> ColumnElement[bytes]:
    return func.convert_to(cast(column, Text), "UTF8")


def _postgres_hmac(column: TextColumn, key: bytes) -> TextColumn:
    """HMAC from its definition (RFC 2104) over the built-in sha256: no extension is needed."""
    inner, outer = (literal(pad) for pad in _pads(key))
    hashed = func.sha256(inner.op("||")(_bytes(column)))
    return func.encode(func.sha256(outer.op("||")(hashed)), "hex")


def _mariadb_hmac(column: TextColumn, key: bytes) -> TextColumn:
    inner, outer = (func.unhex(pad.hex()) for pad in _pads(key))
    hashed = func.sha2(func.concat(inner, _mariadb_text(column)), 256)
    return func.sha2(func.concat(outer, func.unhex(hashed)), 256)


def _pads(key: bytes) -> tuple[bytes, bytes]:
    """The two blocks that go before the inner and the outer text (RFC 2104)."""
    block = (hashlib.sha256(key).digest() if len(key) > _HMAC_BLOCK else key).ljust(_HMAC_BLOCK, b"\0")
    return block.translate(_INNER), block.translate(_OUTER)


def _mariadb_text(column: TextColumn) -> TextColumn:
    return cast(column, MYSQL_CHAR(charset="utf8mb4"))


@dataclass(frozen=True)
class Functions:
    """Expressions that dialects spell differently; None where a dialect has none we have tested.

    ``exact`` brings a text to a form in which only equal texts are equal. MariaDB's usual collations take josé for
    jose, and would give one person the other's rows.
    """

    lower: Callable[[TextColumn], TextColumn] = func.lower
    digits: Callable[[TextColumn], TextColumn] | None = None
    sha256: Callable[[TextColumn], TextColumn] | None = None
    hmac: Callable[[TextColumn, bytes], TextColumn] | None = None
    random: Callable[[], TextColumn] | None = None  # 32 hexadecimal digits, new for every row
    exact: Callable[[TextColumn], TextColumn] | None = None


_MARIADB = Functions(
    digits=lambda column: func.regexp_replace(column, "[^0-9]", ""),
    sha256=lambda column: func.sha2(_mariadb_text(column), 256),
    hmac=_mariadb_hmac,
    random=lambda: func.lower(func.hex(func.random_bytes(16))),
    exact=lambda column: _mariadb_text(column).collate("utf8mb4_nopad_bin"),
)
MARIADB = frozenset({"mariadb", "mysql"})
"""SQLAlchemy's names for it, by what the URL said."""
FUNCTIONS: Mapping[str, Functions] = {
    **dict.fromkeys(MARIADB, _MARIADB),
    "postgresql": Functions(
        digits=lambda column: func.regexp_replace(column, "[^0-9]", "", "g"),
        sha256=lambda column: func.encode(func.sha256(_bytes(column)), "hex"),
        hmac=_postgres_hmac,
        random=lambda: func.replace(cast(func.gen_random_uuid(), Text), "-", ""),
    ),
    "sqlite": Functions(
        lower=func.cdp_lower,  # SQLite's own knows ASCII alone
        digits=func.cdp_digits,
        sha256=func.cdp_sha256,
        hmac=lambda column, key: func.cdp_hmac(literal(key), column),
        random=lambda: func.lower(func.hex(func.randomblob(16))),
    ),
}


def functions(dialect: str) -> Functions:
    """The functions of a dialect by SQLAlchemy's name for it."""
    return FUNCTIONS.get(dialect, Functions())
