"""What agents are told of states and deadlines: words with a tone and a sign, so that colour is never alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cdp.tables.customer import CustomerStatus
from cdp.tables.request import EvidenceKind, RequestStatus, RequestType
from cdp.web.words import CODE, REQUEST_STATUS, Said

Row = Mapping[str, Any]

# For agents a request is what the law calls it.
REQUEST_TYPE: Mapping[RequestType, str] = {
    RequestType.ACCESS: "Access",
    RequestType.PORTABILITY: "Portability",
    RequestType.ERASURE: "Erasure",
    RequestType.RECTIFICATION: "Rectification",
    RequestType.RESTRICTION: "Restriction",
    RequestType.OBJECTION: "Objection",
}
EVIDENCE: Mapping[str, str] = {
    EvidenceKind.IDENTITY.name: "Proof of who they are",
    EvidenceKind.REPRESENTATIVE.name: "Somebody acts for them",
    EvidenceKind.STATEMENT.name: "What they said or sent",
}
# What systems answer, told to somebody it is not about.
ANSWERED: Mapping[str, str] = {
    **CODE,
    "FOUND": "",
    "NOTHING_FOUND": "It holds nothing about them.",
    "NO_IDENTIFIER": "Nothing that we have proven to be theirs is known there.",
}
DECIDED: Mapping[str, str] = {
    "APPROVED": "Approved",
    "GIVEN_UP": "It could not be finished",
    "REFUSED": "By decision",
    "RESUMED": "The work goes on",
    "RETRIED": "The failed steps are tried again",
}
HAPPENED: Mapping[str, str] = {
    "evidence.read": "Evidence opened",
    "evidence.recorded": "Evidence recorded",
    "request.assigned": "Handed over",
    "request.closed": "Closed",
    "request.extended": "Deadline extended",
    "request.joined": "Asked for again",
    "request.opened": "Opened",
    "request.proof_sent": "Proof sent",
}
SOON = timedelta(hours=72)


@dataclass(frozen=True)
class Chip:
    """A state: a sign, words, a tone."""

    sign: str
    text: str
    tone: str = ""


@dataclass(frozen=True)
class RequestLine:
    """A request as one line of a list."""

    row: Row
    type: str
    state: Said
    due: Chip


def happened(action: str) -> str:
    """An entry of a request's history in words; a request that moved says where it stands now."""
    verb = action.partition(".")[2]
    if action not in HAPPENED and verb in set(RequestStatus):
        return REQUEST_STATUS[RequestStatus(verb)][0]
    return HAPPENED.get(action, action)


def status_chips(row: Row) -> tuple[Chip, ...]:
    """What to know about a customer before doing anything."""
    chips: list[Chip] = []
    if row["status"] == CustomerStatus.FROZEN.name:
        chips.append(Chip("❄", "Frozen: being deleted", "warn"))
    for request in row.get("open", {"nodes": ()})["nodes"]:
        if (request["type"], request["status"]) == (RequestType.ERASURE.name, RequestStatus.RECEIVED.name):
            chips.append(Chip("◔", "Deletion asked for", "warn"))
        if (request["type"], request["status"]) == (RequestType.RESTRICTION.name, RequestStatus.IN_FORCE.name):
            chips.append(Chip("⏸", "Restricted: keep, do not use", "warn"))
    return tuple(chips)


def request_line(row: Row, now: datetime) -> RequestLine:
    """One request of the API, in words."""
    kind, status = RequestType[row["type"]], RequestStatus[row["status"]]
    return RequestLine(
        row, REQUEST_TYPE[kind], REQUEST_STATUS[status], due_chip(row["dueAt"], now, is_settled=row["isSettled"])
    )


def due_chip(due_at: datetime, now: datetime, *, is_settled: bool) -> Chip:
    """How much time is left to answer (GDPR art. 12(3))."""
    if is_settled:
        return Chip("✓", "Answered", "good")
    left = due_at - now
    if left < timedelta(0):
        return Chip("!", f"Overdue by {_span(-left)}", "bad")
    return Chip("◔", f"{_span(left)} left", "warn" if left <= SOON else "")


def _span(value: timedelta) -> str:
    hours = int(value.total_seconds() // 3600)
    if hours >= 48:
        return f"{hours // 24} days"
    return "less than an hour" if hours < 1 else f"{hours} hour{'' if hours == 1 else 's'}"
