"""The outbox: queue a message with what caused it, claim it under a lease, settle what became of it.

    queued -> sending -> sent
         \\-> cancelled  \\-> queued (again, later) -> … -> failed

A message may leave twice (a worker dies after the server took it), always under the same Message-ID.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BindParameter,
    Boolean,
    ColumnElement,
    Integer,
    Interval,
    Text,
    Uuid,
    and_,
    any_,
    bindparam,
    case,
    column,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.sql.dml import ReturningUpdate
from sqlalchemy.types import TypeEngine

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
        _QUEUE,
        {
            "id": message_id,
            "customer_id": customer_id,
            "request_id": request_id if customer_id is None else None,
            "purpose": letter.purpose,
            "template": letter.template,
            "recipient": recipient,
            "subject": letter.subject,
            "body": letter.body,
        },
    )
    tx.ring(JOB, message_id)
    return message_id


async def due(tx: Tx, *, limit: int, rested_s: float = 0.0) -> list[UUID]:
    """Messages nobody rang for, those that have been due for ``rested_s``, or whose worker died."""
    rested = message.c.next_run_at <= func.now() - timedelta(seconds=rested_s)
    is_lost = (message.c.status == MessageStatus.SENDING) & (message.c.next_run_at <= func.now())
    found = select(message.c.id).where(message.c.status.in_(UNSENT), or_(rested, is_lost))
    return [row.id for row in await tx.all(found.order_by(message.c.next_run_at).limit(limit))]


def _claim() -> ReturningUpdate[Any]:
    until = func.now() + bindparam("lease", type_=Interval())
    free = (
        select(message.c.id)
        .where(
            message.c.id == any_(bindparam("wanted", type_=ARRAY(Uuid))),
            message.c.status.in_(UNSENT),
            message.c.next_run_at <= func.now(),
        )
        .order_by(message.c.id)
        .with_for_update(skip_locked=True)
    )
    return (
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


def _settle() -> ReturningUpdate[Any]:
    """Answers what the log calls the person, and which erasures wait for their last letter before they go on."""
    columns: dict[str, TypeEngine[Any]] = {
        "id": Uuid(),
        "fence": Integer(),
        "status": message.c.status.type,
        "delay": Interval(),
        "is_taken": Boolean(),
        "text": Text(),
    }
    ended = (
        func.unnest(*(bindparam(f"each_{name}", type_=ARRAY(kind)) for name, kind in columns.items()))
        .table_valued(*(column(name, kind) for name, kind in columns.items()), name="ended")
        .render_derived()
    )
    owner = select(customer.c.audit_ref).where(customer.c.id == message.c.customer_id).scalar_subquery()
    of_request = select(privacy_request.c.subject_ref).where(privacy_request.c.id == message.c.request_id)
    theirs = or_(
        privacy_request.c.customer_id == message.c.customer_id,
        and_(message.c.customer_id.is_(None), privacy_request.c.id == message.c.request_id),
    )
    waiting = select(privacy_request.c.id).where(theirs, privacy_request.c.status == RequestStatus.VERIFYING)
    return (
        update(message)
        .where(
            message.c.id == ended.c.id,
            message.c.status == MessageStatus.SENDING,
            message.c.fence == ended.c.fence,
        )
        .values(
            status=ended.c.status,
            lease_until=None,
            next_run_at=func.now() + ended.c.delay,
            sent_at=case((ended.c.is_taken, func.now())),
            body=func.coalesce(ended.c.text, message.c.body),
        )
        .returning(
            message.c.id,
            func.coalesce(owner, of_request.scalar_subquery()).label("subject_ref"),
            func.array(waiting.scalar_subquery(), type_=ARRAY(Uuid)).label("waiting"),
        )
    )


# Built once: building one takes longer than Postgres takes to run it, and every deletion sends letters.
_QUEUE = insert(message)
_CLAIM = _claim()
_SETTLE = _settle()


async def claim(tx: Tx, message_ids: Sequence[UUID], *, lease_s: float) -> list[Outgoing]:
    """Take messages for ``lease_s`` seconds, as far as they are due and nobody else has them."""
    lease = timedelta(seconds=lease_s)
    return [
        Outgoing(
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
        for taken in await tx.all(_CLAIM, {"wanted": list(message_ids), "lease": lease})
    ]


async def settle(
    tx: Tx, ended: Sequence[tuple[Outgoing, bool]], *, max_attempts: int, retry_base_s: float
) -> dict[UUID, MessageStatus]:
    """Record of each message whether the next hop took it; where the claim is not the newest, nothing happens.

    Returns what those came to that it was recorded of.
    """
    rows = {one.id: _Settled.of(one, is_taken, max_attempts, retry_base_s) for one, is_taken in ended}
    found = await tx.all(_SETTLE, _Settled.arrays(list(rows.values()))) if rows else ()
    for row in found:
        settled = rows[row.id]
        if settled.status is MessageStatus.QUEUED:
            tx.ring(JOB, row.id, defer_s=settled.delay.total_seconds())
        else:
            for request_id in row.waiting:
                tx.ring(ADVANCE, request_id)
    await audit.record_many(tx, SYSTEM, [rows[row.id].told(row.subject_ref) for row in found])
    return {row.id: rows[row.id].status for row in found}


@dataclass(frozen=True)
class _Settled:
    """What one claimed message comes to."""

    outgoing: Outgoing
    is_taken: bool
    status: MessageStatus
    delay: timedelta

    @classmethod
    def of(cls, outgoing: Outgoing, is_taken: bool, max_attempts: int, retry_base_s: float) -> "_Settled":
        if is_taken:
            status = MessageStatus.SENT
        elif outgoing.attempt >= max_attempts:
            status = MessageStatus.FAILED
        else:
            status = MessageStatus.QUEUED
        if status not in MESSAGE_TRANSITIONS[MessageStatus.SENDING]:
            raise ValueError(f"a message never goes from sending to {status}")
        return cls(outgoing, is_taken, status, timedelta(seconds=wait_s(outgoing.attempt, base_s=retry_base_s)))

    @staticmethod
    def arrays(settled: Sequence["_Settled"]) -> dict[str, list[object]]:
        """As the statement takes them."""
        return {
            "each_id": [one.outgoing.id for one in settled],
            "each_fence": [one.outgoing.fence for one in settled],
            "each_status": [one.status for one in settled],
            "each_delay": [one.delay for one in settled],
            "each_is_taken": [one.is_taken for one in settled],
            "each_text": [_text(one.outgoing, one.status) for one in settled],
        }

    def told(self, subject_ref: UUID | None) -> audit.Happened:
        outgoing = self.outgoing
        details = {"template": outgoing.template, "attempt": outgoing.attempt}
        return audit.Happened(f"message.{self.status.value}", subject_ref, "Message", outgoing.id, details=details)


def _text(outgoing: Outgoing, status: MessageStatus) -> str | None:
    """What its text becomes: a letter that opens something once keeps it no longer than it takes to send it."""
    if status is MessageStatus.QUEUED or outgoing.template not in WITH_A_LINK:
        return None
    return "The text held a link for its reader alone."


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


async def forget(tx: Tx, request_id: UUID) -> int:
    """Delete the letters that belong to a request alone; returns how many."""
    gone = await tx.execute(delete(message).where(of(None, request_id)))
    return gone.rowcount


async def forget_unowned(tx: Tx, recipient: str) -> int:
    """Delete the letters to an address that belong to nobody: its owner has answered them; returns how many."""
    unowned = message.c.customer_id.is_(None) & message.c.request_id.is_(None)
    gone = await tx.execute(delete(message).where(unowned, message.c.recipient == recipient))
    return gone.rowcount
