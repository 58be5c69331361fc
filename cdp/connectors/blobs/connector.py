"""Files in object storage by their layout: every version, every mark of deletion and every unfinished upload."""

from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

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
from cdp.connectors.blobs.disk import Disk
from cdp.connectors.blobs.layout import Layout, Place, laid_out
from cdp.connectors.blobs.s3 import Bucket
from cdp.connectors.blobs.store import CHUNK_BYTES, Entry, Store, Trouble
from cdp.connectors.calls import open_secrets, require_secrets, require_url
from cdp.connectors.templates import Unfillable, fill_name
from cdp.core.ids import new_id
from cdp.core.platform import Platform

ROUNDS = 3


@dataclass(frozen=True)
class Found:
    """What stands there in one collection."""

    collection: str
    entries: list[Entry] = field(repr=False)


class BlobFiles:
    """One bucket or folder. ``secrets`` of a bucket: ``access_key_id``, ``secret_access_key``."""

    def __init__(self, system: System, platform: Platform) -> None:
        self._layout = laid_out(system.configuration)
        self._store = _opened(system, platform, self._layout)

    async def read(self, subject: Subject, key: str) -> AsyncIterator[Page]:  # noqa: ARG002
        """Yield every version of every file in parts of at most one MiB: text as text, anything else as base64."""
        if self._unsearchable(subject):
            raise Unfinished(Outcome(State.UNSUPPORTED, Code.NO_IDENTIFIER))
        try:
            for found in await self._found(subject.proven):
                for entry in found.entries:
                    async for record in self._records(entry):
                        yield Page(found.collection, [record])
        except (Trouble, Unfillable) as error:
            raise Unfinished(_failure(error)) from None

    async def check(self, subject: Subject, key: str) -> Outcome:  # noqa: ARG002
        """Count everything, and see whether a lock of the store keeps some of it."""
        if self._unsearchable(subject):
            return Outcome(State.UNSUPPORTED, Code.NO_IDENTIFIER)
        try:
            found = await self._found(subject.proven)
            locked = await self._store.locked(_all(found))
        except (Trouble, Unfillable) as error:
            return _failure(error)
        if locked:
            return Outcome(State.HELD, "OBJECT_LOCKED", {"locked": locked}, records=self._counts(found))
        return self._done(found, Code.FOUND)

    async def erase(self, subject: Subject, key: str) -> Outcome:  # noqa: ARG002
        """Remove everything, done when a new listing is empty. A store knows no transaction: a repeat finishes."""
        if self._unsearchable(subject):
            return Outcome(State.UNSUPPORTED, Code.NO_IDENTIFIER)
        try:
            first = await self._found(subject.proven)
            if locked := await self._store.locked(_all(first)):
                return Outcome(State.HELD, "OBJECT_LOCKED", {"locked": locked}, records=self._counts(first))
            left = first
            for _ in range(ROUNDS):  # somebody may be writing meanwhile
                if not _all(left):
                    return self._done(first, Code.ERASED)
                await self._store.remove(_all(left))
                left = await self._found(subject.proven)
        except (Trouble, Unfillable) as error:
            return _failure(error)
        if _all(left):
            return Outcome(State.RETRY, Code.LEFT_BEHIND, records=self._counts(left))
        return self._done(first, Code.ERASED)

    async def verify(self, subject: Subject, key: str) -> Outcome:  # noqa: ARG002
        """List again."""
        if self._unsearchable(subject):
            return Outcome(State.UNSUPPORTED, Code.NO_IDENTIFIER)
        try:
            found = await self._found(subject.proven)
        except (Trouble, Unfillable) as error:
            return _failure(error)
        if _all(found):
            return Outcome(State.FAILED, Code.LEFT_BEHIND, records=self._counts(found))
        return Outcome(State.DONE, Code.NOTHING_LEFT)

    async def probe(self) -> tuple[Problem, ...]:
        """List and remove what nobody has."""
        try:
            return await self._store.probe(f"nobody-{new_id()}/")
        except Trouble as error:
            return (Problem(error.outcome.code, "url", "The store did not let us look for somebody nobody knows"),)

    async def _records(self, entry: Entry) -> AsyncIterator[Record]:
        if not entry.has_content:
            return
        named: Record = {"key": entry.key, "size_bytes": entry.size_bytes}
        if entry.version is not None:
            named["version"] = entry.version
        parts = -(-entry.size_bytes // CHUNK_BYTES) or 1
        number = 0
        async for chunk in self._store.contents(entry):
            number += 1
            yield named | {"part": number, "parts": parts} | _content(chunk, whole=parts == 1)
        if number == 0:
            yield named | {"part": 1, "parts": 1, "text": ""}
        elif number != parts:
            raise Trouble(Outcome(State.RETRY, Code.BUSY))  # it grew or shrank while we read

    async def _found(self, known: tuple[Identifier, ...]) -> list[Found]:
        names: dict[str, Found] = {place.collection: Found(place.collection, []) for place in self._layout.places}
        seen: set[Entry] = set()
        for place, one in self._searched(known):
            filled = fill_name(place.template, place.type, one.value)
            for entry in await self._store.entries(filled):
                if entry not in seen and _is_in(place, entry, filled):
                    seen.add(entry)
                    names[place.collection].entries.append(entry)
        return list(names.values())

    def _searched(self, known: tuple[Identifier, ...]) -> list[tuple[Place, Identifier]]:
        return [
            (place, one)
            for place in self._layout.places
            for one in known
            if (one.type, one.issuer) == (place.type, place.issuer)
        ]

    def _unsearchable(self, subject: Subject) -> bool:
        return not self._searched(subject.proven)

    def _counts(self, found: list[Found]) -> dict[str, int]:
        return {one.collection: len(one.entries) for one in found}

    def _done(self, found: list[Found], code: Code) -> Outcome:
        return Outcome(State.DONE, code if _all(found) else Code.NOTHING_FOUND, records=self._counts(found))


def _is_in(place: Place, entry: Entry, filled: str) -> bool:
    """A store lists by prefix: ``avatar`` also finds ``avatar.old``."""
    return entry.key == filled if place.key is not None else entry.key.startswith(filled)


def _all(found: list[Found]) -> list[Entry]:
    return [entry for one in found for entry in one.entries]


def _content(chunk: bytes, *, whole: bool) -> Record:
    if whole and b"\0" not in chunk:
        with suppress(UnicodeDecodeError):
            return {"text": chunk.decode("utf-8")}
    return {"base64": b64encode(chunk).decode()}


def _opened(system: System, platform: Platform, layout: Layout) -> Store:
    secrets = open_secrets(system, platform)
    if urlsplit(layout.url).scheme == "file":
        require_secrets(secrets, frozenset())
        root = Path(unquote(urlsplit(layout.url).path))
        if not root.is_absolute() or urlsplit(layout.url).netloc:
            raise ConfigurationInvalid((Problem("VALUE_INVALID", "url", "A folder is file:///an/absolute/path"),))
        return Disk(root)
    require_url(layout.url, "url", platform)
    held = require_secrets(secrets, frozenset({"access_key_id", "secret_access_key"}))
    return Bucket(platform, layout, held["access_key_id"], held["secret_access_key"])


def _failure(error: Trouble | Unfillable) -> Outcome:
    return error.outcome if isinstance(error, Trouble) else Outcome(State.FAILED, "VALUE_NOT_USABLE")
