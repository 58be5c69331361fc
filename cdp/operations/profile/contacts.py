"""Ways to reach a customer: add, change, remove, make primary; e-mail addresses, phone numbers, postal addresses.

One of each kind is primary while there is any: the first one becomes it by itself, and when it goes the oldest verified
one follows. A proven e-mail is never displaced by one nobody has proven, and changing where our mail goes needs a fresh
sign-in (RFC 9470): otherwise an unattended browser would be enough to take an account over.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import RowMapping, Table, delete, exists, insert, select, update

from cdp.access.viewer import Viewer
from cdp.core.db import Tx
from cdp.core.errors import Conflict, InvalidInput, NotFound
from cdp.core.ids import new_id
from cdp.operations import audit, suppression
from cdp.operations.collection import Subject, check_version, collect, lock
from cdp.operations.profile.contact_values import Columns, ContactKind, ContactValue, columns_of, identifier, kind_of
from cdp.tables.account import account
from cdp.tables.contact import email_address, phone_number, postal_address

MOST_OF_A_KIND = 25
TABLES: Mapping[ContactKind, Table] = {
    ContactKind.EMAIL: email_address,
    ContactKind.PHONE: phone_number,
    ContactKind.ADDRESS: postal_address,
}


class ContactExists(Conflict):
    """This contact is already there."""

    code = "CONTACT_EXISTS"


class TooManyContacts(Conflict):
    """There are too many contacts of this kind; remove one first."""

    code = "TOO_MANY_CONTACTS"


class LastEmail(Conflict):
    """This is the last proven e-mail of your account; add and prove another one first."""

    code = "LAST_EMAIL"


class UnprovenEmail(Conflict):
    """This e-mail is not proven yet, and can not take the place of one that is."""

    code = "UNPROVEN_EMAIL"


class OtherKind(InvalidInput):
    """This contact is of another kind than the value given for it."""

    code = "OTHER_KIND_OF_CONTACT"


@dataclass(frozen=True)
class Contact:
    """Which contact: kind and row."""

    kind: ContactKind
    id: UUID


async def add_contact(
    tx: Tx, viewer: Viewer, value: ContactValue, *, now: datetime, max_age_s: int, primary: bool = False
) -> Contact:
    """Add a contact, unverified; the first of its kind is primary.

    Raises ContactExists, TooManyContacts, the refusals of ``values``, and with ``primary`` those of
    ``set_primary_contact``.
    """
    subject = await lock(tx, viewer)
    kind, columns = kind_of(value), columns_of(value, country=subject.country)
    present = await _all(tx, subject, kind)
    if len(present) >= MOST_OF_A_KIND:
        raise TooManyContacts(limit=MOST_OF_A_KIND)
    _refuse_twin(kind, columns, present)
    added = Contact(kind, new_id())
    origin = await collect(tx, viewer, subject, now=now)
    await tx.execute(insert(TABLES[kind]).values(id=added.id, **origin, **columns, is_primary=not present))
    await suppression.doubt(tx, subject.customer_id)
    await _record(tx, viewer, subject, "contact.added", added)
    if primary and present:
        await set_primary_contact(tx, viewer, added, now=now, max_age_s=max_age_s)
    return added


async def update_contact(
    tx: Tx,
    viewer: Viewer,
    contact: Contact,
    value: ContactValue,
    *,
    now: datetime,
    max_age_s: int,
    expected_version: int | None = None,
) -> Contact:
    """Replace what a contact says; a changed one is unverified again.

    Raises NotFound, OtherKind, StaleVersion, ContactExists, and for a proven primary e-mail UnprovenEmail.
    """
    if kind_of(value) is not contact.kind:
        raise OtherKind(expected=contact.kind.value)
    subject = await lock(tx, viewer)
    present = await _all(tx, subject, contact.kind)
    found = _one(present, contact)
    check_version(found["version"], expected_version)
    columns = columns_of(value, country=subject.country)
    _refuse_twin(contact.kind, columns, [row for row in present if row["id"] != contact.id])
    table = TABLES[contact.kind]
    if contact.kind is ContactKind.EMAIL:
        viewer.require_fresh(now, max_age_s=max_age_s)
    same = identifier(contact.kind, columns) == identifier(contact.kind, found)
    if contact.kind is ContactKind.EMAIL and not same and found["is_primary"] and found["verified_at"] is not None:
        raise UnprovenEmail
    origin = await collect(tx, viewer, subject, now=now)
    await tx.execute(
        update(table)
        .where(table.c.id == contact.id, table.c.customer_id == subject.customer_id)
        .values(
            **columns,
            verified_at=found["verified_at"] if same else None,
            version=table.c.version + 1,
            collection_id=origin["collection_id"],
        )
    )
    if not same:
        await suppression.doubt(tx, subject.customer_id)
    await _record(tx, viewer, subject, "contact.updated", contact)
    return contact


async def remove_contact(
    tx: Tx,
    viewer: Viewer,
    contact: Contact,
    *,
    now: datetime,
    max_age_s: int,
    expected_version: int | None = None,
) -> Contact:
    """Remove a contact; the oldest verified one of its kind becomes primary in its place.

    Raises NotFound, StaleVersion, and LastEmail when the account could not be reached any more.
    """
    subject = await lock(tx, viewer)
    present = await _all(tx, subject, contact.kind)
    found = _one(present, contact)
    check_version(found["version"], expected_version)
    others = [row for row in present if row["id"] != contact.id]
    if contact.kind is ContactKind.EMAIL:
        viewer.require_fresh(now, max_age_s=max_age_s)
        proven = [row for row in others if row["verified_at"] is not None]
        if not (proven if found["verified_at"] is not None else others) and await _has_account(tx, subject):
            raise LastEmail
    table = TABLES[contact.kind]
    await tx.execute(delete(table).where(table.c.id == contact.id, table.c.customer_id == subject.customer_id))
    if found["is_primary"] and others:
        heir = min(others, key=lambda row: (row["verified_at"] is None, row["created_at"], row["id"]))
        await _make_primary(tx, subject, Contact(contact.kind, heir["id"]))
    await _record(tx, viewer, subject, "contact.removed", contact)
    return contact


async def set_primary_contact(tx: Tx, viewer: Viewer, contact: Contact, *, now: datetime, max_age_s: int) -> Contact:
    """Make a contact the primary one of its kind; doing it again changes nothing.

    Raises NotFound, StepUpRequired for an e-mail, and UnprovenEmail.
    """
    subject = await lock(tx, viewer)
    present = await _all(tx, subject, contact.kind)
    found = _one(present, contact)
    if found["is_primary"]:
        return contact
    if contact.kind is ContactKind.EMAIL:
        viewer.require_fresh(now, max_age_s=max_age_s)
        proven_primary = any(row["is_primary"] and row["verified_at"] is not None for row in present)
        if proven_primary and found["verified_at"] is None:
            raise UnprovenEmail
    await _make_primary(tx, subject, contact)
    await _record(tx, viewer, subject, "contact.primary_changed", contact)
    return contact


def _refuse_twin(kind: ContactKind, columns: Columns, others: Sequence[RowMapping]) -> None:
    if any(identifier(kind, row) == identifier(kind, columns) for row in others):
        raise ContactExists


def _one(present: Sequence[RowMapping], contact: Contact) -> RowMapping:
    found = next((row for row in present if row["id"] == contact.id), None)
    if found is None:
        raise NotFound
    return found


async def _all(tx: Tx, subject: Subject, kind: ContactKind) -> Sequence[RowMapping]:
    table = TABLES[kind]
    return (await tx.execute(select(table).where(table.c.customer_id == subject.customer_id))).mappings().all()


async def _has_account(tx: Tx, subject: Subject) -> bool:
    return bool(
        await tx.scalar(select(exists(select(account.c.id).where(account.c.customer_id == subject.customer_id))))
    )


async def _make_primary(tx: Tx, subject: Subject, contact: Contact) -> None:
    """Two statements, since the unique index over the primary one is checked row by row."""
    table = TABLES[contact.kind]
    mine = table.c.customer_id == subject.customer_id
    bump = table.c.version + 1
    await tx.execute(update(table).where(mine, table.c.is_primary).values(is_primary=False, version=bump))
    await tx.execute(update(table).where(mine, table.c.id == contact.id).values(is_primary=True, version=bump))


async def _record(tx: Tx, viewer: Viewer, subject: Subject, action: str, contact: Contact) -> None:
    await audit.record(
        tx,
        viewer,
        action,
        subject_ref=subject.audit_ref,
        object_type=contact.kind.value,
        object_id=contact.id,
    )
