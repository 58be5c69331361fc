"""Replay: erase again whom the journal names, after a restore and before anything is served.

By customer id, never by hash: who registered again has another id and is left alone. Suppressions are put on the list
and lifted in the order in which that happened. What was proven is not proven again: the certificates are in the object
store, and come back from there. Doing all of it again changes nothing.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from cdp.access.viewer import SYSTEM
from cdp.connectors.holds import effective
from cdp.connectors.own.connector import bury_exports
from cdp.connectors.own.rows import erase_rows
from cdp.core.blobs import ObjectMissing
from cdp.core.db import Role, Tx
from cdp.core.errors import Unavailable
from cdp.core.ids import CustomerId, RequestId, new_id
from cdp.core.platform import Platform
from cdp.core.seal import KeyedHash
from cdp.core.sign import decode
from cdp.operations import audit, journal, messages, moves, subjects, suppression
from cdp.operations.attachments import attachments
from cdp.operations.journal import Entry
from cdp.operations.merging import parting
from cdp.operations.packages.formats import ADDENDUM
from cdp.operations.requests import evidence
from cdp.tables.base import Category
from cdp.tables.certificate import certificate
from cdp.tables.customer import customer
from cdp.tables.hold import EFFECTIVE, HoldStatus, legal_hold
from cdp.tables.journal import journal_entry
from cdp.tables.request import SETTLED, RequestStatus, RequestType, privacy_request
from cdp.tables.residual import certificate_addendum

CHANNEL = "erasure journal"
REPLAYED = "REPLAYED"
REVIEW_AFTER = timedelta(days=7)
AGAIN = "Placed again after a restore: the erasure journal says that a hold kept these records."


class ReplayNeeded(Unavailable):
    """This database was restored and does not know of every erasure yet; run: cdp restore --replay."""

    code = "REPLAY_NEEDED"


@dataclass(frozen=True)
class Replayed:
    """What a replay came to."""

    entries: int
    erased: int
    certificates: int


async def check(platform: Platform) -> None:
    """Refuse to serve a database that knows less than the journal. Raises ReplayNeeded."""
    if await journal.is_behind(platform):
        raise ReplayNeeded


async def replay(platform: Platform) -> Replayed:
    """Bring the database up to the journal's head. Raises JournalBroken, before anything is changed."""
    async with platform.db.transaction(Role.WORKER) as tx:
        known = await journal.head(tx)
    new = await journal.newer(platform, known)
    erased, held = 0, _held_in_the_end(new)
    for entry in new:  # in order, each in a transaction of its own
        erased += await _replay(platform, entry, held)
    for entry in await _overdue(platform):
        erased += await _erase(platform, entry, entry.read["held"], take=False)
    proven = await _certificates(platform, {e.read["reference"] for e in new if e.kind == journal.ERASURE})
    return Replayed(len(new), erased, proven)


def _held_in_the_end(entries: Sequence[Entry]) -> Mapping[str, Sequence[str]]:
    """What holds keep of each erasure, by its newest entry: an earlier one may know of fewer."""
    return {one.read["requestId"]: one.read["held"] for one in entries if one.kind == journal.ERASURE}


async def _replay(platform: Platform, entry: Entry, held: Mapping[str, Sequence[str]]) -> int:
    if entry.kind == journal.ERASURE:
        return await _erase(platform, entry, held[entry.read["requestId"]], take=True)
    async with platform.db.transaction(Role.WORKER) as tx:
        if await journal.take(tx, entry) and entry.kind == journal.LIFT:
            hashes = [decode(line) for _, _, line in journal.lines_of(entry.read["lifted"])]
            await suppression.end(tx, hashes, now=datetime.fromisoformat(entry.read["writtenAt"]))
    return 0


async def _overdue(platform: Platform) -> list[Entry]:
    """Erasures that the restored database knows of, has not finished, and can not finish: their keys are gone."""
    async with platform.db.transaction(Role.WORKER) as tx:
        rows = await tx.all(
            select(journal_entry, privacy_request.c.status)
            .join(customer, customer.c.id == journal_entry.c.erased_id)
            .outerjoin(privacy_request, privacy_request.c.id == journal_entry.c.request_id)
            .order_by(journal_entry.c.sequence)
        )
    newest = {row.erased_id: row for row in rows}
    return [
        journal.entry_of(row)
        for row in newest.values()
        if row.status is None or row.status in SETTLED or not _can_go_on(platform, row.request_id)
    ]


def _can_go_on(platform: Platform, request_id: UUID) -> bool:
    return platform.keys.exists(subjects.key_name(request_id))


async def _erase(platform: Platform, entry: Entry, held: Sequence[str], *, take: bool) -> int:
    """Erase one person again; 1 if anything was there."""
    said = entry.read
    customer_id, request_id = CustomerId(UUID(said["customerId"])), RequestId(UUID(said["requestId"]))
    people = [customer_id, *(CustomerId(UUID(one)) for one in said.get("mergedIds", ()))]
    async with platform.db.transaction(Role.WORKER) as tx:  # one record then, and two when they were erased
        await parting.part(tx, platform, customer_id)
    if Category.REQUEST.value not in held:
        for one in people:
            await bury_exports(platform, one)
            await evidence.destroy(platform, customer_id=one, request_id=request_id)
    if not held:
        await attachments.destroy_of(platform, UUID(said["subjectRef"]), customer_id)
    async with platform.db.transaction(Role.WORKER) as tx:
        if take and not await journal.take(tx, entry):
            return 0
        keys = await _close_requests(tx, customer_id, request_id)
        await _holds(tx, customer_id, UUID(said["subjectRef"]), held)
        erased = await erase_rows(tx, customer_id)
        for one in people[1:]:
            keys += await _close_requests(tx, one, request_id)
            await _holds(tx, one, UUID(said["subjectRef"]), held)
            await erase_rows(tx, one)
        await _settle(tx, said, request_id, is_held=bool(held))
        lines = [
            suppression.Entry(kind, KeyedHash(decode(value), version))
            for kind, version, value in journal.lines_of(said["suppressed"])
        ]
        suppressed = (await suppression.suppress(tx, {request_id: lines}))[request_id]
        await audit.record(
            tx,
            SYSTEM,
            "erasure.replayed",
            subject_ref=UUID(said["subjectRef"]),
            object_type="PrivacyRequest",
            object_id=request_id,
            details={"entry": entry.sequence, "deleted": dict(erased.deleted), "suppressed": suppressed},
        )
    for name in keys:
        platform.keys.destroy(name)
    return int(bool(erased.deleted))


async def _close_requests(tx: Tx, customer_id: CustomerId, request_id: RequestId) -> list[str]:
    """End what else the person had under way; names of the keys that have to die."""
    mine = select(privacy_request.c.id, privacy_request.c.key_id).where(
        (privacy_request.c.customer_id == customer_id) | (privacy_request.c.id == request_id)
    )
    rows = await tx.all(mine.order_by(privacy_request.c.id))
    theirs = [row.id for row in rows if row.id != request_id]
    await tx.execute(
        update(privacy_request)
        .where(privacy_request.c.id.in_(theirs), privacy_request.c.status.not_in(SETTLED))
        .values(status=RequestStatus.CANCELLED, settled_at=func.now(), version=privacy_request.c.version + 1)
    )
    await tx.execute(
        update(privacy_request)
        .where(privacy_request.c.id.in_([row.id for row in rows]))
        .values(identifiers_sealed=None, key_id=None, address_hash=None)
    )
    for row in rows:
        await messages.forget(tx, row.id)
    return [row.key_id for row in rows if row.key_id]


async def _holds(tx: Tx, customer_id: CustomerId, subject_ref: UUID, held: Sequence[str]) -> None:
    """Let holds be as they were when the entry was written: what it names is kept, nothing else is."""
    over = legal_hold.c.customer_id == customer_id
    await tx.execute(
        update(legal_hold)
        .where(over, legal_hold.c.status.in_(EFFECTIVE), legal_hold.c.category.not_in(held))
        .values(status=HoldStatus.EXPIRED, ended_at=func.now())
    )
    there = {hold.category.value for hold in await effective(tx, customer_id)}
    lost = [category for category in held if category not in there]
    is_known = await tx.scalar(select(customer.c.id).where(customer.c.id == customer_id)) is not None
    if lost and is_known:
        rows = [
            {
                "id": new_id(),
                "customer_id": customer_id,
                "subject_ref": subject_ref,
                "category": category,
                "status": HoldStatus.ACTIVE,
                "reason": AGAIN,
                "review_at": func.now() + REVIEW_AFTER,
            }
            for category in lost
        ]
        await tx.execute(insert(legal_hold).values(rows))


async def _settle(tx: Tx, said: Mapping[str, Any], request_id: RequestId, *, is_held: bool) -> None:
    """The request is complete, as it was; one that a hold keeps from that is for a person to look at.

    Not by ``moves``: nothing happens to it here, this is what had happened to it already.
    """
    now = func.now()
    status = RequestStatus.NEEDS_ATTENTION if is_held else RequestStatus.COMPLETED
    known = await moves.lock(tx, request_id)
    if known is None:
        await tx.execute(
            insert(privacy_request).values(
                id=request_id,
                reference=said["reference"],
                type=RequestType.ERASURE,
                status=status,
                subject_ref=UUID(said["subjectRef"]),
                channel=CHANNEL,
                requested_at=datetime.fromisoformat(said["writtenAt"]),
                due_at=datetime.fromisoformat(said["writtenAt"]) + timedelta(days=30),
                settled_at=None if is_held else now,
            )
        )
    elif known.status not in SETTLED:
        values = {"status": status, "settled_at": None if is_held else now, "updated_at": now}
        await tx.execute(
            update(privacy_request)
            .where(privacy_request.c.id == request_id, privacy_request.c.status == known.status)
            .values({**values, "version": privacy_request.c.version + 1})
        )
    if not is_held:
        cut = update(privacy_request).where(privacy_request.c.id == request_id)
        await tx.execute(cut.values(customer_id=None))


async def _certificates(platform: Platform, references: set[str]) -> int:
    """Take certificates and addenda of replayed erasures back from the object store; how many certificates came."""
    if not references:
        return 0
    taken, addenda = 0, []
    for name in await platform.blobs.keys("certificates/"):
        if not name.endswith(".json"):
            continue
        try:
            document = (await platform.blobs.get(name)).decode()
        except ObjectMissing:
            continue
        read = json.loads(document)
        if read["request"]["reference"] not in references:
            continue
        if read["kind"] == ADDENDUM:
            addenda.append((read, document))
        else:
            taken += await _take_certificate(platform, read, document)
    for read, document in addenda:  # each names a certificate, which has to be there
        await _take_addendum(platform, read, document)
    return taken


async def _take_certificate(platform: Platform, read: Mapping[str, Any], document: str) -> int:
    async with platform.db.transaction(Role.WORKER) as tx:
        mine = select(privacy_request.c.id).where(privacy_request.c.reference == read["request"]["reference"])
        request_id = await tx.scalar(mine)
        added = await tx.execute(
            upsert(certificate)
            .values(
                id=new_id(),
                request_id=request_id,
                reference=read["reference"],
                document=document,
                key_id=read["signature"]["keyId"],
                issued_at=datetime.fromisoformat(read["issuedAt"]),
            )
            .on_conflict_do_nothing()
        )
    return added.rowcount


async def _take_addendum(platform: Platform, read: Mapping[str, Any], document: str) -> None:
    mine = select(certificate.c.id, certificate.c.request_id)
    async with platform.db.transaction(Role.WORKER) as tx:
        issued = await tx.first(mine.where(certificate.c.reference == read["certificate"]["reference"]))
        if issued is None:
            return
        await tx.execute(
            upsert(certificate_addendum)
            .values(
                id=new_id(),
                certificate_id=issued.id,
                request_id=issued.request_id,
                reference=read["reference"],
                document=document,
                key_id=read["signature"]["keyId"],
                issued_at=datetime.fromisoformat(read["issuedAt"]),
            )
            .on_conflict_do_nothing()
        )
