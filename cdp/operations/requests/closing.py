"""The very end of a request: publish the proof, drop what was parked, destroy the key of its sealed identifiers.

It runs after the request is settled and may run again: ``key_id`` is cut last, and the sweeper looks for it. The key of
an erasure outlives it until the residual pass has looked for what is left of the person; then this runs once more.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Row, Uuid, any_, bindparam, func, select, update

from cdp.access.viewer import SYSTEM
from cdp.core.db import Role, Tx
from cdp.core.ids import RequestId
from cdp.core.platform import Platform
from cdp.operations import audit
from cdp.operations.packages import parked
from cdp.operations.requests import certificates
from cdp.operations.requests.certificates import Issued
from cdp.operations.residual import addenda, checks
from cdp.tables.certificate import certificate
from cdp.tables.request import SETTLED, privacy_request
from cdp.tables.residual import certificate_addendum

# Built once: every deletion needs it.
_ARE_THEY = privacy_request.c.id == any_(bindparam("requests", type_=ARRAY(Uuid)))
_SETTLED = (
    select(
        privacy_request.c.id,
        privacy_request.c.key_id,
        privacy_request.c.subject_ref,
        certificate.c.document.label("certificate"),
        certificate_addendum.c.document.label("addendum"),
    )
    .outerjoin(certificate, certificate.c.request_id == privacy_request.c.id)
    .outerjoin(certificate_addendum, certificate_addendum.c.request_id == privacy_request.c.id)
    .where(_ARE_THEY, privacy_request.c.status.in_(SETTLED), privacy_request.c.key_id.is_not(None))
)
_CUT = (
    update(privacy_request)
    .where(_ARE_THEY, privacy_request.c.key_id.is_not(None))
    .values(identifiers_sealed=None, key_id=None, address_hash=None)
    .returning(privacy_request.c.id)
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


async def close(platform: Platform, *request_ids: UUID) -> None:
    """Close settled requests. Afterwards nothing leads from one to a person but a ``customer_id`` not yet cut."""
    async with platform.db.looking(Role.WORKER) as tx:
        rows = await tx.all(_SETTLED, {"requests": list(request_ids)})
    for row in rows:
        await _publish(platform, row)
        await parked.discard(platform.blobs, RequestId(row.id))
    if not rows:
        return
    async with platform.db.transaction(Role.WORKER) as tx:
        waiting = await checks.published(tx, [row.id for row in rows])
    closed = {row.id: row.subject_ref for row in rows if row.id not in waiting}
    for row in rows:
        if row.id in closed:
            platform.keys.destroy(row.key_id)
    if closed:
        async with platform.db.transaction(Role.WORKER) as tx:
            await _cut(tx, closed)


async def _publish(platform: Platform, row: Row[Any]) -> None:
    if row.certificate is None:
        return
    issued = Issued.of(row.certificate)
    await certificates.publish(platform, issued)
    if row.addendum is not None:
        await addenda.publish(platform, row.addendum.encode(), issued.reference)


async def _cut(tx: Tx, closed: Mapping[UUID, UUID]) -> None:
    cut = await tx.all(_CUT, {"requests": list(closed)})
    told = [audit.Happened("request.closed", closed[row.id], "PrivacyRequest", row.id) for row in cut]
    await audit.record_many(tx, SYSTEM, told)
