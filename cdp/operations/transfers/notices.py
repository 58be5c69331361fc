"""Tell everybody who would go, keep the proof that it reached them, and start their days to object then.

The letters go through the outbox, written by one statement a deal. A letter counts as delivered once the next hop took
it; one that nobody takes, or that comes back later, is a bounce, and the deal says what that means for the person.
Source: GDPR art. 13(3), 14, 21(4).
"""

from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, select, text, update

from cdp.access.viewer import SYSTEM, Viewer
from cdp.core.db import Tx
from cdp.core.platform import Platform
from cdp.operations.reference import Purpose
from cdp.operations.transfers import classifying, states
from cdp.tables.transfer import BouncePolicy, NoticeState, TransferStatus, transfer, transfer_customer

TEMPLATE = "transfer_notice"
TELLING = (TransferStatus.NOTIFYING, TransferStatus.WINDOW)
# The frozen list stays what was approved; whose letter comes back now is left out of what is not packed yet.
FIXED = (TransferStatus.FROZEN, TransferStatus.APPROVED, TransferStatus.PACKAGING, TransferStatus.DELIVERING)
# The primary address of everybody who goes; who has none has bounced before a letter was written.
WRITE = """
WITH deal AS (SELECT * FROM transfer WHERE id = :transfer_id),
addressed AS (
  SELECT DISTINCT ON (m.id) m.id, m.customer_id, e.address, k.window_days,
         CASE WHEN d.notice ? lower(left(u.locale, 2)) THEN lower(left(u.locale, 2)) ELSE 'en' END AS language
    FROM transfer_customer m JOIN deal d ON d.id = m.transfer_id JOIN transfer_cohort k ON k.id = m.cohort_id
    JOIN customer u ON u.id = m.customer_id JOIN email_address e ON e.customer_id = m.customer_id
   ORDER BY m.id, e.is_primary DESC, e.verified_at, e.created_at
),
letter AS (
  INSERT INTO message (id, customer_id, purpose, template, recipient, subject, body)
  SELECT uuidv7(), a.customer_id, :purpose, :template, a.address, d.notice -> a.language ->> 'subject',
         replace(replace(d.notice -> a.language ->> 'body', '{link}', :link), '{days}', a.window_days::text)
    FROM addressed a CROSS JOIN deal d
  RETURNING id, customer_id
)
UPDATE transfer_customer m SET notice = 'queued', message_id = letter.id
  FROM letter WHERE m.transfer_id = :transfer_id AND m.customer_id = letter.customer_id"""
UNREACHABLE = """
UPDATE transfer_customer SET notice = 'bounced', bounced_at = now()
 WHERE transfer_id = :transfer_id AND cohort_id IS NOT NULL AND notice = 'none'"""
SETTLE = """
UPDATE transfer_customer m
   SET notice = CASE WHEN g.status = 'sent' THEN 'delivered' ELSE 'bounced' END,
       notified_at = g.sent_at, bounced_at = CASE WHEN g.status = 'sent' THEN NULL ELSE now() END
  FROM transfer_customer q LEFT JOIN message g ON g.id = q.message_id
 WHERE m.id = q.id AND q.transfer_id = :transfer_id AND q.notice = 'queued'
   AND (g.id IS NULL OR g.status IN ('sent', 'failed', 'cancelled'))
RETURNING m.notice"""
DEADLINES = """
UPDATE transfer_customer m SET deadline = coalesce(m.notified_at, m.bounced_at) + make_interval(days => k.window_days)
  FROM transfer_cohort k
 WHERE k.id = m.cohort_id AND m.transfer_id = :transfer_id AND m.deadline IS NULL
   AND m.notice IN ('delivered', 'bounced')"""
RETURNED = """
UPDATE transfer_customer SET cohort_id = NULL, reason = 'undeliverable_notice', deadline = NULL
 WHERE transfer_id = :transfer_id AND cohort_id IS NOT NULL AND notice = 'bounced'"""


async def notify(tx: Tx, viewer: Viewer, platform: Platform, transfer_id: UUID) -> int:
    """Look at everybody again, then write to who goes; returns how many letters. What they say is final from now on.

    Raises MissingScope, TransferRoleNeeded, StepUpRequired, TransferMoved.
    """
    states.require_maker(viewer, platform)
    row = await states.find(tx, transfer_id, lock=True)
    states.require_state(row, TransferStatus.CLASSIFIED)
    late = await classifying.recheck(tx, platform, transfer_id)
    written = await tx.execute(
        text(WRITE),
        {
            "transfer_id": transfer_id,
            "purpose": Purpose.PRIVACY_REQUESTS.value,
            "template": TEMPLATE,
            "link": f"{platform.settings.url}/account/transfers/{row.reference}",
        },
    )
    await tx.execute(text(UNREACHABLE), {"transfer_id": transfer_id})
    details = {
        "letters": written.rowcount,
        "excludedSince": late,
        "noticeVersion": row.notice_version,
        "noticeSha256": bytes(row.notice_sha256).hex(),
    }
    wrote = {"notified_at": func.now(), "counts": (await classifying.counts(tx, transfer_id)).document}
    await states.move(tx, row, TransferStatus.NOTIFYING, viewer=viewer, details=details, wrote=wrote)
    return int(written.rowcount)


async def settle_due(tx: Tx, *, limit: int) -> int:
    """Note for every deal that is being told of what became of its letters; returns how many deals."""
    telling = select(transfer.c.id).where(transfer.c.status.in_(TELLING)).order_by(transfer.c.next_run_at)
    found = await tx.all(telling.limit(limit))
    for one in found:  # few, and each moves on by itself
        await settle(tx, one.id)
    return len(found)


async def settle(tx: Tx, transfer_id: UUID) -> None:
    """Note deliveries, bounces, objections and erasures of a deal; its window opens once every letter is settled."""
    row = await states.find(tx, transfer_id, lock=True)
    if row.status not in TELLING:
        return
    settled = await tx.all(text(SETTLE), {"transfer_id": transfer_id})
    await _apply(tx, row)
    outcomes = [one.notice for one in settled]
    if outcomes:
        counted = {state.value: outcomes.count(state) for state in (NoticeState.DELIVERED, NoticeState.BOUNCED)}
        await states.note(tx, SYSTEM, "transfer.notices_settled", transfer_id, details=counted)
    if row.status is TransferStatus.NOTIFYING and not await _is_anything_queued(tx, transfer_id):
        await states.move(tx, row, TransferStatus.WINDOW)


async def returned(tx: Tx, viewer: Viewer, transfer_id: UUID, message_id: UUID) -> bool:
    """Note that a letter came back after the next hop had taken it; False if it is none of this deal, or it is over.

    For the operator who reads the mailbox that bounces go to.
    """
    row = await states.find(tx, transfer_id, lock=True)
    if row.status not in (*TELLING, *FIXED):
        return False
    mine = (transfer_customer.c.transfer_id == transfer_id, transfer_customer.c.message_id == message_id)
    noted = await tx.execute(
        update(transfer_customer)
        .where(*mine, transfer_customer.c.notice.in_((NoticeState.QUEUED, NoticeState.DELIVERED)))
        .values(
            notice=NoticeState.BOUNCED,
            notified_at=None,
            bounced_at=func.now(),
            **({"deadline": None} if row.status in TELLING else {}),
        )
    )
    if noted.rowcount != 1:
        return False
    if row.status in TELLING:
        await _apply(tx, row)
    details = {"message": str(message_id), "state": row.status.value}
    await states.note(tx, viewer, "transfer.notice_returned", transfer_id, details=details)
    return True


async def _apply(tx: Tx, row: Row[Any]) -> None:
    """What the state of the notices means for who goes, and until when they can object."""
    if row.bounce is BouncePolicy.EXCLUDE:
        await tx.execute(text(RETURNED), {"transfer_id": row.id})
    await tx.execute(text(DEADLINES), {"transfer_id": row.id})
    await classifying.withdraw(tx, row.id)


async def _is_anything_queued(tx: Tx, transfer_id: UUID) -> bool:
    queued = select(transfer_customer.c.id).where(
        transfer_customer.c.transfer_id == transfer_id, transfer_customer.c.notice == NoticeState.QUEUED
    )
    return await tx.scalar(queued.limit(1)) is not None
