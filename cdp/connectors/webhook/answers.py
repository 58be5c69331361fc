"""What a webhook may answer, and nothing else: every field has one shape, every unknown or missing one is a failure.

An answer that says ``done`` must repeat the call's key and bring the figures of its step, so that a page that always
says 200, a proxy's cached answer or ``{"state": "done"}`` by itself can not pass for an erasure.
"""

import json
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from cdp.connectors.base import Outcome, Retained, State, Subject
from cdp.connectors.calls import MAX_RETRY_AFTER_S, trouble
from cdp.core.http import Answer

_STRICT = ConfigDict(extra="forbid", strict=True)

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,100}$")]
Count = Annotated[int, Field(ge=0, le=2**53)]
AnswerCode = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,59}$")]


def _standard_json(records: dict[str, list[dict[str, JsonValue]]]) -> dict[str, list[dict[str, JsonValue]]]:
    """Refuse NaN and infinity: no file we hand on may hold them (RFC 8259, 6)."""
    json.dumps(records, allow_nan=False)
    return records


@dataclass(frozen=True, config=_STRICT)
class Kept:
    """Records the system keeps, and why."""

    collection: Name
    records: Count
    basis: Annotated[str, Field(min_length=1, max_length=200)]
    until: Annotated[date, Field(strict=False)] | None = None

    def retained(self) -> Retained:
        """The same in the contract's words."""
        return Retained(self.collection, self.records, self.basis, self.until)


@dataclass(frozen=True, config=_STRICT)
class Counted:
    """Done with check or erase: what would go or went, per collection."""

    key: str
    state: Literal["done"]
    records: dict[Name, Count]
    retained: tuple[Kept, ...] = ()
    evidence: dict[Name, Count] | None = None


@dataclass(frozen=True, config=_STRICT)
class Looked:
    """Done with verify: how many records about the person were found, those kept under a law not counted."""

    key: str
    state: Literal["done"]
    found: Count
    retained: tuple[Kept, ...] = ()
    evidence: dict[Name, Count] | None = None


@dataclass(frozen=True, config=_STRICT)
class Copied:
    """Done with read: the records themselves."""

    key: str
    state: Literal["done"]
    records: Annotated[dict[Name, list[dict[str, JsonValue]]], AfterValidator(_standard_json)]


@dataclass(frozen=True, config=_STRICT)
class Updated:
    """Done with update: how many values were changed, and how many still say the old one when read again."""

    key: str
    state: Literal["done"]
    changed: Count
    unchanged: Count


@dataclass(frozen=True, config=_STRICT)
class Tried:
    """Done with probe."""

    key: str
    state: Literal["done"]


@dataclass(frozen=True, config=_STRICT)
class Said:
    """Not done: why."""

    state: Literal["refused", "held", "unsupported"]
    code: AnswerCode
    key: str = ""


@dataclass(frozen=True, config=_STRICT)
class Later:
    """Accepted and still under way."""

    state: Literal["waiting"]
    key: str = ""
    retryAfter: Annotated[int, Field(ge=0, le=MAX_RETRY_AFTER_S)] = 30  # noqa: N815 - the name on the wire


D = TypeVar("D", Counted, Looked, Copied, Updated, Tried)


def done(answer: Answer, shape: type[D], key: str) -> D | Outcome:
    """The answer when the step is done, else the outcome it stands for."""
    if answer.status == 200 and (said := _read(answer.body, shape)) is not None and said.key == key:
        return said
    return _not_done(answer)


def _not_done(answer: Answer) -> Outcome:
    match answer.status:
        case 200 | 403 | 409 if (said := _read(answer.body, Said)) is not None:
            return Outcome(State(said.state), said.code)
        case 202 if (later := _read(answer.body, Later)) is not None:
            return Outcome(State.WAITING, "UNDER_WAY", retry_after_s=float(later.retryAfter))
        case _:
            return trouble(answer)


S = TypeVar("S", Counted, Looked, Copied, Updated, Tried, Said, Later)


def _read(body: bytes, shape: type[S]) -> S | None:
    try:
        return TypeAdapter(shape).validate_json(body)
    except ValidationError:
        return None


def names_subject(subject: Subject, said: Counted | Looked) -> bool:
    """Whether an answer carries an identifier where counts belong: it would end in the certificate."""
    texts = [kept.basis for kept in said.retained] + [kept.collection for kept in said.retained]
    texts += [*(said.evidence or {})] + ([*said.records] if isinstance(said, Counted) else [])
    return any("@" in text or subject.names(text) for text in texts)


def evidence_of(said: Counted | Looked) -> Mapping[str, int]:
    """The counts an answer adds."""
    return dict(said.evidence or {})
