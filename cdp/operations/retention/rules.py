"""Retention rules as data: what is removed, how long after what, and on which legal basis.

A row goes once its rule's time is over, unless a legal hold covers it. Rows that outlive an erasure under a law carry
their own date (``retained_until``); the tables say which law, and ``docs/retention.md`` lists both.
Source: GDPR art. 5(1)(e) (storage limitation), https://eur-lex.europa.eu/eli/reg/2016/679/oj
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, Table, exists, func, select

from cdp.tables.base import Category
from cdp.tables.certificate import certificate, suppression
from cdp.tables.datamap import personal_tables, retention
from cdp.tables.event import device, event
from cdp.tables.export import ExportStatus, export
from cdp.tables.hold import EFFECTIVE, legal_hold
from cdp.tables.message import MessageStatus, message
from cdp.tables.order import sales_order, sales_order_item
from cdp.tables.request import SETTLED, correction, evidence, objection, privacy_request, request_proof, request_task

LIMITATION = "Storage limitation: GDPR art. 5(1)(e)"
CLAIMS = "Defence of claims, three years: GDPR art. 17(3)(e), BGB § 195"
USAGE = timedelta(days=730)
PROOF = timedelta(days=3 * 366)
# Sealed files of the object store, not rows: what was parked for a request that is closed.
PARKED = "parked"
# Keys and sealed documents whose row was never written: who made them died before.
ORPHANS = "orphans"
# People who went to an acquirer: their erasure is opened, or the sold brand's rows go.
TRANSFERRED = "transferred"
# Made due, not removed: paper is destroyed by people.
PAPER = "paper_due"


@dataclass(frozen=True)
class Rule:
    """Rows of one table that are no longer needed. ``since`` names the moment that ``keep`` counts from.

    Without a moment of its own a row goes by what ``also`` says. ``has_file`` rows name a sealed document, whose key
    and file go before the row.
    """

    code: str
    title: str
    category: Category
    table: Table
    since: str | None
    keep: timedelta
    basis: str
    also: Callable[[], Sequence[ColumnElement[bool]]] = tuple
    has_file: bool = False

    @property
    def is_over(self) -> tuple[ColumnElement[bool], ...]:
        """The conditions of a row to remove, by the database's clock; what is held is not."""
        over = [self.table.c[self.since] < func.now() - self.keep] if self.since else []
        return (*over, *self.also(), *self._is_free())

    def _is_free(self) -> Sequence[ColumnElement[bool]]:
        if "customer_id" not in self.table.c:
            return ()
        held = exists().where(
            legal_hold.c.customer_id == self.table.c.customer_id,
            legal_hold.c.category == self.category,
            legal_hold.c.status.in_(EFFECTIVE),
        )
        return (~held,)


def _order_is_over() -> Sequence[ColumnElement[bool]]:
    over = select(sales_order.c.id).where(
        sales_order.c.customer_id.is_(None), sales_order.c.retained_until < func.now()
    )
    return (sales_order_item.c.customer_id.is_(None), sales_order_item.c.order_id.in_(over))


def _is_settled(table: Table) -> ColumnElement[bool]:
    over = privacy_request.c.settled_at < func.now() - PROOF
    settled = privacy_request.c.status.in_(SETTLED)
    return table.c.request_id.in_(select(privacy_request.c.id).where(settled, over))


def _is_last_of(table: Table, *children: Table) -> Sequence[ColumnElement[bool]]:
    return [~exists().where(child.c.request_id == table.c.id) for child in children]


# Children before parents.
RULES: Sequence[Rule] = (
    Rule("events", "Activity on the site", Category.ACTIVITY, event, "occurred_at", USAGE, LIMITATION),
    Rule(
        "devices",
        "Devices that were not seen again",
        Category.DEVICE,
        device,
        "last_seen_at",
        USAGE,
        LIMITATION,
        lambda: [~exists().where(event.c.device_id == device.c.id)],
    ),
    Rule(
        "messages",
        "Messages that were sent",
        Category.MESSAGE,
        message,
        "created_at",
        USAGE,
        LIMITATION,
        lambda: [message.c.status.in_((MessageStatus.SENT, MessageStatus.FAILED, MessageStatus.CANCELLED))],
    ),
    Rule(
        "exports",
        "Notes of data copies that are gone",
        Category.REQUEST,
        export,
        "created_at",
        USAGE,
        LIMITATION,
        lambda: [
            export.c.status.in_((ExportStatus.REVOKED, ExportStatus.EXPIRED, ExportStatus.FAILED)),
            export.c.key_id.is_(None),
        ],
    ),
    Rule(
        "retained_order_items",
        "Order lines of deleted customers whose term is over",
        Category.ORDER,
        sales_order_item,
        None,
        timedelta(0),
        "",
        _order_is_over,
    ),
    Rule(
        "retained_orders",
        "Orders of deleted customers whose term is over",
        Category.ORDER,
        sales_order,
        "retained_until",
        timedelta(0),
        "",
        lambda: [
            sales_order.c.customer_id.is_(None),
            ~exists().where(sales_order_item.c.order_id == sales_order.c.id),
        ],
    ),
    Rule(
        "evidence",
        "Evidence of settled requests, with its documents",
        Category.REQUEST,
        evidence,
        "recorded_at",
        PROOF,
        CLAIMS,
        lambda: [_is_settled(evidence)],
        has_file=True,
    ),
    Rule(
        "corrections",
        "Values that were corrected",
        Category.REQUEST,
        correction,
        "asked_at",
        PROOF,
        CLAIMS,
        lambda: [_is_settled(correction)],
    ),
    Rule(
        "tasks",
        "Steps of settled requests without a certificate",
        Category.REQUEST,
        request_task,
        "next_run_at",
        PROOF,
        CLAIMS,
        lambda: [
            _is_settled(request_task),
            ~exists().where(certificate.c.request_id == request_task.c.request_id),
        ],
    ),
    Rule(
        "requests",
        "Settled requests that no certificate, suppression or objection rests on",
        Category.REQUEST,
        privacy_request,
        "settled_at",
        PROOF,
        CLAIMS,
        lambda: [
            privacy_request.c.status.in_(SETTLED),
            privacy_request.c.key_id.is_(None),
            *_is_last_of(
                privacy_request,
                certificate,
                suppression,
                objection,
                correction,
                evidence,
                export,
                message,
                request_proof,
                request_task,
            ),
        ],
    ),
    Rule(
        "holds",
        "Legal holds that ended",
        Category.REQUEST,
        legal_hold,
        "ended_at",
        PROOF,
        CLAIMS,
        has_file=True,
    ),
)


def reference() -> str:
    """The page ``docs/retention.md``: every rule, and the laws that keep rows after an erasure."""
    lines = [
        "# Retention",
        "",
        "Written by `cdp.operations.retention.rules.reference()` from the rules themselves; a test compares both. The",
        "worker purges once a day, a batch at a time, and the audit log says how much of what went",
        "(`retention.purged`). `cdp retention preview` counts what would go, `cdp retention run` does it now. What a",
        "legal hold covers stays until the hold ends.",
        "",
        "## What is purged, and when",
        "",
        "| rule | what | category | kept | counted from | basis |",
        "|---|---|---|---|---|---|",
    ]
    for rule in RULES:
        kept = f"{rule.keep.days} days" if rule.keep else "until the date in the row"
        law = retention(rule.table)
        basis = rule.basis or (law.basis if law else "")
        counted = f"`{rule.table.name}.{rule.since}`" if rule.since else "`sales_order.retained_until`"
        lines.append(f"| {rule.code} | {rule.title} | {rule.category} | {kept} | {counted} | {basis} |")
    lines += [
        f"| {PARKED} | What systems gave to copy | {Category.REQUEST} | not at all | end of request | {LIMITATION} |",
        f"| {ORPHANS} | Documents and keys no row names | {Category.REQUEST} | 7 days | their making | {LIMITATION} |",
        (
            f"| {TRANSFERRED} | Customers who went to an acquirer, or what the sold brand had of them | its own |"
            f" as the deal says | `transfer.completed_at` | {LIMITATION} |"
        ),
        (
            f"| {PAPER} | Paper whose day is over | its own | until that day | `paper_record.retain_until` |"
            f" {LIMITATION} |"
        ),
        "",
        "## What outlives a deletion",
        "",
        "The facts stay without the person: every link to them and every personal column is cut.",
        "",
        "| table | years | counted from | law |",
        "|---|---|---|---|",
    ]
    for table in sorted(personal_tables(), key=lambda one: one.name):
        law = retention(table)
        if law is not None:
            lines.append(f"| {table.name} | {law.years} | `{law.since}` | {law.basis} |")
    lines += [
        "",
        "Certificates, the suppression list and the audit log hold no personal data and stay.",
        "",
    ]
    return "\n".join(lines)
