"""Take a merge apart: each row goes back to the record it came from, also what came in meanwhile by its identities.

Lines of the ledger say what the merge moved; ``origin_identity_id`` says it of everything that came since. Rows that
stand under another row go where that one goes. Where a row would be left pointing across, it gets a note of its own
about where it was collected. A withdrawal made while the two were one holds for both.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Table, delete, exists, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from cdp.access.viewer import Viewer
from cdp.core.db import Tx
from cdp.core.ids import CustomerId, new_id
from cdp.core.platform import Platform
from cdp.operations import suppression, values
from cdp.operations.accounts import sessions
from cdp.operations.audit import Note
from cdp.operations.collection import check_version, collect
from cdp.operations.merging import ledger, restrictive, safety
from cdp.operations.merging.ledger import Book
from cdp.operations.merging.merges import subject_of
from cdp.operations.merging.places import CONTACTS, by_origin, families, moving
from cdp.operations.merging.states import (
    MergedFurther,
    MergeMissing,
    MergeMoved,
    MergeNotReversible,
    MergeRoleNeeded,
    find,
    may_decide,
    move,
    record,
    require,
)
from cdp.tables.account import account
from cdp.tables.consent import consent
from cdp.tables.customer import customer, identity
from cdp.tables.merge import MergeEffect, MergeStatus, customer_merge, customer_merge_row
from cdp.tables.policy import collection


async def unmerge(
    tx: Tx, viewer: Viewer, platform: Platform, merge_id: UUID, *, reason: str, expected_version: int | None = None
) -> UUID:
    """Undo a merge, or withdraw a proposal; returns the ledger row's id.

    Locks the customer that stayed. Raises MissingScope, MergeRoleNeeded, StepUpRequired, MergeMissing, MergeMoved,
    StaleVersion, MergedFurther, MergeNotReversible, and what ``safety`` names while something is under way.
    """
    staff_id = require(viewer, platform)
    why = values.text(reason, "reason", longest=2000, lines=True)
    known = await find(tx, merge_id)
    people = await safety.locked(tx, known.customer_id)
    row = await find(tx, merge_id, lock=True)
    if row.customer_id not in people:
        raise MergeMissing
    check_version(row.version, expected_version)
    keep = people[row.customer_id]
    ended = {"undo_reason": why, "undone_by_id": staff_id, "undone_at": platform.clock()}
    if row.status is MergeStatus.PROPOSED:
        await move(tx, merge_id, MergeStatus.PROPOSED, MergeStatus.WITHDRAWN, wrote=ended)
        note = Note(CustomerId(keep.id), why)
        await record(tx, viewer, "customer.merge_withdrawn", merge_id, about=keep.audit_ref, note=note)
        return merge_id
    if not may_decide(viewer):
        raise MergeRoleNeeded
    if row.status is not MergeStatus.MERGED:
        raise MergeMoved
    if row.customer_id != row.kept_id:
        raise MergedFurther
    for problem in await safety.under_way(tx, [keep]):
        raise problem
    book = Book(merge_id, CustomerId(row.customer_id), CustomerId(row.merged_id))
    try:
        async with tx.connection.begin_nested():
            await split(tx, viewer, book, row.merged_at, now=platform.clock())
    except IntegrityError as error:
        raise MergeNotReversible from error
    await move(tx, merge_id, MergeStatus.MERGED, MergeStatus.UNDONE, wrote=ended)
    await record(tx, viewer, "customer.unmerged", merge_id, about=keep.audit_ref, note=Note(book.keep, why))
    await record(tx, viewer, "customer.unmerged", merge_id, about=row.merged_ref)
    return merge_id


async def split(tx: Tx, viewer: Viewer, book: Book, merged_at: datetime, *, now: datetime) -> None:
    """Write both records as they were, with what came since; both are signed out everywhere."""
    for customer_id in (book.keep, book.drop):
        await sessions.end_everywhere(tx, customer_id=customer_id, now=now)
    made = [row.row_id for table, row in await ledger.lines_of(tx, book, MergeEffect.ADDED) if table is consent]
    withdrawn = await restrictive.withdrawn_since(tx, book.keep, merged_at, but=made)
    if await ledger.put_back(tx, book, customer) != 1:
        raise MergeNotReversible
    await _give_back(tx, book)
    await _keep_families_together(tx, book)
    await _part_origins(tx, book)
    await _put_back(tx, book)
    await _revert(tx, book)
    await _restore_primaries(tx, book)
    await _still_withdrawn(tx, viewer, book, withdrawn, now=now)
    bump = {"version": customer.c.version + 1, "updated_at": func.now()}
    await tx.execute(update(customer).where(customer.c.id == book.keep).values(**bump))
    # What stood on the list may have been the other's.
    await suppression.doubt(tx, book.keep, only_marked=True)
    await ledger.clear(tx, book.merge_id)


async def _give_back(tx: Tx, book: Book) -> None:
    """Rows of the ledger's lines, and rows that came since by an identity of who goes."""
    theirs = list(await tx.all(ledger.rows_of(book, identity, MergeEffect.MOVED)))
    names = [row.row_id for row in theirs]
    dated = set(by_origin())
    for table in moving():
        which: ColumnElement[bool] = table.c.id.in_(ledger.rows_of(book, table, MergeEffect.MOVED))
        if table in dated:
            which = or_(which, table.c.origin_identity_id.in_(names))
        here = table.c.customer_id == book.keep
        await tx.execute(update(table).where(here, which).values(customer_id=book.drop))
    # Lines of earlier merges go with these.
    mine = select(customer_merge.c.id).where(customer_merge.c.customer_id == book.drop)
    lines = update(customer_merge_row).where(customer_merge_row.c.merge_id.in_(mine))
    await tx.execute(lines.values(customer_id=book.drop))


async def _keep_families_together(tx: Tx, book: Book) -> None:
    """A row under another one belongs to whom that one belongs to: lines of an order, events of a device."""
    both = (book.keep, book.drop)
    for child, key in families():
        parent = key.column.table.alias("parent")
        await tx.execute(
            update(child)
            .where(
                key.parent == parent.c.id,
                child.c.customer_id.in_(both),
                parent.c.customer_id.in_(both),
                child.c.customer_id != parent.c.customer_id,
            )
            .values(customer_id=parent.c.customer_id)
        )


async def _part_origins(tx: Tx, book: Book) -> None:
    """No row of one says that it came by an identity, or was collected with the data, of the other."""
    for mine, other in ((book.drop, book.keep), (book.keep, book.drop)):
        origin = select(customer.c.origin_identity_id).where(customer.c.id == mine).scalar_subquery()
        strange = select(identity.c.id).where(identity.c.customer_id == other)
        for table in by_origin():
            across = (table.c.customer_id == mine, table.c.origin_identity_id.in_(strange))
            await tx.execute(update(table).where(*across).values(origin_identity_id=origin))
        await _copy_collections(tx, mine, other)


async def _copy_collections(tx: Tx, mine: UUID, other: UUID) -> None:
    """Give rows that were collected together with rows of the other record a note of their own about it."""
    used = [table for table in moving() if "collection_id" in table.columns]
    needed = {
        row.collection_id
        for table in used
        for row in await tx.all(
            select(table.c.collection_id)
            .join(collection, collection.c.id == table.c.collection_id)
            .where(table.c.customer_id == mine, collection.c.customer_id == other)
            .distinct()
        )
    }
    if not needed:
        return
    origin = await tx.scalar(select(customer.c.origin_identity_id).where(customer.c.id == mine))
    for row in (await tx.execute(select(collection).where(collection.c.id.in_(needed)))).mappings().all():
        copy = {**row, "id": new_id(), "customer_id": mine, "origin_identity_id": origin}
        await tx.execute(insert(collection).values(copy))
        for table in used:
            here = (table.c.customer_id == mine, table.c.collection_id == row["id"])
            await tx.execute(update(table).where(*here).values(collection_id=copy["id"]))


async def _put_back(tx: Tx, book: Book) -> None:
    """What was put aside, parents first. Raises MergeNotReversible where somebody took the name of a sign-in."""
    for table in moving():
        lines = await ledger.put_back(tx, book, table)
        if table is account and lines == 0 and await tx.scalar(_any_parked(book, account)):
            raise MergeNotReversible


def _any_parked(book: Book, table: Table) -> Any:  # noqa: ANN401  # a select of one boolean
    return select(exists(ledger.rows_of(book, table, MergeEffect.PARKED)))


async def _revert(tx: Tx, book: Book) -> None:
    """Undo what the merge made and changed, unless somebody changed it again since."""
    made = await ledger.lines_of(tx, book, MergeEffect.ADDED)
    for table, row in sorted(made, key=lambda one: one[0] is collection):  # consents first: they point there
        await tx.execute(delete(table).where(table.c.id == row.row_id))
    for table, row in await ledger.lines_of(tx, book, MergeEffect.CHANGED):
        changed: Mapping[str, Any] = row.shown
        for name, value in changed.items():
            column = table.c[name]
            still = (table.c.id == row.row_id, func.to_jsonb(column) == func.to_jsonb(value))
            await tx.execute(update(table).where(*still).values({name: row.kept[name]}))


async def _restore_primaries(tx: Tx, book: Book) -> None:
    """Who was primary before is again; who lost the primary one to what went back gets the oldest proven one."""
    for table in CONTACTS:
        demoted = ledger.rows_of(book, table, MergeEffect.MOVED).where(customer_merge_row.c.kept.is_not(None))
        had_one = await tx.scalar(select(exists(demoted)))
        if not had_one:
            continue
        if not await _has_primary(tx, table, book.drop):
            await tx.execute(update(table).where(table.c.id.in_(demoted)).values(is_primary=True))
        if not await _has_primary(tx, table, book.keep):
            mine = table.c.customer_id == book.keep
            heir = (
                select(table.c.id).where(mine).order_by(table.c.verified_at.is_(None), table.c.created_at, table.c.id)
            )
            await tx.execute(update(table).where(table.c.id == heir.limit(1).scalar_subquery()).values(is_primary=True))


async def _has_primary(tx: Tx, table: Table, customer_id: UUID) -> bool:
    primary = exists().where(table.c.customer_id == customer_id, table.c.is_primary)
    return bool(await tx.scalar(select(primary)))


async def _still_withdrawn(
    tx: Tx, viewer: Viewer, book: Book, withdrawn: list[restrictive.Said], *, now: datetime
) -> None:
    """Say no on both sides to what was withdrawn while they were one."""
    people = await safety.locked(tx, book.keep, book.drop)
    for customer_id in (book.keep, book.drop):
        open_ = await restrictive.given(tx, customer_id, withdrawn)
        if open_:
            origin = await collect(tx, viewer, subject_of(people[customer_id]), now=now)
            await restrictive.withdraw(tx, origin, open_, wording=restrictive.ON_SPLIT)
