"""The log as one case's history: who did what to a customer or a request, newest first, with names of colleagues."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, select

from cdp.access.viewer import Actor
from cdp.core.db import Tx
from cdp.core.ids import CustomerId
from cdp.operations import lineage
from cdp.tables.audit import audit_event, audit_note
from cdp.tables.customer import customer
from cdp.tables.staff import staff


@dataclass(frozen=True)
class Trace:
    """One event. ``who`` is a colleague, None for everybody else; ``note`` is what was typed, until it is erased."""

    at: datetime
    action: str
    is_refused: bool
    code: str | None
    actor: Actor
    who: str | None
    details: Mapping[str, Any] = field(repr=False)
    note: str | None = field(default=None, repr=False)


async def of_customer(tx: Tx, customer_id: CustomerId, *, actor: Actor, limit: int) -> tuple[Trace, ...]:
    """What viewers of one kind did to a customer, or to a record that was merged into theirs."""
    own = select(customer.c.audit_ref).where(customer.c.id == customer_id)
    named = audit_event.c.subject_ref.in_(own.union_all(lineage.log_names_of([customer_id])))
    return await _traces(tx, named & (audit_event.c.actor_kind == actor.value), limit)


async def of_request(tx: Tx, request_id: UUID, *, limit: int) -> tuple[Trace, ...]:
    """What happened to a request."""
    return await _traces(tx, audit_event.c.object_id == request_id, limit)


async def _traces(tx: Tx, where: ColumnElement[bool], limit: int) -> tuple[Trace, ...]:
    rows = await tx.all(
        select(audit_event, staff.c.name, audit_note.c.text)
        .outerjoin(staff, staff.c.id == audit_event.c.actor_ref)
        .outerjoin(audit_note, audit_note.c.event_id == audit_event.c.id)
        .where(where)
        .order_by(audit_event.c.occurred_at.desc(), audit_event.c.id.desc())
        .limit(limit)
    )
    return tuple(
        Trace(
            row.occurred_at,
            row.action,
            row.outcome != "ok",
            row.code,
            Actor(row.actor_kind),
            row.name,
            row.details,
            row.text,
        )
        for row in rows
    )
