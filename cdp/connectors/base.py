"""The contract of a connected system: find one person there, show what is held, remove it, prove it is gone.

A task calls one step of one connector, outside any transaction of ours, and may call it again: after a crash, a lost
answer or a retry. Every step is therefore safe to repeat, and ``key`` (``request:system:step``) names its one effect.
Source: the demands of GDPR art. 15, 17 and 20, https://eur-lex.europa.eu/eli/reg/2016/679/oj
"""

import dataclasses
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Any, Protocol, TypeAlias, runtime_checkable
from uuid import UUID

from sqlalchemy import Row

from cdp.core.errors import InvalidInput
from cdp.core.ids import CustomerId, RequestId, SystemId

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"
Record: TypeAlias = dict[str, Json]
Evidence: TypeAlias = "str | int | bool | list[Evidence] | dict[str, Evidence] | None"

_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,59}")
_SAFE = re.compile(r"[A-Za-z0-9_.:-]{1,200}")


class State(StrEnum):
    """How a step ended. Only ``done`` is success; an answer we do not understand is ``failed``."""

    DONE = "done"
    REFUSED = "refused"  # the system says no, with a code: a person has to decide
    HELD = "held"  # a legal hold keeps the records; the step runs again when it is released
    UNSUPPORTED = "unsupported"  # this system can not do this step, or nothing proven identifies the person there
    WAITING = "waiting"  # accepted, still under way: ask again with the same key
    RETRY = "retry"  # a passing trouble: call again with the same key
    FAILED = "failed"  # a lasting trouble, or a step that did not do what it said


class Code(StrEnum):
    """Codes every kind uses; a kind or a refusing system may add its own of the same form."""

    FOUND = "FOUND"
    NOTHING_FOUND = "NOTHING_FOUND"
    ERASED = "ERASED"
    CORRECTED = "CORRECTED"
    NOTHING_LEFT = "NOTHING_LEFT"
    LEFT_BEHIND = "LEFT_BEHIND"  # records that should be gone are still there
    NO_IDENTIFIER = "NO_IDENTIFIER"  # the person has no verified identifier of a type this system is searched by
    NOT_OFFERED = "NOT_OFFERED"  # the system does not offer this step
    UNREACHABLE = "UNREACHABLE"
    TIMED_OUT = "TIMED_OUT"
    BUSY = "BUSY"
    BAD_ANSWER = "BAD_ANSWER"
    NOT_ALLOWED = "NOT_ALLOWED"
    MISCONFIGURED = "MISCONFIGURED"


@dataclass(frozen=True)
class Retained:
    """Records that stay, under which law and until when; no date means: as long as ``basis`` says."""

    collection: str
    records: int
    basis: str
    until: date | None = None


@dataclass(frozen=True)
class Outcome:
    """How one step of one system ended, for people (state, code) and for the certificate (the rest).

    ``records`` counts per collection: what would go (check), what went or was cut (erase), what is still there
    (verify). ``evidence`` adds detail. Both are counts, codes and hashes; a text that could be somebody's data is
    refused here, because evidence ends in a signed certificate and outlives the person. ``retry_after_s`` is when
    the system wants to be asked again (waiting, retry).
    """

    state: State
    code: str
    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    retained: tuple[Retained, ...] = ()
    records: Mapping[str, int] = field(default_factory=dict)
    retry_after_s: float | None = None

    def __post_init__(self) -> None:
        if not _CODE.fullmatch(self.code):
            raise ValueError("a code is upper-case letters, digits and underscores")
        if not all(_is_impersonal(value) for value in (dict(self.evidence), dict(self.records))):
            raise ValueError("evidence holds counts, codes and hashes only")

    def document(self) -> dict[str, Evidence]:
        """Everything but state and code as JSON without floats, ready to be stored and signed."""
        return {
            "records": dict(self.records),
            "evidence": dict(self.evidence),
            "retained": [
                {
                    "collection": kept.collection,
                    "records": kept.records,
                    "basis": kept.basis,
                    "until": kept.until.isoformat() if kept.until else None,
                }
                for kept in self.retained
            ],
        }


@dataclass(frozen=True)
class Identifier:
    """One normalised identifier (``tables.customer.IdentityType``); ``issuer`` names whose numbering it is."""

    type: str
    value: str = field(repr=False)
    issuer: str = ""
    verified: bool = False


@dataclass(frozen=True)
class Subject:
    """The person a step is about, and what a connector may use to find them.

    ``former_ids`` are those of records that were merged into theirs: who knows people by our ids may know these.
    ``secret`` is at least 16 bytes that die with the request (its key in the key store): connectors derive tombstones
    from it, so that kept rows can be found again for verification, and by nobody once the key is destroyed.
    """

    request_id: RequestId
    customer_id: CustomerId
    subject_ref: UUID
    identifiers: tuple[Identifier, ...] = field(repr=False)
    secret: bytes = field(repr=False)
    callback: "Callback | None" = field(default=None, repr=False)
    former_ids: tuple[CustomerId, ...] = ()

    @property
    def proven(self) -> tuple[Identifier, ...]:
        """Identifiers that were verified: only these find somebody in another system.

        Else whoever adds a stranger's e-mail address to their own profile could have that stranger erased.
        """
        return tuple([identifier for identifier in self.identifiers if identifier.verified])

    def names(self, text: str) -> bool:
        """Whether a text contains one of the identifiers: another system's answer must not carry it into evidence."""
        folded = text.casefold()
        return any(len(known.value) > 3 and known.value.casefold() in folded for known in self.identifiers)


@dataclass(frozen=True)
class Callback:
    """Where a system that answered ``waiting`` may say that it is through, with this bearer token ."""

    url: str
    token: str = field(repr=False)


@dataclass(frozen=True)
class Page:
    """Some records of one collection; a collection may come in many pages, never interleaved with another."""

    collection: str
    records: list[Record] = field(repr=False)


@dataclass(frozen=True)
class Change:
    """One value to correct: the object and its field as our API names them, as it was, and as it should be."""

    object: str
    field: str
    old: str | None = dataclasses.field(repr=False)
    new: str | None = dataclasses.field(repr=False)


class Unfinished(Exception):
    """A read that could not be completed: what came before it is not the whole."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        super().__init__(outcome.code)


@dataclass(frozen=True)
class Problem:
    """Something wrong with a system's configuration: a code, where (``tables[2].columns.Email``), and a sentence."""

    code: str
    at: str
    message: str


class ConfigurationInvalid(InvalidInput):
    """The configuration of this system is not valid."""

    code = "SYSTEM_CONFIGURATION_INVALID"

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__(problems=[{"code": p.code, "at": p.at, "message": p.message} for p in problems])


@dataclass(frozen=True)
class System:
    """One row of ``system``, as connectors see it."""

    id: SystemId
    name: str
    kind: str
    configuration: Mapping[str, Json]
    secrets_sealed: bytes | None = field(default=None, repr=False)

    @classmethod
    def of(cls, row: Row[Any]) -> "System":
        """Take the columns of a ``system`` row."""
        return cls(SystemId(row.id), row.name, row.kind, row.configuration, row.secrets_sealed)

    @property
    def seal_context(self) -> str:
        """The context under which ``secrets_sealed`` is sealed."""
        return f"system:{self.id}"


class Connector(Protocol):
    """One connected system. No step raises for what the other side does; troubles come back as outcomes."""

    def read(self, subject: Subject, key: str) -> AsyncIterator[Page]:
        """Yield everything held about the subject, complete when the iteration ends.

        Raises Unfinished when it can not be had, or not all of it; pages already taken are then worthless.
        """

    async def check(self, subject: Subject, key: str) -> Outcome:
        """Say what an erasure would remove and what would stay and why, changing nothing."""

    async def erase(self, subject: Subject, key: str) -> Outcome:
        """Remove the subject, whole or not at all. Done with zero counts when there is nothing (left) to remove."""

    async def verify(self, subject: Subject, key: str) -> Outcome:
        """Read again and be done only if it was positively seen that nothing is left but what ``retained`` lists."""

    async def probe(self) -> tuple[Problem, ...]:
        """Try the configuration against the running system; empty means it will work. Changes nothing."""


@runtime_checkable
class Updates(Protocol):
    """A connected system that can also take a correction; the others are ``unsupported``."""

    async def update(self, subject: Subject, key: str, changes: Sequence[Change]) -> Outcome:
        """Correct values of the subject and read them again: done only if seen, or if nothing is held.

        ``records`` counts the values changed.
        """


def _is_impersonal(value: object) -> bool:
    match value:
        case None | bool() | int():
            return True
        case str():
            return _SAFE.fullmatch(value) is not None
        case list():
            return all(_is_impersonal(item) for item in value)
        case dict():
            return all(_is_impersonal(name) and _is_impersonal(item) for name, item in value.items())
        case _:
            return False
