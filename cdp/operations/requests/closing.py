"""The very end of a request: publish the proof, drop what was parked, destroy the key of its sealed identifiers.

It runs after the request is settled and may run again: ``key_id`` is cut last, and the sweeper looks for it. The key of
an erasure outlives it until the residual pass has looked for what is left of the person; then this runs once more.
"""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import bindparam, func, select, update

from cdp.access.viewer import SYSTEM
from cdp.core.db import Role, Tx
from cdp.core.ids import RequestId
from cdp.core.platform import Platform
from cdp.operations import audit
from cdp.operations.packages import parked
from cdp.operations.requests import certificates
from cdp.operations.residual import addenda, checks
from cdp.tables.request import SETTLED, privacy_request

# Built once: every deletion needs it.
_SETTLED = select(privacy_request.c.key_id, privacy_request.c.subject_ref).where(
    privacy_request.c.id == bindparam("request"), privacy_request.c.status.in_(SETTLED)
)


async def unclosed(tx: Tx, *, limit: int, rested_s: float = 0.0) -> list[UUID]:
    """Settled requests whose key is still there, ``rested_s`` after they were settled."""
    found = select(privacy_request.c.id).where(
        privacy_request.c.status.in_(SETTLED),
        privacy_request.c.updated_at <= func.now() - timedelta(seconds=rested_s),
        privacy_request.c.key_id.is_not(None),
        ~checks.is_waiting(privacy_request.c.id),
    )
    return [row.id for row in await tx.all(found.limit(limit))]


async def close(platform: Platform, request_id: UUID) -> None:
    """Close a settled request. Afterwards nothing leads from it to a person but a ``customer_id`` not yet cut."""
    async with platform.db.transaction(Role.WORKER) as tx:
        row = await tx.first(_SETTLED, {"request": request_id})
        if row is None or row.key_id is None:
            return
        issued = await certificates.of_request(tx, request_id)
        addendum = await addenda.of_request(tx, request_id) if issued is not None else None
    if issued is not None:
        await certificates.publish(platform, issued)
        if addendum is not None:
            await addenda.publish(platform, addendum, issued.reference)
    await parked.discard(platform.blobs, RequestId(request_id))
    async with platform.db.transaction(Role.WORKER) as tx:
        if await checks.published(tx, request_id):
            return
    platform.keys.destroy(row.key_id)
    async with platform.db.transaction(Role.WORKER) as tx:
        cut = await tx.execute(
            update(privacy_request)
            .where(privacy_request.c.id == request_id, privacy_request.c.key_id.is_not(None))
            .values(identifiers_sealed=None, key_id=None, address_hash=None)
        )
        if cut.rowcount == 1:
            await audit.record(
                tx,
                SYSTEM,
                "request.closed",
                subject_ref=row.subject_ref,
                object_type="PrivacyRequest",
                object_id=request_id,
            )
