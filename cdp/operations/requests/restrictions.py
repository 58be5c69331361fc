"""Restriction: what we hold is kept and no longer used, until it is lifted, and never without telling first.

``customer.restricted_at`` is the mark every reader looks at in its SQL: agents see a restricted customer only for the
open request they work on, marketing, bulk exports and personalisation leave them out.
Source: GDPR art. 18, https://eur-lex.europa.eu/eli/reg/2016/679/oj
"""

from sqlalchemy import ColumnElement, exists, func, select, update

from cdp.access.viewer import SYSTEM, Viewer
from cdp.core.db import Tx
from cdp.core.errors import Conflict, NotFound
from cdp.core.ids import CustomerId
from cdp.core.platform import Platform
from cdp.operations import audit, moves, subjects
from cdp.operations.letters import Template
from cdp.operations.moves import RequestRow
from cdp.operations.requests import opening
from cdp.operations.requests.opening import KINDS, Opened
from cdp.operations.requests.permission import WRITE_SCOPE, require
from cdp.operations.subjects import Person
from cdp.tables.customer import customer
from cdp.tables.request import RequestStatus, RequestType, privacy_request

HOLDING = (RequestStatus.IN_FORCE, RequestStatus.LIFTING)


class NotInForce(Conflict):
    """This restriction is not in force."""

    code = "NOT_IN_FORCE"


async def restrict(tx: Tx, viewer: Viewer, platform: Platform, *, reason: str | None = None) -> Opened:
    """Restrict the processing of the viewer's data at once; one in force is joined.

    Raises MissingScope, StepUpRequired, NotFound. Locks the customer row.
    """
    customer_id = require(viewer, platform, WRITE_SCOPE)
    await opening.lock_customer(tx, customer_id)
    there = await opening.join(tx, viewer, customer_id, RequestType.RESTRICTION)
    if there is not None:
        return there
    person = await subjects.gather(tx, customer_id)
    if person is None:
        raise NotFound
    kind = KINDS[RequestType.RESTRICTION]
    opened = await opening.write(tx, viewer, platform, person, kind, status=kind.status, reason=reason)
    await enforce(tx, viewer, customer_id, person)
    await opening.tell(tx, platform, opened, person, Template.RESTRICTION_IN_FORCE)
    return opened


async def enforce(tx: Tx, viewer: Viewer, customer_id: CustomerId, person: Person) -> None:
    """Set the mark."""
    marked = update(customer).where(customer.c.id == customer_id, customer.c.restricted_at.is_(None))
    await tx.execute(marked.values(restricted_at=func.now()))
    await audit.record(tx, viewer, "customer.restricted", subject_ref=person.subject_ref, object_type="Customer")


async def announce_end(tx: Tx, viewer: Viewer, platform: Platform, request: RequestRow, *, reason: str) -> None:
    """Tell the person that a restriction ends, and why; it ends after the time to undo (GDPR art. 18(3)).

    Raises NotInForce.
    """
    if request.status is not RequestStatus.IN_FORCE:
        raise NotInForce
    until = func.now() + platform.settings.cooling_off
    wrote = {"refusal_reason": reason, "cooling_off_until": until}
    await moves.move(tx, request, RequestStatus.LIFTING, viewer=viewer, values=wrote)
    opened, person = await opening.unsealed(tx, platform, request)
    await opening.tell(
        tx,
        platform,
        opened,
        person,
        Template.RESTRICTION_LIFTING,
        reason=reason,
        until=f"{platform.clock() + platform.settings.cooling_off:%Y-%m-%d}",
    )
    tx.ring(moves.ADVANCE, request.id)


async def end(tx: Tx, viewer: Viewer, request: RequestRow) -> None:
    """Take the mark away, unless another restriction of the person holds."""
    if request.customer_id is None:
        return
    another = exists(
        select(privacy_request.c.id).where(_holds(request.customer_id), privacy_request.c.id != request.id)
    )
    ended = await tx.execute(
        update(customer).where(customer.c.id == request.customer_id, ~another).values(restricted_at=None)
    )
    if ended.rowcount:
        await audit.record(tx, viewer, "customer.unrestricted", subject_ref=request.subject_ref, object_type="Customer")


async def finish(tx: Tx, request: RequestRow) -> bool:
    """End a restriction whose end was announced in time."""
    moved = await moves.move(tx, request, RequestStatus.COMPLETED)
    if moved:
        await end(tx, SYSTEM, request)
    return moved


def _holds(customer_id: CustomerId) -> ColumnElement[bool]:
    return (
        (privacy_request.c.customer_id == customer_id)
        & (privacy_request.c.type == RequestType.RESTRICTION)
        & privacy_request.c.status.in_(HOLDING)
    )


async def is_in_force(tx: Tx, customer_id: CustomerId) -> bool:
    """Whether a customer's data may not be processed now."""
    marked = select(customer.c.restricted_at).where(customer.c.id == customer_id)
    return await tx.scalar(marked) is not None
