"""Remove what one brand has collected of customers whom other brands know too; what the rest needs stays.

The tables are those an acquirer can have got something of. Rows a law keeps lose their person, as in an erasure; links
of rows that stay are cut. Identities and notes of where something was collected go once nothing that stays needs them:
how people sign in here, and what they asked of us, was never the sold brand's.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from secrets import token_bytes
from uuid import UUID

from sqlalchemy import ColumnElement, Table, and_, delete, exists, null, select, update

from cdp.connectors.own.rows import cut_values
from cdp.core.db import Tx
from cdp.tables.consent import consent, preference
from cdp.tables.contact import email_address, phone_number, postal_address
from cdp.tables.customer import customer, identity
from cdp.tables.datamap import keeps_rows, personal_tables
from cdp.tables.event import device, event
from cdp.tables.inquiry import inquiry, quotation, survey_response
from cdp.tables.order import sales_order, sales_order_item
from cdp.tables.policy import collection, policy_acceptance

# Children before parents.
SOLD: tuple[Table, ...] = (
    *(sales_order_item, sales_order, quotation, inquiry, survey_response, event, device),
    *(email_address, phone_number, postal_address, preference, consent, policy_acceptance),
)


@dataclass(frozen=True)
class _Scope:
    """What a brand has collected of some people."""

    brand_id: UUID
    people: Sequence[UUID]

    def of(self, table: Table) -> ColumnElement[bool]:
        """Rows of a table; lines of an order follow the order."""
        if table is sales_order_item:
            return table.c.order_id.in_(select(sales_order.c.id).where(self.of(sales_order)))
        sources = select(collection.c.id).where(self.collected)
        return and_(table.c.customer_id.in_(self.people), table.c.collection_id.in_(sources))

    @property
    def collected(self) -> ColumnElement[bool]:
        """Notes of where the brand collected something."""
        return and_(collection.c.customer_id.in_(self.people), collection.c.brand_id == self.brand_id)


async def remove(tx: Tx, brand_id: UUID, people: Sequence[UUID]) -> Mapping[str, int]:
    """Remove the brand's rows of these customers, in the caller's transaction; returns rows by table."""
    scope, salt = _Scope(brand_id, people), token_bytes(32)
    removed: dict[str, int] = {}
    for table in SOLD:
        await _loosen(tx, scope, table)
        if keeps_rows(table):
            values = cut_values(table, salt, None)
            done = await tx.execute(update(table).where(scope.of(table)).values(values))
        else:
            done = await tx.execute(delete(table).where(scope.of(table)))
        removed[table.name] = done.rowcount
    await _serve_on(tx, scope)
    removed[identity.name] = await _identities(tx, scope)
    unused = [~needed for needed in _references("collection_id", collection.c.id)]
    gone = await tx.execute(delete(collection).where(scope.collected, *unused))
    removed[collection.name] = gone.rowcount
    return {name: rows for name, rows in removed.items() if rows}


async def _loosen(tx: Tx, scope: _Scope, table: Table) -> None:
    """Cut the links of rows that stay to rows of this table that go."""
    going = select(table.c.id).where(scope.of(table))
    for other in SOLD:
        for column in other.columns:
            if column.nullable and any(key.column.table is table for key in column.foreign_keys):
                named = and_(other.c.customer_id.in_(scope.people), column.in_(going))
                await tx.execute(update(other).where(named).values({column.name: null()}))


async def _serve_on(tx: Tx, scope: _Scope) -> None:
    """Let another brand that knows them serve those whom the sold one served."""
    left = (
        select(collection.c.brand_id)
        .where(collection.c.customer_id == customer.c.id, collection.c.brand_id != scope.brand_id)
        .order_by(collection.c.collected_at.desc(), collection.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    theirs = and_(customer.c.id.in_(scope.people), customer.c.brand_id == scope.brand_id)
    await tx.execute(update(customer).where(theirs).values(brand_id=left))


async def _identities(tx: Tx, scope: _Scope) -> int:
    """Remove identities the brand collected and nothing that stays came by."""
    await tx.execute(update(collection).where(scope.collected).values(origin_identity_id=None))
    mine = select(identity.c.id).where(scope.of(identity)).subquery()
    own = update(identity).where(identity.c.id.in_(select(mine.c.id)), identity.c.origin_identity_id == identity.c.id)
    await tx.execute(own.values(origin_identity_id=None))
    unused = [~needed for needed in _references("origin_identity_id", identity.c.id)]
    gone = await tx.execute(delete(identity).where(identity.c.id.in_(select(mine.c.id)), *unused))
    return gone.rowcount


def _references(name: str, to: ColumnElement[UUID]) -> Iterator[ColumnElement[bool]]:
    """Whether anything of the same customer still names it, table by table."""
    for table in personal_tables():
        if name in table.c:
            other = table.alias()
            yield exists().where(other.c[name] == to)
