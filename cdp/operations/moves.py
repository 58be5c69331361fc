"""The one place that changes a request's status: a conditional UPDATE naming the old one, with its audit event."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from uuid import UUID

from sqlalchemy import Update, bindparam, func, select, update

from cdp.access.viewer import SYSTEM, Viewer
from cdp.core.db import Tx
from cdp.core.ids import CustomerId, RequestId
from cdp.operations import audit
from cdp.tables.request import SETTLED, TRANSITIONS, RequestStatus, RequestType, privacy_request

ADVANCE = "advance_request"
CLOSE = "close_request"
# A ring further away than this is left to the sweeper: the doorbell forgets after a day anyway.
LONGEST_RING_S = 3600.0


# Built once: every task and every decision needs them.
_IS_IT = privacy_request.c.id == bindparam("request_id")
_LOCK = (
    select(
        privacy_request.c.id,
        privacy_request.c.reference,
        privacy_request.c.type,
        privacy_request.c.status,
        privacy_request.c.customer_id,
        privacy_request.c.subject_ref,
        privacy_request.c.requested_at,
        privacy_request.c.cooling_off_until,
        privacy_request.c.paused_from,
        privacy_request.c.opened_by_id,
        func.extract("epoch", privacy_request.c.cooling_off_until - func.now()).label("cooling_left_s"),
    )
    .where(_IS_IT)
    .with_for_update()
)
# Only a worker may read what is sealed for it.
_LOCK_SEALED = _LOCK.add_columns(privacy_request.c.identifiers_sealed)
_TOUCH = update(privacy_request).where(_IS_IT).values(version=privacy_request.c.version + 1, updated_at=func.now())


@dataclass(frozen=True)
class RequestRow:
    """A request as the engine needs it; ``customer_id`` is None once the person is gone.

    ``identifiers_sealed`` is there where it was asked for; ``cooling_left_s`` is what is left of the cooling-off time,
    seconds, below zero once it is over.
    """

    id: RequestId
    reference: str
    type: RequestType
    status: RequestStatus
    customer_id: CustomerId | None
    subject_ref: UUID
    requested_at: datetime
    cooling_off_until: datetime | None
    paused_from: RequestStatus | None = None
    opened_by_id: UUID | None = None
    identifiers_sealed: bytes | None = field(default=None, repr=False)
    cooling_left_s: float | None = None

    @property
    def is_settled(self) -> bool:
        """Whether nothing will happen to it any more."""
        return self.status in SETTLED


async def lock(tx: Tx, request_id: UUID, *, is_sealed: bool = False) -> RequestRow | None:
    """Lock a request for a decision; always before its tasks, so that two workers never wait for each other.

    ``is_sealed`` reads what is sealed for a worker, too.
    """
    row = await tx.first(_LOCK_SEALED if is_sealed else _LOCK, {"request_id": request_id})
    if row is None:
        return None
    return RequestRow(
        id=RequestId(row.id),
        reference=row.reference,
        type=row.type,
        status=row.status,
        customer_id=row.customer_id,
        subject_ref=row.subject_ref,
        requested_at=row.requested_at,
        cooling_off_until=row.cooling_off_until,
        paused_from=row.paused_from,
        opened_by_id=row.opened_by_id,
        identifiers_sealed=row.identifiers_sealed if is_sealed else None,
        cooling_left_s=None if row.cooling_left_s is None else float(row.cooling_left_s),
    )


@cache
def _move(*, is_settling: bool) -> Update:
    """Built once: every deletion moves some times."""
    values = {
        "status": bindparam("new", type_=privacy_request.c.status.type),
        "version": privacy_request.c.version + 1,
        "updated_at": func.now(),
        **({"settled_at": func.now()} if is_settling else {}),
    }
    return update(privacy_request).where(_IS_IT, privacy_request.c.status == bindparam("old")).values(values)


async def move(
    tx: Tx,
    request: RequestRow,
    new: RequestStatus,
    *,
    viewer: Viewer = SYSTEM,
    code: str | None = None,
    values: Mapping[str, object] | None = None,
) -> bool:
    """Change the status, if it still is the one that was read; settled requests are closed next.

    Returns False when somebody else moved it first. ``values`` are further columns to write with it.
    """
    if new not in TRANSITIONS[request.status]:
        raise ValueError(f"a request never goes from {request.status} to {new}")
    given = {"request_id": request.id, "old": request.status, "new": new}
    statement = _move(is_settling=new in SETTLED)
    moved = await tx.execute(statement.values(values) if values else statement, given)
    if moved.rowcount != 1:
        return False
    await audit.record(
        tx,
        viewer,
        f"request.{new.value}",
        subject_ref=request.subject_ref,
        object_type="PrivacyRequest",
        object_id=request.id,
        code=code,
        details={"from": request.status.value, "type": request.type.value},
    )
    if new in SETTLED:
        tx.ring(CLOSE, request.id)
    return True


async def touch(tx: Tx, request_id: UUID) -> None:
    """Let those who watch a request see that one of its tasks changed."""
    await tx.execute(_TOUCH, {"request_id": request_id})
