"""Where a merge stands, who may move it, and the one place that does: a conditional UPDATE.

Agents propose; supervisors and privacy officers carry out. Both need a fresh sign-in.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Row, select, update

from cdp.access.viewer import Actor, Viewer
from cdp.access.writes import DECIDERS, MERGE_SCOPE, MERGERS
from cdp.core.db import Tx
from cdp.core.errors import Conflict, Forbidden, InvalidInput, NotFound
from cdp.core.platform import Platform
from cdp.operations import audit
from cdp.operations.audit import Note
from cdp.tables.merge import MERGE_TRANSITIONS, MergeStatus, customer_merge

OBJECT = "CustomerMerge"


class MergeMissing(NotFound):
    """There is no such merge, or the customer it was about is gone."""

    code = "MERGE_NOT_FOUND"


class MergeWithItself(InvalidInput):
    """A customer can not be merged with themselves."""

    code = "MERGE_WITH_ITSELF"


class MergeMoved(Conflict):
    """The merge is not in a state that allows this."""

    code = "MERGE_MOVED"


class MergedFurther(Conflict):
    """The record was merged into another one since; undo that merge first."""

    code = "MERGED_FURTHER"


class MergeNotReversible(Conflict):
    """Something of the merged record was taken by somebody else since, so the two can not be put back."""

    code = "MERGE_NOT_REVERSIBLE"


class MergeRoleNeeded(Forbidden):
    """Supervisors and privacy officers merge customers and undo it; agents may propose."""

    code = "MERGE_ROLE_NEEDED"


class SecondPersonNeeded(Forbidden):
    """Somebody else has to carry this out, not the one who proposed it."""

    code = "SECOND_PERSON_NEEDED"


def require(viewer: Viewer, platform: Platform) -> UUID:
    """Who may propose or carry out, freshly signed in. Raises MissingScope, MergeRoleNeeded, StepUpRequired."""
    viewer.require_scope(MERGE_SCOPE)
    if viewer.actor is not Actor.STAFF or viewer.staff_id is None or not viewer.roles & MERGERS:
        raise MergeRoleNeeded
    viewer.require_fresh(platform.clock(), max_age_s=platform.settings.step_up_max_age_s)
    return viewer.staff_id


def may_decide(viewer: Viewer) -> bool:
    """Whether somebody may carry merges out and undo them."""
    return bool(viewer.roles & DECIDERS)


async def find(tx: Tx, merge_id: UUID, *, lock: bool = False) -> Row[Any]:
    """The ledger row. Raises MergeMissing."""
    statement = select(customer_merge).where(customer_merge.c.id == merge_id)
    row = await tx.first(statement.with_for_update() if lock else statement)
    if row is None:
        raise MergeMissing
    return row


async def move(tx: Tx, merge_id: UUID, old: MergeStatus, new: MergeStatus, *, wrote: Mapping[str, object]) -> None:
    """Move a merge from one state to another. Raises MergeMoved."""
    if new not in MERGE_TRANSITIONS[old]:
        raise MergeMoved
    here = (customer_merge.c.id == merge_id, customer_merge.c.status == old)
    moved = await tx.execute(
        update(customer_merge).where(*here).values(status=new, version=customer_merge.c.version + 1, **wrote)
    )
    if moved.rowcount != 1:
        raise MergeMoved


async def record(
    tx: Tx,
    viewer: Viewer,
    action: str,
    merge_id: UUID,
    *,
    about: UUID,
    note: Note | None = None,
    details: Mapping[str, object] | None = None,
) -> None:
    """Write what happened to a merge into the log, about one of the two."""
    await audit.record(
        tx,
        viewer,
        action,
        subject_ref=about,
        object_type=OBJECT,
        object_id=merge_id,
        details=details,
        note=note,
    )
