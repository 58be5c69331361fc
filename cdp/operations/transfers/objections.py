"""Object to one's data being transferred: by oneself with one click, or through an agent, with or without a reason.

Before the freeze it takes the person out of the deal. Afterwards the frozen list stays what was approved; the package
leaves them out, and if it has gone already the acquirer is told to forget them; here nothing changes for them then,
they stay our customer. Source: GDPR art. 21(1).
"""

from uuid import UUID

from sqlalchemy import func, select, update

from cdp.access.transfers import READ_SCOPE, RECORDERS
from cdp.access.viewer import Actor, Viewer
from cdp.core.db import Tx
from cdp.core.errors import Conflict, NotFound
from cdp.core.ids import CustomerId
from cdp.operations.transfers import states, stopping
from cdp.operations.transfers.states import TransferRoleNeeded
from cdp.tables.customer import customer
from cdp.tables.transfer import TOLD, ObjectionChannel, TransferStatus, transfer, transfer_customer

SCOPE = "consent:write"
OPEN = frozenset(TransferStatus) - {TransferStatus.RECALLED, TransferStatus.CANCELLED}


class NotConcerned(NotFound):
    """This transfer does not concern this customer."""

    code = "NOT_CONCERNED"


class TransferOver(Conflict):
    """This transfer has ended; nothing goes any more."""

    code = "TRANSFER_OVER"


async def object_to(tx: Tx, viewer: Viewer, reference: str) -> UUID:
    """Keep the viewer's own data out of a deal they were told of; returns the deal. Doing it again changes nothing.

    Raises MissingScope, NotConcerned, TransferOver.
    """
    viewer.require_scope(SCOPE)
    known = select(transfer.c.id).where(transfer.c.reference == reference.upper(), transfer.c.status.in_(TOLD))
    found: UUID | None = await tx.scalar(known)
    if found is None:
        raise NotConcerned
    await _object(tx, viewer, found, viewer.subject, ObjectionChannel.ACCOUNT_PAGE)
    return found


async def record(tx: Tx, viewer: Viewer, transfer_id: UUID, customer_id: CustomerId) -> None:
    """Record, as an agent, the objection of somebody who called or wrote; ``recorded_by_id`` says who did.

    Raises MissingScope, TransferRoleNeeded, NotConcerned, TransferOver.
    """
    viewer.require_scope(READ_SCOPE)
    if viewer.actor is not Actor.STAFF or not viewer.roles & RECORDERS:
        raise TransferRoleNeeded
    await _object(tx, viewer, transfer_id, customer_id, ObjectionChannel.AGENT)


async def _object(
    tx: Tx, viewer: Viewer, transfer_id: UUID, customer_id: CustomerId, channel: ObjectionChannel
) -> None:
    row = await tx.first(
        select(transfer.c.status, customer.c.audit_ref)
        .select_from(transfer_customer)
        .join(transfer, transfer.c.id == transfer_customer.c.transfer_id)
        .join(customer, customer.c.id == transfer_customer.c.customer_id)
        .where(transfer_customer.c.transfer_id == transfer_id, transfer_customer.c.customer_id == customer_id)
    )
    if row is None:
        raise NotConcerned
    if row.status not in OPEN:
        raise TransferOver
    member = transfer_customer.c
    by = {"recorded_by_id": viewer.staff_id} if channel is ObjectionChannel.AGENT else {}
    written = await tx.execute(
        update(transfer_customer)
        .where(member.transfer_id == transfer_id, member.customer_id == customer_id, member.objected_at.is_(None))
        .values(objected_at=func.now(), objection_channel=channel, **by)
    )
    if written.rowcount:  # two rows of somebody whose records were merged since
        await stopping.resume(tx, transfer_id, customer_id=customer_id)
        details = {"channel": channel.value, "state": row.status.value}
        await states.note(tx, viewer, "transfer.objected", transfer_id, subject_ref=row.audit_ref, details=details)
