"""The shapes of OpenDSR 2.0, and what a request's status means for a step.

Words the specification lacks (refused, failed, partial, held, unsupported) travel in ``extensions`` under the domain of
the processor, as ``{"outcome": "refused", "code": "OPEN_CONTRACT"}``; they outweigh the status.
Source: https://github.com/opengdpr/OpenDSR, specification 2.0
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Literal, TypeVar

from pydantic import AwareDatetime, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from cdp.connectors.base import Code, Outcome, State

_OPEN = ConfigDict(extra="ignore")  # later minor versions may add fields


class RequestStatus(StrEnum):
    """The four standard words."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, config=_OPEN, kw_only=True)
class SupportedIdentity:
    """A type and format of identity the processor finds people by."""

    identity_type: str
    identity_format: str


@dataclass(frozen=True, config=_OPEN, kw_only=True)
class Discovery:
    """What a processor says about itself."""

    api_version: Annotated[str, Field(pattern=r"^2(\.\d+)*$")]
    supported_identities: tuple[SupportedIdentity, ...]
    supported_subject_request_types: tuple[str, ...]
    processor_certificate: str


@dataclass(frozen=True, config=_OPEN, kw_only=True)
class Accepted:
    """The answer to a new request; ``encoded_request`` is what the processor understood, and is not kept."""

    controller_id: str
    expected_completion_time: AwareDatetime
    received_time: AwareDatetime
    encoded_request: str = Field(repr=False)
    subject_request_id: str


@dataclass(frozen=True, config=_OPEN, kw_only=True)
class Standing:
    """Where a request stands."""

    controller_id: str
    expected_completion_time: AwareDatetime
    subject_request_id: str
    request_status: RequestStatus
    results_url: str | None = Field(default=None, repr=False)
    results_count: Annotated[int, Field(ge=0, strict=True)] | None = None
    extensions: Mapping[str, JsonValue] = Field(default_factory=dict)


@dataclass(frozen=True, config=_OPEN, kw_only=True)
class Verdict:
    """What we agreed to say in extensions."""

    outcome: Literal["refused", "failed", "partial", "held", "unsupported"]
    code: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,59}$")] | None = None


_STATES = {
    "refused": State.REFUSED,
    "failed": State.FAILED,
    "partial": State.HELD,
    "held": State.HELD,
    "unsupported": State.UNSUPPORTED,
}
S = TypeVar("S", Discovery, Accepted, Standing)


def shaped(body: bytes, shape: type[S]) -> S | Outcome:
    """The body in its shape, or the failure that another one is."""
    try:
        return TypeAdapter(shape).validate_json(body)
    except ValidationError:
        return Outcome(State.FAILED, Code.BAD_ANSWER)


def unfinished(standing: Standing, domain: str, *, poll_s: float) -> Outcome | None:
    """None once the request is completed, and nothing is said against it."""
    said = standing.extensions.get(domain)
    if isinstance(said, dict) and "outcome" in said:
        try:
            verdict = TypeAdapter(Verdict).validate_python(said)
        except ValidationError:
            return Outcome(State.FAILED, Code.BAD_ANSWER)
        return Outcome(_STATES[verdict.outcome], verdict.code or verdict.outcome.upper())
    match standing.request_status:
        case RequestStatus.COMPLETED:
            return None
        case RequestStatus.CANCELLED:
            return Outcome(State.FAILED, "CANCELLED")
        case RequestStatus.PENDING | RequestStatus.IN_PROGRESS:
            return Outcome(State.WAITING, "UNDER_WAY", retry_after_s=poll_s)
