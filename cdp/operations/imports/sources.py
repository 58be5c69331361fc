"""Sources: CSV and NDJSON files, folders of them, and any database SQLAlchemy can read, as streams of rows.

Everything here is blocking and runs in a thread. A database is read in one transaction, so that orders and customers
fit each other; nothing is ever written to a source, and a SQLite file that is missing is not created.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, Engine, column, create_engine, inspect, select, table
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, NoSuchTableError, SQLAlchemyError

from cdp.core.errors import InvalidInput
from cdp.operations.imports.mapping import Files

LINE_LIMIT = 4 * 1024 * 1024
FETCH_ROWS = 2_000

Record = dict[str, object]


class SourceUnreadable(InvalidInput):
    """The source cannot be read."""

    code = "SOURCE_UNREADABLE"


class TableMissing(InvalidInput):
    """The mapping names a table or file that the source does not have."""

    code = "MAPPING_TABLE_MISSING"


@dataclass(frozen=True)
class Bad:
    """A row that is not even a row; ``code`` says why."""

    code: str


SQLITE_MAGIC = b"SQLite format 3\0"
Row = tuple[int, Record | Bad]  # the row's number from 1, and what it holds


class Source(Protocol):
    """Something that holds tables."""

    def columns(self, name: str | None) -> list[str] | None:
        """Columns of a table; None where only reading every row tells. Raises TableMissing."""

    def rows(self, name: str | None, columns: Sequence[str], *, each: Sequence[str] = ()) -> Iterator[Row]:
        """Rows with at least ``columns``, in a stable order; ``each`` descends into lists of NDJSON records."""


def open_source(location: str, files: Files) -> AbstractContextManager[Source]:
    """Open a folder, a file (an SQLite one too) or a database URL. Raises SourceUnreadable."""
    if "://" in location:
        return _database(location)
    path = Path(location)
    return _database(f"sqlite:///{path}") if _is_sqlite(path) else _folder(path, files)


def _is_sqlite(path: Path) -> bool:
    """Whether a file begins as SQLite's do (https://www.sqlite.org/fileformat.html, 1.3.1)."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(SQLITE_MAGIC)) == SQLITE_MAGIC


@contextmanager
def _folder(path: Path, files: Files) -> Iterator[Source]:
    if not path.exists():
        raise SourceUnreadable(reason="NO_SUCH_FILE")
    yield FileSource(path, files)


class FileSource:
    """A folder of files, or one file; the suffix names the format."""

    def __init__(self, path: Path, files: Files) -> None:
        self._path = path
        self._files = files

    def columns(self, name: str | None) -> list[str] | None:
        """See Source; a CSV file says it in its first line."""
        path = self._file(name)
        if _is_ndjson(path):
            return None
        with self._csv(path) as reader:
            return self._header(reader)

    def rows(
        self,
        name: str | None,
        columns: Sequence[str],  # noqa: ARG002 - a file's rows are read whole
        *,
        each: Sequence[str] = (),
    ) -> Iterator[Row]:
        """See Source."""
        path = self._file(name)
        if _is_ndjson(path):
            return _expand(self._ndjson_rows(path), each) if each else self._ndjson_rows(path)
        if each:
            raise SourceUnreadable(reason="ONLY_NDJSON_HAS_LISTS")
        return self._csv_rows(path)

    def _file(self, name: str | None) -> Path:
        if self._path.is_dir():
            found = (self._path / (name or "")).resolve()
            if found.is_file() and found.is_relative_to(self._path.resolve()):
                return found
        elif name in {None, self._path.name}:
            return self._path
        raise TableMissing(table=name)

    @contextmanager
    def _csv(self, path: Path) -> Iterator[Iterator[list[str]]]:
        delimiter = "\t" if path.suffix.lower() == ".tsv" else self._files.delimiter
        try:
            with path.open(encoding=self._files.encoding, newline="") as file:
                yield csv.reader(file, delimiter=delimiter, strict=True)
        except LookupError as error:
            raise SourceUnreadable(reason="UNKNOWN_ENCODING") from error
        except UnicodeDecodeError as error:
            raise SourceUnreadable(reason="WRONG_ENCODING") from error
        except (csv.Error, OSError) as error:
            raise SourceUnreadable(reason="NOT_CSV") from error

    def _header(self, reader: Iterator[list[str]]) -> list[str]:
        header = next(reader, None)
        if not header:
            raise SourceUnreadable(reason="NO_HEADER")
        if len(set(header)) != len(header):
            raise SourceUnreadable(reason="DUPLICATE_COLUMN")
        return header

    def _csv_rows(self, path: Path) -> Iterator[Row]:
        with self._csv(path) as reader:
            header = self._header(reader)
            number = 0
            for cells in reader:
                if not cells:
                    continue
                number += 1
                if len(cells) == len(header):
                    yield number, dict(zip(header, cells, strict=True))
                else:
                    yield number, Bad("WRONG_NUMBER_OF_CELLS")

    def _ndjson_rows(self, path: Path) -> Iterator[Row]:
        number = 0
        with path.open("rb") as file:
            while line := file.readline(LINE_LIMIT):
                if len(line) == LINE_LIMIT and not line.endswith(b"\n"):
                    raise SourceUnreadable(reason="LINE_TOO_LONG")
                if line.strip():
                    number += 1
                    yield number, _json_record(line)


def _is_ndjson(path: Path) -> bool:
    match path.suffix.lower():
        case ".ndjson" | ".jsonl":
            return True
        case ".csv" | ".tsv":
            return False
        case _:
            raise SourceUnreadable(reason="UNKNOWN_FORMAT")


def _json_record(line: bytes) -> Record | Bad:
    try:
        document = json.loads(line, parse_float=Decimal)
    except (ValueError, RecursionError):
        return Bad("NOT_JSON")
    return flatten(document) if isinstance(document, dict) else Bad("NOT_AN_OBJECT")


def _expand(rows: Iterator[Row], each: Sequence[str]) -> Iterator[Row]:
    """The rows of a list inside every record; who reads the records themselves reports the bad ones."""
    for number, record in rows:
        if isinstance(record, Bad):
            continue
        inner = record.get(each[0])
        outer = {f"parent.{key}": value for key, value in record.items() if key != each[0]}
        found = ((number, _member(entry, outer)) for entry in (inner if isinstance(inner, list) else ()))
        yield from _expand(found, each[1:]) if len(each) > 1 else found


def _member(entry: object, outer: Record) -> Record | Bad:
    return outer | flatten(entry) if isinstance(entry, dict) else Bad("NOT_AN_OBJECT")


def flatten(document: Record, prefix: str = "") -> Record:
    """Name nested members by their path: ``{"address": {"city": …}}`` has the column ``address.city``."""
    found: Record = {}
    for key, value in document.items():
        if isinstance(value, dict):
            found |= flatten(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


@contextmanager
def _database(location: str) -> Iterator[Source]:
    engine = _engine(location)
    try:
        with engine.connect() as connection:
            yield SqlSource(connection)
    except (SQLAlchemyError, OSError) as error:
        raise SourceUnreadable(reason=type(error).__name__) from error
    finally:
        engine.dispose()


def _engine(location: str) -> Engine:
    try:
        url = make_url(location)
        if url.get_backend_name() == "sqlite":
            return create_engine(_read_only(url))
        if url.drivername in {"postgres", "postgresql"}:
            url = url.set(drivername="postgresql+psycopg")
        postgres = url.get_backend_name() == "postgresql"
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True} if postgres else {}
        return create_engine(url, execution_options=options)
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise SourceUnreadable(reason="UNKNOWN_DATABASE") from error


def _read_only(url: URL) -> URL:
    path = Path(url.database or "")
    if not path.is_file():
        raise SourceUnreadable(reason="NO_SUCH_FILE")
    return URL.create("sqlite+pysqlite", database=path.resolve().as_uri(), query={"mode": "ro", "uri": "true"})


class SqlSource:
    """A database, through one connection and one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def columns(self, name: str | None) -> list[str]:
        """See Source; from the database's catalogue."""
        schema, plain = _split(name)
        try:
            found = [entry["name"] for entry in inspect(self._connection).get_columns(plain, schema)]
        except NoSuchTableError as error:
            raise TableMissing(table=name) from error
        if not found:
            raise TableMissing(table=name)
        return found

    def rows(self, name: str | None, columns: Sequence[str], *, each: Sequence[str] = ()) -> Iterator[Row]:
        """See Source; ordered by the primary key where there is one, streamed."""
        if each:
            raise SourceUnreadable(reason="ONLY_NDJSON_HAS_LISTS")
        schema, plain = _split(name)
        key = inspect(self._connection).get_pk_constraint(plain, schema)["constrained_columns"]
        names = list(dict.fromkeys((*columns, *key)))
        source = table(plain, *(column(entry) for entry in names), schema=schema)
        statement = select(source).order_by(*(source.c[entry] for entry in key or columns))
        streamed = self._connection.execution_options(stream_results=True, yield_per=FETCH_ROWS)
        result = streamed.execute(statement)
        for number, row in enumerate(result, start=1):
            yield number, dict(zip(names, row, strict=True))


def _split(name: str | None) -> tuple[str | None, str]:
    if not name:
        raise TableMissing(table=name)
    schema, _, plain = name.rpartition(".")
    return schema or None, plain
