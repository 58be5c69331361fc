"""Freeze who goes, as a hash over terms and people; two people who did not make the deal approve that hash.

The hash covers the deal's terms (who gets it, under which key, which fields on which basis) and one leaf a person, in
order (``roll``): a hash of the name by which the acquirer will know them, and their cohort. That name follows from the
deal's salt and who they are, so a row that was given to somebody else is another hash too. Whoever objects or is
erased afterwards stays in the frozen list and is withheld from the package, or called back by a delta: the approval is
of what was frozen.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, LargeBinary, Row, and_, delete, func, insert, literal, or_, select, text
from sqlalchemy.dialects.postgresql import aggregate_order_by

from cdp.access.viewer import SYSTEM, Viewer
from cdp.core.clock import iso
from cdp.core.db import Tx
from cdp.core.errors import Conflict
from cdp.core.ids import new_id
from cdp.core.platform import Platform
from cdp.core.sign import Document
from cdp.operations.transfers import classifying, roll, states
from cdp.operations.transfers.judging import STRANGE
from cdp.operations.transfers.states import SecondPersonNeeded
from cdp.tables.policy import brand
from cdp.tables.transfer import (
    NoticeState,
    TransferStatus,
    transfer_approval,
    transfer_cohort,
    transfer_customer,
)

APPROVALS_NEEDED = 2
LEAVES = 10_000
# Statuses in which what was frozen has to be so still.
FROZEN = frozenset(
    {
        TransferStatus.FROZEN,
        TransferStatus.APPROVED,
        TransferStatus.PACKAGING,
        TransferStatus.DELIVERING,
        TransferStatus.COMPLETED,
        TransferStatus.RECALLED,
    }
)


class WindowOpen(Conflict):
    """Some people can still object, or their notice is still on its way."""

    code = "WINDOW_OPEN"


class KeyUnconfirmed(Conflict):
    """A second person has to confirm the acquirer's key first."""

    code = "KEY_UNCONFIRMED"


class NobodyGoes(Conflict):
    """Nobody is left to transfer."""

    code = "NOBODY_GOES"


class FreezeBroken(Conflict):
    """What was frozen is no longer so; freeze and approve it again."""

    code = "FREEZE_BROKEN"


class HashMismatch(Conflict):
    """This is not the hash of what is frozen."""

    code = "HASH_MISMATCH"


class AlreadyApproved(Conflict):
    """You have approved this already."""

    code = "ALREADY_APPROVED"


@dataclass(frozen=True)
class Approved:
    """How far the approvals are."""

    count: int
    is_complete: bool


async def freeze(tx: Tx, viewer: Viewer, platform: Platform, transfer_id: UUID) -> str:
    """Look at everybody again, then fix who goes; returns the hash in hexadecimal.

    Raises MissingScope, TransferRoleNeeded, StepUpRequired, TransferMoved, KeyUnconfirmed, WindowOpen, NobodyGoes.
    """
    staff_id = states.require_maker(viewer, platform)
    row = await states.find(tx, transfer_id, lock=True)
    states.require_state(row, TransferStatus.WINDOW)
    if row.key_confirmed_at is None:
        raise KeyUnconfirmed
    # Of two deals over the same people the first to be frozen takes them; the other one waits here, then sees it.
    await tx.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"sale:{row.brand_id}", 0))))
    late = await classifying.recheck(tx, platform, transfer_id)
    if await tx.scalar(select(transfer_customer.c.id).where(_waiting(transfer_id)).limit(1)) is not None:
        raise WindowOpen
    found = await classifying.counts(tx, transfer_id)
    if not sum(found.included.values()):
        raise NobodyGoes
    digest = await hash_of(tx, transfer_id)
    wrote = {
        "frozen_at": func.now(),
        "frozen_by_id": staff_id,
        "frozen_sha256": digest,
        "counts": found.document,
        "approved_at": None,
    }
    details = {**found.document, "sha256": digest.hex(), "excludedAtFreeze": late}
    await states.move(tx, row, TransferStatus.FROZEN, viewer=viewer, details=details, wrote=wrote)
    return digest.hex()


async def approve(tx: Tx, viewer: Viewer, platform: Platform, transfer_id: UUID, *, sha256: str) -> Approved:
    """Approve what is frozen, by its hash; the second approval lets it be packed. Not by whoever made or froze it.

    Raises MissingScope, TransferRoleNeeded, StepUpRequired, SecondPersonNeeded, TransferMoved, HashMismatch,
    FreezeBroken, AlreadyApproved.
    """
    staff_id = states.require_approver(viewer, platform)
    row = await states.find(tx, transfer_id, lock=True)
    states.require_state(row, TransferStatus.FROZEN)
    if staff_id in {row.created_by_id, row.frozen_by_id}:
        raise SecondPersonNeeded
    if sha256.strip().lower() != bytes(row.frozen_sha256).hex():
        raise HashMismatch
    await require_whole(tx, row)
    mine = and_(
        transfer_approval.c.transfer_id == transfer_id,
        transfer_approval.c.sha256 == row.frozen_sha256,
    )
    before = [one.staff_id for one in await tx.all(select(transfer_approval.c.staff_id).where(mine))]
    if staff_id in before:
        raise AlreadyApproved
    written = {"id": new_id(), "transfer_id": transfer_id, "staff_id": staff_id, "sha256": row.frozen_sha256}
    await tx.execute(insert(transfer_approval).values(written))
    count = len(before) + 1
    details = {"sha256": bytes(row.frozen_sha256).hex(), "approvals": count}
    await states.note(tx, viewer, "transfer.approval_given", transfer_id, details=details)
    if count >= APPROVALS_NEEDED:
        wrote = {"approved_at": func.now()}
        await states.move(tx, row, TransferStatus.APPROVED, viewer=viewer, details=details, wrote=wrote)
    return Approved(count, count >= APPROVALS_NEEDED)


async def thaw(tx: Tx, viewer: Viewer, platform: Platform, transfer_id: UUID) -> None:
    """Give up what is frozen, before it is packed; it is frozen and approved anew then, whatever its hash will be.

    Raises MissingScope, TransferRoleNeeded, StepUpRequired, TransferMoved.
    """
    states.require_maker(viewer, platform)
    row = await states.find(tx, transfer_id, lock=True)
    await _give_up(tx, viewer, row)


async def hash_of(tx: Tx, transfer_id: UUID) -> bytes:
    """The hash over terms and people as they are now; not yet compared with anything."""
    frozen = roll.Frozen(await terms(tx, transfer_id))
    async for leaves in leaves_of(tx, transfer_id):
        frozen.feed(leaves)
    return frozen.digest()


async def leaves_of(tx: Tx, transfer_id: UUID) -> AsyncIterator[bytes]:
    """Leaves of everybody who goes, in order, some at a time; also of who was erased since."""
    member = transfer_customer.c
    line = func.convert_to(func.concat(member.id, " ", transfer_cohort.c.name), "UTF8")
    place = func.row_number().over(order_by=member.id)
    numbered = (
        select(member.id, func.sha256(line, type_=LargeBinary()).label("leaf"), ((place - 1) // LEAVES).label("batch"))
        .join(transfer_cohort, transfer_cohort.c.id == member.cohort_id)
        .where(member.transfer_id == transfer_id)
        .subquery()
    )
    joined = func.string_agg(numbered.c.leaf, aggregate_order_by(literal(b""), numbered.c.id), type_=LargeBinary())
    batches = select(joined).group_by(numbered.c.batch).order_by(numbered.c.batch).execution_options(yield_per=1)
    async for leaves in await tx.connection.stream_scalars(batches):
        yield leaves


async def require_whole(tx: Tx, row: Row[Any]) -> None:
    """Raise FreezeBroken unless terms and people are what was frozen, each row still of the person it was of."""
    if row.status not in FROZEN or row.frozen_sha256 is None:
        raise FreezeBroken
    if await tx.scalar(text(STRANGE), {"transfer_id": row.id}):
        raise FreezeBroken
    if await hash_of(tx, row.id) != bytes(row.frozen_sha256):
        raise FreezeBroken


async def terms(tx: Tx, transfer_id: UUID) -> Mapping[str, Document]:
    """What is agreed, as the first line of the hash and the head of a package: nothing personal in it."""
    row = await states.find(tx, transfer_id)
    code = await tx.scalar(select(brand.c.code).where(brand.c.id == row.brand_id))
    cohorts: list[Document] = [
        {
            "name": one.name,
            "basis": one.basis.value,
            "rule": one.rule.value,
            "purpose": one.purpose,
            "fields": list(one.fields),
            "windowDays": one.window_days,
        }
        for one in await states.cohorts(tx, transfer_id)
    ]
    return {
        "transfer": row.reference,
        "seller": row.seller,
        "acquirer": {"name": row.acquirer_name, "jurisdiction": row.acquirer_jurisdiction, "key": row.acquirer_key},
        "brand": code,
        "sources": list(row.sources),
        "partnerSources": list(row.partner_sources),
        "reviews": dict(row.reviews),
        "noticeVersion": row.notice_version,
        "noticeSha256": bytes(row.notice_sha256).hex(),
        "retainDays": row.retain_days,
        "createdAt": iso(row.created_at),
        "cohorts": cohorts,
    }


async def break_if_changed(tx: Tx, transfer_id: UUID) -> bool:
    """Send a deal that is no longer what was approved back to its window; True if it was sent back."""
    row = await states.find(tx, transfer_id, lock=True)
    states.require_state(row, TransferStatus.FROZEN, TransferStatus.APPROVED)
    try:
        await require_whole(tx, row)
    except FreezeBroken as broken:
        await _give_up(tx, SYSTEM, row, code=broken.code)
        return True
    return False


async def _give_up(tx: Tx, viewer: Viewer, row: Row[Any], *, code: str | None = None) -> None:
    """Open the window again. Approvals go: the same people are the same hash, and who approved may freeze next."""
    await tx.execute(delete(transfer_approval).where(transfer_approval.c.transfer_id == row.id))
    wrote = {"frozen_at": None, "frozen_by_id": None, "frozen_sha256": None, "approved_at": None}
    await states.move(tx, row, TransferStatus.WINDOW, viewer=viewer, code=code, wrote=wrote)


def _waiting(transfer_id: UUID) -> ColumnElement[bool]:
    """People who go and whose notice is on its way, or whose days to object are not over."""
    member = transfer_customer.c
    return and_(
        member.transfer_id == transfer_id,
        member.cohort_id.is_not(None),
        or_(
            member.notice.in_((NoticeState.NONE, NoticeState.QUEUED)),
            member.deadline.is_(None),
            member.deadline > func.now(),
        ),
    )
