"""Steps that people carry out: asked once a key, answered later by somebody who looked, in words we can count on.

A kind that asks people opens a task here and says ``waiting`` until it is settled. What settles it is written by
``operations.manual``; here it becomes an outcome.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import Row, func, select
from sqlalchemy.dialects.postgresql import insert

from cdp.connectors.base import Code, Evidence, Outcome, State, Subject, System
from cdp.core.db import Role, Tx
from cdp.core.ids import new_id
from cdp.core.platform import Platform
from cdp.tables.manual import ManualOutcome, ManualStatus, manual_task
from cdp.tables.request import TaskStep, privacy_request

WAITING = "WAITING_FOR_A_PERSON"
NO_ANSWER = "NO_ANSWER"
# In a task that an operator opened anew: whoever is asked by mail gets another one.
ASK_AGAIN = "ASK_AGAIN"
NOT_POSSIBLE = "NOT_POSSIBLE"
REFUSED = "REFUSED_BY_A_PERSON"
HELD = "LEGAL_HOLD"
# Whoever settles a task wakes its step; this is for wake-ups that got lost.
ASK_AGAIN_S = 3600.0
RECORDS = "records"
_UNDONE: Mapping[ManualOutcome, tuple[State, str]] = {
    ManualOutcome.REFUSED: (State.REFUSED, REFUSED),
    ManualOutcome.HELD: (State.HELD, HELD),
    ManualOutcome.NOT_POSSIBLE: (State.UNSUPPORTED, NOT_POSSIBLE),
}


async def asked(
    platform: Platform,
    system: System,
    subject: Subject,
    step: TaskStep,
    key: str,
    *,
    within: timedelta,
    token_hash: bytes | None = None,
    then: Callable[[Tx, Row[Any]], Awaitable[None]] | None = None,
) -> Row[Any]:
    """The task of a key, opened if it is new; ``then`` runs in the transaction that opened it, and only there."""
    async with platform.db.transaction(Role.WORKER) as tx:
        mine = select(privacy_request.c.customer_id).where(privacy_request.c.id == subject.request_id)
        opened = await tx.first(
            insert(manual_task)
            .values(
                id=new_id(),
                customer_id=await tx.scalar(mine),
                request_id=subject.request_id,
                system_id=system.id,
                key=key,
                step=step,
                due_at=func.now() + within,
                token_hash=token_hash,
            )
            .on_conflict_do_nothing(index_elements=[manual_task.c.key])
            .returning(manual_task)
        )
        if opened is not None and then is not None:
            await then(tx, opened)
        found = opened or await tx.first(select(manual_task).where(manual_task.c.key == key))
    assert found is not None, "a task is never deleted while its step is open"
    return found


def outcome_of(task: Row[Any]) -> Outcome:
    """What the work of people came to."""
    if task.status is ManualStatus.LAPSED:
        return Outcome(State.FAILED, NO_ANSWER)
    if task.status is not ManualStatus.SETTLED:
        return Outcome(State.WAITING, WAITING, retry_after_s=ASK_AGAIN_S)
    evidence: dict[str, Evidence] = {"task": str(task.id)}
    if task.code:
        evidence["said"] = task.code
    if task.sha256:
        evidence["documentSha256"] = task.sha256.hex()
    count = task.records or 0
    records = {RECORDS: count} if count else {}
    if task.outcome in _UNDONE:
        state, code = _UNDONE[task.outcome]
        return Outcome(state, code, evidence)
    if task.step is TaskStep.VERIFY:
        # A second look: whatever was found then is left behind.
        if count:
            return Outcome(State.FAILED, Code.LEFT_BEHIND, evidence, records=records)
        return Outcome(State.DONE, Code.NOTHING_LEFT, evidence)
    code = Code.ERASED if task.outcome is ManualOutcome.DONE else Code.NOTHING_FOUND
    return Outcome(State.DONE, code, evidence, records=records)
