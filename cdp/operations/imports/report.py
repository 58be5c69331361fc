"""The report of an import: how many rows became what, and which were not taken; codes and row numbers, no values.

Per section, ``read`` is always the sum of the other counts.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypedDict
from uuid import UUID

from cdp.operations.imports.changes import Outcome, Settled
from cdp.operations.imports.records import CustomerDraft
from cdp.operations.imports.staging import Read, Reject

LISTED_REJECTS = 10_000


class RejectEntry(TypedDict):
    """A reject as machines read it."""

    section: str
    row: int
    code: str
    field: str | None


class ReportDocument(TypedDict):
    """The report as machines read it."""

    run: str
    source: str
    dryRun: bool
    sections: dict[str, dict[str, int]]
    notices: dict[str, int]
    rejectedByCode: dict[str, int]
    rejects: list[RejectEntry]


@dataclass
class Report:
    """Counts of one run. ``rejects`` lists at most LISTED_REJECTS; ``rejected_by_code`` counts all."""

    run_id: UUID
    source: str
    is_dry_run: bool = False
    read: Counter[str] = field(default_factory=Counter)
    outcomes: dict[str, Counter[Outcome]] = field(default_factory=dict)
    notices: Counter[str] = field(default_factory=Counter)
    rejected_by_code: Counter[str] = field(default_factory=Counter)
    rejects: list[Reject] = field(default_factory=list)

    def start(self, read: Read) -> None:
        """Take over what reading the source found."""
        self.read.update(read.rows)
        self.outcomes = {section: Counter() for section in read.rows}
        self.reject(read.rejects)

    def reject(self, rejects: Iterable[Reject]) -> None:
        """Note rows that were not taken."""
        for entry in rejects:
            self.rejected_by_code[entry.code] += 1
            if len(self.rejects) < LISTED_REJECTS:
                self.rejects.append(entry)

    def settle(self, draft: CustomerDraft, settled: Settled) -> None:
        """Count a customer that was taken, with its rows."""
        self.count(draft, settled)
        self.notices.update(draft.notices)

    def skip(self, draft: CustomerDraft, outcome: Outcome) -> None:
        """Count a customer that was left alone, with its rows."""
        items = sum(len(order.items) for order in draft.orders)
        self.count(draft, Settled(outcome, (outcome,) * len(draft.orders), (outcome,) * items))

    def count(self, draft: CustomerDraft, settled: Settled) -> None:
        """Add to the counts of each section."""
        self._add("customers", (settled.customer,))
        self._add("orders", settled.orders if draft.orders else ())
        self._add("items", settled.items)

    def _add(self, section: str, outcomes: Iterable[Outcome]) -> None:
        if section in self.outcomes:
            self.outcomes[section].update(outcomes)

    def invalid(self, section: str) -> int:
        """Rows of a section that were not taken because they, or rows they belong with, are not valid."""
        return self.read[section] - sum(self.outcomes[section].values())

    def counts(self, section: str) -> dict[str, int]:
        """All counts of a section by name."""
        found = {outcome.value: self.outcomes[section][outcome] for outcome in Outcome}
        return {"read": self.read[section], **found, "invalid": self.invalid(section)}

    @property
    def is_clean(self) -> bool:
        """Whether every row was valid."""
        return not self.rejected_by_code

    def document(self) -> ReportDocument:
        """The report as JSON."""
        return {
            "run": str(self.run_id),
            "source": self.source,
            "dryRun": self.is_dry_run,
            "sections": {section: self.counts(section) for section in self.outcomes},
            "notices": dict(self.notices),
            "rejectedByCode": dict(self.rejected_by_code),
            "rejects": [
                {"section": entry.section, "row": entry.row, "code": entry.code, "field": entry.field}
                for entry in self.rejects
            ],
        }
