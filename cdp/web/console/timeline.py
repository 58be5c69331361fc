"""A customer's timeline: what happened between us, newest first, from lists that each come page by page."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cdp.operations.audit.trail import Trace
from cdp.operations.reveals import reveals
from cdp.tables.consent import Channel
from cdp.tables.request import RequestStatus, RequestType
from cdp.web.console.words import REQUEST_TYPE
from cdp.web.words import REQUEST_STATUS, revealed

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Entry:
    """One thing that happened. ``address`` leads to more, where there is more."""

    at: datetime
    kind: str
    title: str
    detail: str
    address: str | None = None


@dataclass(frozen=True)
class Strand:
    """One list of the timeline: the name of its field, how it is called, and how a row reads."""

    name: str
    title: str
    entry: Callable[[Row], Entry]


@dataclass(frozen=True)
class Timeline:
    """What is shown. ``after`` is where the next page of a single strand starts; ``cut`` are strands with more."""

    entries: tuple[Entry, ...]
    after: str | None
    cut: tuple[Strand, ...]


def _word(value: str | None) -> str:
    return value.capitalize().replace("_", " ") if value else ""


def _order(row: Row) -> Entry:
    items = ", ".join(f"{item['quantity']} × {item['title']}" for item in row["items"][:3])
    more = f" and {len(row['items']) - 3} more" if len(row["items"]) > 3 else ""
    total = f"{row['total']} {row['currency']}"
    return Entry(row["placedAt"], "Order", row["number"], f"{_word(row['status'])} · {total} · {items}{more}")


def _inquiry(row: Row) -> Entry:
    answered = "answered" if row["answeredAt"] else _word(row["status"]).lower()
    return Entry(row["receivedAt"], "Question", row["subject"], f"{_word(row['kind'])}, {answered}")


def _message(row: Row) -> Entry:
    return Entry(row["createdAt"], "Message", row["subject"], f"{_word(row['status'])}, to {row['recipient']}")


def _consent(row: Row) -> Entry:
    title = row["purpose"]["title"] if row["purpose"] else "Consent"
    channel = "" if row["channel"] == Channel.ANY.name else f" by {row['channel'].lower()}"
    return Entry(row["recordedAt"], "Consent", title, f"{_word(row['action'])}{channel}")


def _request(row: Row) -> Entry:
    said = REQUEST_STATUS[RequestStatus[row["status"]]][0]
    title = f"{REQUEST_TYPE[RequestType[row['type']]]} {row['reference']}"
    return Entry(row["requestedAt"], "Request", title, said, f"/console/requests/{row['reference']}")


def _look(row: Row) -> Entry:
    """What a colleague did, from the audit log."""
    trace: Trace = row["trace"]
    who = trace.who or "Somebody who left"
    if trace.action == reveals.ACTION and not trace.is_refused:
        return Entry(trace.at, "Staff", f"{who} saw masked details", revealed(trace.details, trace.note))
    if trace.action == "customer.read":
        about = trace.details.get("purpose", "").replace("_", " ")
        return Entry(trace.at, "Staff", f"{who} looked at this customer", f"For {about}." if about else "")
    return Entry(trace.at, "Staff", f"{who}: {trace.action}", f"Refused: {trace.code}" if trace.is_refused else "")


def looks(traces: Sequence[Trace], *, first: int) -> Row:
    """Entries of the audit log in the shape of the other lists, the one more that was read cut off."""
    nodes = [{"trace": trace} for trace in traces[:first]]
    more = len(traces) > first
    return {"nodes": nodes, "totalCount": None, "pageInfo": {"hasNextPage": more, "endCursor": None}}


LOOKS = Strand("looks", "Staff", _look)
STRANDS: Sequence[Strand] = (
    Strand("orders", "Orders", _order),
    Strand("inquiries", "Questions", _inquiry),
    Strand("messages", "Messages", _message),
    Strand("consents", "Consents", _consent),
    Strand("requests", "Requests", _request),
    LOOKS,
)


def woven(customer: Row, strands: Iterable[Strand]) -> Timeline:
    """The rows that were read as one list. Nothing older than a strand's cut is shown, or it would look complete."""
    chosen = list(strands)
    pages = [(strand, customer[strand.name]) for strand in chosen]
    entries = [strand.entry(row) for strand, page in pages for row in page["nodes"]]
    cut = tuple(strand for strand, page in pages if page["pageInfo"]["hasNextPage"])
    if len(chosen) > 1 and cut:
        newest_cut = max(strand.entry(customer[strand.name]["nodes"][-1]).at for strand in cut)
        entries = [entry for entry in entries if entry.at >= newest_cut]
    after = customer[chosen[0].name]["pageInfo"]["endCursor"] if len(chosen) == 1 and cut else None
    return Timeline(tuple(sorted(entries, key=lambda entry: entry.at, reverse=True)), after, cut)
