"""Parts: claimed under a lease by any worker, settled by the newest claim alone; exports take turns.

    pending -> running -> done | failed
                  \\-> pending          (passing trouble, a worker that was told to stop, or one that died)

``next_run_at`` is when a row may be claimed; while it runs that is the end of its lease. A part is only worked on while
the holder of its snapshot lives, so that every part of an epoch sees the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import ColumnElement, Row, Update, and_, exists, func, select, update

from cdp.access.viewer import SYSTEM
from cdp.core.db import Tx
from cdp.core.settings import Settings
from cdp.operations.backoff import wait_s
from cdp.operations.bulk import states
from cdp.tables.bulk import BulkStatus, PartKind, PartStatus, bulk_export, bulk_part

log = structlog.get_logger()


@dataclass(frozen=True)
class PartWork:
    """One claimed part with the export it belongs to; ``fence`` numbers the claim."""

    id: UUID
    export: Row[Any]
    epoch: int
    ordinal: int
    kind: PartKind
    lower: UUID | None
    upper: UUID | None
    fence: int
    attempt: int


@dataclass(frozen=True)
class Written:
    """What a part came to."""

    object_key: str
    record_count: int
    size_bytes: int
    sha256: bytes
    excluded: Mapping[str, int]


_is_open = and_(
    bulk_export.c.status == BulkStatus.RUNNING,
    bulk_export.c.epoch == bulk_part.c.epoch,
    bulk_export.c.snapshot_name.is_not(None),
    bulk_export.c.next_run_at > func.now(),
)
_due = and_(
    bulk_part.c.status.in_((PartStatus.PENDING, PartStatus.RUNNING)),
    bulk_part.c.next_run_at <= func.now(),
    _is_open,
)


def _turn() -> tuple[ColumnElement[Any], ...]:
    """The export with the fewest parts in hand first, then the one that was served longest ago."""
    other = bulk_part.alias("other")
    same = other.c.bulk_export_id == bulk_part.c.bulk_export_id
    held = and_(same, other.c.status == PartStatus.RUNNING, other.c.next_run_at > func.now())
    running = select(func.count()).where(held).scalar_subquery()
    served = select(func.max(other.c.started_at)).where(same).scalar_subquery()
    return running.asc(), served.asc().nulls_first(), bulk_part.c.ordinal.asc()


async def claim(tx: Tx, *, owner: str, settings: Settings) -> PartWork | None:
    """Take the part whose turn it is for ``lease_s``; None when there is nothing to do."""
    free = select(bulk_part.c.id, bulk_part.c.bulk_export_id, bulk_part.c.epoch).join(bulk_export).where(_due)
    first = free.order_by(*_turn()).limit(1).with_for_update(of=bulk_part, skip_locked=True)
    found = await tx.first(first)
    if found is None:
        return None
    # Shared with other claims; whoever cancels waits, and then sees this one.
    open_ = select(bulk_export).where(
        bulk_export.c.id == found.bulk_export_id,
        bulk_export.c.status == BulkStatus.RUNNING,
        bulk_export.c.epoch == found.epoch,
    )
    export = await tx.first(open_.with_for_update(read=True))
    if export is None:
        return None
    row = await tx.first(
        update(bulk_part)
        .where(bulk_part.c.id == found.id)
        .values(
            status=PartStatus.RUNNING,
            fence=bulk_part.c.fence + 1,
            attempt=bulk_part.c.attempt + 1,
            lease_owner=owner,
            next_run_at=func.clock_timestamp() + timedelta(seconds=settings.lease_s),
            started_at=func.clock_timestamp(),
        )
        .returning(bulk_part)
    )
    assert row is not None, "its row is locked"
    return PartWork(
        row.id, export, row.epoch, row.ordinal, row.kind, row.lower_id, row.upper_id, row.fence, row.attempt
    )


async def is_due(tx: Tx) -> bool:
    """Whether any part could be claimed."""
    return await tx.scalar(select(bulk_part.c.id).join(bulk_export).where(_due).limit(1)) is not None


async def extend(tx: Tx, work: PartWork, *, lease_s: float) -> bool:
    """Keep a part a while longer; False when it is no longer ours, or its export is over or has a new snapshot."""
    until = func.now() + timedelta(seconds=lease_s)
    wanted = select(bulk_export.c.id).where(
        bulk_export.c.id == work.export.id,
        bulk_export.c.status == BulkStatus.RUNNING,
        bulk_export.c.epoch == work.epoch,
    )
    kept = await tx.execute(_ours(work).where(exists(wanted)).values(next_run_at=until))
    return kept.rowcount == 1


async def settle(tx: Tx, work: PartWork, written: Written) -> bool:
    """Record a finished part; False when the claim is no longer the newest, or the export has moved on."""
    still = select(bulk_export.c.id).where(
        bulk_export.c.id == work.export.id,
        bulk_export.c.status == BulkStatus.RUNNING,
        bulk_export.c.epoch == work.epoch,
    )
    if await tx.scalar(still.with_for_update(key_share=True)) is None:  # not shared: two would wait for each other
        return False
    done = await tx.execute(
        _ours(work).values(
            status=PartStatus.DONE,
            object_key=written.object_key,
            record_count=written.record_count,
            size_bytes=written.size_bytes,
            sha256=written.sha256,
            excluded=dict(written.excluded),
            lease_owner=None,
            settled_at=func.now(),
        )
    )
    if done.rowcount != 1:
        log.warning("bulk_part.stale_fence", part=str(work.id), fence=work.fence)
        return False
    await _noted(tx, work, "bulk_part.done", None)
    return True


async def give_back(tx: Tx, work: PartWork, *, delay_s: float = 0.0) -> None:
    """Give a part back without costing a try: the worker is told to stop, or the snapshot's holder is gone."""
    await tx.execute(
        _ours(work).values(
            status=PartStatus.PENDING,
            attempt=bulk_part.c.attempt - 1,
            lease_owner=None,
            next_run_at=func.now() + timedelta(seconds=delay_s),
        )
    )


async def trouble(tx: Tx, work: PartWork, code: str, *, settings: Settings, is_final: bool = False) -> None:
    """Try a part again after a while, ``max_attempts`` times; then it has failed, and its export with it."""
    is_over = is_final or work.attempt >= settings.max_attempts
    delay_s = 0.0 if is_over else wait_s(work.attempt, base_s=settings.retry_base_s)
    noted = await tx.execute(
        _ours(work).values(
            status=PartStatus.FAILED if is_over else PartStatus.PENDING,
            code=code,
            lease_owner=None,
            next_run_at=func.now() + timedelta(seconds=delay_s),
            settled_at=func.now() if is_over else None,
        )
    )
    if noted.rowcount == 1:
        await _noted(tx, work, "bulk_part.failed" if is_over else "bulk_part.retrying", code)


async def _noted(tx: Tx, work: PartWork, action: str, code: str | None) -> None:
    await tx.tell(states.SETTLED)
    details = {"ordinal": work.ordinal, "epoch": work.epoch, "attempt": work.attempt}
    await states.note(tx, SYSTEM, action, work.export.id, code=code, details=details)
    await states.touch(tx, work.export.id)


def _ours(work: PartWork) -> Update:
    return update(bulk_part).where(
        bulk_part.c.id == work.id, bulk_part.c.fence == work.fence, bulk_part.c.status == PartStatus.RUNNING
    )


async def of_epoch(tx: Tx, export_id: UUID, epoch: int) -> list[Row[Any]]:
    """The parts of an epoch in order."""
    found = select(bulk_part).where(bulk_part.c.bulk_export_id == export_id, bulk_part.c.epoch == epoch)
    return [*await tx.all(found.order_by(bulk_part.c.kind.desc(), bulk_part.c.ordinal))]


async def is_any_held(tx: Tx, export_id: UUID) -> bool:
    """Whether some worker may still be writing a part of it."""
    held = and_(bulk_part.c.status == PartStatus.RUNNING, bulk_part.c.next_run_at > func.now())
    found = select(bulk_part.c.id).where(bulk_part.c.bulk_export_id == export_id, held)
    return await tx.scalar(found.limit(1)) is not None
