"""Any SQL database with a declared mapping: synchronous drivers in a thread, one transaction a step."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Annotated, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import anyio.to_thread
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from sqlalchemy import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from cdp.connectors.base import (
    Change,
    Code,
    ConfigurationInvalid,
    Identifier,
    Json,
    Outcome,
    Page,
    Problem,
    State,
    Subject,
    System,
    Unfinished,
)
from cdp.connectors.failures import outcome_of
from cdp.connectors.sql.crowd import crowd_of
from cdp.connectors.sql.database import Database, DriverMissing, functions
from cdp.connectors.sql.fingerprint import fingerprint
from cdp.connectors.sql.mapping import Declared, parse
from cdp.connectors.sql.reach import Search
from cdp.connectors.sql.schema import Schema, problems, reflect
from cdp.connectors.sql.steps import LeftBehind, Step
from cdp.connectors.sql.surroundings import misspelt, undeclared
from cdp.core.ids import SystemId, new_id
from cdp.core.platform import Platform

T = TypeVar("T")
# Steps of one system at a time in one process.
THREADS = 16
# How long a reader that stops waits for its connection to be closed.
CLOSE_S = 5.0


class MappingMismatch(Exception):
    """The database is not what the mapping says."""

    def __init__(self, found: tuple[Problem, ...]) -> None:
        self.found = found
        super().__init__("MAPPING_MISMATCH")


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Address:
    """``configuration`` without its mapping: where the database is. A password belongs into the secrets."""

    url: str
    timeout_s: Annotated[int, Field(gt=0, le=600)] = 15


class _Turning:
    """Turns a reader's pages in threads, of which one may be given up while it waits for the next page."""

    def __init__(self, pages: Generator[Page | Outcome]) -> None:
        self._pages = pages
        self.is_over = False

    def on(self) -> Page | Outcome | None:
        """The next page, None after the last."""
        page = next(self._pages, None)
        if self.is_over:  # nobody waits for it any more
            self.close()
        return page

    def close(self) -> None:
        """End the reading, unless a page is still being waited for: then whoever waits does."""
        with suppress(ValueError):  # the generator is running
            self._pages.close()


class Known(NamedTuple):
    """A schema as it was read, by which mapping, and the mark it had."""

    declared: Declared
    mark: str
    schema: Schema


_ADDRESS = TypeAdapter(Address)
# One entry a system of this process; a change of the database or of the mapping replaces it.
_SCHEMAS: dict[SystemId, Known] = {}
_THREADS: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[SystemId, anyio.CapacityLimiter]] = WeakKeyDictionary()


class Sql:
    """One database. ``configuration``: url, timeout_s, mapping; ``secrets``: password, or the whole url."""

    def __init__(self, system: System, platform: Platform) -> None:
        self._system = system
        self._declared = parse(system.configuration.get("mapping"))
        self._searched = {(one.type, one.issuer) for rule in self._declared.tables for one in rule.identities}
        self._database = _database(system, _secrets(system, platform))

    async def read(self, subject: Subject, key: str) -> AsyncIterator[Page]:  # noqa: ARG002
        """Yield every reached row from one snapshot, fetched page by page."""
        if refused := self._unsearchable(subject):
            raise Unfinished(refused)
        turning = _Turning(self._pages(subject))
        try:
            while (page := await self._in_thread(turning.on)) is not None:
                if isinstance(page, Outcome):
                    raise Unfinished(page)
                yield page
        finally:
            turning.is_over = True
            with anyio.move_on_after(CLOSE_S, shield=True):
                await self._in_thread(turning.close)

    async def check(self, subject: Subject, key: str) -> Outcome:  # noqa: ARG002
        """Count what would go and what would stay."""
        return await self._run(subject, self._check)

    async def erase(self, subject: Subject, key: str) -> Outcome:  # noqa: ARG002
        """Cut and delete in one transaction that commits only if the read-back finds nothing."""
        return await self._run(subject, self._erase)

    async def erase_many(self, subjects: Sequence[Subject]) -> Outcome:
        """Cut and delete what many people left, all of them or nobody, in one transaction and a statement a table.

        Each can be verified alone afterwards. Unsupported where only one by one will do (``crowd``), or where one of
        them can not be looked for.
        """
        for subject in subjects:
            if refused := self._unsearchable(subject):
                return refused
        try:
            return await self._in_thread(lambda: self._erase_many(subjects))
        except (SQLAlchemyError, OSError, DriverMissing, MappingMismatch, LeftBehind) as error:
            return _failure(error)

    async def update(self, subject: Subject, key: str, changes: Sequence[Change]) -> Outcome:  # noqa: ARG002
        """Correct the columns that take these values, in one transaction that commits only if the read-back agrees."""
        return await self._run(subject, partial(self._update, changes=changes))

    async def verify(self, subject: Subject, key: str) -> Outcome:  # noqa: ARG002
        """Read again: no identifier, and nothing uncut behind a tombstone."""
        return await self._run(subject, self._verify)

    async def probe(self) -> tuple[Problem, ...]:
        """Hold the mapping against the database, then rehearse an erasure of nobody and roll it back."""
        return await self._in_thread(self._rehearse)

    def _check(self, subject: Subject) -> Outcome:
        with self._database.looking() as connection:
            return self._step(connection, subject).check()

    def _erase(self, subject: Subject) -> Outcome:
        with self._database.writing() as connection:
            return self._step(connection, subject).erase()

    def _update(self, subject: Subject, *, changes: Sequence[Change]) -> Outcome:
        with self._database.writing() as connection:
            return self._step(connection, subject).correct(changes)

    def _erase_many(self, subjects: Sequence[Subject]) -> Outcome:
        with self._database.writing() as connection:
            crowd = crowd_of(self._search(connection, (), b""))
            if crowd is None:
                return Outcome(State.UNSUPPORTED, Code.NOT_OFFERED)
            crowd.prepare(connection, subjects)
            outcome = Step(connection, crowd).erase()
            crowd.close(connection)
            return outcome

    def _verify(self, subject: Subject) -> Outcome:
        with self._database.looking() as connection:
            return self._step(connection, subject).verify()

    def _pages(self, subject: Subject) -> Generator[Page | Outcome]:
        """Pages, or one outcome when they can not be had: an exception would cross threads with its values."""
        try:
            with self._database.looking() as connection:
                yield from self._step(connection, subject).read()
        except (SQLAlchemyError, OSError, DriverMissing, MappingMismatch) as error:
            yield _failure(error)

    def _rehearse(self) -> tuple[Problem, ...]:
        nobody = tuple(
            Identifier(one.type, str(new_id()), one.issuer, verified=True)
            for rule in self._declared.tables
            for one in rule.identities
        )
        try:
            with self._database.looking(writes=True) as connection:
                search = self._search(connection, nobody, b"rehearsal")
                Step(connection, search).erase()
                said = misspelt(connection, self._declared, search.schema)
                return (*undeclared(connection, self._declared), *said)
        except MappingMismatch as error:
            return error.found
        except (SQLAlchemyError, OSError, DriverMissing, LeftBehind) as error:
            code = _failure(error).code
            return (Problem(code, "url", "An erasure of nobody, tried and rolled back, did not work here"),)

    def _step(self, connection: Connection, subject: Subject) -> Step:
        return Step(connection, self._search(connection, subject.proven, subject.secret))

    def _search(self, connection: Connection, identifiers: tuple[Identifier, ...], secret: bytes) -> Search:
        schema = self._schema(connection)
        known = functions(schema.dialect)
        return Search(self._declared, schema, known, identifiers, secret, str(self._system.id))

    def _schema(self, connection: Connection) -> Schema:
        """The tables as they are now: read anew, unless nothing about them changed since they were read last."""
        declared, mark = self._declared, fingerprint(connection, self._declared)
        known = _SCHEMAS.get(self._system.id)
        if known is not None and mark is not None and (known.declared, known.mark) == (declared, mark):
            return known.schema
        schema = reflect(connection, declared)
        found = tuple(problems(declared, schema))
        if found:
            raise MappingMismatch(found)
        if mark is not None:
            _SCHEMAS[self._system.id] = Known(declared, mark, schema)
        return schema

    async def _run(self, subject: Subject, step: Callable[[Subject], Outcome]) -> Outcome:
        if refused := self._unsearchable(subject):
            return refused
        try:
            return self._with_unproven(subject, await self._in_thread(lambda: step(subject)))
        except (SQLAlchemyError, OSError, DriverMissing, MappingMismatch, LeftBehind) as error:
            return _failure(error)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """A cancelled step lets go of its thread: time-outs end the work, and every step may be called again.

        The thread itself ends when its server says something. So that one which does not holds up no other, each system
        has threads of its own.
        """
        try:
            return await anyio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._threads())
        finally:
            self._database.let_go_soon()

    def _threads(self) -> anyio.CapacityLimiter:
        known = _THREADS.setdefault(asyncio.get_running_loop(), {})
        if self._system.id not in known:
            known[self._system.id] = anyio.CapacityLimiter(THREADS)
        return known[self._system.id]

    def _with_unproven(self, subject: Subject, outcome: Outcome) -> Outcome:
        """What was done, and which types of identifiers nobody was looked for by, since some were not verified."""
        types = {
            known.type
            for known in subject.identifiers
            if not known.verified and (known.type, known.issuer) in self._searched
        }
        if not types or outcome.state is not State.DONE:
            return outcome
        return replace(outcome, evidence={**outcome.evidence, "unproven": [*sorted(types)]})

    def _unsearchable(self, subject: Subject) -> Outcome | None:
        """Nobody can be looked for without a verified identifier of a type that this database is searched by."""
        for known in subject.proven:  # no generator: crowds come through here
            if (known.type, known.issuer) in self._searched:
                return None
        unproven = sum((known.type, known.issuer) in self._searched for known in subject.identifiers)
        return Outcome(State.UNSUPPORTED, Code.NO_IDENTIFIER, {"unverified": unproven})


def _failure(error: Exception) -> Outcome:
    match error:
        case LeftBehind():
            return Outcome(State.FAILED, Code.LEFT_BEHIND, records=dict(error.left))
        case MappingMismatch():
            codes = sorted({problem.code for problem in error.found})
            return Outcome(State.FAILED, "MAPPING_MISMATCH", {"problems": list(codes)})
        case DriverMissing():
            return Outcome(State.FAILED, "DRIVER_MISSING")
        case SQLAlchemyError() | OSError():
            return outcome_of(error)
        case _:
            raise error


def _secrets(system: System, platform: Platform) -> dict[str, Json]:
    if system.secrets_sealed is None:
        return {}
    opened = json.loads(platform.sealer.open(system.secrets_sealed, system.seal_context))
    if not isinstance(opened, dict) or not set(opened) <= {"url", "password"}:
        raise ConfigurationInvalid((Problem("FIELD_UNKNOWN", "secrets", "Secrets are password, or the whole url"),))
    return opened


def _database(system: System, secrets: dict[str, Json]) -> Database:
    plain = {name: value for name, value in system.configuration.items() if name != "mapping"}
    try:
        known = _ADDRESS.validate_python(plain | ({"url": secrets["url"]} if "url" in secrets else {}))
        url = make_url(known.url)
    except ValidationError as error:
        raise ConfigurationInvalid(
            tuple(
                Problem("VALUE_INVALID", ".".join(map(str, one["loc"])), one["msg"])
                for one in error.errors(include_url=False, include_input=False)
            )
        ) from None
    except ArgumentError as error:
        raise ConfigurationInvalid((Problem("VALUE_INVALID", "url", "This is not a database URL"),)) from error
    if url.password and "url" not in secrets:
        raise ConfigurationInvalid((Problem("SECRET_IN_CONFIGURATION", "url", "Seal the password as a secret"),))
    return Database(_with_password(url, secrets), known.timeout_s)


def _with_password(url: URL, secrets: dict[str, Json]) -> URL:
    password = secrets.get("password")
    return url.set(password=password) if isinstance(password, str) else url
