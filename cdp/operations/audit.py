"""Audit: who did what to whom, written in the transaction of what it records.

Details hold codes, counts and ids, never values of a person.
"""

from collections.abc import Mapping
from uuid import UUID

from sqlalchemy import insert

from cdp.access.viewer import Viewer
from cdp.core.db import Tx
from cdp.core.ids import new_id
from cdp.tables.audit import audit_event


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
) -> None:
    """Append one event ``noun.verb``; ``subject_ref`` is the customer's ``audit_ref``, never their id.

    A refusal is recorded in a transaction of its own, since the refused one rolls back.
    """
    await tx.execute(
        insert(audit_event).values(
            id=new_id(),
            action=action,
            outcome=outcome,
            code=code,
            actor_kind=viewer.actor.value,
            actor_ref=viewer.staff_id,
            subject_ref=subject_ref,
            object_type=object_type,
            object_id=object_id,
            details=dict(details or {}),
        )
    )
