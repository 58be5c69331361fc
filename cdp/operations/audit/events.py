"""Audit events as rows. Details hold codes, counts and ids, never values of a person.

What somebody typed is a note: it lives in a row that an erasure deletes, the event keeps its salted hash.
"""

import hashlib
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import insert, select
from structlog.contextvars import get_contextvars

from cdp.access.viewer import Viewer
from cdp.core.db import Database, Role, Tx
from cdp.core.errors import Forbidden, Unauthenticated
from cdp.core.ids import CustomerId, new_id
from cdp.tables.audit import audit_event, audit_note
from cdp.tables.customer import customer

SALT_BYTES = 16
_APPEND = insert(audit_event)
LONGEST_CLIENT = 100


@dataclass(frozen=True)
class Note:
    """Words about one customer, as somebody typed them."""

    customer_id: CustomerId
    text: str = field(repr=False)


@dataclass(frozen=True)
class Happened:
    """One event about one object; see ``record``."""

    action: str
    subject_ref: UUID | None
    object_type: str | None = None
    object_id: UUID | None = None
    outcome: str = "ok"
    code: str | None = None
    details: Mapping[str, object] | None = None


async def record(
    tx: Tx,
    viewer: Viewer,
    action: str,
    *,
    subject_ref: UUID | None,
    object_type: str | None = None,
    object_id: UUID | None = None,
    outcome: str = "ok",
    code: str | None = None,
    details: Mapping[str, object] | None = None,
    note: Note | None = None,
) -> UUID:
    """Append one event ``noun.verb``; ``subject_ref`` is the customer's ``audit_ref``, never their id.

    ``object_type`` is a type of the API or one of ``tables.audit.OTHER_OBJECTS``. Returns the event's id. A refusal is
    recorded in a transaction of its own, since the refused one rolls back.
    """
    salt = secrets.token_bytes(SALT_BYTES)
    row = _row(viewer, Happened(action, subject_ref, object_type, object_id, outcome, code, details))
    row["note_hash"] = note_hash(salt, note.text) if note else None
    await tx.execute(_APPEND, row)
    event_id: UUID = row["id"]
    if note is not None:
        row = {"id": new_id(), "customer_id": note.customer_id, "event_id": event_id, "salt": salt, "text": note.text}
        await tx.execute(insert(audit_note).values(row))
    return event_id


async def record_many(tx: Tx, viewer: Viewer, happened: Sequence[Happened]) -> list[UUID]:
    """Append many events at once, as ``record`` would one by one; their ids."""
    rows = [_row(viewer, one) for one in happened]
    if rows:
        await tx.execute(_APPEND, rows if len(rows) > 1 else rows[0])
    return [row["id"] for row in rows]


def _row(viewer: Viewer, happened: Happened) -> dict[str, Any]:
    kind, actor_ref = viewer.doer
    return {
        "id": new_id(),
        "action": happened.action,
        "outcome": happened.outcome,
        "code": happened.code,
        "actor_kind": kind.value,
        "actor_ref": actor_ref,
        "client": client_of(viewer),
        "subject_ref": happened.subject_ref,
        "object_type": happened.object_type,
        "object_id": happened.object_id,
        "details": dict(happened.details or {}),
        "request": request_id(),
    }


async def record_refusal(
    db: Database,
    viewer: Viewer,
    action: str,
    code: str,
    *,
    object_type: str | None = None,
    object_id: UUID | None = None,
    details: Mapping[str, object] | None = None,
) -> None:
    """Append a refusal in a transaction of its own; about the viewer themselves where they are a customer."""
    async with db.transaction(Role.WORKER) as tx:
        mine = select(customer.c.audit_ref).where(customer.c.id == viewer.customer_id)
        subject_ref = await tx.scalar(mine) if viewer.customer_id else None
        await record(
            tx,
            viewer,
            action,
            subject_ref=subject_ref,
            object_type=object_type,
            object_id=object_id,
            outcome="refused",
            code=code,
            details=details,
        )


@asynccontextmanager
async def refusing(
    db: Database,
    viewer: Viewer,
    action: str,
    *,
    details: Mapping[str, object] | None = None,
    about: tuple[str, UUID] | None = None,
) -> AsyncIterator[None]:
    """Record every refusal of what is done within, once, and let it pass on; ``about`` is an object's type and id."""
    try:
        yield
    except (Forbidden, Unauthenticated) as refusal:
        if not refusal.is_audited:
            kind, named = about or (None, None)
            await record_refusal(db, viewer, action, refusal.code, details=details, object_type=kind, object_id=named)
            refusal.is_audited = True
        raise


def note_hash(salt: bytes, text: str) -> bytes:
    """The hash by which an event vouches for a note."""
    return hashlib.sha256(salt + text.encode()).digest()


def client_of(viewer: Viewer) -> str | None:
    """The application a viewer came by."""
    return viewer.client_id[:LONGEST_CLIENT] if viewer.client_id else None


def request_id() -> str | None:
    """The id of the HTTP request under way, which its answer and its log lines carry too."""
    bound = get_contextvars().get("request_id")
    return str(bound) if bound is not None else None
