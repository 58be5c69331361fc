"""Hold the one snapshot of an export: claim it, take the snapshot, lay out the parts, keep it until they are done.

The holder does nothing else, so that it costs a connection and no slot. When it dies the server ends its transaction,
its lease runs out, and whoever claims the export next takes a new snapshot: a new epoch, all parts anew.
Source: https://www.postgresql.org/docs/18/functions-admin.html#FUNCTIONS-SNAPSHOT-SYNCHRONIZATION
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from uuid import UUID

import asyncpg
import structlog
from obstore.exceptions import BaseError as StoreError
from sqlalchemy import and_, delete, func, insert, or_, select, update
from sqlalchemy.exc import SQLAlchemyError

from cdp.access.viewer import SYSTEM
from cdp.core import notices
from cdp.core.clock import iso
from cdp.core.db import Role, Tx
from cdp.core.errors import PlatformError
from cdp.core.ids import new_id
from cdp.core.platform import Platform
from cdp.core.settings import Settings
from cdp.operations.bulk import cutting, finishing, states, watermarks
from cdp.operations.bulk.leases import LeaseLost, beat_s, kept
from cdp.operations.bulk.states import SETTLED, WAITING, move, note
from cdp.operations.bulk.watermarks import Watermark
from cdp.tables.bulk import BulkStatus, PartKind, PartStatus, bulk_export, bulk_part

LOOK_EVERY_S = 0.5
PING_EVERY_S = 5.0
LOST = "HOLDER_LOST"
SNAPSHOT = (
    "SELECT pg_export_snapshot() AS name, now() AS at,"
    " pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS xmin, " + watermarks.CLUSTER.removeprefix("SELECT ")
)
EVERY_NTH = """
SELECT id FROM (SELECT id, row_number() OVER (ORDER BY id) AS place FROM customer) AS ranked
 WHERE place % $1 = 0 ORDER BY id
"""

log = structlog.get_logger()


@dataclass(frozen=True)
class Held:
    """A claimed export; ``fence`` numbers the claim."""

    id: UUID
    fence: int


@dataclass(frozen=True)
class Snapshot:
    """An exported snapshot and where its parts are cut."""

    name: str
    at: datetime
    watermark: Watermark
    cuts: tuple[UUID, ...]


PASSING = (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, StoreError, OSError, PlatformError)


class HolderLost(Exception):
    """The export is no longer ours to hold."""


_due = or_(
    and_(bulk_export.c.status == BulkStatus.QUEUED, bulk_export.c.next_run_at <= func.now()),
    and_(bulk_export.c.status == BulkStatus.RUNNING, bulk_export.c.next_run_at <= func.now()),
)


async def claim(tx: Tx, *, owner: str, settings: Settings) -> Held | None:
    """Take the export that waits longest, or one whose holder died; None when there is none.

    One whose holders die again and again has failed.
    """
    row = await tx.first(
        select(bulk_export).where(_due).order_by(bulk_export.c.next_run_at).limit(1).with_for_update(skip_locked=True)
    )
    if row is None:
        return None
    if row.attempt >= settings.max_attempts:
        await move(tx, row.id, row.status, BulkStatus.FAILED, code=LOST)
        return None
    until = func.now() + timedelta(seconds=settings.lease_s)
    taken = {
        "fence": bulk_export.c.fence + 1,
        "attempt": bulk_export.c.attempt + 1,
        "lease_owner": owner,
        "snapshot_name": None,
    }
    if row.status is BulkStatus.QUEUED:
        await move(tx, row.id, BulkStatus.QUEUED, BulkStatus.RUNNING, values=taken)
        taken = {}
    else:
        await note(tx, SYSTEM, "bulk_export.restarted", row.id, details={"epoch": row.epoch})
    await tx.execute(update(bulk_export).where(bulk_export.c.id == row.id).values({**taken, "next_run_at": until}))
    return Held(row.id, row.fence + 1)


async def is_due(tx: Tx) -> bool:
    """Whether any export could be claimed."""
    return await tx.scalar(select(bulk_export.c.id).where(_due).limit(1)) is not None


async def hold(platform: Platform, held: Held, laid_out: Callable[[], None] = lambda: None) -> None:
    """Hold a claimed export until it is over one way or the other. Never raises for what may pass.

    ``laid_out`` is called once its parts can be claimed.
    """
    try:
        await _hold(platform, held, laid_out)
    except (HolderLost, LeaseLost):
        log.warning("bulk_export.lease_lost", export=str(held.id), fence=held.fence)
    except asyncio.CancelledError:
        await asyncio.shield(_let_go(platform, held, delay_s=0.0))
        raise
    except PASSING as error:
        log.warning("bulk_export.holder_failed", export=str(held.id), reason=type(error).__name__)
        with suppress(SQLAlchemyError, OSError):
            await _let_go(platform, held, delay_s=platform.settings.retry_base_s)


async def _hold(platform: Platform, held: Held, laid_out: Callable[[], None]) -> None:
    lease = kept(lambda: _extend(platform, held), every_s=beat_s(platform.settings))
    async with platform.db.notices.heard(SETTLED) as settled, lease:
        connection = await platform.db.connect_raw(Role.WORKER)
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                await connection.execute("SET LOCAL statement_timeout = 0")
                async with platform.db.transaction(Role.WORKER) as tx:
                    if not await finishing.may_be_given(tx, held.id, held.fence):
                        return
                await _lay_out(platform, held, await _snapshot(platform, connection, held))
                laid_out()
                await _keep(platform, connection, held, settled)
        finally:
            connection.terminate()
        while not await finishing.finish(platform, held.id, held.fence):
            async with platform.db.transaction(Role.WORKER) as tx:
                await _standing(tx, held)  # raises once it is no longer ours
            await asyncio.sleep(LOOK_EVERY_S)


async def _snapshot(platform: Platform, connection: asyncpg.Connection, held: Held) -> Snapshot:
    row = await connection.fetchrow(SNAPSHOT)
    assert row is not None
    piece_rows, most = cutting.pieces(platform.settings.bulk_part_rows)
    edges = await connection.fetch(EVERY_NTH, piece_rows)
    async with platform.db.transaction(Role.WORKER) as tx:
        export = await states.find(tx, held.id)
    assert export is not None
    watermark = Watermark(row["xmin"], row["system"], row["timeline"], bytes(export.query_hash).hex(), iso(row["at"]))
    return Snapshot(
        row["name"], row["at"], watermark, _moments(cutting.tapered([edge[0] for edge in edges], most=most))
    )


def _moments(ids: Sequence[UUID]) -> tuple[UUID, ...]:
    """Cuts that are nobody's id: only the moment of a UUIDv7 is left (RFC 9562, 5.7)."""
    return tuple(sorted({UUID(int=UUID(str(one)).int >> 64 << 64) for one in ids}))


async def _lay_out(platform: Platform, held: Held, snapshot: Snapshot) -> None:
    """Begin a new epoch: its snapshot, its parts; the parts of older ones go. Raises HolderLost."""
    until = func.now() + timedelta(seconds=platform.settings.lease_s)
    async with platform.db.transaction(Role.WORKER) as tx:
        row = await tx.first(
            update(bulk_export)
            .where(
                bulk_export.c.id == held.id,
                bulk_export.c.status == BulkStatus.RUNNING,
                bulk_export.c.fence == held.fence,
            )
            .values(
                epoch=bulk_export.c.epoch + 1,
                snapshot_name=snapshot.name,
                snapshot_at=snapshot.at,
                watermark=watermarks.write(platform.sealer, snapshot.watermark),
                next_run_at=until,
                version=bulk_export.c.version + 1,
                updated_at=func.now(),
            )
            .returning(bulk_export.c.epoch, bulk_export.c.since_xid)
        )
        if row is None:
            raise HolderLost
        rows = _parts(held.id, row.epoch, snapshot.cuts, with_deleted=row.since_xid is not None)
        await tx.execute(delete(bulk_part).where(bulk_part.c.bulk_export_id == held.id))
        await tx.execute(insert(bulk_part), rows)
        await tx.execute(update(bulk_export).where(bulk_export.c.id == held.id).values(part_count=len(rows)))
        await tx.tell(WAITING)
        details = {"epoch": row.epoch, "parts": len(rows)}
        await note(tx, SYSTEM, "bulk_export.snapshot", held.id, details=details)


def _parts(export_id: UUID, epoch: int, cuts: Sequence[UUID], *, with_deleted: bool) -> list[dict[str, object]]:
    edges = [None, *cuts, None]
    made: list[dict[str, object]] = [
        {
            "id": new_id(),
            "bulk_export_id": export_id,
            "epoch": epoch,
            "ordinal": ordinal,
            "kind": PartKind.OUTPUT,
            "lower_id": lower,
            "upper_id": upper,
        }
        for ordinal, (lower, upper) in enumerate(pairwise(edges), 1)
    ]
    if with_deleted:
        made.append({**made[0], "id": new_id(), "kind": PartKind.DELETED, "upper_id": None})
    return made


async def _keep(platform: Platform, connection: asyncpg.Connection, held: Held, settled: asyncio.Event) -> None:
    """Keep the snapshot until every part is done; a failed part fails the export. Raises HolderLost."""
    clock = asyncio.get_running_loop().time
    looked_at = clock()
    while True:
        settled.clear()
        async with platform.db.transaction(Role.WORKER) as tx:
            open_, failed = await _standing(tx, held)
            if failed:
                await move(tx, held.id, BulkStatus.RUNNING, BulkStatus.FAILED, code=failed, fence=held.fence)
        if failed:
            raise HolderLost
        if not open_:
            return
        if clock() - looked_at > PING_EVERY_S:
            await connection.execute("SELECT 1")  # the server ends an idle transaction, and we learn of a dead server
            looked_at = clock()
        await notices.within(settled, LOOK_EVERY_S)


async def _standing(tx: Tx, held: Held) -> tuple[int, str | None]:
    """How many parts are open, and why one failed. Raises HolderLost once the export is not running for us."""
    row = await tx.first(
        select(
            func.count(bulk_part.c.id)
            .filter(bulk_part.c.status.in_((PartStatus.PENDING, PartStatus.RUNNING)))
            .label("open"),
            func.max(bulk_part.c.code).filter(bulk_part.c.status == PartStatus.FAILED).label("failed"),
        )
        .select_from(bulk_export)
        .outerjoin(
            bulk_part,
            and_(bulk_part.c.bulk_export_id == bulk_export.c.id, bulk_part.c.epoch == bulk_export.c.epoch),
        )
        .where(
            bulk_export.c.id == held.id,
            bulk_export.c.fence == held.fence,
            bulk_export.c.status == BulkStatus.RUNNING,
            bulk_export.c.snapshot_name.is_not(None),
        )
        .group_by(bulk_export.c.id)
    )
    if row is None:
        raise HolderLost
    return row.open, row.failed


async def _extend(platform: Platform, held: Held) -> bool:
    """Extend the lease; False when it is no longer ours, or the snapshot is too old to go on with."""
    oldest = func.now() - platform.settings.bulk_snapshot_max
    async with platform.db.transaction(Role.WORKER) as tx:
        extended = await tx.execute(
            update(bulk_export)
            .where(
                bulk_export.c.id == held.id,
                bulk_export.c.fence == held.fence,
                bulk_export.c.status == BulkStatus.RUNNING,
                or_(bulk_export.c.snapshot_name.is_(None), bulk_export.c.snapshot_at > oldest),
            )
            .values(next_run_at=func.now() + timedelta(seconds=platform.settings.lease_s))
        )
    if extended.rowcount != 1:
        await _let_go(platform, held, delay_s=0.0)
    return extended.rowcount == 1


async def _let_go(platform: Platform, held: Held, *, delay_s: float) -> None:
    """Give the export back; its snapshot is over, so whoever takes it begins anew."""
    async with platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(
            update(bulk_export)
            .where(
                bulk_export.c.id == held.id,
                bulk_export.c.fence == held.fence,
                bulk_export.c.status == BulkStatus.RUNNING,
            )
            .values(snapshot_name=None, lease_owner=None, next_run_at=func.now() + timedelta(seconds=delay_s))
        )
