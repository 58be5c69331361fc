"""Merge two records of one customer: everything of one goes to the other, in one transaction, line by line in a ledger.

Whose sign-in could show them somebody else's record is a matter for two people: when both records have one, and when
one has and nothing proven says that they are the same person. The first call proposes, the second one carries out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, delete, exists, func, insert, or_, select, update

from cdp.access.viewer import Viewer
from cdp.core.db import Tx
from cdp.core.errors import NotFound
from cdp.core.ids import CustomerId, new_id
from cdp.core.platform import Platform
from cdp.operations import suppression, values
from cdp.operations.accounts import sessions
from cdp.operations.audit import Note
from cdp.operations.collection import Subject, check_version, collect
from cdp.operations.merging import ledger, restrictive, safety
from cdp.operations.merging.aside import ONE_OF_EACH, rows_aside, sign_ins
from cdp.operations.merging.duplicates import are_proven
from cdp.operations.merging.ledger import Book
from cdp.operations.merging.places import CONTACTS, FLEETING, moving
from cdp.operations.merging.states import MergeWithItself, SecondPersonNeeded, may_decide, move, record, require
from cdp.tables.consent import consent, preference
from cdp.tables.customer import customer
from cdp.tables.datamap import subject_column
from cdp.tables.merge import MergeEffect, MergeStatus, customer_merge, customer_merge_row
from cdp.tables.policy import collection

NAMES = ("given_name", "family_name", "organisation_name")


@dataclass(frozen=True)
class Wanted:
    """Which record goes into which, why, and in which version their reader saw them."""

    keep: CustomerId
    drop: CustomerId
    reason: str = field(repr=False)
    case_ref: str | None = None
    keep_version: int | None = None
    drop_version: int | None = None


async def merge(tx: Tx, viewer: Viewer, platform: Platform, wanted: Wanted) -> UUID:
    """Merge one customer into another, or propose it where the viewer may not alone; returns the ledger row's id.

    Locks both customers. Raises MissingScope, MergeRoleNeeded, StepUpRequired, MergeWithItself, NotFound, StaleVersion,
    SecondPersonNeeded, and what ``safety`` names.
    """
    staff_id = require(viewer, platform)
    if wanted.keep == wanted.drop:
        raise MergeWithItself(field="dropId")
    reason = values.text(wanted.reason, "reason", longest=2000, lines=True)
    case_ref = values.optional(lambda given: values.text(given, "caseRef", longest=100), wanted.case_ref)
    people = await safety.locked(tx, wanted.keep, wanted.drop)
    if len(people) != 2:
        raise NotFound
    keep, drop = people[wanted.keep], people[wanted.drop]
    check_version(keep.version, wanted.keep_version)
    check_version(drop.version, wanted.drop_version)
    for problem in [*await safety.under_way(tx, [keep, drop]), *await safety.apart(tx, keep, drop)]:
        raise problem
    proposal = await _proposal(tx, wanted)
    is_second = proposal is not None and proposal.proposed_by_id != staff_id
    alone = not await needs_second(tx, wanted.keep, wanted.drop)
    if may_decide(viewer) and (alone or is_second):
        merge_id = proposal.id if proposal is not None else await _propose(tx, wanted, staff_id, reason, case_ref)
        await _carry_out(tx, viewer, platform, merge_id, (keep, drop))
        return merge_id
    if proposal is None:
        merge_id = await _propose(tx, wanted, staff_id, reason, case_ref)
        note = Note(wanted.keep, reason)
        await record(tx, viewer, "customer.merge_proposed", merge_id, about=keep.audit_ref, note=note)
        return merge_id
    if may_decide(viewer):
        raise SecondPersonNeeded
    return UUID(str(proposal.id))


async def needs_second(tx: Tx, keep: UUID, drop: UUID) -> bool:
    """Whether two people have to agree: a sign-in would come to show a record that may be somebody else's."""
    can_sign_in = await sign_ins(tx, keep, drop)
    return len(can_sign_in) > 1 or (bool(can_sign_in) and not await are_proven(tx, keep, drop))


async def _proposal(tx: Tx, wanted: Wanted) -> Row[Any] | None:
    return await tx.first(
        select(customer_merge).where(
            customer_merge.c.customer_id == wanted.keep,
            customer_merge.c.merged_id == wanted.drop,
            customer_merge.c.status == MergeStatus.PROPOSED,
        )
    )


async def _propose(tx: Tx, wanted: Wanted, staff_id: UUID, reason: str, case_ref: str | None) -> UUID:
    merge_id = new_id()
    await tx.execute(
        insert(customer_merge).values(
            id=merge_id,
            customer_id=wanted.keep,
            kept_id=wanted.keep,
            merged_id=wanted.drop,
            reason=reason,
            case_ref=case_ref,
            proposed_by_id=staff_id,
        )
    )
    return merge_id


async def _carry_out(
    tx: Tx, viewer: Viewer, platform: Platform, merge_id: UUID, pair: tuple[Row[Any], Row[Any]]
) -> None:
    now, (keep, drop) = platform.clock(), pair
    book = Book(merge_id, CustomerId(keep.id), CustomerId(drop.id))
    both_sign_in = len(await sign_ins(tx, book.keep, book.drop)) > 1
    await sessions.end_everywhere(tx, customer_id=book.drop, now=now)
    for table in FLEETING:
        await tx.execute(delete(table).where(table.c.customer_id == book.drop))
    conflicts = await restrictive.conflicts(tx, book.keep, book.drop)
    await _withdraw_proposals(tx, book)
    await _prove(tx, book)
    await _put_aside(tx, book, both_sign_in=both_sign_in)
    await ledger.park(tx, book, customer, customer.c.id == book.drop)
    await _hand_over(tx, book)
    await _restrict(tx, viewer, book, keep, conflicts=conflicts, now=now)
    await _fill(tx, book, keep, drop)
    if drop.suppression is not None:
        await suppression.doubt(tx, book.keep)
    # What pointed to it points to the other one; its own links to where it came from are checked at the commit.
    await tx.execute(delete(customer).where(customer.c.id == book.drop))
    counts = await ledger.counts(tx, book.merge_id)
    wrote = {"merged_at": now, "merged_by_id": viewer.staff_id, "merged_ref": drop.audit_ref, "counts": counts}
    await move(tx, book.merge_id, MergeStatus.PROPOSED, MergeStatus.MERGED, wrote=wrote)
    details = {effect: sum(tables.values()) for effect, tables in counts.items()}
    reason = await tx.scalar(select(customer_merge.c.reason).where(customer_merge.c.id == book.merge_id))
    note = Note(book.keep, reason)
    await record(tx, viewer, "customer.merged", merge_id, about=keep.audit_ref, note=note, details=details)
    await record(tx, viewer, "customer.merged", merge_id, about=drop.audit_ref)


async def _withdraw_proposals(tx: Tx, book: Book) -> None:
    """Other proposals about the record that goes have lost their subject."""
    about = or_(customer_merge.c.customer_id == book.drop, customer_merge.c.merged_id == book.drop)
    others = (customer_merge.c.id != book.merge_id, customer_merge.c.status == MergeStatus.PROPOSED)
    await tx.execute(update(customer_merge).where(about, *others).values(status=MergeStatus.WITHDRAWN))


async def _prove(tx: Tx, book: Book) -> None:
    """A contact that both have is proven if one of them proved it."""
    for table, name in ONE_OF_EACH.items():
        if table is preference:
            continue
        twin = table.alias("twin")
        same = (twin.c.customer_id == book.drop, twin.c[name] == table.c[name], twin.c.verified_at.is_not(None))
        mine = (table.c.customer_id == book.keep, table.c.verified_at.is_(None))
        for row in await tx.all(select(table.c.id, twin.c.verified_at).where(*mine, *same)):  # hardly ever one
            changed = update(table).where(table.c.id == row.id).returning(func.to_jsonb(table.c.verified_at))
            proven = await tx.scalar(changed.values(verified_at=row.verified_at))
            was, now = {"verified_at": None}, {"verified_at": proven}
            await ledger.note(tx, book, MergeEffect.CHANGED, table, row.id, kept=was, shown=now)


async def _put_aside(tx: Tx, book: Book, *, both_sign_in: bool) -> None:
    """Keep whole in the ledger what can not live beside the other record's rows; children go first."""
    for table in reversed(list(moving())):
        which = rows_aside(table, book.keep, book.drop, both_sign_in=both_sign_in)
        if which is not None and await ledger.park(tx, book, table, which):
            await tx.execute(delete(table).where(which))


async def _hand_over(tx: Tx, book: Book) -> None:
    """Give every other row to the record that stays; one contact of a kind is primary, that of who stays."""
    for table in moving():
        changes: dict[str, Any] = {"customer_id": book.keep}
        is_demoted = table in CONTACTS and await _has_primary(tx, table, book.keep)
        if not await ledger.note_moving(tx, book, table, is_demoted=is_demoted):
            continue
        if is_demoted:
            changes["is_primary"] = False
        await tx.execute(update(table).where(table.c.customer_id == book.drop).values(changes))
    theirs = customer_merge_row.c.customer_id == book.drop
    await tx.execute(update(customer_merge_row).where(theirs).values(customer_id=book.keep))


async def _has_primary(tx: Tx, table: Any, customer_id: UUID) -> bool:  # noqa: ANN401  # a table of contacts
    primary = exists().where(table.c.customer_id == customer_id, table.c.is_primary)
    return bool(await tx.scalar(select(primary)))


async def _restrict(
    tx: Tx, viewer: Viewer, book: Book, keep: Row[Any], *, conflicts: list[restrictive.Said], now: datetime
) -> None:
    """Say no where one of the two said no, unless that is the newest word already."""
    open_ = await restrictive.given(tx, book.keep, conflicts)
    if not open_:
        return
    subject = subject_of(keep)
    origin = await collect(tx, viewer, subject, now=now)
    await ledger.note(tx, book, MergeEffect.ADDED, collection, origin["collection_id"])
    for row_id in await restrictive.withdraw(tx, origin, open_, wording=restrictive.ON_MERGE):
        await ledger.note(tx, book, MergeEffect.ADDED, consent, row_id)


async def _fill(tx: Tx, book: Book, keep: Row[Any], drop: Row[Any]) -> None:
    """Take over what the record that stays does not know; a name only as a whole."""
    nameless = all(getattr(keep, name) is None for name in NAMES)
    wanted = ("country", "locale", *(NAMES if nameless else ()))
    filled: Mapping[str, Any] = {
        name: getattr(drop, name) for name in wanted if getattr(keep, name) is None and getattr(drop, name) is not None
    }
    if filled:
        was = dict.fromkeys(filled)
        await ledger.note(tx, book, MergeEffect.CHANGED, customer, book.keep, kept=was, shown=dict(filled))
    bump = {"version": customer.c.version + 1, "updated_at": func.now()}
    await tx.execute(update(customer).where(subject_column(customer) == book.keep).values(**filled, **bump))


def subject_of(row: Row[Any]) -> Subject:
    """A locked customer as writes know them."""
    return Subject(CustomerId(row.id), row.audit_ref, row.origin_identity_id, row.brand_id, row.version, row.country)
