"""A controller's request at work: the person is looked for once, the engine does it, and what came of it is carried on.

The controller has had the person's identity and wish confirmed, so nothing cools off; and it alone talks to the person,
so no letter of ours goes out. Requests of access wait while an erasure of the same person is under way.
"""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, and_, func, or_, select

from cdp.access.viewer import Actor, Viewer
from cdp.connectors.base import Identifier
from cdp.core.db import Role, Tx
from cdp.core.errors import NotFound
from cdp.core.ids import CustomerId, RequestId
from cdp.core.platform import Platform
from cdp.operations import subjects
from cdp.operations.providers import going
from cdp.operations.providers.opendsr import asked
from cdp.operations.providers.opendsr.asked import AskedRow
from cdp.operations.providers.opendsr.search import search
from cdp.operations.providers.opendsr.wire import Identity, read
from cdp.operations.requests import opening
from cdp.operations.requests.opening import KINDS
from cdp.tables.customer import CustomerStatus, IdentityType
from cdp.tables.export import export
from cdp.tables.provider import AskedOutcome, AskedStatus, AskedType, asked_request, controller
from cdp.tables.request import SETTLED, RequestStatus, RequestType, privacy_request

CHANNEL = "opendsr"
LOOK_AGAIN = timedelta(minutes=1)
S, A, End = RequestStatus, AskedStatus, AskedOutcome
ENDS = {
    S.REFUSED: (End.REFUSED, "REFUSED"),
    S.FAILED: (End.FAILED, "GIVEN_UP"),
    S.CANCELLED: (End.REFUSED, "TAKEN_BACK"),
}


async def due(tx: Tx, *, limit: int) -> list[UUID]:
    """Requests to begin, and those that the engine has carried on."""
    fresh = (asked_request.c.status == A.PENDING) & (asked_request.c.next_run_at <= func.now())
    is_held, was_held = privacy_request.c.status == S.HELD, asked_request.c.outcome.is_not_distinct_from(End.HELD)
    moved = or_(privacy_request.c.status.in_(SETTLED), is_held != was_held)
    found = (
        select(asked_request.c.id)
        .outerjoin(privacy_request, privacy_request.c.id == asked_request.c.request_id)
        .where(or_(fresh, and_(asked_request.c.status == A.IN_PROGRESS, moved)))
    )
    return [row.id for row in await tx.all(found.order_by(asked_request.c.next_run_at).limit(limit))]


async def work(platform: Platform, asked_id: UUID) -> None:
    """Do what is next about a request, in one transaction under its lock; doing it again comes to the same."""
    async with platform.db.transaction(Role.WORKER) as tx:
        found = await asked.lock(tx, asked_id)
        if found is None:
            return
        row = asked.row_of(found)
        if row.status is A.PENDING:
            await _begin(tx, platform, row, found)
        else:
            await _carry_on(tx, row)


async def _begin(tx: Tx, platform: Platform, row: AskedRow, found: Row[Any]) -> None:
    body = platform.sealer.open(found.identities_sealed, f"asked_request:{row.id}")
    identities = read(body, is_older=True).subject_identities
    if not any(one.type for one in identities):
        await asked.move(tx, row, A.CANCELLED, outcome=End.UNSUPPORTED, code="IDENTITY_NOT_SUPPORTED")
        return
    agreed = select(controller.c.brand_id, controller.c.numbering).where(controller.c.id == row.controller_id)
    whose = (await tx.all(agreed))[0]
    meant = await search(tx, whose.brand_id, whose.numbering, identities)
    if meant.code is not None:
        await asked.move(tx, row, A.CANCELLED, outcome=End.REFUSED, code=meant.code)
    elif meant.customer_id is not None:
        await _open(tx, platform, row, meant.customer_id)
    else:
        known = await going.find(tx, platform, lambda one: _is_meant(one, identities, whose.numbering))
        await _about_nobody(tx, row, known)


def _is_meant(known: Identifier, identities: tuple[Identity, ...], numbering: str) -> bool:
    issuer = numbering if known.type == IdentityType.CUSTOMER_NUMBER else ""
    return known.issuer == issuer and any(one.type == known.type and one.fits(known.value) for one in identities)


async def _about_nobody(tx: Tx, row: AskedRow, going_on: RequestId | None) -> None:
    """Nobody is here; unless their erasure is not over, which is waited for."""
    if going_on is None:
        count = None if row.type is AskedType.ERASURE else 0
        await asked.move(tx, row, A.COMPLETED, values={"results_count": count})
    elif row.type is AskedType.ERASURE:
        await _under_way(tx, row, going_on)
    else:
        await asked.postpone(tx, row, wait=LOOK_AGAIN)


async def _open(tx: Tx, platform: Platform, row: AskedRow, customer_id: CustomerId) -> None:
    viewer = Viewer(Actor.CLIENT, client_id=row.client_id, purpose="processor")
    kind = KINDS[RequestType(row.type.value)]
    try:
        status = await opening.lock_customer(tx, customer_id)
    except NotFound:
        return  # erased while we looked: looked for again
    is_erasure = row.type is AskedType.ERASURE
    there = await opening.join(tx, viewer, customer_id, kind.type) if is_erasure else None
    if there is not None:
        await _under_way(tx, row, there.id)
        return
    known = await subjects.gather(tx, customer_id)
    if known is None or status is not CustomerStatus.ACTIVE:
        await asked.postpone(tx, row, wait=LOOK_AGAIN)
        return
    silent = replace(known, recipient=None)
    opened = await opening.write(
        tx, viewer, platform, silent, kind, status=kind.status, channel=CHANNEL, is_confirmed=True
    )
    await opening.start(tx, platform, opened, silent, kind, is_confirmed=True)
    await _under_way(tx, row, opened.id)


async def _under_way(tx: Tx, row: AskedRow, request_id: RequestId) -> None:
    await asked.move(tx, row, A.IN_PROGRESS, values={"request_id": request_id, "identities_sealed": None})


async def _carry_on(tx: Tx, row: AskedRow) -> None:
    """Say what became of the engine's request; refused and failed are never ``completed``."""
    status = await tx.scalar(select(privacy_request.c.status).where(privacy_request.c.id == row.request_id))
    if status is S.COMPLETED:
        await _complete(tx, row)
    elif status in ENDS:
        outcome, code = ENDS[status]
        await asked.move(tx, row, A.CANCELLED, outcome=outcome, code=code)
    elif status is S.HELD and row.outcome is not End.HELD:
        await asked.move(tx, row, A.IN_PROGRESS, outcome=End.HELD, code="LEGAL_HOLD")
    elif status is not S.HELD and row.outcome is End.HELD:
        await asked.move(tx, row, A.IN_PROGRESS)


async def _complete(tx: Tx, row: AskedRow) -> None:
    if row.type is AskedType.ERASURE:
        await asked.move(tx, row, A.COMPLETED)
        return
    package = await tx.first(select(export.c.files, export.c.missing).where(export.c.request_id == row.request_id))
    files = package.files if package else None
    count = sum(one["records"] or 0 for one in files or () if one["path"].endswith(".json"))
    is_partial = package is None or bool(package.missing)
    outcome, code = (End.PARTIAL, "SYSTEMS_MISSING") if is_partial else (None, None)
    await asked.move(tx, row, A.COMPLETED, outcome=outcome, code=code, values={"results_count": count})
