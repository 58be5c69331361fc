"""Classify everybody in a deal's scope, and look again at those who were to go before they are frozen."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import String, bindparam, case, delete, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import UUID as PG_UUID

from cdp.access.viewer import Viewer
from cdp.core.db import Tx
from cdp.core.errors import Conflict
from cdp.core.platform import Platform
from cdp.operations.bulk.writing import suppressed
from cdp.operations.transfers import states
from cdp.operations.transfers.judging import CLASSIFY, CLASSIFY_OTHERS, RECHECK, WITHDRAWN
from cdp.tables.transfer import TransferStatus, transfer_cohort, transfer_customer

# Enough for its hash tables to stay in memory at a million customers; given back with the transaction.
WORK_MEM = "64MB"


class CountsDiffer(Conflict):
    """Who was selected is not who was included and excluded; nothing was changed."""

    code = "COUNTS_DIFFER"


@dataclass(frozen=True)
class Counts:
    """How many people are in a deal, by cohort and by reason."""

    included: Mapping[str, int]
    excluded: Mapping[str, int]

    @property
    def selected(self) -> int:
        """Everybody in scope."""
        return sum(self.included.values()) + sum(self.excluded.values())

    @property
    def document(self) -> dict[str, Any]:
        """As the deal keeps it and the ledger quotes it."""
        return {"selected": self.selected, "included": dict(self.included), "excluded": dict(self.excluded)}


async def classify(tx: Tx, viewer: Viewer, platform: Platform, transfer_id: UUID) -> Counts:
    """Put everybody in scope into a cohort or exclude them for one reason; doing it again starts anew.

    Who objected meanwhile stays out. Raises MissingScope, TransferRoleNeeded, StepUpRequired, TransferMoved,
    CountsDiffer.
    """
    states.require_maker(viewer, platform)
    row = await states.find(tx, transfer_id, lock=True)
    states.require_state(row, TransferStatus.DRAFT, TransferStatus.CLASSIFIED)
    mine = transfer_customer.c.transfer_id == transfer_id
    await tx.execute(delete(transfer_customer).where(mine, transfer_customer.c.objected_at.is_(None)))
    await withdraw(tx, transfer_id)
    kept = await tx.scalar(select(func.count()).select_from(transfer_customer).where(mine))
    written = await _judge(tx, platform, transfer_id, CLASSIFY_OTHERS if kept else CLASSIFY)
    found = await counts(tx, transfer_id)
    if found.selected != written + kept:
        raise CountsDiffer
    wrote = {"classified_at": func.now(), "counts": found.document}
    await states.move(tx, row, TransferStatus.CLASSIFIED, viewer=viewer, details=found.document, wrote=wrote)
    return found


async def recheck(tx: Tx, platform: Platform, transfer_id: UUID) -> int:
    """Exclude whoever may no longer go since the deal was classified; returns how many. Before the freeze only."""
    return await withdraw(tx, transfer_id) + await _judge(tx, platform, transfer_id, RECHECK)


async def withdraw(tx: Tx, transfer_id: UUID) -> int:
    """Take out who objected or was erased; returns how many. Before the freeze only."""
    gone = await tx.execute(text(WITHDRAWN), {"transfer_id": transfer_id})
    return int(gone.rowcount)


async def counts(tx: Tx, transfer_id: UUID) -> Counts:
    """How many people are in a deal as it stands now."""
    member = transfer_customer.c
    of = case((member.reason.is_(None), transfer_cohort.c.name), else_=member.reason.cast(String)).label("of")
    rows = await tx.all(
        select(of, member.reason.is_(None).label("goes"), func.count().label("people"))
        .select_from(transfer_customer.outerjoin(transfer_cohort, transfer_cohort.c.id == member.cohort_id))
        .where(member.transfer_id == transfer_id)
        .group_by("of", "goes")
        .order_by("of")
    )
    return Counts({r.of: r.people for r in rows if r.goes}, {r.of: r.people for r in rows if not r.goes})


async def _judge(tx: Tx, platform: Platform, transfer_id: UUID, statement: str) -> int:
    await tx.execute(select(func.set_config("work_mem", WORK_MEM, True)))
    raw = await tx.connection.get_raw_connection()
    connection = raw.driver_connection
    assert isinstance(connection, asyncpg.Connection)
    listed = await suppressed(connection, platform.pepper, None, None)
    bound = text(statement).bindparams(
        bindparam("transfer_id", type_=PG_UUID()), bindparam("suppressed", type_=ARRAY(PG_UUID()))
    )
    done = await tx.execute(bound, {"transfer_id": transfer_id, "suppressed": listed})
    return int(done.rowcount)
