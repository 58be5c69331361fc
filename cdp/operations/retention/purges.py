"""The purge: once a day every rule's rows go, a batch a transaction, each with its audit event; holds are respected.

A run is a row under a lease. A worker that dies leaves nothing half done: what is gone is gone, the rest is
found again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

import structlog
from sqlalchemy import cast, delete, func, insert, literal, or_, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as upsert

from cdp.access.viewer import SYSTEM, Viewer
from cdp.core.db import Role, Tx
from cdp.core.ids import RequestId, new_id
from cdp.core.platform import Platform
from cdp.operations import audit
from cdp.operations.packages import parked
from cdp.operations.paper import records
from cdp.operations.retention import orphans
from cdp.operations.retention.rules import ORPHANS, PAPER, PARKED, RULES, TRANSFERRED, Rule
from cdp.operations.transfers import ending
from cdp.tables.base import Category
from cdp.tables.request import SETTLED, privacy_request
from cdp.tables.retention import RunStatus, retention_run

JOB = "purge"
BATCH = 1000
LEASE_S = 120.0
OBJECT = "RetentionRun"

log = structlog.get_logger()


@dataclass(frozen=True)
class Run:
    """A claimed run; ``fence`` numbers the claim."""

    id: UUID
    fence: int


async def due(tx: Tx) -> list[UUID]:
    """Runs to do: today's, written down if it is not yet, and those whose worker died."""
    today = func.timezone("UTC", func.now()).cast(retention_run.c.day.type)
    if await tx.scalar(select(retention_run.c.id).where(retention_run.c.day == today)) is None:
        await tx.execute(upsert(retention_run).values(id=new_id(), day=today).on_conflict_do_nothing())
    waiting = retention_run.c.status == RunStatus.DUE
    lost = (retention_run.c.status == RunStatus.RUNNING) & (retention_run.c.lease_until < func.now())
    found = await tx.all(select(retention_run.c.id).where(or_(waiting, lost)).order_by(retention_run.c.id))
    return [row.id for row in found]


async def ask(tx: Tx, viewer: Viewer) -> UUID:
    """Write down a run beside the daily ones; rung for after the commit."""
    run_id = new_id()
    await tx.execute(insert(retention_run).values(id=run_id))
    await audit.record(tx, viewer, "retention.asked", subject_ref=None, object_type=OBJECT, object_id=run_id)
    return run_id


async def claim(tx: Tx, run_id: UUID) -> Run | None:
    """Take a run for a while; None when it is done or somebody has it."""
    waiting = retention_run.c.status == RunStatus.DUE
    lost = (retention_run.c.status == RunStatus.RUNNING) & (retention_run.c.lease_until < func.now())
    row = await tx.first(
        update(retention_run)
        .where(retention_run.c.id == run_id, or_(waiting, lost))
        .values(
            status=RunStatus.RUNNING,
            fence=retention_run.c.fence + 1,
            lease_until=func.now() + func.make_interval(0, 0, 0, 0, 0, 0, LEASE_S),
        )
        .returning(retention_run.c.id, retention_run.c.fence)
    )
    return None if row is None else Run(row.id, row.fence)


async def preview(tx: Tx) -> Mapping[str, int]:
    """Count what each rule would remove now; nothing changes."""
    counts: dict[str, int] = {}
    for rule in RULES:  # one statement a rule: they look at different tables
        found = select(func.count()).select_from(rule.table).where(*rule.is_over)
        counts[rule.code] = int(await tx.scalar(found))
    return {**counts, TRANSFERRED: await ending.waiting(tx)}


async def carry_out(platform: Platform, run: Run) -> Mapping[str, int]:
    """Remove everything that is past its time, and settle the run; what was removed by rule."""
    await _unpark(platform, run)
    await _demand_paper(platform, run)
    await _destroy_orphans(platform, run)
    while await _end_transfers(platform, run):
        pass
    for rule in RULES:
        while await _batch(platform, run, rule) == BATCH:
            pass
    async with platform.db.transaction(Role.WORKER) as tx:
        row = await tx.first(
            update(retention_run)
            .where(
                retention_run.c.id == run.id,
                retention_run.c.fence == run.fence,
                retention_run.c.status == RunStatus.RUNNING,
            )
            .values(status=RunStatus.DONE, finished_at=func.now(), lease_until=None)
            .returning(retention_run.c.removed)
        )
        if row is None:
            return {}
        removed: dict[str, int] = row.removed
        await audit.record(
            tx, SYSTEM, "retention.finished", subject_ref=None, object_type=OBJECT, object_id=run.id, details=removed
        )
    log.info("retention.finished", run=str(run.id), **removed)
    return removed


async def _batch(platform: Platform, run: Run, rule: Rule) -> int:
    """Remove up to BATCH rows of a rule: their keys and files first, where they have any."""
    if rule.has_file:
        await _destroy_files(platform, rule)
    async with platform.db.transaction(Role.WORKER) as tx:
        over = select(rule.table.c.id).where(*rule.is_over).limit(BATCH).with_for_update(skip_locked=True)
        if rule.has_file:
            over = over.where(rule.table.c.object_key.is_(None))
        gone = (await tx.execute(delete(rule.table).where(rule.table.c.id.in_(over)))).rowcount
        await _count(tx, run, rule.code, rule.category, gone)
    return gone


async def _destroy_files(platform: Platform, rule: Rule) -> None:
    table = rule.table
    async with platform.db.transaction(Role.WORKER) as tx:
        found = await tx.all(
            select(table.c.id, table.c.object_key, table.c.key_id)
            .where(*rule.is_over, table.c.object_key.is_not(None))
            .limit(BATCH)
        )
    for row in found:
        platform.keys.destroy(row.key_id)
        await platform.blobs.delete(row.object_key)
    if found:
        async with platform.db.transaction(Role.WORKER) as tx:
            mine = update(table).where(table.c.id.in_([row.id for row in found]))
            await tx.execute(mine.values(object_key=None, key_id=None))


async def _unpark(platform: Platform, run: Run) -> None:
    """Delete what is still parked for requests that are closed: a worker that died while closing left it."""
    names = {key.removeprefix("requests/").partition("/")[0] for key in await platform.blobs.all_keys("requests/")}
    async with platform.db.transaction(Role.WORKER) as tx:
        found = await tx.all(
            select(privacy_request.c.id).where(
                privacy_request.c.id.in_([UUID(name) for name in names]),
                privacy_request.c.status.in_(SETTLED),
                privacy_request.c.key_id.is_(None),
            )
        )
    for row in found:
        await parked.discard(platform.blobs, RequestId(row.id))
    async with platform.db.transaction(Role.WORKER) as tx:
        await _count(tx, run, PARKED, Category.REQUEST, len(found))


async def _demand_paper(platform: Platform, run: Run) -> None:
    """Paper goes by people's hands: what is past its day becomes due."""
    async with platform.db.transaction(Role.WORKER) as tx:
        made = await records.demand_over(tx, limit=BATCH)
        await _count(tx, run, PAPER, Category.SUPPORT, made)


async def _end_transfers(platform: Platform, run: Run) -> int:
    """Let go of some people who went to an acquirer and whose time here is over."""
    async with platform.db.transaction(Role.WORKER) as tx:
        ended = await ending.end_due(tx, platform)
        await _count(tx, run, TRANSFERRED, Category.IDENTITY, ended.people)
    return ended.people


async def _destroy_orphans(platform: Platform, run: Run) -> None:
    """Destroy what was sealed for a row that was never written."""
    destroyed = await orphans.destroy(platform, now=platform.clock())
    async with platform.db.transaction(Role.WORKER) as tx:
        await _count(tx, run, ORPHANS, Category.REQUEST, destroyed)


async def _count(tx: Tx, run: Run, code: str, category: Category, gone: int) -> None:
    """Note what went in the run and in the log, and keep the run's lease."""
    before = func.coalesce(retention_run.c.removed[code].as_integer(), 0)
    added = func.jsonb_build_object(code, before + gone) if gone else cast(literal("{}"), JSONB)
    await tx.execute(
        update(retention_run)
        .where(retention_run.c.id == run.id, retention_run.c.fence == run.fence)
        .values(
            removed=retention_run.c.removed.op("||")(added),
            lease_until=func.now() + func.make_interval(0, 0, 0, 0, 0, 0, LEASE_S),
        )
    )
    if gone:
        await audit.record(
            tx,
            SYSTEM,
            "retention.purged",
            subject_ref=None,
            object_type=OBJECT,
            object_id=run.id,
            details={"rule": code, "category": category.value, "rows": gone},
        )
