"""Place a legal hold, agree to it, release it: each by one privacy officer and a second person.

A hold keeps its records from the moment it is placed and until a second person agrees to release it, so that neither a
mistake nor one person alone destroys what a court may ask for. Whatever ends a hold lets the erasure it kept back go
on, in the same transaction.
Source: GDPR art. 17(3)(b) and (e), art. 18(2), https://eur-lex.europa.eu/eli/reg/2016/679/oj
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, insert, select, update

from cdp.access.viewer import SYSTEM, Actor, Viewer
from cdp.access.writes import HOLD_AGREERS, HOLD_PLACERS
from cdp.connectors.holds import is_effective
from cdp.core.db import Tx
from cdp.core.errors import Conflict, Forbidden, InvalidInput, NotFound
from cdp.core.ids import CustomerId, new_id
from cdp.core.platform import Platform
from cdp.operations import audit, values
from cdp.operations.attachments.attachments import NONE, Attachment
from cdp.operations.requests import holding
from cdp.tables.base import Category
from cdp.tables.customer import customer
from cdp.tables.hold import HOLD_TRANSITIONS, HoldStatus, legal_hold

SCOPE = "holds:manage"
REVIEW_AFTER = timedelta(days=180)
OBJECT = "LegalHold"


class HoldReasonMissing(InvalidInput):
    """Say why, in words that stand up in court."""

    code = "HOLD_REASON_MISSING"


class HoldDateInvalid(InvalidInput):
    """A hold ends and is reviewed in the future."""

    code = "HOLD_DATE_INVALID"


class AlreadyHeld(Conflict):
    """Records of this category are held already."""

    code = "ALREADY_HELD"


class HoldNotOpen(Conflict):
    """This hold does not wait for that."""

    code = "HOLD_NOT_OPEN"


class PrivacyOfficerNeeded(Forbidden):
    """Privacy officers place and release holds; supervisors may agree to it."""

    code = "PRIVACY_OFFICER_NEEDED"


class SecondPersonNeeded(Forbidden):
    """Somebody else has to agree; ask a colleague."""

    code = "SECOND_PERSON_NEEDED"


@dataclass(frozen=True)
class Wanted:
    """A hold to place. The customer reads ``reason`` unless it is secret; ``until`` ends it by itself."""

    category: Category
    reason: str = field(repr=False)
    is_secret: bool = False
    case_ref: str | None = None
    until: datetime | None = None
    review_at: datetime | None = None


@dataclass(frozen=True)
class _About:
    id: UUID
    subject_ref: UUID
    category: Category


async def place(
    tx: Tx,
    viewer: Viewer,
    platform: Platform,
    customer_id: CustomerId,
    wanted: Wanted,
    *,
    document: Attachment = NONE,
) -> UUID:
    """Keep a category of somebody's records from now on; a second person agrees or refuses. Returns the hold's id.

    Locks the customer row against erasure. Raises MissingScope, PrivacyOfficerNeeded, StepUpRequired, NotFound,
    HoldReasonMissing, HoldDateInvalid, AlreadyHeld.
    """
    _require(viewer, platform, HOLD_PLACERS)
    reason, now = _reason(wanted.reason), platform.clock()
    review_at = wanted.review_at or wanted.until or now + REVIEW_AFTER
    if min(review_at, wanted.until or review_at) <= now:
        raise HoldDateInvalid
    known = select(customer.c.audit_ref).where(customer.c.id == customer_id).with_for_update(key_share=True)
    subject_ref = await tx.scalar(known)
    if subject_ref is None:
        raise NotFound
    held = legal_hold.c.customer_id == customer_id
    same = select(legal_hold.c.id).where(held, legal_hold.c.category == wanted.category, is_effective())
    if await tx.scalar(same) is not None:
        raise AlreadyHeld
    hold_id = new_id()
    await tx.execute(
        insert(legal_hold).values(
            id=hold_id,
            customer_id=customer_id,
            subject_ref=subject_ref,
            category=wanted.category,
            reason=reason,
            notice=None if wanted.is_secret else reason,
            is_secret=wanted.is_secret,
            case_ref=values.optional(lambda text: values.text(text, "caseRef", longest=100), wanted.case_ref),
            placed_by_id=viewer.staff_id,
            review_at=review_at,
            until=wanted.until,
            **document.columns,
        )
    )
    await _note(tx, viewer, "hold.placed", _About(hold_id, subject_ref, wanted.category))
    return hold_id


async def ask_release(tx: Tx, viewer: Viewer, platform: Platform, hold_id: UUID, *, reason: str) -> UUID:
    """Ask to end a hold; it keeps its records until a second person agrees.

    Raises MissingScope, PrivacyOfficerNeeded, StepUpRequired, NotFound, HoldReasonMissing, HoldNotOpen.
    """
    _require(viewer, platform, HOLD_PLACERS)
    row, reason = await _locked(tx, hold_id), _reason(reason)
    asked = {"release_reason": reason, "release_asked_by_id": viewer.staff_id}
    if row.status is not HoldStatus.ACTIVE:
        raise HoldNotOpen
    await _move(tx, viewer, row, HoldStatus.RELEASING, "hold.release_asked", wrote=asked)
    return hold_id


async def agree(tx: Tx, viewer: Viewer, platform: Platform, hold_id: UUID) -> UUID:
    """Agree, as the second person, to what a colleague asked: to hold, or to release, which lets the erasure finish.

    Raises MissingScope, PrivacyOfficerNeeded, StepUpRequired, SecondPersonNeeded, NotFound, HoldNotOpen.
    """
    row = await _second(tx, viewer, platform, hold_id)
    if row.status is HoldStatus.PROPOSED:
        agreed = {"approved_by_id": viewer.staff_id, "approved_at": func.now()}
        await _move(tx, viewer, row, HoldStatus.ACTIVE, "hold.approved", wrote=agreed)
    else:
        await _end(tx, viewer, row, HoldStatus.RELEASED, "hold.released")
    return hold_id


async def refuse(tx: Tx, viewer: Viewer, platform: Platform, hold_id: UUID, *, reason: str) -> UUID:
    """Refuse, as the second person, what a colleague asked: there is no hold then, or it stays.

    Raises MissingScope, PrivacyOfficerNeeded, StepUpRequired, SecondPersonNeeded, NotFound, HoldReasonMissing,
    HoldNotOpen.
    """
    reason = _reason(reason)
    row = await _second(tx, viewer, platform, hold_id)
    if row.status is HoldStatus.PROPOSED:
        await _end(tx, viewer, row, HoldStatus.REFUSED, "hold.refused", wrote={"release_reason": reason})
    else:
        kept = {"release_reason": None, "release_asked_by_id": None}
        await _move(tx, viewer, row, HoldStatus.ACTIVE, "hold.release_refused", wrote=kept)
    return hold_id


async def expire_due(tx: Tx, *, limit: int) -> int:
    """End the holds whose day has come; returns how many."""
    due = select(legal_hold.c.id).where(is_effective(), legal_hold.c.until <= func.now())
    ended = 0
    for found in await tx.all(due.order_by(legal_hold.c.until).limit(limit)):  # few, and each has its own audit event
        row = await _locked(tx, found.id)
        if row.status in HOLD_TRANSITIONS and HoldStatus.EXPIRED in HOLD_TRANSITIONS[row.status]:
            await _end(tx, SYSTEM, row, HoldStatus.EXPIRED, "hold.expired")
            ended += 1
    return ended


def _require(viewer: Viewer, platform: Platform, roles: frozenset[str]) -> None:
    viewer.require_scope(SCOPE)
    if viewer.actor is not Actor.STAFF or not viewer.roles & roles:
        raise PrivacyOfficerNeeded
    viewer.require_fresh(platform.clock(), max_age_s=platform.settings.step_up_max_age_s)


def _reason(given: str) -> str:
    if not given.strip():
        raise HoldReasonMissing
    return values.text(given, "reason", longest=2000, lines=True)


async def _second(tx: Tx, viewer: Viewer, platform: Platform, hold_id: UUID) -> Row[Any]:
    _require(viewer, platform, HOLD_AGREERS)
    row = await _locked(tx, hold_id)
    if row.status not in (HoldStatus.PROPOSED, HoldStatus.RELEASING):
        raise HoldNotOpen
    first = row.placed_by_id if row.status is HoldStatus.PROPOSED else row.release_asked_by_id
    if first == viewer.staff_id:
        raise SecondPersonNeeded
    return row


async def _locked(tx: Tx, hold_id: UUID) -> Row[Any]:
    """Lock a hold, after the requests it may keep back: their steps lock in that order too."""
    customer_id = await tx.scalar(select(legal_hold.c.customer_id).where(legal_hold.c.id == hold_id))
    if customer_id is not None:
        await holding.lock_of(tx, customer_id)
    row = await tx.first(select(legal_hold).where(legal_hold.c.id == hold_id).with_for_update())
    if row is None:
        raise NotFound
    return row


async def _move(
    tx: Tx, viewer: Viewer, row: Row[Any], new: HoldStatus, action: str, *, wrote: Mapping[str, object]
) -> None:
    if new not in HOLD_TRANSITIONS[row.status]:
        raise HoldNotOpen
    moved = await tx.execute(
        update(legal_hold)
        .where(legal_hold.c.id == row.id, legal_hold.c.status == row.status)
        .values(status=new, **wrote)
    )
    if moved.rowcount != 1:
        raise HoldNotOpen
    await _note(tx, viewer, action, _About(row.id, row.subject_ref, row.category))


async def _end(
    tx: Tx,
    viewer: Viewer,
    row: Row[Any],
    new: HoldStatus,
    action: str,
    *,
    wrote: Mapping[str, object] | None = None,
) -> None:
    ended = {"ended_at": func.now(), "ended_by_id": viewer.staff_id, **(wrote or {})}
    await _move(tx, viewer, row, new, action, wrote=ended)
    if row.customer_id is not None:
        await holding.resume_of(tx, SYSTEM, row.customer_id)


async def _note(tx: Tx, viewer: Viewer, action: str, about: _About) -> None:
    await audit.record(
        tx,
        viewer,
        action,
        subject_ref=about.subject_ref,
        object_type=OBJECT,
        object_id=about.id,
        details={"category": about.category.value},
    )
