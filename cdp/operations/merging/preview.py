"""What a merge would do, before anybody does it: what speaks against it, what moves, what stands aside."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Text, func, literal, select, union_all

from cdp.access.viewer import Actor, Viewer
from cdp.access.writes import MERGE_SCOPE, MERGERS
from cdp.connectors.own.rows import holdings
from cdp.core.db import Tx
from cdp.core.errors import NotFound
from cdp.core.ids import CustomerId
from cdp.operations.merging import restrictive, safety
from cdp.operations.merging.aside import rows_aside, sign_ins
from cdp.operations.merging.merges import needs_second
from cdp.operations.merging.places import FLEETING, moving
from cdp.operations.merging.safety import Blocker
from cdp.operations.merging.states import MergeRoleNeeded, MergeWithItself, may_decide
from cdp.tables.customer import customer
from cdp.tables.merge import MergeStatus, customer_merge


@dataclass(frozen=True)
class Preview:
    """Rows by table; ``is_proposed`` by somebody already, ``may_carry_out`` whether the viewer's call would merge."""

    blockers: Sequence[Blocker]
    moved: Sequence[tuple[str, int]]
    aside: Sequence[tuple[str, int]]
    withdrawn: Sequence[restrictive.Said]
    needs_second: bool
    is_proposed: bool
    may_carry_out: bool


async def preview(tx: Tx, viewer: Viewer, keep: CustomerId, drop: CustomerId) -> Preview:
    """Look at two customers as the merge would. Raises MissingScope, MergeRoleNeeded, MergeWithItself, NotFound."""
    viewer.require_scope(MERGE_SCOPE)
    if viewer.actor is not Actor.STAFF or not viewer.roles & MERGERS:
        raise MergeRoleNeeded
    if keep == drop:
        raise MergeWithItself
    people = {row.id: row for row in await tx.all(select(customer).where(customer.c.id.in_((keep, drop))))}
    if len(people) != 2:
        raise NotFound
    pair = [people[keep], people[drop]]
    reasons = [*await safety.under_way(tx, pair), *await safety.apart(tx, *pair)]
    aside = await _aside(tx, keep, drop)
    known = {one.table: one.rows for one in await holdings(tx, drop)}
    for name in ("customer", *(table.name for table in FLEETING)):
        known.pop(name, None)
    moved = {name: rows - aside.get(name, 0) for name, rows in known.items()}
    two, proposed_by = await needs_second(tx, keep, drop), await _proposed_by(tx, keep, drop)
    return Preview(
        blockers=safety.blockers(reasons),
        moved=sorted((name, rows) for name, rows in moved.items() if rows),
        aside=sorted(aside.items()),
        withdrawn=await restrictive.conflicts(tx, keep, drop),
        needs_second=two,
        is_proposed=proposed_by is not None,
        may_carry_out=may_decide(viewer) and (not two or proposed_by not in (None, viewer.staff_id)),
    )


async def _aside(tx: Tx, keep: UUID, drop: UUID) -> dict[str, int]:
    both_sign_in = len(await sign_ins(tx, keep, drop)) > 1
    counts = [
        select(literal(table.name, Text).label("name"), func.count().label("rows")).where(which)
        for table in moving()
        if (which := rows_aside(table, keep, drop, both_sign_in=both_sign_in)) is not None
    ]
    return {row.name: row.rows for row in await tx.all(union_all(*counts)) if row.rows}


async def _proposed_by(tx: Tx, keep: UUID, drop: UUID) -> UUID | None:
    pair = (customer_merge.c.customer_id == keep, customer_merge.c.merged_id == drop)
    found = select(customer_merge.c.proposed_by_id).where(*pair, customer_merge.c.status == MergeStatus.PROPOSED)
    by: UUID | None = await tx.scalar(found)
    return by
