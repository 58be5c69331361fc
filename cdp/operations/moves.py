"""The one place that changes a request's status: a conditional UPDATE naming the old one, with its audit event."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Row, Update, Uuid, any_, bindparam, func, select, update

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
_ARE_THEY = privacy_request.c.id == any_(bindparam("requests", type_=ARRAY(Uuid)))
_LOOK = select(
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
_LOCK = _LOOK.where(_IS_IT).with_for_update()
# Only a worker may read what is sealed for it.
_SEALED = _LOOK.add_columns(privacy_request.c.identifiers_sealed).where(_ARE_THEY).order_by(privacy_request.c.id)
_LOCK_MANY, _LOCK_FREE = _SEALED.with_for_update(), _SEALED.with_for_update(skip_locked=True)
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


async def lock(tx: Tx, request_id: UUID) -> RequestRow | None:
    """Lock a request for a decision; always before its tasks, so that two workers never wait for each other."""
    row = await tx.first(_LOCK, {"request_id": request_id})
    return None if row is None else _request(row, None)


async def lock_many(tx: Tx, request_ids: Sequence[UUID], *, is_waiting: bool = True) -> list[RequestRow]:
    """Lock requests in one order for a decision of a worker's, with what is sealed for it.

    Those that somebody else holds are left out unless it ``is_waiting`` for them.
    """
    rows = await tx.all(_LOCK_MANY if is_waiting else _LOCK_FREE, {"requests": list(request_ids)})
    return [_request(row, row.identifiers_sealed) for row in rows]


def _request(row: Row[Any], sealed: bytes | None) -> RequestRow:
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
        identifiers_sealed=sealed,
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
    return update(privacy_request).where(_ARE_THEY, privacy_request.c.status == bindparam("old")).values(values)


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
    return bool(await move_many(tx, [request], new, viewer=viewer, code=code, values=values))


async def move_many(
    tx: Tx,
    requests: Sequence[RequestRow],
    new: RequestStatus,
    *,
    viewer: Viewer = SYSTEM,
    code: str | None = None,
    values: Mapping[str, object] | None = None,
) -> list[RequestRow]:
    """Change the status of requests of one status, as ``move`` would of each; those it moved, as they are now."""
    if not requests:
        return []
    (old,) = {request.status for request in requests}
    if new not in TRANSITIONS[old]:
        raise ValueError(f"a request never goes from {old} to {new}")
    statement = _move(is_settling=new in SETTLED)
    if values:
        statement = statement.values(values)
    given = {"requests": [request.id for request in requests], "old": old, "new": new}
    written = {row.id for row in await tx.all(statement.returning(privacy_request.c.id), given)}
    moved = [request for request in requests if request.id in written]
    details = [{"from": old.value, "type": request.type.value} for request in moved]
    await audit.record_many(
        tx,
        viewer,
        [
            audit.Happened(f"request.{new.value}", one.subject_ref, "PrivacyRequest", one.id, code=code, details=said)
            for one, said in zip(moved, details, strict=True)
        ],
    )
    if new in SETTLED:
        for request in moved:
            tx.ring(CLOSE, request.id)
    return [replace(request, status=new) for request in moved]


async def touch(tx: Tx, request_id: UUID) -> None:
    """Let those who watch a request see that one of its tasks changed."""
    await tx.execute(_TOUCH, {"request_id": request_id})
