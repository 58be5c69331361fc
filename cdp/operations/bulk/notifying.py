"""The note a recipient gets when an export ends: one signed POST, tried again for a while.

It carries no data: where the manifest is and how the export ended, signed like the manifest (Ed25519), so that no
secret has to be shared. It may come twice; ``id`` and ``state`` say whether it is known.
"""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import and_, func, select, update

from cdp.access.viewer import SYSTEM
from cdp.core.clock import iso
from cdp.core.db import Role, Tx
from cdp.core.errors import PlatformError
from cdp.core.platform import Platform
from cdp.core.sign import canonical
from cdp.operations.backoff import wait_s
from cdp.operations.bulk import manifests
from cdp.operations.bulk.states import note
from cdp.tables.bulk import bulk_export

KIND = "bulk-export-note"

_due = and_(bulk_export.c.notify_url.is_not(None), bulk_export.c.notify_at <= func.now())


async def due(tx: Tx, *, limit: int) -> list[UUID]:
    """Exports whose recipient has not been told."""
    return [row.id for row in await tx.all(select(bulk_export.c.id).where(_due).limit(limit))]


async def tell(platform: Platform, export_id: UUID) -> None:
    """Tell one recipient, outside any transaction; several workers may try, one gets the turn."""
    settings = platform.settings
    lease = func.now() + timedelta(seconds=settings.task_timeout_s)
    async with platform.db.transaction(Role.WORKER) as tx:
        row = await tx.first(
            update(bulk_export)
            .where(bulk_export.c.id == export_id, _due)
            .values(notify_at=lease, notify_attempt=bulk_export.c.notify_attempt + 1)
            .returning(bulk_export)
        )
    if row is None:
        return
    said = {
        "kind": KIND,
        "id": str(row.id),
        "reference": row.reference,
        "state": row.status.value,
        "code": row.code,
        "url": f"{platform.settings.url}{manifests.PATH}/{row.id}",
        "at": iso(platform.clock()),
    }
    body = canonical(platform.signer.sign(said))
    try:
        headers = {"Content-Type": "application/json", "Idempotency-Key": f"{row.id}:{row.status.value}"}
        answer = await platform.outbound.request("POST", row.notify_url, headers=headers, content=body)
        is_taken = 200 <= answer.status < 300
    except PlatformError:
        is_taken = False
    is_over = is_taken or row.notify_attempt >= settings.max_attempts
    again = func.now() + timedelta(seconds=wait_s(row.notify_attempt, base_s=settings.retry_base_s))
    async with platform.db.transaction(Role.WORKER) as tx:
        mine = update(bulk_export).where(bulk_export.c.id == export_id)
        await tx.execute(mine.values(notify_at=None if is_over else again))
        if is_over:
            await note(tx, SYSTEM, "bulk_export.notified" if is_taken else "bulk_export.notify_failed", export_id)
