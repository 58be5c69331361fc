"""Runs of the canary: begun on a schedule, carried out by the engine like anybody's erasure, judged when it is over.

    running -> passed | failed

Passed means: every system that takes part said done or that it has nothing to offer, our own tables were read again and
are empty, and the certificate verifies. A run that takes longer than LONGEST has failed, whatever comes of it later. So
has one before which a system no longer was what it was connected as: a table, a trigger, a view that came since would
keep something of people, and of nobody who never was.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Row, delete, exists, func, insert, select, update

from cdp.access.viewer import SYSTEM
from cdp.core.db import Role, Tx
from cdp.core.ids import new_id
from cdp.core.platform import Platform
from cdp.operations import audit, signing_keys, subjects, systems
from cdp.operations.canary import person as canaries
from cdp.operations.requests import opening
from cdp.operations.requests.opening import KINDS
from cdp.operations.verification import verify_certificate
from cdp.tables.audit import audit_event
from cdp.tables.canary import CHANNEL, CanaryStatus, canary_run
from cdp.tables.certificate import certificate
from cdp.tables.request import SETTLED, RequestStatus, RequestType, privacy_request

LONGEST = timedelta(hours=1)
# A platform that has just been set up is left alone for a while.
SETTLING_IN = timedelta(minutes=10)
KEPT = 100
TOO_SLOW, STUCK, NOT_PROVEN, UNWELL = "TOO_SLOW", "STUCK", "CERTIFICATE_INVALID", "SYSTEM_UNWELL"

log = structlog.get_logger()


@dataclass(frozen=True)
class Run:
    """One run, for operators."""

    status: CanaryStatus
    code: str | None
    started_at: datetime
    finished_at: datetime | None

    @property
    def duration_s(self) -> float | None:
        """How long it took; None while it runs."""
        return (self.finished_at - self.started_at).total_seconds() if self.finished_at else None


@dataclass(frozen=True)
class Health:
    """The last run that is over, and the last that passed."""

    last: Run | None
    passed: Run | None


async def turn(platform: Platform) -> None:
    """Judge the run under way, or begin one if the time has come."""
    every = platform.settings.canary_period
    await judge(platform)
    if every:
        async with platform.db.transaction(Role.WORKER) as tx:
            due = await _is_due(tx, every)
        if due:
            unwell = await _unwell(platform)
            await begin(platform, code=UNWELL if unwell else None)


async def _unwell(platform: Platform) -> list[str]:
    """Names of the systems in which trying what they are connected as finds a problem; each try is in the audit log."""
    async with platform.db.transaction(Role.WORKER) as tx:
        connected = [known.name for known in await systems.listed(tx) if known.enabled]
    found = await asyncio.gather(*(_is_unwell(platform, name) for name in connected))
    return [name for name, is_so in zip(connected, found, strict=True) if is_so]


async def _is_unwell(platform: Platform, name: str) -> bool:
    try:
        async with asyncio.timeout(platform.settings.task_timeout_s):
            problems = await systems.check(platform, SYSTEM, name)
    except Exception:  # one that can not even be tried is not well; the run tells more
        log.exception("canary.system_untried", system=name)
        return True
    if problems:
        log.warning("canary.system_unwell", system=name, codes=sorted({problem.code for problem in problems}))
    return bool(problems)


async def _is_due(tx: Tx, every: timedelta) -> bool:
    lately = exists().where(canary_run.c.started_at > func.now() - every)
    settled_in = exists().where(audit_event.c.occurred_at < func.now() - SETTLING_IN)
    return bool(await tx.scalar(select(~lately & settled_in)))


async def begin(platform: Platform, *, code: str | None = None) -> bool:
    """Make a canary and ask for its erasure; False while another run is under way. With a ``code`` it can not pass."""
    async with platform.db.transaction(Role.WORKER) as tx:
        running = select(canary_run.c.id).where(canary_run.c.status == CanaryStatus.RUNNING)
        await tx.execute(select(func.pg_advisory_xact_lock(func.hashtext("canary_run"))))
        if await tx.scalar(running) is not None:
            return False
        customer_id = await canaries.make(tx, platform)
        person = await subjects.gather(tx, customer_id)
        assert person is not None, "it was written a moment ago"
        kind, run_id = KINDS[RequestType.ERASURE], new_id()
        opened = await opening.write(
            tx, SYSTEM, platform, person, kind, status=kind.status, channel=CHANNEL, is_confirmed=True
        )
        await opening.start(tx, platform, opened, person, kind)
        await tx.execute(insert(canary_run).values(id=run_id, request_id=opened.id, code=code))
        await audit.record(
            tx,
            SYSTEM,
            "canary.begun",
            subject_ref=person.subject_ref,
            object_type="CanaryRun",
            object_id=run_id,
        )
    return True


async def judge(platform: Platform) -> None:
    """See whether the run under way is over, and how it ended."""
    async with platform.db.transaction(Role.WORKER) as tx:
        row = await tx.first(
            select(
                canary_run.c.id,
                canary_run.c.code,
                privacy_request.c.status,
                privacy_request.c.refusal_reason,
                certificate.c.document,
                (canary_run.c.started_at < func.now() - LONGEST).label("is_late"),
            )
            .join(privacy_request, privacy_request.c.id == canary_run.c.request_id)
            .outerjoin(certificate, certificate.c.request_id == canary_run.c.request_id)
            .where(canary_run.c.status == CanaryStatus.RUNNING)
        )
        found = _verdict(platform, row) if row is not None else None
        if row is not None and found is not None:
            await _end(tx, row.id, *found)


def _verdict(platform: Platform, row: Row[Any]) -> tuple[CanaryStatus, str | None] | None:
    """How a run ended; None while it goes on. A request is completed only when every system was fine."""
    match row.status:
        case RequestStatus.COMPLETED:
            if row.code:
                return CanaryStatus.FAILED, row.code
            is_valid = verify_certificate(row.document.encode(), signing_keys.known(platform)).is_valid
            return (CanaryStatus.PASSED, None) if is_valid else (CanaryStatus.FAILED, NOT_PROVEN)
        case RequestStatus.NEEDS_ATTENTION | RequestStatus.HELD:
            return CanaryStatus.FAILED, STUCK
        case status if status in SETTLED:
            return CanaryStatus.FAILED, f"REQUEST_{status.name}"
    return (CanaryStatus.FAILED, TOO_SLOW) if row.is_late else None


async def _end(tx: Tx, run_id: UUID, status: CanaryStatus, code: str | None) -> None:
    ended = await tx.execute(
        update(canary_run)
        .where(canary_run.c.id == run_id, canary_run.c.status == CanaryStatus.RUNNING)
        .values(status=status, code=code, finished_at=func.now())
    )
    if ended.rowcount != 1:
        return
    await audit.record(
        tx,
        SYSTEM,
        f"canary.{status.value}",
        subject_ref=None,
        object_type="CanaryRun",
        object_id=run_id,
        outcome="ok" if status is CanaryStatus.PASSED else "failed",
        code=code,
    )
    newest = select(canary_run.c.id).order_by(canary_run.c.started_at.desc()).limit(KEPT)
    await tx.execute(delete(canary_run).where(canary_run.c.id.not_in(newest)))


async def health(tx: Tx) -> Health:
    """How the last runs ended."""
    over = select(canary_run).where(canary_run.c.status != CanaryStatus.RUNNING)
    newest = over.order_by(canary_run.c.started_at.desc()).limit(1)
    passed = newest.where(canary_run.c.status == CanaryStatus.PASSED)
    return Health(_run(await tx.first(newest)), _run(await tx.first(passed)))


def _run(row: Row[Any] | None) -> Run | None:
    return None if row is None else Run(row.status, row.code, row.started_at, row.finished_at)
