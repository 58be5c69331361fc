"""The whole log as one file that anybody can check offline: a header, every signed head, every entry, a line each."""

from collections.abc import AsyncIterator

from sqlalchemy import func, select

from cdp.access.viewer import Viewer
from cdp.core.clock import iso
from cdp.core.db import Role
from cdp.core.platform import Platform
from cdp.core.sign import canonical
from cdp.operations.audit import entries, heads, sequencer
from cdp.operations.audit.events import record
from cdp.operations.proofs.formats import LOG, VERSION
from cdp.tables.audit import audit_event, audit_head, audit_leaf

BATCH = 2_000


async def lines(platform: Platform, viewer: Viewer) -> AsyncIterator[bytes]:
    """The lines of the file, without their ends, up to the head signed just now; the export is an entry of it too.

    The log only grows, so batches need no common snapshot. Raises MissingScope; a refusal is recorded as well.
    """
    async with platform.db.transaction(Role.WORKER) as tx:
        await record(tx, viewer, "audit.exported", subject_ref=None, object_type="AuditLog")
    await sequencer.sequence(platform, is_patient=True)
    async with platform.db.transaction(Role.WORKER) as tx:
        head = await heads.latest(tx)
        assert head is not None  # this export's own entry is covered by one
        covered = audit_head.c.size <= head.size
        count = await tx.scalar(select(func.count()).select_from(audit_head).where(covered))
        signed = await tx.all(select(audit_head.c.document).where(covered).order_by(audit_head.c.size))
    now = iso(platform.clock())
    header = {"kind": LOG, "version": VERSION, "entries": head.size, "heads": count, "exportedAt": now}
    yield canonical(header)
    for row in signed:
        yield row.document.encode()
    for start in range(0, head.size, BATCH):
        end = min(start + BATCH, head.size)
        at = audit_leaf.c.position
        batch = (
            entries.events()
            .join(audit_leaf, audit_leaf.c.event_id == audit_event.c.id)
            .where(at >= start, at < end)
            .order_by(at)
        )
        async with platform.db.transaction(Role.WORKER) as tx:
            rows = await tx.all(batch)
        for row in rows:
            yield entries.entry(row)
