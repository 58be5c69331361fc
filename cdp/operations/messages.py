"""The outbox: queue a message with what caused it, claim it under a lease, settle what became of it.

    queued -> sending -> sent
         \\-> cancelled  \\-> queued (again, later) -> … -> failed

A message may leave twice (a worker dies after the server took it), always under the same Message-ID.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from sqlalchemy import BindParameter, ColumnElement, Select, delete, func, insert, select, update

from cdp.access.viewer import SYSTEM
from cdp.core.db import Tx
from cdp.core.ids import CustomerId, new_id
from cdp.operations import audit
from cdp.operations.backoff import wait_s
from cdp.operations.letters import WITH_A_LINK, Letter
from cdp.operations.moves import ADVANCE
from cdp.tables.customer import customer
from cdp.tables.message import MESSAGE_TRANSITIONS, MessageStatus, message
from cdp.tables.request import RequestStatus, privacy_request

JOB = "send_message"
UNSENT = (MessageStatus.QUEUED, MessageStatus.SENDING)


@dataclass(frozen=True)
class Outgoing:
    """A message this worker may hand over now; ``fence`` is the number of its claim."""

    id: UUID
    fence: int
    attempt: int
    template: str
    customer_id: CustomerId | None
    request_id: UUID | None
    recipient: str = field(repr=False)
    subject: str = field(repr=False)
    body: str = field(repr=False)


async def queue(
    tx: Tx, customer_id: CustomerId | None, recipient: str, letter: Letter, *, request_id: UUID | None = None
) -> UUID:
    """Write a message into the outbox; it is rung for after the commit.

    One to somebody we hold no customer row of belongs to ``request_id``, or to nobody yet, and goes once it has left.
    """
    message_id = new_id()
    await tx.execute(
        insert(message).values(
            id=message_id,
            customer_id=customer_id,
            request_id=request_id if customer_id is None else None,
            purpose=letter.purpose,
            template=letter.template,
            recipient=recipient,
            subject=letter.subject,
            body=letter.body,
        )
    )
    tx.ring(JOB, message_id)
    return message_id


async def due(tx: Tx, *, limit: int) -> list[UUID]:
    """Messages nobody rang for, or whose worker died."""
    found = select(message.c.id).where(message.c.status.in_(UNSENT), message.c.next_run_at <= func.now())
    return [row.id for row in await tx.all(found.order_by(message.c.next_run_at).limit(limit))]


async def claim(tx: Tx, message_id: UUID, *, lease_s: float) -> Outgoing | None:
    """Take a due message for ``lease_s`` seconds; None when it is not due or somebody else has it."""
    until = func.now() + timedelta(seconds=lease_s)
    free = (
        select(message.c.id)
        .where(message.c.id == message_id, message.c.status.in_(UNSENT), message.c.next_run_at <= func.now())
        .with_for_update(skip_locked=True)
    )
    taken = await tx.first(
        update(message)
        .where(message.c.id.in_(free))
        .values(
            status=MessageStatus.SENDING,
            fence=message.c.fence + 1,
            attempt=message.c.attempt + 1,
            lease_until=until,
            next_run_at=until,
        )
        .returning(
            message.c.id,
            message.c.fence,
            message.c.attempt,
            message.c.template,
            message.c.customer_id,
            message.c.request_id,
            message.c.recipient,
            message.c.subject,
            message.c.body,
        )
    )
    if taken is None:
        return None
    return Outgoing(
        id=taken.id,
        fence=taken.fence,
        attempt=taken.attempt,
        template=taken.template,
        customer_id=CustomerId(taken.customer_id) if taken.customer_id else None,
        request_id=taken.request_id,
        recipient=taken.recipient,
        subject=taken.subject,
        body=taken.body,
    )


async def settle(
    tx: Tx, outgoing: Outgoing, *, taken: bool, max_attempts: int, retry_base_s: float
) -> MessageStatus | None:
    """Record whether the next hop took the message; None when this claim is no longer the newest."""
    if taken:
        status = MessageStatus.SENT
    elif outgoing.attempt >= max_attempts:
        status = MessageStatus.FAILED
    else:
        status = MessageStatus.QUEUED
    if status not in MESSAGE_TRANSITIONS[MessageStatus.SENDING]:
        raise ValueError(f"a message never goes from sending to {status}")
    delay_s = wait_s(outgoing.attempt, base_s=retry_base_s)
    settled = await tx.execute(
        update(message)
        .where(
            message.c.id == outgoing.id,
            message.c.status == MessageStatus.SENDING,
            message.c.fence == outgoing.fence,
        )
        .values(
            status=status,
            lease_until=None,
            next_run_at=func.now() + timedelta(seconds=delay_s),
            sent_at=func.now() if taken else None,
            **_without_link(outgoing, status),
        )
    )
    if settled.rowcount != 1:
        return None
    if status is MessageStatus.QUEUED:
        tx.ring(JOB, outgoing.id, defer_s=delay_s)
    else:
        await _ring_who_waits(tx, outgoing)
    subject_ref = await tx.scalar(_subject_ref(outgoing))
    await audit.record(
        tx,
        SYSTEM,
        f"message.{status.value}",
        subject_ref=subject_ref,
        object_type="Message",
        object_id=outgoing.id,
        details={"template": outgoing.template, "attempt": outgoing.attempt},
    )
    return status


def _without_link(outgoing: Outgoing, status: MessageStatus) -> dict[str, str]:
    """A letter that opens something once keeps its text no longer than it takes to send it."""
    if status is MessageStatus.QUEUED or outgoing.template not in WITH_A_LINK:
        return {}
    return {"body": "The text held a link for its reader alone."}


def _subject_ref(outgoing: Outgoing) -> Select[UUID]:
    if outgoing.customer_id is not None:
        return select(customer.c.audit_ref).where(customer.c.id == outgoing.customer_id)
    return select(privacy_request.c.subject_ref).where(privacy_request.c.id == outgoing.request_id)


async def _ring_who_waits(tx: Tx, outgoing: Outgoing) -> None:
    """An erasure waits for its person's last letter before it goes on."""
    theirs = privacy_request.c.id == outgoing.request_id
    if outgoing.customer_id is not None:
        theirs = privacy_request.c.customer_id == outgoing.customer_id
    waiting = select(privacy_request.c.id).where(theirs, privacy_request.c.status == RequestStatus.VERIFYING)
    for row in await tx.all(waiting):
        tx.ring(ADVANCE, row.id)


def of(
    customer_id: CustomerId | BindParameter[UUID] | None, request_id: UUID | BindParameter[UUID]
) -> ColumnElement[bool]:
    """The messages of a customer, or those of a request whose person we hold no row of."""
    if customer_id is not None:
        return message.c.customer_id == customer_id
    return (message.c.request_id == request_id) & message.c.customer_id.is_(None)


async def cancel_unsent(tx: Tx, whose: ColumnElement[bool], *, but: str) -> int:
    """Cancel every queued message of somebody except those of template ``but``; returns how many."""
    cancelled = await tx.execute(
        update(message)
        .where(whose, message.c.status == MessageStatus.QUEUED, message.c.template != but)
        .values(status=MessageStatus.CANCELLED)
    )
    return cancelled.rowcount


async def unsent(tx: Tx, whose: ColumnElement[bool]) -> int:
    """How many messages to somebody are queued or on their way."""
    found = select(func.count()).where(whose, message.c.status.in_(UNSENT)).select_from(message)
    return int(await tx.scalar(found))


async def exists(tx: Tx, whose: ColumnElement[bool], template: str) -> bool:
    """Whether a message of this template was ever queued for somebody."""
    found = select(message.c.id).where(whose, message.c.template == template).limit(1)
    return await tx.scalar(found) is not None


async def forget(tx: Tx, request_id: UUID) -> int:
    """Delete the letters that belong to a request alone; returns how many."""
    gone = await tx.execute(delete(message).where(of(None, request_id)))
    return gone.rowcount


async def forget_unowned(tx: Tx, recipient: str) -> int:
    """Delete the letters to an address that belong to nobody: its owner has answered them; returns how many."""
    unowned = message.c.customer_id.is_(None) & message.c.request_id.is_(None)
    gone = await tx.execute(delete(message).where(unowned, message.c.recipient == recipient))
    return gone.rowcount
