"""Reveals: opened with a reason and a case, good for a minute by the database's clock, counted per agent, audited.

Opening writes a row; statements that mask look for it (``access.masks.is_revealed``), so nothing is revealed that was
not recorded before. The case number is a note of the audit event and goes with the person; the event stays.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, insert, select, text

from cdp.access.rules import REVEALABLE, VEILED
from cdp.access.viewer import Viewer
from cdp.core.db import Tx
from cdp.core.errors import Forbidden, InvalidInput, NotFound, RateLimited
from cdp.core.ids import CustomerId, new_id
from cdp.core.platform import Platform
from cdp.operations import audit
from cdp.tables.base import Category
from cdp.tables.customer import customer
from cdp.tables.reveal import RevealReason, reveal

SCOPE = "customers:reveal"
ACTION = "customer.revealed"
LIVES = timedelta(seconds=60)
WINDOW = timedelta(hours=1)
_CASE = re.compile(r"(?=.*\d)[A-Za-z0-9][A-Za-z0-9._/#-]{2,39}")


class CaseNeeded(InvalidInput):
    """Name the case: 3 to 40 letters, digits and . _ / # - with at least one digit."""

    code = "CASE_NEEDED"


class NothingToReveal(InvalidInput):
    """Name at least one category that you see masked."""

    code = "NOTHING_TO_REVEAL"


class TooManyReveals(RateLimited):
    """You have revealed as much as an hour allows; ask a colleague or wait."""

    code = "TOO_MANY_REVEALS"


@dataclass(frozen=True)
class Wish:
    """What shall be seen, why, and in which case."""

    categories: frozenset[Category]
    reason: RevealReason
    case_ref: str = field(repr=False)


async def open_reveal(tx: Tx, viewer: Viewer, platform: Platform, customer_id: CustomerId, wish: Wish) -> datetime:
    """Reveal categories of a customer to who asks; answers until when. Runs as the worker, for the note.

    Raises MissingScope, Forbidden for who sees nothing masked or may not see customers, StepUpRequired, CaseNeeded,
    NothingToReveal, NotFound, TooManyReveals.
    """
    staff_id = _require(viewer, platform)
    case_ref = wish.case_ref.strip()
    if not _CASE.fullmatch(case_ref):
        raise CaseNeeded
    if not wish.categories or not wish.categories <= REVEALABLE:
        raise NothingToReveal
    subject_ref = await tx.scalar(select(customer.c.audit_ref).where(customer.c.id == customer_id))
    if subject_ref is None:
        raise NotFound
    await _count(tx, staff_id, most=platform.settings.reveals_per_hour)
    categories = sorted(one.value for one in wish.categories)
    row = await tx.first(
        insert(reveal)
        .values(
            id=new_id(),
            customer_id=customer_id,
            staff_id=staff_id,
            categories=categories,
            reason=wish.reason,
            expires_at=func.now() + LIVES,
        )
        .returning(reveal.c.id, reveal.c.expires_at)
    )
    assert row is not None
    await audit.record(
        tx,
        viewer,
        ACTION,
        subject_ref=subject_ref,
        object_type="Customer",
        object_id=customer_id,
        details={"categories": categories, "reason": wish.reason.value, "seconds": int(LIVES.total_seconds())},
        note=audit.Note(customer_id, case_ref),
    )
    until: datetime = row.expires_at
    return until


def _require(viewer: Viewer, platform: Platform) -> UUID:
    viewer.require_scope(SCOPE)
    if viewer.staff_id is None or not viewer.roles & VEILED:
        raise Forbidden
    viewer.require_fresh(platform.clock(), max_age_s=platform.settings.step_up_max_age_s)
    return viewer.staff_id


async def _count(tx: Tx, staff_id: UUID, *, most: int) -> None:
    """Raise TooManyReveals beyond ``most`` an hour. Serialises the reveals of one agent."""
    await tx.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"reveal:{staff_id}", 0))))
    recent = select(reveal.c.created_at).where(reveal.c.staff_id == staff_id, reveal.c.created_at > func.now() - WINDOW)
    newest = recent.order_by(reveal.c.created_at.desc()).offset(most - 1).limit(1).subquery()
    wait_s = await tx.scalar(
        select(func.ceil(func.extract("epoch", newest.c.created_at + WINDOW - text("clock_timestamp()"))))
    )
    if wait_s is not None:
        raise TooManyReveals(retryAfterS=max(1, int(wait_s)))


async def seconds_left(tx: Tx, viewer: Viewer, customer_id: CustomerId) -> Mapping[Category, int]:
    """The viewer's open reveals of a customer: for how many seconds more each category stays clear."""
    left = func.extract("epoch", reveal.c.expires_at - func.statement_timestamp()).label("left_s")
    rows = await tx.all(
        select(reveal.c.categories, left)
        .where(
            reveal.c.staff_id == viewer.staff_id,
            reveal.c.customer_id == customer_id,
            reveal.c.expires_at > func.statement_timestamp(),
        )
        .order_by(reveal.c.expires_at)
    )
    return {Category(name): int(row.left_s) for row in rows for name in row.categories}
