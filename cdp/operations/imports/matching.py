"""Drafts against the database: whose identifiers are suppressed, which customers are known, what they look like now."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import ARRAY, RowMapping, Select, String, Table, Uuid, and_, cast, func, literal, select

from cdp.core.db import Tx
from cdp.core.seal import Pepper
from cdp.operations.imports.records import CustomerDraft, IdentityKey
from cdp.operations.suppression import kind_of
from cdp.tables.certificate import suppression
from cdp.tables.consent import preference
from cdp.tables.contact import email_address, phone_number, postal_address
from cdp.tables.customer import CustomerStatus, IdentityType, customer, identity
from cdp.tables.order import sales_order, sales_order_item
from cdp.tables.policy import CollectionPoint, collection

ROUNDS = 3
ISSUED = frozenset({IdentityType.CUSTOMER_NUMBER})  # given by an issuer, so there is nothing to prove
CHILDREN = (email_address, phone_number, postal_address, preference)


@dataclass
class Known:
    """A customer that is already there, locked, with the rows a draft can touch."""

    row: RowMapping
    is_ours: bool
    identities: dict[IdentityKey, UUID] = field(default_factory=dict)
    children: dict[str, list[RowMapping]] = field(default_factory=lambda: defaultdict(list))

    @property
    def id(self) -> UUID:
        """The customer's id."""
        found: UUID = self.row["id"]
        return found

    @property
    def is_frozen(self) -> bool:
        """Whether an erasure is under way: nothing may be changed."""
        return self.row["status"] is not CustomerStatus.ACTIVE


@dataclass(frozen=True)
class KnownOrder:
    """An order that is already there. ``is_ours``: it was imported from the same source and not changed since."""

    row: RowMapping
    is_ours: bool
    items: list[RowMapping]


@dataclass(frozen=True)
class Matches:
    """What the database has about a batch of drafts, by their place in the batch.

    ``moved``: their customer was merged, taken apart or erased between being found and being locked.
    """

    suppressed: frozenset[int]
    conflicting: frozenset[int]
    moved: frozenset[int]
    unproven: frozenset[IdentityKey]
    known: dict[int, Known]
    orders: dict[str, KnownOrder]


async def match(tx: Tx, pepper: Pepper, drafts: Sequence[CustomerDraft], *, source: str) -> Matches:
    """Find suppressed and known customers by their identifiers, and lock the known ones.

    A draft conflicts when its identifiers belong to two customers, or when its customer already has another number of
    the same issuer: the source says they are two, and merging is not an import's decision. An address that somebody
    registered and never proved leads nowhere: otherwise registering with it would be enough to be given the orders of
    its owner. Who is merged or erased while we wait for their lock is looked for again: identifiers lead to the record
    that stays, or are suppressed by now.
    """
    for _ in range(ROUNDS - 1):
        found = await _looked_up(tx, pepper, drafts, source)
        if not found.moved:
            return found
    return await _looked_up(tx, pepper, drafts, source)


async def _looked_up(tx: Tx, pepper: Pepper, drafts: Sequence[CustomerDraft], source: str) -> Matches:
    suppressed = await _suppressed(tx, pepper, drafts)
    owners, unproven = await _owners(tx, {key for draft in drafts for key in draft.identities})
    found = {index: {owners[key] for key in draft.identities if key in owners} for index, draft in enumerate(drafts)}
    conflicting = {index for index, ids in found.items() if len(ids) > 1}
    single = {index: next(iter(ids)) for index, ids in found.items() if len(ids) == 1}
    customers = await _customers(tx, sorted(set(single.values())), source)
    known = {index: customers[owner] for index, owner in single.items() if owner in customers}
    stayed = {index for index, owner in known.items() if owner.identities.keys() & {*drafts[index].identities}}
    conflicting |= {index for index, owner in known.items() if _has_other_number(drafts[index], owner)}
    numbers = {order.number for draft in drafts for order in draft.orders}
    orders = await _orders(tx, sorted(numbers), source)
    moved = single.keys() - stayed
    return Matches(frozenset(suppressed), frozenset(conflicting), frozenset(moved), frozenset(unproven), known, orders)


def _has_other_number(draft: CustomerDraft, owner: Known) -> bool:
    theirs = {key.issuer: key for key in owner.identities if key.type is IdentityType.CUSTOMER_NUMBER}
    ours = {key.issuer: key for key in draft.identities if key.type is IdentityType.CUSTOMER_NUMBER}
    return any(theirs[issuer] != key for issuer, key in ours.items() if issuer in theirs)


def identifiers(draft: CustomerDraft) -> set[tuple[str, str]]:
    """Everything that may be on the suppression list: kind and normalised value."""
    found = {(kind_of(key.type.value, key.issuer), key.value) for key in draft.identities}
    for child in draft.children:
        if child.table is email_address:
            found.add((IdentityType.EMAIL.value, str(child.columns["normalized"])))
        elif child.table is phone_number and child.columns["e164"] is not None:
            found.add((IdentityType.PHONE.value, str(child.columns["e164"])))
    return found


async def _suppressed(tx: Tx, pepper: Pepper, drafts: Sequence[CustomerDraft]) -> set[int]:
    places: dict[bytes, set[int]] = defaultdict(set)
    for index, draft in enumerate(drafts):
        for kind, value in identifiers(draft):
            for entry in pepper.hashes(kind, value):
                places[entry.value].add(index)
    statement = select(suppression.c.value_hash).where(
        suppression.c.value_hash.in_(list(places)), suppression.c.lifted_at.is_(None)
    )
    found: set[int] = set()
    for row in await tx.all(statement):
        found |= places[bytes(row.value_hash)]
    return found


async def _owners(tx: Tx, keys: Iterable[IdentityKey]) -> tuple[dict[IdentityKey, UUID], set[IdentityKey]]:
    wanted = list(keys)
    columns = ([key.type.value for key in wanted], [key.issuer for key in wanted], [key.value for key in wanted])
    arrays = [cast(literal(column, ARRAY(String)), ARRAY(String)) for column in columns]
    given = func.unnest(*arrays).table_valued("type", "issuer", "value").render_derived(name="given")
    same = and_(
        cast(identity.c.type, String) == given.c.type,
        identity.c.issuer == given.c.issuer,
        identity.c.value == given.c.value,
    )
    statement = (
        select(identity, collection.c.point)
        .join(given, same)
        .outerjoin(collection, identity.c.collection_id == collection.c.id)
    )
    owners: dict[IdentityKey, UUID] = {}
    unproven: set[IdentityKey] = set()
    for row in (await tx.execute(statement)).mappings():
        if row["verified_at"] is not None or row["type"] in ISSUED or row["point"] is CollectionPoint.IMPORT:
            owners[_key(row)] = row["customer_id"]
        else:
            unproven.add(_key(row))
    return owners, unproven


def _key(row: RowMapping) -> IdentityKey:
    return IdentityKey(row["type"], row["issuer"], row["value"])


def _with_origin(table: Table, source: str) -> Select[tuple[object, ...]]:
    """Rows with ``is_ours``: they came from this source and nobody has changed them since."""
    ours = and_(collection.c.point == CollectionPoint.IMPORT, collection.c.source == source)
    joined = table.outerjoin(collection, table.c.collection_id == collection.c.id)
    return select(*table.c, func.coalesce(ours, False).label("is_ours")).select_from(joined)


async def _customers(tx: Tx, ids: list[UUID], source: str) -> dict[UUID, Known]:
    if not ids:
        return {}
    await tx.execute(select(customer.c.id).where(customer.c.id.in_(ids)).order_by(customer.c.id).with_for_update())
    rows = (await tx.execute(_with_origin(customer, source).where(customer.c.id.in_(ids)))).mappings()
    found = {row["id"]: Known(row, row["is_ours"]) for row in rows}
    for row in (await tx.execute(select(identity).where(identity.c.customer_id.in_(ids)))).mappings():
        if row["customer_id"] in found:
            found[row["customer_id"]].identities[_key(row)] = row["id"]
    for table in CHILDREN:
        statement = _with_origin(table, source).where(table.c.customer_id.in_(ids))
        for row in (await tx.execute(statement)).mappings():
            if row["customer_id"] in found:
                found[row["customer_id"]].children[table.name].append(row)
    return found


async def _orders(tx: Tx, numbers: list[str], source: str) -> dict[str, KnownOrder]:
    if not numbers:
        return {}
    statement = _with_origin(sales_order, source).where(sales_order.c.number.in_(numbers))
    orders = list((await tx.execute(statement)).mappings())
    items: dict[UUID, list[RowMapping]] = defaultdict(list)
    ids = cast(literal([row["id"] for row in orders], ARRAY(Uuid)), ARRAY(Uuid))
    wanted = select(sales_order_item).where(sales_order_item.c.order_id == func.any(ids))
    for row in (await tx.execute(wanted)).mappings():
        items[row["order_id"]].append(row)
    return {row["number"]: KnownOrder(row, row["is_ours"], items[row["id"]]) for row in orders}
