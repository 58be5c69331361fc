"""Consents: an append-only ledger per purpose and channel; the newest row decides (GDPR art. 7).

A row keeps the wording the person saw, since only that can be shown to have been agreed to.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import func, insert, select

from cdp.access.viewer import Viewer
from cdp.core.db import Tx
from cdp.core.errors import Conflict, InvalidInput
from cdp.core.ids import new_id
from cdp.operations import audit, values
from cdp.operations.collection import collect, lock
from cdp.tables.consent import Channel, ConsentAction, consent
from cdp.tables.policy import purpose as purpose_table

LONGEST_WORDING = 4000
WITHDRAWAL = "Withdrawn without a wording."


class UnknownPurpose(InvalidInput):
    """There is no such purpose."""

    code = "UNKNOWN_PURPOSE"


class ConsentNotAsked(Conflict):
    """This purpose does not rest on consent; you may object to it instead."""

    code = "CONSENT_NOT_ASKED"


async def give(tx: Tx, viewer: Viewer, purpose: str, *, channel: Channel, wording: str, now: datetime) -> UUID:
    """Record that the viewer agreed to a purpose by a channel, in these words; answers the ledger row."""
    return await _append(tx, viewer, purpose, ConsentAction.GIVEN, channel=channel, wording=wording, now=now)


async def withdraw(
    tx: Tx, viewer: Viewer, purpose: str, *, channel: Channel, wording: str | None, now: datetime
) -> UUID:
    """Record that the viewer no longer agrees; works whether or not they ever did (as easy as giving, art. 7(3))."""
    said = wording or WITHDRAWAL
    return await _append(tx, viewer, purpose, ConsentAction.WITHDRAWN, channel=channel, wording=said, now=now)


async def _append(
    tx: Tx,
    viewer: Viewer,
    purpose: str,
    action: ConsentAction,
    *,
    channel: Channel,
    wording: str,
    now: datetime,
) -> UUID:
    said = values.text(wording, "wording", longest=LONGEST_WORDING, lines=True)
    code = values.text(purpose, "purpose", longest=60)
    needs_consent = await tx.scalar(select(purpose_table.c.needs_consent).where(purpose_table.c.code == code))
    if needs_consent is None:
        raise UnknownPurpose
    if not needs_consent:
        raise ConsentNotAsked
    subject = await lock(tx, viewer)
    origin = await collect(tx, viewer, subject, now=now)
    row_id = new_id()
    await tx.execute(
        insert(consent).values(
            id=row_id,
            **origin,
            purpose=code,
            channel=channel,
            action=action,
            wording=said,
            # Not now(): a transaction that began earlier may get the lock later, and must still be the newest.
            recorded_at=func.clock_timestamp(),
        )
    )
    await audit.record(
        tx,
        viewer,
        f"consent.{action.value}",
        subject_ref=subject.audit_ref,
        object_type="Consent",
        object_id=row_id,
        details={"purpose": code, "channel": channel.value},
    )
    return row_id
