"""Grants: proposed by one person, endorsed by a second, approved by a third; ended by one, at once.

What a grant may name is bounded by the partner's function; it never changes afterwards. Ending one works on the next
statement that reads with it, ends its tokens, and asks the partner to give back what it holds.
Sources: GDPR art. 5(1)(b), 28(3)(g); RFC 9396.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, insert, select, update

from cdp.access.sharing import SHAREABLE
from cdp.access.viewer import SYSTEM, Viewer
from cdp.core.db import Tx
from cdp.core.errors import Conflict, Forbidden, InvalidInput, NotFound
from cdp.core.ids import new_id
from cdp.core.platform import Platform
from cdp.operations import audit, values
from cdp.operations.oauth import grants as tokens
from cdp.operations.partners import recalls
from cdp.operations.partners.partners import require
from cdp.tables.oauth import oauth_grant
from cdp.tables.partner import (
    GRANT_TRANSITIONS,
    GrantAction,
    GrantStatus,
    PartnerFunction,
    partner,
    partner_grant,
)
from cdp.tables.policy import LegalBasis, brand, purpose

OBJECT = "PartnerGrant"
LONGEST_RETENTION_DAYS = 3650


class FieldBeyondFunction(InvalidInput):
    """This field can not be granted for this function."""

    code = "FIELD_BEYOND_FUNCTION"


class GrantIncomplete(InvalidInput):
    """A grant names purposes, what may be done, fields to read, a validity in the future and a retention."""

    code = "GRANT_INCOMPLETE"


class BasisMismatch(InvalidInput):
    """A purpose that needs consent can not be granted on another basis."""

    code = "BASIS_MISMATCH"


class GrantNotOpen(Conflict):
    """This grant does not wait for that."""

    code = "GRANT_NOT_OPEN"


class AnotherPersonNeeded(Forbidden):
    """Somebody else has to agree: neither who proposed it nor who endorsed it."""

    code = "ANOTHER_PERSON_NEEDED"


@dataclass(frozen=True)
class Terms:
    """What a grant says; empty ``brands`` and ``countries`` do not narrow whom it covers."""

    function: PartnerFunction
    purposes: frozenset[str]
    fields: frozenset[str]
    legal_basis: LegalBasis
    valid_from: datetime
    valid_until: datetime
    retention_days: int
    contract_reference: str
    actions: frozenset[GrantAction] = frozenset({GrantAction.READ})
    brands: frozenset[str] = frozenset()
    countries: frozenset[str] = frozenset()


async def propose(tx: Tx, viewer: Viewer, platform: Platform, partner_id: UUID, terms: Terms) -> UUID:
    """Propose a grant; two others agree before it gives anything. Returns its id.

    Raises MissingScope, PartnerRoleNeeded, StepUpRequired, NotFound, GrantIncomplete, FieldBeyondFunction,
    BasisMismatch.
    """
    require(viewer, platform)
    if await tx.scalar(select(partner.c.id).where(partner.c.id == partner_id)) is None:
        raise NotFound
    _check_terms(terms, platform.clock())
    await _check_purposes(tx, terms)
    grant_id = new_id()
    await tx.execute(
        insert(partner_grant).values(
            id=grant_id,
            partner_id=partner_id,
            function=terms.function,
            purposes=sorted(terms.purposes),
            fields=sorted(terms.fields),
            actions=sorted(action.value for action in terms.actions),
            legal_basis=terms.legal_basis,
            brands=await _brands(tx, terms.brands),
            countries=sorted(code.upper() for code in terms.countries),
            retention_days=terms.retention_days,
            contract_reference=values.text(terms.contract_reference, "contractReference", longest=100),
            valid_from=terms.valid_from,
            valid_until=terms.valid_until,
            proposed_by_id=viewer.staff_id,
        )
    )
    await _note(tx, viewer, "partner_grant.proposed", grant_id)
    return grant_id


async def agree(tx: Tx, viewer: Viewer, platform: Platform, grant_id: UUID) -> GrantStatus:
    """Agree to a grant: the first agreement endorses it, the second, by a third person, puts it in force.

    Raises MissingScope, PartnerRoleNeeded, StepUpRequired, NotFound, GrantNotOpen, AnotherPersonNeeded.
    """
    require(viewer, platform)
    row = await _locked(tx, grant_id)
    if viewer.staff_id in {row.proposed_by_id, row.endorsed_by_id}:
        raise AnotherPersonNeeded
    if row.status is GrantStatus.PROPOSED:
        endorsed = {"endorsed_by_id": viewer.staff_id, "endorsed_at": func.now()}
        await _move(tx, viewer, row, GrantStatus.ENDORSED, "partner_grant.endorsed", wrote=endorsed)
        return GrantStatus.ENDORSED
    approved = {"approved_by_id": viewer.staff_id, "approved_at": func.now()}
    await _move(tx, viewer, row, GrantStatus.ACTIVE, "partner_grant.approved", wrote=approved)
    return GrantStatus.ACTIVE


async def refuse(tx: Tx, viewer: Viewer, platform: Platform, grant_id: UUID, *, reason: str) -> None:
    """Refuse a grant that is not in force yet. Raises like ``agree``, AnotherPersonNeeded excepted."""
    require(viewer, platform)
    row = await _locked(tx, grant_id)
    await _end(tx, viewer, row, GrantStatus.REFUSED, "partner_grant.refused", reason=_reason(reason))


async def revoke(tx: Tx, viewer: Viewer, platform: Platform, grant_id: UUID, *, reason: str) -> None:
    """End a grant now: nothing is read with it any more, and the partner is asked to give back what it holds.

    Raises MissingScope, PartnerRoleNeeded, StepUpRequired, NotFound, GrantNotOpen.
    """
    require(viewer, platform)
    row = await _locked(tx, grant_id)
    await _end(tx, viewer, row, GrantStatus.REVOKED, "partner_grant.revoked", reason=_reason(reason))
    await _end_tokens(tx, grant_id, now=platform.clock())
    await recalls.of_grant(tx, viewer, row.partner_id, grant_id, now=platform.clock())


async def expire_due(tx: Tx, *, now: datetime, limit: int) -> int:
    """End the grants whose time is over, with a recall where they were in force; returns how many."""
    over = select(partner_grant.c.id).where(
        partner_grant.c.valid_until <= now,
        partner_grant.c.status.in_([GrantStatus.PROPOSED, GrantStatus.ENDORSED, GrantStatus.ACTIVE]),
    )
    found = await tx.all(over.order_by(partner_grant.c.valid_until).limit(limit).with_for_update(skip_locked=True))
    for one in found:  # few, and each has its own audit event and recall
        row = await _locked(tx, one.id)
        await _end(tx, SYSTEM, row, GrantStatus.EXPIRED, "partner_grant.expired", reason=None)
        if row.status is GrantStatus.ACTIVE:
            await _end_tokens(tx, row.id, now=now)
            await recalls.of_grant(tx, SYSTEM, row.partner_id, row.id, now=now)
    return len(found)


def _check_terms(terms: Terms, now: datetime) -> None:
    reads = GrantAction.READ in terms.actions
    if not terms.purposes or not terms.actions or reads != bool(terms.fields):
        raise GrantIncomplete
    if not now < terms.valid_until or not terms.valid_from < terms.valid_until:
        raise GrantIncomplete
    if not 0 < terms.retention_days <= LONGEST_RETENTION_DAYS or not terms.contract_reference.strip():
        raise GrantIncomplete
    beyond = terms.fields - SHAREABLE[terms.function]
    if beyond:
        raise FieldBeyondFunction(fields=sorted(beyond)[:20])


async def _check_purposes(tx: Tx, terms: Terms) -> None:
    asked = select(purpose.c.code, purpose.c.needs_consent).where(purpose.c.code.in_(terms.purposes))
    known = {row.code: row.needs_consent for row in await tx.all(asked)}
    if set(known) != terms.purposes:
        raise GrantIncomplete
    if any(known.values()) and terms.legal_basis is not LegalBasis.CONSENT:
        raise BasisMismatch


async def _brands(tx: Tx, codes: frozenset[str]) -> list[UUID]:
    found = [row.id for row in await tx.all(select(brand.c.id).where(brand.c.code.in_(codes)).order_by(brand.c.id))]
    if len(found) != len(codes):
        raise GrantIncomplete
    return found


def _reason(given: str) -> str:
    return values.text(given, "reason", longest=2000, lines=True)


async def _locked(tx: Tx, grant_id: UUID) -> Row[Any]:
    row = await tx.first(select(partner_grant).where(partner_grant.c.id == grant_id).with_for_update())
    if row is None:
        raise NotFound
    return row


async def _end(tx: Tx, viewer: Viewer, row: Row[Any], new: GrantStatus, action: str, *, reason: str | None) -> None:
    ended = {"ended_at": func.now(), "ended_by_id": viewer.staff_id, "end_reason": reason}
    await _move(tx, viewer, row, new, action, wrote=ended)


async def _move(
    tx: Tx, viewer: Viewer, row: Row[Any], new: GrantStatus, action: str, *, wrote: Mapping[str, object]
) -> None:
    if new not in GRANT_TRANSITIONS[row.status]:
        raise GrantNotOpen
    moved = await tx.execute(
        update(partner_grant)
        .where(partner_grant.c.id == row.id, partner_grant.c.status == row.status)
        .values(status=new, **wrote)
    )
    if moved.rowcount != 1:
        raise GrantNotOpen
    await _note(tx, viewer, action, row.id)


async def _end_tokens(tx: Tx, grant_id: UUID, *, now: datetime) -> None:
    """Every token that names the grant ends with it; statements refuse it already."""
    named = oauth_grant.c.authorization_details.contains([{"grant": str(grant_id)}])
    for row in await tx.all(select(oauth_grant.c.id).where(named, oauth_grant.c.revoked_at.is_(None))):
        await tokens.end(tx, row.id, now=now, code="PARTNER_GRANT_ENDED")  # each is a family, with an event of its own


async def _note(tx: Tx, viewer: Viewer, action: str, grant_id: UUID) -> None:
    await audit.record(tx, viewer, action, subject_ref=None, object_type=OBJECT, object_id=grant_id)
