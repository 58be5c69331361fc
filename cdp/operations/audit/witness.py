"""Signed heads leave the house: into a second object store, and by mail, so that whoever runs this can not forget them.

A log rewritten behind a head that somebody outside has kept is no longer consistent with it, whoever holds the key.
Each kind of witness is one row with a lease: claim, send outside any transaction, settle. An object's name holds the
hash of its head, so that a forked head lands beside the first and never on it.
"""

import asyncio
from datetime import datetime, timedelta
from uuid import NAMESPACE_URL, uuid5

import structlog
from obstore.exceptions import BaseError
from sqlalchemy import func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from cdp.core.blobs import Blobs
from cdp.core.db import Role
from cdp.core.errors import PlatformError
from cdp.core.platform import Platform
from cdp.operations.audit import heads
from cdp.operations.audit.heads import Head
from cdp.tables.audit import WitnessKind, audit_head, audit_witness

FOLDER = "audit-heads"
LEASE = timedelta(minutes=2)
SUBJECT = "Audit log: {size} entries"
TEXT = """This is the signed head of an audit log. Please keep it.

With it anybody can show later that the log still begins with the {size} entries it had on {time}:
save the line below (or this mail) as a file and run: cdp verify --log LOG --witness FILE

{head}
"""

log = structlog.get_logger()


async def send_due(platform: Platform) -> list[WitnessKind]:
    """Send the newest head to every witness whose time has come; returns those that have it now."""
    sent = []
    for kind in _configured(platform):
        claimed = await _claim(platform, kind)
        if claimed is None:
            continue
        head, lease_until = claimed
        try:
            async with asyncio.timeout(platform.settings.task_timeout_s):
                await _send(platform, kind, head)
        except (PlatformError, BaseError, OSError) as error:  # a TimeoutError is an OSError
            log.warning("audit.witness_away", witness=kind.value, size=head.size, error=type(error).__name__)
            continue
        await _settle(platform, kind, head, lease_until)
        sent.append(kind)
    return sent


def _configured(platform: Platform) -> list[WitnessKind]:
    settings = platform.settings
    given = {WitnessKind.STORE: settings.audit_witness_url, WitnessKind.MAIL: settings.audit_witness_mail}
    return [kind for kind, where in given.items() if where]


async def _claim(platform: Platform, kind: WitnessKind) -> tuple[Head, datetime] | None:
    """Lease a witness that is due, if there is a head it has not seen; nobody else sends to it meanwhile."""
    row, now = audit_witness.c, func.now()
    newest = select(func.max(audit_head.c.size)).scalar_subquery()
    due = or_(row.sent_at.is_(None), row.sent_at <= now - platform.settings.audit_witness_every)
    free = or_(row.lease_until.is_(None), row.lease_until <= now)
    async with platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(insert(audit_witness).values(kind=kind.value).on_conflict_do_nothing())
        lease_until: datetime | None = await tx.scalar(
            update(audit_witness)
            .where(row.kind == kind.value, due, free, row.size < newest)
            .values(lease_until=now + LEASE)
            .returning(row.lease_until)
        )
        head = await heads.latest(tx)
    return None if lease_until is None or head is None else (head, lease_until)


async def _send(platform: Platform, kind: WitnessKind, head: Head) -> None:
    settings = platform.settings
    if kind is WitnessKind.STORE:
        key = f"{FOLDER}/{head.size:020d}-{head.sha256[:16]}.json"
        await Blobs(settings.audit_witness_url).put(key, head.text.encode())
        return
    text = TEXT.format(size=head.size, time=head.document["time"], head=head.text)
    message_id = uuid5(NAMESPACE_URL, head.sha256)
    await platform.mailer.send(message_id, settings.audit_witness_mail, SUBJECT.format(size=head.size), text)


async def _settle(platform: Platform, kind: WitnessKind, head: Head, lease_until: datetime) -> None:
    row = audit_witness.c
    async with platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(
            update(audit_witness)
            .where(row.kind == kind.value, row.lease_until == lease_until)
            .values(size=head.size, sent_at=func.now(), lease_until=None)
        )
