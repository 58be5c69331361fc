"""Erasures that a legal hold keeps from their end: what it keeps back, and how they go on by themselves after it.

Each step asks for holds in the transaction that settles it, under the request's lock; whoever ends a hold takes that
lock first. So either the step sees no hold any more, or the end of the hold sees the step.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Row, Uuid, any_, bindparam, delete, func, select, update

from cdp.access.viewer import Viewer
from cdp.connectors.base import Evidence, Outcome, Retained, State, System
from cdp.connectors.holds import HOLD_PLACED, HOLD_RELEASED, covering, effective, is_effective, is_of_a_hold
from cdp.core.clock import iso
from cdp.core.db import Tx
from cdp.core.ids import CustomerId, RequestId
from cdp.core.sign import Document
from cdp.operations import moves
from cdp.operations.moves import RequestRow
from cdp.operations.requests import tasks
from cdp.operations.requests.progress import Standing
from cdp.tables.hold import HoldStatus, legal_hold
from cdp.tables.request import RequestStatus, TaskStatus, TaskStep, privacy_request, request_task
from cdp.tables.system import system

# Kinds that know of holds themselves; what others say of holds is about their own.
AWARE = frozenset({"own", "paper"})


async def keeps(tx: Tx, known: System, customer_id: UUID | None) -> Outcome | None:
    """The outcome of an erase step at a system that a hold keeps untouched; None where none does."""
    if customer_id is None:
        return None
    named = await tx.scalar(select(system.c.categories).where(system.c.id == known.id))
    held = covering(await effective(tx, customer_id), named) if named else ()
    if not held:
        return None
    return Outcome(State.HELD, HOLD_PLACED, {"held": [hold.category.value for hold in held]})


def said_by_others(known: System, outcome: Outcome) -> Outcome:
    """What a system says of holds of its own is not what we say of ours: nobody here would ever release it."""
    if outcome.code in (HOLD_PLACED, HOLD_RELEASED) and known.kind not in AWARE:
        return Outcome(outcome.state, "LEGAL_HOLD", outcome.evidence, outcome.retained, outcome.records)
    return outcome


async def free(tx: Tx, request: RequestRow, standing: Sequence[Standing]) -> frozenset[UUID]:
    """Those of a request's held tasks for which a hold that kept them is over."""
    held = [task.id for task in standing if task.is_held]
    if not held or request.customer_id is None:
        return frozenset(held)
    now = {hold.category.value for hold in await effective(tx, request.customer_id)}
    found = await tx.all(select(request_task.c.id, request_task.c.evidence).where(request_task.c.id.in_(held)))
    return frozenset(row.id for row in found if not now.issuperset(_categories(row.evidence)))


def _categories(evidence: Mapping[str, Any] | None) -> Sequence[str]:
    return ((evidence or {}).get("evidence") or {}).get("held") or ()


async def resume(tx: Tx, viewer: Viewer, request: RequestRow, standing: Sequence[Standing]) -> bool:
    """Go on with a request that was held: other systems first, our own tables in their turn after the last letter.

    False when every hold still stands, or the request is not held.
    """
    released = await free(tx, request, standing)
    if request.status is not RequestStatus.HELD or not released:
        return False
    others = frozenset(task.id for task in standing if task.id in released and not task.is_own)
    status = RequestStatus.ERASING if others else RequestStatus.VERIFYING
    if not await moves.move(tx, request, status, viewer=viewer, code=HOLD_RELEASED):
        return False
    await tx.execute(
        update(request_task)
        .where(request_task.c.id.in_(released - others), request_task.c.status == TaskStatus.HELD)
        .values(code=HOLD_RELEASED)
    )
    await tasks.run_again(tx, others)
    await _verify_anew(tx, request.id)
    tx.ring(moves.ADVANCE, request.id)
    return True


async def _verify_anew(tx: Tx, request_id: RequestId) -> None:
    """What our own tables' verification once said is no longer the whole."""
    own = select(system.c.id).where(system.c.kind == "own")
    await tx.execute(
        delete(request_task).where(
            request_task.c.request_id == request_id,
            request_task.c.step == TaskStep.VERIFY,
            request_task.c.system_id.in_(own),
        )
    )


async def resume_of(tx: Tx, viewer: Viewer, customer_id: CustomerId | UUID) -> int:
    """Go on with every request of a customer that waits for a hold which is over; returns how many."""
    found = await tx.all(
        select(privacy_request.c.id).where(
            privacy_request.c.customer_id == customer_id, privacy_request.c.status == RequestStatus.HELD
        )
    )
    resumed = 0
    for row in found:  # one open erasure a customer
        request = await moves.lock(tx, row.id)
        if request is not None:
            resumed += await resume(tx, viewer, request, await tasks.of_request(tx, request.id))
    return resumed


async def lock_of(tx: Tx, customer_id: CustomerId | UUID) -> None:
    """Lock a customer's erasures, so that none of their steps is settled meanwhile."""
    mine = select(privacy_request.c.id).where(privacy_request.c.customer_id == customer_id)
    await tx.all(mine.order_by(privacy_request.c.id).with_for_update())


_IS_OWN_ERASE = (
    request_task.c.step == TaskStep.ERASE,
    request_task.c.system_id.in_(select(system.c.id).where(system.c.kind == "own")),
)
_OF_MANY = request_task.c.request_id == any_(bindparam("requests", type_=ARRAY(Uuid)))
# Built once: every deletion asks.
_TOLD = select(request_task.c.evidence).where(request_task.c.request_id == bindparam("request"), *_IS_OWN_ERASE)
_AGAIN = (
    update(request_task)
    .where(_OF_MANY, *_IS_OWN_ERASE, request_task.c.status == TaskStatus.HELD, request_task.c.code == HOLD_RELEASED)
    .values(status=TaskStatus.PENDING, attempt=0, next_run_at=func.now(), settled_at=None)
    .returning(request_task.c.id, request_task.c.request_id)
)
_HOLDS_OF = (
    select(legal_hold.c.subject_ref, legal_hold.c.category, legal_hold.c.placed_at, legal_hold.c.ended_at)
    .add_columns(is_effective().label("is_effective"))
    .where(
        legal_hold.c.subject_ref == any_(bindparam("subject_refs", type_=ARRAY(Uuid))),
        legal_hold.c.status != HoldStatus.REFUSED,
    )
    .order_by(legal_hold.c.placed_at, legal_hold.c.id)
)


async def again(tx: Tx, request_ids: Sequence[RequestId]) -> set[RequestId]:
    """Let held erasures of our own tables run once more; what they did before stays in their evidence.

    Returns the requests that had one.
    """
    rows = await tx.all(_AGAIN, {"requests": list(request_ids)})
    for row in rows:
        tx.ring(tasks.RUN, row.id)
    return {RequestId(row.request_id) for row in rows}


async def with_earlier(tx: Tx, request_id: RequestId, outcome: Outcome) -> Outcome:
    """Add what our own erasure did before a hold let it finish: the certificate tells all of it."""
    told = await tx.scalar(_TOLD, {"request": request_id})
    if not told or "held" not in (told.get("evidence") or {}):
        return outcome
    records = dict(told.get("records") or {})
    for name, count in outcome.records.items():
        records[name] = records.get(name, 0) + count
    retained = {one.collection: one for one in (*_retained(told), *outcome.retained)}
    evidence: dict[str, Evidence] = {**outcome.evidence, "before": told["evidence"].get("tables", {})}
    return Outcome(outcome.state, outcome.code, evidence, tuple(retained.values()), records)


def _retained(told: Mapping[str, Any]) -> list[Retained]:
    found = [
        Retained(one["collection"], one["records"], one["basis"], _day(one["until"]))
        for one in told.get("retained") or ()
    ]
    return [one for one in found if not is_of_a_hold(one)]


def _day(value: str | None) -> date | None:
    return date.fromisoformat(value) if value else None


async def documents(tx: Tx, requests: Sequence[RequestRow]) -> dict[RequestId, list[Document]]:
    """What the certificate of each request says of holds since it was made: category, from when and until when.

    Never why.
    """
    found: dict[UUID, list[Row[Any]]] = {}
    for row in await tx.all(_HOLDS_OF, {"subject_refs": [request.subject_ref for request in requests]}):
        found.setdefault(row.subject_ref, []).append(row)
    return {
        request.id: [
            {
                "category": row.category.value,
                "heldFrom": iso(row.placed_at),
                "heldUntil": iso(row.ended_at) if row.ended_at else None,
            }
            for row in found.get(request.subject_ref, ())
            if row.is_effective or (row.ended_at is not None and row.ended_at >= request.requested_at)
        ]
        for request in requests
    }
