"""A Valkey or Redis server by its layout: one watched transaction an erasure, so that nothing slips in between."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urlsplit

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from cdp.connectors.base import (
    Code,
    ConfigurationInvalid,
    Identifier,
    Outcome,
    Page,
    Problem,
    Record,
    State,
    Subject,
    System,
    Unfinished,
)
from cdp.connectors.calls import open_secrets
from cdp.connectors.templates import Unfillable
from cdp.connectors.valkey.contents import HELD, REMOVALS, TooMuch, ask, members, type_of, value_of
from cdp.connectors.valkey.layout import Place, fill, fill_member, laid_out
from cdp.core.ids import new_id
from cdp.core.platform import Platform

_SCHEMES = {"redis", "rediss", "valkey", "valkeys", "unix"}
T = TypeVar("T")


@dataclass(frozen=True)
class Found:
    """Something that stands there: a key, or with ``member`` and ``kind`` one member of a shared key."""

    collection: str
    key: str = field(repr=False)
    member: str | None = field(default=None, repr=False)
    kind: str = ""


class Valkey:
    """One server. ``secrets``: ``password`` and ``username``, or the whole ``url``."""

    def __init__(self, system: System, platform: Platform) -> None:
        self._layout = laid_out(system.configuration)
        secrets = {name: str(value) for name, value in open_secrets(system, platform).items()}
        if not secrets.keys() <= {"url", "username", "password"}:
            raise ConfigurationInvalid((Problem("FIELD_UNKNOWN", "secrets", "Secrets are password, username or url"),))
        if "url" not in secrets and urlsplit(self._layout.url).password:
            raise ConfigurationInvalid((Problem("SECRET_IN_CONFIGURATION", "url", "Seal the password as a secret"),))
        self._url = _checked(secrets.get("url", self._layout.url))
        self._username, self._password = secrets.get("username"), secrets.get("password")

    async def read(self, subject: Subject, key: str) -> AsyncIterator[Page]:  # noqa: ARG002
        """Yield every key and what stands under it, and every membership."""

        async def pages(server: Redis) -> list[Page]:
            found, _ = await self._found(server, subject.proven)
            return [Page(one.collection, [await _record(server, one)]) for one in found]

        read = await self._run(subject, pages)
        if isinstance(read, Outcome):
            raise Unfinished(read)
        for page in read:
            yield page

    async def check(self, subject: Subject, key: str) -> Outcome:  # noqa: ARG002
        """Count the keys and memberships."""

        async def count(server: Redis) -> Outcome:
            return self._done((await self._found(server, subject.proven))[0], Code.FOUND)

        return await self._run(subject, count)

    async def erase(self, subject: Subject, key: str) -> Outcome:  # noqa: ARG002
        """Remove everything in one transaction; if an index or shared key changes meanwhile, nothing happens."""
        return await self._run(subject, lambda server: self._erase(server, subject.proven))

    async def verify(self, subject: Subject, key: str) -> Outcome:  # noqa: ARG002
        """Look again."""

        async def look(server: Redis) -> Outcome:
            found, _ = await self._found(server, subject.proven)
            if found:
                return Outcome(State.FAILED, Code.LEFT_BEHIND, records=self._counts(found))
            return Outcome(State.DONE, Code.NOTHING_LEFT)

        return await self._run(subject, look)

    async def probe(self) -> tuple[Problem, ...]:
        """Erase somebody nobody knows, on the server that takes writes."""
        nobody = tuple(
            Identifier(place.type, f"999{new_id().int % 10**12}", place.issuer, verified=True)
            for place in self._layout.places
        )
        try:
            async with self._server() as server:
                role = await ask(server, "ROLE")
                outcome = await self._erase(server, nobody)
                if outcome.code == Code.NOTHING_FOUND:
                    await self._rehearse(server, nobody)
        except (exceptions.RedisError, OSError, Unfillable, TooMuch) as error:
            outcome = _failure(error)
            return (Problem(outcome.code, "url", "The server did not let us look for somebody nobody knows"),)
        if not isinstance(role, list) or role[0] not in {b"master", "master"}:
            return (Problem(Code.MISCONFIGURED, "url", "This is a replica: what it shows may be old"),)
        if outcome.code != Code.NOTHING_FOUND:
            return (Problem("NOBODY_FOUND", "places", "Somebody nobody knows was found"),)
        return ()

    async def _rehearse(self, server: Redis, nobody: tuple[Identifier, ...]) -> None:
        """Remove what was just seen not to be there: a server that does not let us write says so now."""
        async with server.pipeline(transaction=True) as pipe:
            for place, one in self._searched(nobody):
                key = fill(place.index or place.key, place, one)
                kind = await type_of(server, key) if place.member else "none"
                if place.member is None:
                    _remove(pipe, Found(place.collection, key))
                elif kind in REMOVALS:
                    _remove(pipe, Found(place.collection, key, fill(place.member, place, one), kind))
            await pipe.execute()

    async def _erase(self, server: Redis, known: tuple[Identifier, ...]) -> Outcome:
        async with server.pipeline(transaction=True) as pipe:
            watched = [key for place, one in self._searched(known) for key in _watched(place, one)]
            await pipe.watch(*watched)
            found, indexes = await self._found(pipe, known)
            pipe.multi()  # type: ignore[no-untyped-call]  # not typed there
            for one in found:
                _remove(pipe, one)
            for index in indexes:
                pipe.unlink(index)
            await pipe.execute()
        return self._done(found, Code.ERASED)

    async def _found(self, server: Redis, known: tuple[Identifier, ...]) -> tuple[list[Found], list[str]]:
        """What stands there, and the indexes that named it; an index that names nothing any more still counts."""
        found: list[Found] = []
        indexes: list[str] = []
        for place, one in self._searched(known):
            if place.member is not None:
                found += await _membership(server, place, fill(place.key, place, one), fill(place.member, place, one))
                continue
            keys = [] if place.index else [fill(place.key, place, one)]
            if place.index:
                index = fill(place.index, place, one)
                keys = [fill_member(place, one, member) for member in await members(server, index)]
                if keys:
                    indexes.append(index)
                    found.append(Found(f"{place.collection}.index", index))
            found += [Found(place.collection, key) for key in keys if await type_of(server, key) != "none"]
        return found, indexes

    def _searched(self, known: tuple[Identifier, ...]) -> list[tuple[Place, Identifier]]:
        return [
            (place, one)
            for place in self._layout.places
            for one in known
            if (one.type, one.issuer) == (place.type, place.issuer)
        ]

    def _counts(self, found: list[Found]) -> dict[str, int]:
        names = [place.collection for place in self._layout.places] + [one.collection for one in found]
        return {name: sum(one.collection == name for one in found) for name in names}

    def _done(self, found: list[Found], code: Code) -> Outcome:
        return Outcome(State.DONE, code if found else Code.NOTHING_FOUND, records=self._counts(found))

    async def _run(self, subject: Subject, step: Callable[[Redis], Awaitable[T]]) -> T | Outcome:
        if not self._searched(subject.proven):
            return Outcome(State.UNSUPPORTED, Code.NO_IDENTIFIER)
        try:
            async with self._server() as server:
                return await step(server)
        except (exceptions.RedisError, OSError, Unfillable, TooMuch) as error:
            return _failure(error)

    @asynccontextmanager
    async def _server(self) -> AsyncIterator[Redis]:
        timeout_s = self._layout.timeout_s
        server = Redis.from_url(
            self._url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            single_connection_client=True,
            username=self._username,
            password=self._password,
        )
        try:
            yield server
        finally:
            await server.aclose()


def _watched(place: Place, known: Identifier) -> list[str]:
    return [fill(place.index or place.key, place, known)]


async def _membership(server: Redis, place: Place, key: str, member: str) -> list[Found]:
    kind = await type_of(server, key)
    if kind == "none":
        return []
    if kind not in HELD:
        raise TooMuch
    held = await ask(server, HELD[kind], key, member)
    is_member = held is not None if kind == "zset" else bool(held)  # a score may be zero
    return [Found(place.collection, key, member, kind)] if is_member else []


async def _record(server: Redis, one: Found) -> Record:
    if one.member is None:
        return {"key": one.key, "value": await value_of(server, one.key)}
    return {"key": one.key, "member": one.member}


def _remove(pipe: Pipeline, one: Found) -> None:
    if one.member is None:
        pipe.unlink(one.key)
    else:
        pipe.execute_command(REMOVALS[one.kind], one.key, one.member)


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        bad = parts.scheme not in _SCHEMES or not (parts.hostname or (parts.scheme == "unix" and parts.path))
        bad = bad or parts.port == 0
    except ValueError:
        bad = True
    if bad:
        raise ConfigurationInvalid((Problem("VALUE_INVALID", "url", "This is not the URL of a server"),))
    return url.replace("valkey", "redis", 1) if parts.scheme.startswith("valkey") else url


_TROUBLES: tuple[tuple[tuple[type[Exception], ...], State, str], ...] = (
    ((Unfillable,), State.FAILED, "VALUE_NOT_USABLE"),
    ((TooMuch,), State.FAILED, "CONTENT_NOT_READABLE"),
    (
        (exceptions.AuthenticationError, exceptions.NoPermissionError, exceptions.ReadOnlyError),
        State.FAILED,
        Code.NOT_ALLOWED,
    ),
    ((exceptions.BusyLoadingError, exceptions.WatchError, exceptions.OutOfMemoryError), State.RETRY, Code.BUSY),
    ((exceptions.TimeoutError,), State.RETRY, Code.TIMED_OUT),
    ((exceptions.ConnectionError, OSError), State.RETRY, Code.UNREACHABLE),
)


def _failure(error: Exception) -> Outcome:
    """What a server's trouble means for a step, the first line that fits. Its text never leaves: it quotes keys."""
    if isinstance(error.__cause__, exceptions.RedisError):  # over a Unix socket the client wraps a refused password
        error = error.__cause__
    for kinds, state, code in _TROUBLES:
        if isinstance(error, kinds):
            return Outcome(state, code)
    return Outcome(State.FAILED, Code.BAD_ANSWER)
