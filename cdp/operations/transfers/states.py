"""Where a deal stands: who may move it, and the one place that does: a conditional UPDATE with its audit event."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, select, update

from cdp.access.transfers import APPROVERS, MAKERS, MANAGE_SCOPE, READ_SCOPE, READERS
from cdp.access.viewer import SYSTEM, Actor, Viewer
from cdp.core.db import Tx
from cdp.core.errors import Conflict, Forbidden, NotFound
from cdp.core.platform import Platform
from cdp.operations import audit
from cdp.tables.transfer import TRANSFER_TRANSITIONS, TransferStatus, transfer, transfer_cohort

OBJECT = "Transfer"
MOVED = "transfer.moved"
"""What is told when a deal has something for a worker to do."""
ENDED = frozenset({TransferStatus.RECALLED, TransferStatus.CANCELLED})
_UNHURRIED = select(func.set_config("statement_timeout", "0", True))


class TransferMissing(NotFound):
    """There is no such transfer."""

    code = "TRANSFER_NOT_FOUND"


class TransferMoved(Conflict):
    """The transfer is not in a state that allows this."""

    code = "TRANSFER_MOVED"


class TransferRoleNeeded(Forbidden):
    """Privacy officers and administrators prepare transfers; supervisors may approve them."""

    code = "TRANSFER_ROLE_NEEDED"


class SecondPersonNeeded(Forbidden):
    """Somebody else has to do this, not the one who made the transfer."""

    code = "SECOND_PERSON_NEEDED"


def require_maker(viewer: Viewer, platform: Platform) -> UUID:
    """Who prepares a deal, freshly signed in. Raises MissingScope, TransferRoleNeeded, StepUpRequired."""
    return _require(viewer, platform, MAKERS)


def require_approver(viewer: Viewer, platform: Platform) -> UUID:
    """Who confirms and approves, freshly signed in. Raises MissingScope, TransferRoleNeeded, StepUpRequired."""
    return _require(viewer, platform, APPROVERS)


def require_operator(viewer: Viewer, platform: Platform) -> None:
    """Who deals with what was handed over: makers, and the platform's operator. Raises like ``require_maker``."""
    if viewer.actor is not Actor.SYSTEM:
        require_maker(viewer, platform)


def require_reader(viewer: Viewer) -> None:
    """Who sees deals; the operator of the platform does. Raises MissingScope, TransferRoleNeeded."""
    if viewer.actor is Actor.SYSTEM:
        return
    viewer.require_scope(READ_SCOPE)
    if viewer.actor is not Actor.STAFF or not viewer.roles & READERS:
        raise TransferRoleNeeded


def _require(viewer: Viewer, platform: Platform, roles: frozenset[str]) -> UUID:
    viewer.require_scope(MANAGE_SCOPE)
    if viewer.actor is not Actor.STAFF or viewer.staff_id is None or not viewer.roles & roles:
        raise TransferRoleNeeded
    viewer.require_fresh(platform.clock(), max_age_s=platform.settings.step_up_max_age_s)
    return viewer.staff_id


async def find(tx: Tx, transfer_id: UUID, *, lock: bool = False) -> Row[Any]:
    """The row of a deal; who locks it may take their time with its people. Raises TransferMissing.

    A deal has a million members: a statement about all of them takes longer than any read may.
    """
    statement = select(transfer).where(transfer.c.id == transfer_id)
    row = await tx.first(statement.with_for_update() if lock else statement)
    if row is None:
        raise TransferMissing
    if lock:
        await tx.execute(_UNHURRIED)
    return row


async def id_of(tx: Tx, reference: str) -> UUID:
    """The deal that people call by this reference. Raises TransferMissing."""
    found: UUID | None = await tx.scalar(select(transfer.c.id).where(transfer.c.reference == reference.upper()))
    if found is None:
        raise TransferMissing
    return found


async def cohorts(tx: Tx, transfer_id: UUID) -> list[Row[Any]]:
    """The cohorts of a deal in the order in which they take people."""
    mine = select(transfer_cohort).where(transfer_cohort.c.transfer_id == transfer_id)
    return [*await tx.all(mine.order_by(transfer_cohort.c.ordinal))]


def require_state(row: Row[Any], *allowed: TransferStatus) -> None:
    """Raise TransferMoved unless the deal stands at one of these."""
    if row.status not in allowed:
        raise TransferMoved(state=row.status.value)


async def move(
    tx: Tx,
    row: Row[Any],
    new: TransferStatus,
    *,
    viewer: Viewer = SYSTEM,
    code: str | None = None,
    details: Mapping[str, object] | None = None,
    wrote: Mapping[str, object] | None = None,
) -> None:
    """Change the status if it still is the one that was read, with further columns. Raises TransferMoved."""
    if new not in TRANSFER_TRANSITIONS[row.status]:
        raise TransferMoved(state=row.status.value)
    moved = await tx.execute(
        update(transfer)
        .where(transfer.c.id == row.id, transfer.c.status == row.status, transfer.c.version == row.version)
        .values(
            {
                **({"ended_at": func.now()} if new in ENDED else {}),
                **(wrote or {}),
                "status": new,
                "code": code,
                "version": transfer.c.version + 1,
                "updated_at": func.now(),
                "next_run_at": func.now(),
            }
        )
    )
    if moved.rowcount != 1:
        raise TransferMoved
    await tx.tell(MOVED)
    await note(tx, viewer, f"transfer.{new.value}", row.id, code=code, details={"from": row.status, **(details or {})})


async def note(
    tx: Tx,
    viewer: Viewer,
    action: str,
    transfer_id: UUID,
    *,
    subject_ref: UUID | None = None,
    code: str | None = None,
    details: Mapping[str, object] | None = None,
) -> UUID:
    """Write an entry of the custody ledger: an audit event about the deal, about somebody only if named. Its id."""
    return await audit.record(
        tx,
        viewer,
        action,
        subject_ref=subject_ref,
        object_type=OBJECT,
        object_id=transfer_id,
        code=code,
        details=details,
    )
