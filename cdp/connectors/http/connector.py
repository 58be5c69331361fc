"""Any HTTP API by description: search the person, erase or cut what was found, search again; see README.md."""

import secrets
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field

from cdp.connectors.base import (
    Change,
    Code,
    Identifier,
    Outcome,
    Page,
    Problem,
    Record,
    Retained,
    State,
    Subject,
    System,
    Unfinished,
)
from cdp.connectors.calls import open_secrets, require_url
from cdp.connectors.grants import Grant
from cdp.connectors.http.answers import trouble_with
from cdp.connectors.http.calling import Caller
from cdp.connectors.http.description import Collection, Search, described
from cdp.connectors.templates import Values, pointed
from cdp.core.http import Answer
from cdp.core.platform import Platform

# More than one record of the person misses the value; which of them is meant nobody said.
AMBIGUOUS = "AMBIGUOUS"


@dataclass(frozen=True)
class Wanted:
    """One collection to be searched by one identifier."""

    name: str
    collection: Collection
    identifier: str = field(repr=False)

    def values(self, record: Record | None = None, new: str | None = None) -> Values:
        """What placeholders stand for."""
        return Values(self.collection.type, self.identifier, record, new)


class Http:
    """One API. ``configuration``: a ``Description``; ``secrets``: what its ``auth`` needs."""

    def __init__(self, system: System, platform: Platform) -> None:
        self._description = described(system.configuration)
        require_url(self._description.url, "url", platform)
        held = open_secrets(system, platform)
        timeout_s = self._description.timeout_s
        grant = Grant(system, platform, self._description.auth, held, timeout_s=timeout_s)
        self._caller = Caller(system, platform, self._description, grant)

    async def read(self, subject: Subject, key: str) -> AsyncIterator[Page]:  # noqa: ARG002
        """Yield every collection, page by page, kept ones too."""
        wanted = self._wanted(subject)
        if not wanted:
            raise Unfinished(Outcome(State.UNSUPPORTED, Code.NO_IDENTIFIER))
        for one in wanted:
            async for records in self._caller.search(one.collection.read, one.values()):
                if isinstance(records, Outcome):
                    raise Unfinished(records)
                if records:
                    yield Page(one.name, records)

    async def check(self, subject: Subject, key: str) -> Outcome:  # noqa: ARG002
        """Count what a search finds."""
        found = await self._found(subject)
        return found if isinstance(found, Outcome) else _done(found, Code.FOUND)

    async def erase(self, subject: Subject, key: str) -> Outcome:
        """Search everything first, then make one change a record or identifier; a part that is gone stays gone."""
        found = await self._found(subject)
        if isinstance(found, Outcome):
            return found
        for one, records in found:
            if one.collection.erase is None or not records:
                continue
            for values in _changes(one, records):
                answer = await self._caller.change(one.collection.erase, values, key=key, secret=subject.secret)
                bad = trouble_with(answer, one.collection.erase) if isinstance(answer, Answer) else answer
                if bad:
                    return bad
        return _done(found, Code.ERASED)

    async def update(self, subject: Subject, key: str, changes: Sequence[Change]) -> Outcome:
        """Correct every record of the person that says an old value, then search again: none may be left."""
        offered = {one for one in changes for c in self._description.collections.values() if _field(one) in c.updates}
        if not offered:
            return Outcome(State.UNSUPPORTED, Code.NOT_OFFERED)
        found = await self._found(subject)
        made = found if isinstance(found, Outcome) else await self._correct(found, changes, subject, key)
        if isinstance(made, Outcome):
            return made
        again = await self._found(subject)
        if isinstance(again, Outcome):
            return again
        if left := len(_wrong(again, changes)):
            return Outcome(State.FAILED, Code.LEFT_BEHIND, records={"values": left})
        state, code = State.DONE, Code.CORRECTED if made else Code.NOTHING_FOUND
        if offered < set(changes):
            state, code = State.UNSUPPORTED, Code.NOT_OFFERED
        return Outcome(state, code, records={"values": made})

    async def _correct(
        self, found: list[tuple[Wanted, list[Record]]], changes: Sequence[Change], subject: Subject, key: str
    ) -> int | Outcome:
        """Make a call a value that says the old one; how many."""
        wrong = _wrong(found, changes)
        missing = Counter(change for _, _, change in wrong if change.old is None)
        if any(count > 1 for count in missing.values()):
            return Outcome(State.FAILED, AMBIGUOUS)
        for one, record, change in wrong:
            update = one.collection.updates[_field(change)]
            values = one.values(record, change.new)
            answer = await self._caller.change(update, values, key=key, secret=subject.secret)
            bad = trouble_with(answer, update) if isinstance(answer, Answer) else answer
            if bad:
                return bad
        return len(wrong)

    async def verify(self, subject: Subject, key: str) -> Outcome:  # noqa: ARG002
        """Search again; only an answer that says so is nothing."""
        found = await self._found(subject, again=True)
        if isinstance(found, Outcome):
            return found
        left, retained = _figures(found)
        if any(left.values()):
            return Outcome(State.FAILED, Code.LEFT_BEHIND, records=left, retained=retained)
        return Outcome(State.DONE, Code.NOTHING_LEFT, retained=retained)

    async def probe(self) -> tuple[Problem, ...]:
        """Search for nobody in every way described; each must say that there is nothing."""
        problems = []
        for name, collection in self._description.collections.items():
            for step, search in (("read", collection.read), ("verify", collection.verify)):
                if search is None:
                    continue
                outcome = await self._nobody(Wanted(name, collection, _nobody_of(collection.type)), search)
                if outcome:
                    text = "A search for somebody nobody knows was not answered as described"
                    problems.append(Problem(outcome.code, f"collections.{name}.{step}", text))
                if outcome and outcome.code in {Code.UNREACHABLE, Code.TIMED_OUT, Code.NOT_ALLOWED}:
                    return tuple(problems)
        return tuple(problems)

    async def _nobody(self, wanted: Wanted, search: Search) -> Outcome | None:
        async for records in self._caller.search(search, wanted.values()):
            if isinstance(records, Outcome):
                return records
            if records:
                return Outcome(State.FAILED, "NOBODY_FOUND")
        return None

    def _wanted(self, subject: Subject) -> list[Wanted]:
        return [
            Wanted(name, collection, known.value)
            for name, collection in self._description.collections.items()
            for known in subject.proven
            if _is_searched_by(collection, known)
        ]

    async def _found(self, subject: Subject, *, again: bool = False) -> list[tuple[Wanted, list[Record]]] | Outcome:
        wanted = self._wanted(subject)
        if not wanted:
            return Outcome(State.UNSUPPORTED, Code.NO_IDENTIFIER)
        found = []
        for one in wanted:
            search = one.collection.verify if again and one.collection.verify else one.collection.read
            held: list[Record] = []
            async for records in self._caller.search(search, one.values()):
                if isinstance(records, Outcome):
                    return records
                held += records
            found.append((one, held))
        return found


def _is_searched_by(collection: Collection, known: Identifier) -> bool:
    return known.type == collection.type and known.issuer == collection.issuer


def _changes(one: Wanted, records: list[Record]) -> Iterator[Values]:
    if one.collection.is_by_record:
        yield from (one.values(record) for record in records)
    else:
        yield one.values()


def _field(change: Change) -> str:
    return f"{change.object}.{change.field}"


def _wrong(found: list[tuple[Wanted, list[Record]]], changes: Sequence[Change]) -> list[tuple[Wanted, Record, Change]]:
    """Records that say an old value."""
    return [
        (one, record, change)
        for one, records in found
        for change in changes
        for record in records
        if (update := one.collection.updates.get(_field(change))) and _said(record, update.at) == (change.old or None)
    ]


def _said(record: Record, pointer: str) -> object:
    """What a record says; nothing and an empty text are the same."""
    try:
        return pointed(record, pointer) or None
    except KeyError:
        return None


def _figures(found: list[tuple[Wanted, list[Record]]]) -> tuple[dict[str, int], tuple[Retained, ...]]:
    counts: dict[str, int] = {}
    kept: dict[str, Retained] = {}
    for one, records in found:
        if one.collection.keeps is None:
            counts[one.name] = counts.get(one.name, 0) + len(records)
        elif records:
            before = kept[one.name].records if one.name in kept else 0
            kept[one.name] = Retained(one.name, before + len(records), one.collection.keeps)
    return counts, tuple(kept.values())


def _done(found: list[tuple[Wanted, list[Record]]], code: Code) -> Outcome:
    counts, retained = _figures(found)
    touched = any(counts.values()) or bool(retained)
    return Outcome(State.DONE, code if touched else Code.NOTHING_FOUND, retained=retained, records=counts)


def _nobody_of(kind: str) -> str:
    """Somebody nobody knows, in the form of the identifier."""
    digits = "".join(secrets.choice("0123456789") for _ in range(12))
    return {"email": f"nobody-{digits}@nobody.invalid", "phone": f"+999{digits}"}.get(kind, f"999{digits}")
