"""What a database's trouble means for a step. Its text never leaves: it quotes values."""

import sqlite3

from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolExhausted

from cdp.connectors.base import Code, Outcome, State

# SQLSTATE, the longest prefix decides: https://www.postgresql.org/docs/18/errcodes-appendix.html
_STATES: dict[str, tuple[State, str]] = {
    "08": (State.RETRY, Code.UNREACHABLE),
    "28": (State.FAILED, Code.NOT_ALLOWED),
    "3D000": (State.FAILED, Code.MISCONFIGURED),
    "40": (State.RETRY, Code.BUSY),
    "42501": (State.FAILED, Code.NOT_ALLOWED),
    "42": (State.FAILED, "SCHEMA_CHANGED"),
    "25006": (State.FAILED, Code.NOT_ALLOWED),
    "53": (State.RETRY, Code.BUSY),
    "55P03": (State.RETRY, Code.BUSY),
    "57014": (State.RETRY, Code.TIMED_OUT),
    "57P": (State.RETRY, Code.UNREACHABLE),
}
_SQLITE: dict[int, tuple[State, str]] = {
    sqlite3.SQLITE_BUSY: (State.RETRY, Code.BUSY),
    sqlite3.SQLITE_LOCKED: (State.RETRY, Code.BUSY),
    sqlite3.SQLITE_INTERRUPT: (State.RETRY, Code.TIMED_OUT),
    sqlite3.SQLITE_READONLY: (State.FAILED, Code.NOT_ALLOWED),
    sqlite3.SQLITE_CANTOPEN: (State.RETRY, Code.UNREACHABLE),
    sqlite3.SQLITE_NOTADB: (State.FAILED, Code.MISCONFIGURED),
    sqlite3.SQLITE_ERROR: (State.FAILED, "SCHEMA_CHANGED"),
}
# https://mariadb.com/docs/server/reference/error-codes
_MARIADB: dict[int, tuple[State, str]] = {
    1040: (State.RETRY, Code.BUSY),
    1203: (State.RETRY, Code.BUSY),
    1205: (State.RETRY, Code.BUSY),
    1213: (State.RETRY, Code.BUSY),
    1020: (State.RETRY, Code.BUSY),
    1969: (State.RETRY, Code.TIMED_OUT),
    1028: (State.RETRY, Code.TIMED_OUT),
    1049: (State.FAILED, Code.MISCONFIGURED),
    1054: (State.FAILED, "SCHEMA_CHANGED"),
    1146: (State.FAILED, "SCHEMA_CHANGED"),
    **dict.fromkeys((1044, 1045, 1142, 1143, 1227, 1290, 1698, 1836), (State.FAILED, Code.NOT_ALLOWED)),
    **dict.fromkeys((2002, 2003, 2006, 2013), (State.RETRY, Code.UNREACHABLE)),
}


def outcome_of(error: SQLAlchemyError | OSError) -> Outcome:
    """Turn a database error into retry or failed with a code. Anything unknown has failed."""
    if isinstance(error, OSError | PoolExhausted):
        return Outcome(State.RETRY, Code.UNREACHABLE)
    if isinstance(error, IntegrityError):
        return Outcome(State.FAILED, "CONSTRAINT")
    if not isinstance(error, DBAPIError):
        return Outcome(State.FAILED, "STATEMENT_FAILED")
    return _by_code(error)


def _by_code(error: DBAPIError) -> Outcome:
    number = getattr(error.orig, "sqlite_errorcode", None)
    if number is not None:
        return Outcome(*_SQLITE.get(number & 0xFF, (State.FAILED, "STATEMENT_FAILED")))
    arguments = getattr(error.orig, "args", ())
    if arguments and isinstance(arguments[0], int):
        return Outcome(*_MARIADB.get(arguments[0], (State.FAILED, "STATEMENT_FAILED")))
    sqlstate = getattr(error.orig, "sqlstate", None)
    for length in (5, 3, 2):
        if sqlstate and sqlstate[:length] in _STATES:
            return Outcome(*_STATES[sqlstate[:length]])
    # a connection that was never made or broke off has no SQLSTATE
    if error.connection_invalidated or (sqlstate is None and type(error.orig).__name__ == "OperationalError"):
        return Outcome(State.RETRY, Code.UNREACHABLE)
    return Outcome(State.FAILED, "STATEMENT_FAILED")
