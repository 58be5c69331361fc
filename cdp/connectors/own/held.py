"""An erasure of our own tables around legal holds: everything goes but the categories that are held.

Held rows stay as they are, except for their links to rows that go. The customer row stays as their anchor without
anything personal, and so do the notes of where the held rows were collected, because their tables demand both. When
the last hold has ended, the same erasure finds these rows and removes them like any others.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    String,
    Table,
    and_,
    cast,
    delete,
    false,
    literal,
    not_,
    null,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.sql.elements import Null

from cdp.connectors.holds import Hold
from cdp.core.db import Tx
from cdp.core.ids import CustomerId
from cdp.tables.base import Category, Personal
from cdp.tables.consent import consent
from cdp.tables.customer import customer, identity
from cdp.tables.datamap import categories, keeps_rows, personal_tables, row_category, subject_column
from cdp.tables.hold import legal_hold
from cdp.tables.policy import collection
from cdp.tables.request import privacy_request, request_task

# Its rows are never changed, so what they point to stays too, emptied.
UNCHANGEABLE = consent
# They say what becomes of the erasure itself, and have to find the person again when the hold ends.
LINKED = frozenset({privacy_request.name, request_task.name, legal_hold.name})


def kept_rows(table: Table, held: Sequence[Hold]) -> ColumnElement[bool] | None:
    """Which rows of a table the holds keep: all, those of a category that the row itself names, or none (None)."""
    named = frozenset(hold.category for hold in held)
    by_row = row_category(table)
    if by_row is not None:
        return by_row.in_(sorted(named)) if named else None
    return true() if categories(table) & named else None


async def loosen(tx: Tx, customer_id: CustomerId, held: Sequence[Hold]) -> None:
    """Cut what held rows, and notes of where they were collected, point to and what is about to go."""
    stays = {table for table in personal_tables() if table.name != customer.name and kept_rows(table, held) is not None}
    for table in sorted({*stays, collection} - {UNCHANGEABLE}, key=lambda one: one.name):
        cut = {column.name: null() for column in _links(table) if not _stays(column, stays)}
        if cut:
            await tx.execute(update(table).where(subject_column(table) == customer_id).values(cut))
    if identity not in stays:
        nobody = literal("held-") + cast(identity.c.id, String)
        emptied = {"value": nobody, "issuer": "", "verified_at": null()}
        await tx.execute(update(identity).where(_proves(customer_id, held)).values(emptied))
    await tx.execute(update(customer).where(customer.c.id == customer_id).values(_emptied(held)))


def _proves(customer_id: CustomerId, held: Sequence[Hold]) -> ColumnElement[bool]:
    """The identities that rows which are never changed and have to stay came by."""
    stays = kept_rows(UNCHANGEABLE, held)
    if stays is None:
        return false()
    mine = and_(UNCHANGEABLE.c.customer_id == customer_id, UNCHANGEABLE.c.origin_identity_id.is_not(None), stays)
    return identity.c.id.in_(select(UNCHANGEABLE.c.origin_identity_id).where(mine))


def _links(table: Table) -> Iterator[Column[Any]]:
    for column in table.columns:
        names_a_person = any(
            key.column.table.name != customer.name and "customer_id" in key.column.table.columns
            for key in column.foreign_keys
        )
        if column.nullable and names_a_person:
            yield column


def _stays(column: Column[Any], stays: set[Table]) -> bool:
    tables = [key.column.table for key in column.foreign_keys]
    return all(table in stays or table is collection or keeps_rows(table) for table in tables)


def _emptied(held: Sequence[Hold]) -> Mapping[str, Null]:
    """The customer row as an anchor: nothing personal but what is held itself."""
    named = {hold.category for hold in held}
    links = () if Category.IDENTITY in named else ("origin_identity_id", "collection_id")
    values = {name: null() for name in links}
    for column in customer.columns:
        declared = column.info.get("datamap")
        if isinstance(declared, Personal) and column.nullable and declared.category not in named:
            values[column.name] = null()
    return values


async def delete_unheld(tx: Tx, table: Table, customer_id: CustomerId, held: Sequence[Hold]) -> int:
    """Delete what goes of one table whose rows go in an erasure; returns how many. The customer row stays."""
    mine = subject_column(table) == customer_id
    if table is customer:
        return 0
    if table is collection:
        mine = and_(mine, not_(or_(*_needed(customer_id, held))))
    if table is identity:
        mine = and_(mine, not_(_proves(customer_id, held)))
    stays = kept_rows(table, held)
    if stays is not None:
        mine = and_(mine, not_(stays))
    return (await tx.execute(delete(table).where(mine))).rowcount


def _needed(customer_id: CustomerId, held: Sequence[Hold]) -> Iterator[ColumnElement[bool]]:
    """Whether a note of where something was collected belongs to a held row."""
    yield collection.c.id.in_(select(customer.c.collection_id).where(customer.c.id == customer_id))
    mine = _proves(customer_id, held)
    yield collection.c.id.in_(select(identity.c.collection_id).where(identity.c.customer_id == customer_id, mine))
    for table in personal_tables():
        stays = kept_rows(table, held)
        if stays is not None and table is not customer and "collection_id" in table.columns:
            column = table.c.collection_id
            mine = and_(table.c.customer_id == customer_id, column.is_not(None), stays)
            yield collection.c.id.in_(select(column).where(mine))
