"""Objecting to processing: direct marketing stops at once and for good, other interests are weighed by an agent.

While an objection is weighed its purpose rests already (GDPR art. 18(1)(d)). ``rests`` is what every processing asks.
Source: GDPR art. 21, https://eur-lex.europa.eu/eli/reg/2016/679/oj
"""

from collections.abc import Sequence

from sqlalchemy import exists, func, insert, select, update

from cdp.access.viewer import Viewer
from cdp.core.db import Tx
from cdp.core.errors import Conflict, InvalidInput, NotFound
from cdp.core.ids import CustomerId, RequestId, new_id
from cdp.core.platform import Platform
from cdp.operations import audit, moves, subjects
from cdp.operations.collection import Origin, collect, lock
from cdp.operations.letters import Template
from cdp.operations.moves import RequestRow
from cdp.operations.reference import Purpose
from cdp.operations.requests import opening
from cdp.operations.requests.opening import KINDS, Opened
from cdp.operations.requests.permission import WRITE_SCOPE, require
from cdp.tables.consent import Channel, ConsentAction, consent
from cdp.tables.policy import LegalBasis
from cdp.tables.policy import purpose as purpose_table
from cdp.tables.request import ObjectionStatus, RequestStatus, RequestType, objection

# Purposes that are direct marketing: no interest outweighs an objection (art. 21(3)).
MARKETING = frozenset({Purpose.INFORMATION, Purpose.PROMOTIONS})
WORDING = "Objected to direct marketing."
STOPS = (ObjectionStatus.WEIGHED, ObjectionStatus.STANDS)


class UnknownPurpose(InvalidInput):
    """There is no such purpose."""

    code = "UNKNOWN_PURPOSE"


class NoObjection(Conflict):
    """This purpose rests on a contract or on the law; there is nothing to object to."""

    code = "NO_OBJECTION"


async def object_to(
    tx: Tx, viewer: Viewer, platform: Platform, purposes: Sequence[str], *, reason: str | None = None
) -> Opened:
    """Object to purposes: those of direct marketing end at once, others rest until an agent has decided.

    Raises MissingScope, StepUpRequired, CustomerFrozen, UnknownPurpose, NoObjection. Locks the customer row.
    """
    require(viewer, platform, WRITE_SCOPE)
    await check(tx, purposes)
    subject = await lock(tx, viewer)
    weighed = [one for one in purposes if one not in MARKETING]
    if weighed:
        there = await opening.join(tx, viewer, subject.customer_id, RequestType.OBJECTION)
        if there is not None:
            await note(tx, viewer, platform, there.id, purposes)
            return there
    person = await subjects.gather(tx, subject.customer_id)
    if person is None:
        raise NotFound
    kind = KINDS[RequestType.OBJECTION]
    received = RequestStatus.RECEIVED
    opened = await opening.write(tx, viewer, platform, person, kind, status=received, reason=reason)
    await note(tx, viewer, platform, opened.id, purposes)
    if not weighed:
        row = await moves.lock(tx, opened.id)
        if row is not None:
            await moves.move(tx, row, RequestStatus.COMPLETED, viewer=viewer, code="MARKETING_STOPPED")
    await opening.tell(tx, platform, opened, person, Template.REQUEST_RECEIVED if weighed else Template.REQUEST_DONE)
    return opened


async def note(tx: Tx, viewer: Viewer, platform: Platform, request_id: RequestId, purposes: Sequence[str]) -> None:
    """Write down what a request objects to, and stop direct marketing; ``viewer.customer_id`` names the person.

    Raises CustomerFrozen, UnknownPurpose, NoObjection.
    """
    await check(tx, purposes)
    subject = await lock(tx, viewer)
    origin = await collect(tx, viewer, subject, now=platform.clock())
    there = select(objection.c.purpose).where(objection.c.request_id == request_id)
    known = {row.purpose for row in await tx.all(there)}
    new = [one for one in dict.fromkeys(purposes) if one not in known]
    rows = [
        {
            "id": new_id(),
            **origin,
            "request_id": request_id,
            "purpose": one,
            "status": ObjectionStatus.STANDS if one in MARKETING else ObjectionStatus.WEIGHED,
        }
        for one in new
    ]
    if rows:
        await tx.execute(insert(objection), rows)
    marketing = [one for one in new if one in MARKETING]
    if marketing:
        await _stop_marketing(tx, origin, marketing)
        await audit.record(
            tx,
            viewer,
            "marketing.stopped",
            subject_ref=subject.audit_ref,
            object_type="PrivacyRequest",
            object_id=request_id,
            details={"purposes": marketing},
        )


async def check(tx: Tx, purposes: Sequence[str]) -> None:
    """Hold purposes against the catalogue. Raises UnknownPurpose, NoObjection."""
    codes = set(purposes)
    rows = await tx.all(
        select(purpose_table.c.code, purpose_table.c.legal_basis).where(purpose_table.c.code.in_(codes))
    )
    if not codes or len(rows) != len(codes):
        raise UnknownPurpose
    firm = {LegalBasis.CONTRACT, LegalBasis.LEGAL_OBLIGATION}
    if any(row.legal_basis in firm for row in rows):
        raise NoObjection


async def _stop_marketing(tx: Tx, origin: Origin, marketing: Sequence[str]) -> None:
    """Withdraw every consent to direct marketing, on every channel."""
    rows = [
        {
            "id": new_id(),
            **origin,
            "purpose": one,
            "channel": channel,
            "action": ConsentAction.WITHDRAWN,
            "wording": WORDING,
        }
        for one in marketing
        for channel in Channel
    ]
    # Not now(): a transaction that began earlier may get the lock later, and must still be the newest.
    await tx.execute(insert(consent).values([{**row, "recorded_at": func.clock_timestamp()} for row in rows]))


async def decide(tx: Tx, request: RequestRow, *, stands: bool) -> None:
    """Settle what was weighed; what is refused may go on."""
    status = ObjectionStatus.STANDS if stands else ObjectionStatus.REFUSED
    await tx.execute(
        update(objection)
        .where(objection.c.request_id == request.id, objection.c.status == ObjectionStatus.WEIGHED)
        .values(status=status, decided_at=func.now())
    )


async def rests(tx: Tx, customer_id: CustomerId, purpose: str) -> bool:
    """Whether a purpose may not be pursued with a customer's data because they objected and did not agree since."""
    agreed_since = exists(
        select(consent.c.id).where(
            consent.c.customer_id == customer_id,
            consent.c.purpose == purpose,
            consent.c.action == ConsentAction.GIVEN,
            consent.c.recorded_at > objection.c.objected_at,
        )
    )
    found = select(objection.c.id).where(
        objection.c.customer_id == customer_id,
        objection.c.purpose == purpose,
        objection.c.status.in_(STOPS),
        ~agreed_since,
    )
    return await tx.scalar(found.limit(1)) is not None
