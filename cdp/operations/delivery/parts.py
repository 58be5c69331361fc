"""Parts of a package: laid out when a deal is approved, claimed under a lease, settled by the newest claim alone.

    pending -> running -> done | failed            (next_run_at: when it may be claimed; while it runs, its lease's end)

Whom a cohort has is frozen, so parts need no common snapshot: each reads one of its own, says of when, and one that is
made again later leaves the others as they are. A worker that dies costs its part's time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import pairwise
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Update, and_, delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from cdp.core.db import Tx
from cdp.core.ids import new_id
from cdp.core.settings import Settings
from cdp.operations.backoff import wait_s
from cdp.operations.bulk import cutting
from cdp.operations.transfers.states import MOVED
from cdp.tables.bulk import PartStatus
from cdp.tables.delivery import FileKind, transfer_file, transfer_omission, transfer_part, transfer_roll
from cdp.tables.transfer import TransferStatus, transfer, transfer_cohort, transfer_customer

SMALLEST_ROWS, SHARE = 5_000, 2
"""Larger and fewer than an export's parts: each makes four files, which somebody has to pull."""
MAKING = (TransferStatus.PACKAGING, TransferStatus.DELIVERING)


@dataclass(frozen=True)
class PartWork:
    """One claimed part, its deal and its cohort; ``fence`` numbers the claim."""

    id: UUID
    deal: Row[Any]
    cohort: Row[Any] | None
    ordinal: int
    lower: UUID | None
    upper: UUID | None
    fence: int
    attempt: int


@dataclass(frozen=True)
class MadeFile:
    """A file in the store: what it is as plain text, and as it lies there."""

    kind: FileKind
    name: str
    object_key: str
    rows: int
    plain_bytes: int
    plain_sha256: bytes
    size_bytes: int
    sha256: bytes


@dataclass(frozen=True)
class MadePart:
    """What a part came to. ``omissions`` are those of the cohort who are not in it, and why; ``people`` who are."""

    files: Sequence[MadeFile]
    rows: int
    omissions: Mapping[UUID, str]
    snapshot_at: datetime
    people: bytes | None = None


_due = and_(
    transfer_part.c.status.in_((PartStatus.PENDING, PartStatus.RUNNING)),
    transfer_part.c.next_run_at <= func.now(),
    transfer.c.status.in_(MAKING),
)


async def lay_out(tx: Tx, deal_id: UUID, *, rows: int) -> int:
    """Write the parts of a deal, ``rows`` customers at most, and one for what concerns all of it; how many there are.

    Towards the end of a cohort they get smaller, so that workers end together.
    """
    cohorts = await tx.all(
        select(transfer_cohort.c.id).where(transfer_cohort.c.transfer_id == deal_id).order_by(transfer_cohort.c.ordinal)
    )
    ranges: list[tuple[UUID | None, UUID | None, UUID | None]] = []
    for cohort in cohorts:  # there are a handful
        cuts = await _cuts(tx, cohort.id, rows)
        ranges += [(cohort.id, lower, upper) for lower, upper in pairwise([None, *cuts, None])]
    ranges.append((None, None, None))
    made = [
        {"id": new_id(), "transfer_id": deal_id, "cohort_id": cohort, "ordinal": at, "lower_id": lower, "upper_id": up}
        for at, (cohort, lower, up) in enumerate(ranges, 1)
    ]
    await tx.execute(insert(transfer_part), made)
    return len(made)


async def _cuts(tx: Tx, cohort_id: UUID, rows: int) -> list[UUID]:
    """Cuts that are nobody's id: only the moment of a UUIDv7 is left (RFC 9562, 5.7)."""
    piece_rows, most = cutting.pieces(rows, smallest=SMALLEST_ROWS)
    member = transfer_customer.c
    place = func.row_number().over(order_by=member.customer_id).label("place")
    mine = (member.cohort_id == cohort_id, member.customer_id.is_not(None))
    ranked = select(member.customer_id, place).where(*mine).subquery()
    edges = select(ranked.c.customer_id).where(ranked.c.place % piece_rows == 0).order_by(ranked.c.place)
    found = cutting.tapered([row[0] for row in await tx.all(edges)], most=most, share=SHARE)
    return sorted({UUID(int=UUID(str(one)).int >> 64 << 64) for one in found})


async def claim(tx: Tx, *, owner: str, settings: Settings) -> PartWork | None:
    """Take a part that is due for ``lease_s``; None when there is none."""
    free = (
        select(transfer_part.c.id)
        .join(transfer)
        .where(_due)
        .order_by(transfer_part.c.next_run_at, transfer_part.c.ordinal)
    )
    found = await tx.scalar(free.limit(1).with_for_update(of=transfer_part, skip_locked=True))
    if found is None:
        return None
    row = await tx.first(
        update(transfer_part)
        .where(transfer_part.c.id == found)
        .values(
            status=PartStatus.RUNNING,
            fence=transfer_part.c.fence + 1,
            attempt=transfer_part.c.attempt + 1,
            lease_owner=owner,
            next_run_at=func.clock_timestamp() + timedelta(seconds=settings.lease_s),
        )
        .returning(transfer_part)
    )
    assert row is not None, "its row is locked"
    deal = await tx.first(select(transfer).where(transfer.c.id == row.transfer_id))
    cohort = await tx.first(select(transfer_cohort).where(transfer_cohort.c.id == row.cohort_id))
    assert deal is not None, "a foreign key says so"
    return PartWork(row.id, deal, cohort, row.ordinal, row.lower_id, row.upper_id, row.fence, row.attempt)


async def extend(tx: Tx, work: PartWork, *, lease_s: float) -> bool:
    """Keep a part a while longer; False when it is no longer ours, or its deal is over."""
    wanted = select(transfer.c.id).where(transfer.c.id == work.deal.id, transfer.c.status.in_(MAKING))
    kept = await tx.execute(
        _ours(work).where(wanted.exists()).values(next_run_at=func.now() + timedelta(seconds=lease_s))
    )
    return kept.rowcount == 1


async def settle(tx: Tx, work: PartWork, made: MadePart) -> bool:
    """Record a finished part and put its files in the place of older ones; False when the claim is not the newest."""
    left_out: dict[str, int] = {}
    for reason in made.omissions.values():
        left_out[reason] = left_out.get(reason, 0) + 1
    settled = await tx.execute(
        _ours(work).values(
            status=PartStatus.DONE,
            row_count=made.rows,
            left_out=left_out,
            code=None,
            attempt=0,
            lease_owner=None,
            snapshot_at=made.snapshot_at,
            settled_at=func.now(),
        )
    )
    if settled.rowcount != 1:
        return False
    await tx.tell(MOVED)
    new = [_file_row(work, one) for one in made.files]
    for row in new:  # a handful; the old one goes first, since a name belongs to one file
        old = and_(transfer_file.c.transfer_id == work.deal.id, transfer_file.c.name == row["name"])
        stands = transfer_file.c.replaced_by_id.is_(None)
        await tx.execute(update(transfer_file).where(old, stands).values(replaced_by_id=row["id"]))
    if made.people is not None:
        kept = {"transfer_id": work.deal.id, "sha256": sha256(made.people).digest(), "leaves": made.people}
        await tx.execute(upsert(transfer_roll).values(kept).on_conflict_do_nothing())
        for row in new:
            row["people_sha256"] = kept["sha256"] if row["kind"] is FileKind.CUSTOMERS else None
    await tx.execute(insert(transfer_file), new)
    await tx.execute(delete(transfer_omission).where(transfer_omission.c.part_id == work.id))
    if made.omissions:
        gone = [{"record_id": one, "part_id": work.id, "reason": why} for one, why in made.omissions.items()]
        await tx.execute(insert(transfer_omission), gone)
    return True


def _file_row(work: PartWork, one: MadeFile) -> dict[str, object]:
    return {
        "id": new_id(),
        "transfer_id": work.deal.id,
        "part_id": work.id,
        "kind": one.kind,
        "name": one.name,
        "object_key": one.object_key,
        "row_count": one.rows,
        "plain_bytes": one.plain_bytes,
        "plain_sha256": one.plain_sha256,
        "size_bytes": one.size_bytes,
        "sha256": one.sha256,
    }


async def give_back(tx: Tx, work: PartWork, *, delay_s: float = 0.0) -> None:
    """Let somebody else make it: nothing was wrong with it."""
    await tx.execute(
        _ours(work).values(
            status=PartStatus.PENDING,
            attempt=transfer_part.c.attempt - 1,
            lease_owner=None,
            next_run_at=func.now() + timedelta(seconds=delay_s),
        )
    )
    await tx.tell(MOVED)


async def trouble(tx: Tx, work: PartWork, code: str, *, settings: Settings, is_final: bool = False) -> bool:
    """Try a part again after a while, ``max_attempts`` times; whether it has failed now."""
    is_over = is_final or work.attempt >= settings.max_attempts
    delay_s = 0.0 if is_over else wait_s(work.attempt, base_s=settings.retry_base_s)
    noted = await tx.execute(
        _ours(work).values(
            status=PartStatus.FAILED if is_over else PartStatus.PENDING,
            code=code,
            lease_owner=None,
            next_run_at=func.now() + timedelta(seconds=delay_s),
        )
    )
    return is_over and noted.rowcount == 1


def _ours(work: PartWork) -> Update:
    return update(transfer_part).where(
        transfer_part.c.id == work.id,
        transfer_part.c.fence == work.fence,
        transfer_part.c.status == PartStatus.RUNNING,
    )


async def of_deal(tx: Tx, deal_id: UUID) -> list[Row[Any]]:
    """The parts of a deal in order."""
    found = select(transfer_part).where(transfer_part.c.transfer_id == deal_id)
    return [*await tx.all(found.order_by(transfer_part.c.ordinal))]


async def files_of(tx: Tx, deal_id: UUID) -> list[Row[Any]]:
    """The files of a deal as they stand, by name."""
    found = select(transfer_file).where(
        transfer_file.c.transfer_id == deal_id, transfer_file.c.replaced_by_id.is_(None)
    )
    return [*await tx.all(found.order_by(transfer_file.c.name))]
