"""Paper in our offices: an erasure makes every record of the person due, and waits until a witness saw it destroyed.

What a legal hold covers stays in its folder; the rest is destroyed meanwhile.
"""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Annotated, Any

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from sqlalchemy import ColumnElement, false, func, not_, select, update

from cdp.connectors.base import Code, Evidence, Outcome, Page, Problem, State, Subject, System
from cdp.connectors.calls import configured
from cdp.connectors.holds import HOLD_PLACED, Hold, effective
from cdp.core.db import Role, Tx
from cdp.core.platform import Platform
from cdp.tables.base import Category
from cdp.tables.customer import customer
from cdp.tables.paper import PaperStatus, paper_record
from cdp.tables.request import privacy_request

DUE = "DESTRUCTION_DUE"
ASK_AGAIN_S = 3600.0
RECORDS = paper_record.name


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Offices:
    """``configuration``: within how many days paper is destroyed."""

    due_days: Annotated[int, Field(ge=1, le=60)] = 14


class Paper:
    """The register of paper records; there is one."""

    def __init__(self, system: System, platform: Platform) -> None:
        self._platform = platform
        self._told = configured(Offices, system.configuration)

    async def read(self, subject: Subject, key: str) -> AsyncIterator[Page]:  # noqa: ARG002
        """Yield nothing: the register is part of our own records."""
        nothing: tuple[Page, ...] = ()
        for page in nothing:
            yield page

    async def check(self, subject: Subject, key: str) -> Outcome:  # noqa: ARG002
        """Count what would be destroyed; what a hold keeps is left out."""
        async with self._platform.db.transaction(Role.WORKER) as tx:
            held = await effective(tx, subject.customer_id)
            counts = await _counts(tx, subject, _held(held))
        there = counts.open + counts.held
        records = {RECORDS: counts.open} if counts.open else {}
        return Outcome(State.DONE, Code.FOUND if there else Code.NOTHING_FOUND, records=records)

    async def erase(self, subject: Subject, key: str) -> Outcome:  # noqa: ARG002
        """Make the records due; done once a witness saw each destroyed, held while a hold keeps any."""
        async with self._platform.db.transaction(Role.WORKER) as tx:
            await tx.execute(select(customer.c.id).where(customer.c.id == subject.customer_id).with_for_update())
            held = await effective(tx, subject.customer_id)
            await self._demand(tx, subject, _held(held))
            counts = await _counts(tx, subject, _held(held))
        records = {RECORDS: counts.destroyed} if counts.destroyed else {}
        if counts.open:
            return Outcome(State.WAITING, DUE, records=records, retry_after_s=ASK_AGAIN_S)
        if counts.held:
            evidence: dict[str, Evidence] = {"held": [hold.category.value for hold in held], "kept": counts.held}
            return Outcome(State.HELD, HOLD_PLACED, evidence, records=records)
        return Outcome(State.DONE, Code.ERASED if records else Code.NOTHING_FOUND, records=records)

    async def verify(self, subject: Subject, key: str) -> Outcome:  # noqa: ARG002
        """Look into the register: done only if nothing is left that was not seen destroyed."""
        async with self._platform.db.transaction(Role.WORKER) as tx:
            counts = await _counts(tx, subject, false())
        if counts.open:
            return Outcome(State.FAILED, Code.LEFT_BEHIND, records={RECORDS: counts.open})
        return Outcome(State.DONE, Code.NOTHING_LEFT)

    async def probe(self) -> tuple[Problem, ...]:
        """Nothing to try: the register is ours."""
        return ()

    async def _demand(self, tx: Tx, subject: Subject, held: ColumnElement[bool]) -> None:
        mine = paper_record.c.customer_id == subject.customer_id
        known = select(privacy_request.c.id).where(privacy_request.c.id == subject.request_id)
        await tx.execute(
            update(paper_record)
            .where(mine, paper_record.c.status == PaperStatus.FILED, not_(held))
            .values(
                status=PaperStatus.DUE,
                due_at=func.now() + timedelta(days=self._told.due_days),
                request_id=known.scalar_subquery(),
            )
        )


class _Counts:
    """How many records of somebody are still there, are there and held, are gone."""

    def __init__(self, row: Any) -> None:  # noqa: ANN401
        self.open: int = row.open
        self.held: int = row.held
        self.destroyed: int = row.destroyed


def _held(holds: tuple[Hold, ...]) -> ColumnElement[bool]:
    named: list[Category] = [hold.category for hold in holds]
    return paper_record.c.category.in_(named) if named else false()


async def _counts(tx: Tx, subject: Subject, held: ColumnElement[bool]) -> _Counts:
    gone = paper_record.c.status == PaperStatus.DESTROYED
    kept = held & (paper_record.c.status == PaperStatus.FILED)
    row = await tx.first(
        select(
            func.count().filter(not_(gone), not_(kept)).label("open"),
            func.count().filter(kept).label("held"),
            func.count().filter(gone).label("destroyed"),
        )
        .select_from(paper_record)
        .where(paper_record.c.customer_id == subject.customer_id)
    )
    return _Counts(row)
