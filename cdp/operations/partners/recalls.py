"""Recalls: a partner is asked to destroy what it holds, by a day, and says when that is done.

One is made when a grant ends, and one for every partner an erased person was disclosed to; it carries the id the
partner knows that person by, which goes as soon as the partner has answered.
Source: GDPR art. 19 and 28(3)(g), https://eur-lex.europa.eu/eli/reg/2016/679/oj
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, any_, bindparam, func, insert, select, update

from cdp.access.viewer import SYSTEM, Actor, Viewer
from cdp.core.db import Tx
from cdp.core.errors import Conflict, NotFound
from cdp.core.ids import CustomerId, global_id, new_id
from cdp.core.platform import Platform
from cdp.operations import audit, lineage, messages, values
from cdp.operations.letters import Letter
from cdp.operations.partners.partners import require
from cdp.operations.reference import Purpose
from cdp.tables.oauth import oauth_client
from cdp.tables.partner import disclosure, partner
from cdp.tables.sharing import RecallReason, RecallStatus, partner_recall

OBJECT = "PartnerRecall"
WITHIN = timedelta(days=14)
TEMPLATE = "partner_recall"


class RecallAnswered(Conflict):
    """This recall was answered already."""

    code = "RECALL_ANSWERED"


async def of_grant(tx: Tx, viewer: Viewer, partner_id: UUID, grant_id: UUID, *, now: datetime) -> UUID:
    """Ask a partner to destroy everything it got under a grant that ended."""
    return await _open(tx, viewer, partner_id, RecallReason.GRANT_ENDED, now=now, grant_id=grant_id)


# Hardly anybody was disclosed to a partner.
_DISCLOSED = (
    select(disclosure.c.customer_id)
    .where(
        disclosure.c.customer_id == any_(bindparam("customers", type_=ARRAY(Uuid))),
        disclosure.c.partner_id.is_not(None),
    )
    .distinct()
)
# Partners somebody was disclosed to that were not asked yet, by this name of theirs.
_UNASKED = (
    select(disclosure.c.partner_id)
    .where(disclosure.c.customer_id == bindparam("customer"), disclosure.c.partner_id.is_not(None))
    .except_(select(partner_recall.c.partner_id).where(partner_recall.c.subject_id == bindparam("name")))
)


async def of_people(tx: Tx, customer_ids: Sequence[CustomerId], *, now: datetime) -> int:
    """Ask every partner these people were disclosed to to destroy what it holds of them; once, however often called.

    A partner may know somebody by the id of a record that was merged since: it is asked by each.
    """
    opened = 0
    for disclosed in await tx.all(_DISCLOSED, {"customers": list(customer_ids)}):
        customer_id = CustomerId(disclosed.customer_id)
        for name in [customer_id, *await lineage.known_as(tx, customer_id)]:  # hardly ever more than one
            found = await tx.all(_UNASKED, {"customer": customer_id, "name": name})
            for row in found:  # a handful of partners, each with a letter and an event of its own
                await _open(tx, SYSTEM, row.partner_id, RecallReason.ERASURE, now=now, subject_id=name)
            opened += len(found)
    return opened


async def acknowledge(tx: Tx, viewer: Viewer, platform: Platform, recall_id: UUID, *, note: str | None = None) -> None:
    """Note that what was recalled is destroyed; said by the partner's program, or by staff who heard of it.

    Raises NotFound for another partner's, RecallAnswered, and for staff what ``partners.require`` raises.
    """
    mine = partner_recall.c.id == recall_id
    if viewer.actor is Actor.CLIENT:
        theirs = select(partner.c.id).join(oauth_client).where(oauth_client.c.client_id == viewer.client_id)
        mine = mine & partner_recall.c.partner_id.in_(theirs)
    else:
        require(viewer, platform)
    if await tx.scalar(select(partner_recall.c.id).where(mine)) is None:
        raise NotFound
    answered = await tx.execute(
        update(partner_recall)
        .where(mine, partner_recall.c.status == RecallStatus.OPEN)
        .values(
            status=RecallStatus.ACKNOWLEDGED,
            acknowledged_at=func.now(),
            subject_id=None,
            note=values.optional(lambda text: values.text(text, "note", longest=500), note),
        )
    )
    if answered.rowcount != 1:
        raise RecallAnswered
    await _note(tx, viewer, "partner_recall.acknowledged", recall_id)


async def _open(
    tx: Tx,
    viewer: Viewer,
    partner_id: UUID,
    reason: RecallReason,
    *,
    now: datetime,
    grant_id: UUID | None = None,
    subject_id: UUID | None = None,
) -> UUID:
    recall_id, due_at = new_id(), now + WITHIN
    await tx.execute(
        insert(partner_recall).values(
            id=recall_id, partner_id=partner_id, grant_id=grant_id, reason=reason, subject_id=subject_id, due_at=due_at
        )
    )
    contact = await tx.scalar(select(partner.c.contact).where(partner.c.id == partner_id))
    await messages.queue(tx, None, contact, _letter(recall_id, due_at, subject_id))
    await _note(tx, viewer, "partner_recall.opened", recall_id, reason=reason)
    return recall_id


def _letter(recall_id: UUID, due_at: datetime, subject_id: UUID | None) -> Letter:
    what = "everything you received under a grant that has ended"
    if subject_id is not None:
        what = f"everything you hold about the customer you know as {global_id('Customer', subject_id)}"
    body = (
        f"Please destroy {what}, and confirm it by {due_at:%Y-%m-%d} with acknowledgeRecall.\n\n"
        f"Recall: {global_id(OBJECT, recall_id)}\n"
    )
    return Letter(TEMPLATE, Purpose.PRIVACY_REQUESTS, "Recall of customer data", body)


async def _note(tx: Tx, viewer: Viewer, action: str, recall_id: UUID, *, reason: RecallReason | None = None) -> None:
    details = {"reason": reason.value} if reason else {}
    await audit.record(tx, viewer, action, subject_ref=None, object_type=OBJECT, object_id=recall_id, details=details)
