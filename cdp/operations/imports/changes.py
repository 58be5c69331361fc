"""What has to be written so that the database says what the drafts say: set-based, one statement a table and kind.

A row is changed only where it came from the same source and nobody touched it since: what a customer or an agent
entered wins over a later import. Contacts of a source are added, never removed; items of an order follow the source.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import RowMapping, Table, bindparam, delete, func, insert, update

from cdp.core.db import Tx
from cdp.core.ids import new_id
from cdp.operations.imports.matching import CHILDREN, Known, KnownOrder
from cdp.operations.imports.records import (
    Child,
    Columns,
    CustomerDraft,
    IdentityKey,
    OrderDraft,
    address_key,
    phone_key,
)
from cdp.operations.reference import Reference
from cdp.tables.consent import preference
from cdp.tables.contact import email_address, phone_number, postal_address
from cdp.tables.customer import CustomerKind, customer, identity
from cdp.tables.order import sales_order, sales_order_item
from cdp.tables.policy import CollectionPoint, collection

INSERT_ORDER = (customer, collection, identity, *CHILDREN, sales_order, sales_order_item)


class Outcome(StrEnum):
    """What became of a row."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    SUPPRESSED = "suppressed"
    FROZEN = "frozen"


@dataclass(frozen=True)
class Settled:
    """What became of a customer, of its orders and of their items."""

    customer: Outcome
    orders: tuple[Outcome, ...]
    items: tuple[Outcome, ...]


@dataclass(frozen=True)
class Origin:
    """Where everything of this run comes from."""

    source: str
    collected_at: datetime
    reference: Reference
    has_items: bool


@dataclass
class Changes:
    """Rows to write, gathered over a batch."""

    origin: Origin
    inserts: dict[Table, list[Columns]] = field(default_factory=lambda: defaultdict(list))
    updates: dict[tuple[Table, tuple[str, ...]], list[Columns]] = field(default_factory=lambda: defaultdict(list))
    gone_items: list[UUID] = field(default_factory=list)

    def create(self, draft: CustomerDraft) -> Settled:
        """A customer nobody knew."""
        customer_id, first = new_id(), new_id()
        writer = _Writer(self, customer_id, first)
        self.inserts[customer].append(
            {
                "kind": CustomerKind.PERSON,
                **draft.columns,
                "id": customer_id,
                "brand_id": self.origin.reference.brand_id,
                "audit_ref": new_id(),
                "origin_identity_id": first,
                "collection_id": writer.collection_id(),
            }
        )
        writer.add_identities(draft, {})
        writer.add_children(draft, {})
        for order in draft.orders:
            writer.add_order(order)
        items = sum(len(order.items) for order in draft.orders)
        return Settled(Outcome.CREATED, (Outcome.CREATED,) * len(draft.orders), (Outcome.CREATED,) * items)

    def change(self, draft: CustomerDraft, known: Known, orders: Mapping[str, KnownOrder]) -> Settled:
        """A customer that is already there: add what is new, change what this source may change."""
        first = known.identities.get(draft.identities[0]) or new_id()
        writer = _Writer(self, known.id, first)
        changed = writer.change_customer(draft, known)
        changed |= writer.add_identities(draft, known.identities)
        changed |= writer.add_children(draft, known.children)
        settled: list[Outcome] = []
        items: list[Outcome] = []
        for order in draft.orders:
            present = orders.get(order.number)
            if present is None:
                writer.add_order(order)
                settled.append(Outcome.CREATED)
                items += [Outcome.CREATED] * len(order.items)
            else:
                outcome, of_items = writer.change_order(order, present)
                settled.append(outcome)
                items += of_items
        return Settled(Outcome.UPDATED if changed else Outcome.UNCHANGED, tuple(settled), tuple(items))

    async def write(self, tx: Tx) -> None:
        """Write everything, parents first."""
        if self.gone_items:
            await tx.execute(delete(sales_order_item).where(sales_order_item.c.id.in_(self.gone_items)))
        for table in INSERT_ORDER:
            for rows in _alike(self.inserts[table]):
                await tx.execute(insert(table), rows)
        for (table, names), rows in self.updates.items():
            values: dict[str, object] = {name: bindparam(f"new_{name}", type_=table.c[name].type) for name in names}
            if "version" in table.c:
                values["version"] = table.c.version + 1
            if "updated_at" in table.c:
                values["updated_at"] = func.now()
            statement = update(table).where(table.c.id == bindparam("row_id")).values(**values)
            await tx.execute(statement, rows)


def _alike(rows: list[Columns]) -> list[list[Columns]]:
    """Rows grouped by the columns they name: one statement needs the same columns in every row."""
    groups: dict[tuple[str, ...], list[Columns]] = defaultdict(list)
    for row in rows:
        groups[tuple(sorted(row))].append(row)
    return list(groups.values())


class _Writer:
    """The rows of one customer; the collection row is made when the first of them needs it."""

    def __init__(self, changes: Changes, customer_id: UUID, first_identity: UUID) -> None:
        self._changes = changes
        self._customer_id = customer_id
        self._first_identity = first_identity
        self._collection_id: UUID | None = None
        self._has_primary: set[Table] = set()

    def collection_id(self) -> UUID:
        """This run's collection row of the customer."""
        if self._collection_id is None:
            self._collection_id = new_id()
            origin = self._changes.origin
            self._changes.inserts[collection].append(
                {
                    "id": self._collection_id,
                    "customer_id": self._customer_id,
                    "origin_identity_id": self._first_identity,
                    "point": CollectionPoint.IMPORT,
                    "source": origin.source,
                    "collected_at": origin.collected_at,
                    "policy_version_id": origin.reference.policy_version_id,
                    "brand_id": origin.reference.brand_id,
                }
            )
        return self._collection_id

    def _insert(self, table: Table, columns: Columns, *, row_id: UUID | None = None) -> UUID:
        row_id = row_id or new_id()
        own: Columns = {
            "id": row_id,
            "customer_id": self._customer_id,
            "origin_identity_id": self._first_identity,
            "collection_id": self.collection_id(),
        }
        self._changes.inserts[table].append({**columns, **own})
        return row_id

    def _update(self, table: Table, row_id: UUID, columns: Columns) -> None:
        columns = {**columns, "collection_id": self.collection_id()}
        key = table, tuple(sorted(columns))
        self._changes.updates[key].append({"row_id": row_id, **{f"new_{name}": v for name, v in columns.items()}})

    def add_identities(self, draft: CustomerDraft, known: Mapping[IdentityKey, UUID]) -> bool:
        """Add the identities that are not known yet; the first one gets the id that all rows of this run name."""
        new = [key for key in draft.identities if key not in known]
        for key in new:
            is_first = key == draft.identities[0]
            columns: Columns = {"type": key.type, "issuer": key.issuer, "value": key.value}
            self._insert(identity, columns, row_id=self._first_identity if is_first else None)
        return bool(new)

    def change_customer(self, draft: CustomerDraft, known: Known) -> bool:
        """Take over what differs where the row is ours; elsewhere only fill what is empty."""
        differs = {name: value for name, value in draft.columns.items() if known.row[name] != value}
        if not known.is_ours:
            differs = {name: value for name, value in differs.items() if known.row[name] is None}
        if differs:
            self._update(customer, known.id, differs)
        return bool(differs)

    def add_children(self, draft: CustomerDraft, known: Mapping[str, list[RowMapping]]) -> bool:
        """Add contacts and preferences that are not there; change preferences of ours."""
        changed = False
        for child in draft.children:
            rows = known.get(child.table.name, [])
            same = next((row for row in rows if _key_of(child.table, row) == child.key), None)
            if same is None:
                self._insert(child.table, self._placed(child, rows))
                changed = True
            elif child.table is preference and same["is_ours"] and same["value"] != child.columns["value"]:
                self._update(preference, UUID(str(same["id"])), {"value": child.columns["value"]})
                changed = True
        return changed

    def _placed(self, child: Child, known: list[RowMapping]) -> Columns:
        if child.table is preference:
            return child.columns
        taken = child.table in self._has_primary or any(row["is_primary"] for row in known)
        self._has_primary.add(child.table)
        return {**child.columns, "is_primary": not taken}

    def add_order(self, order: OrderDraft) -> None:
        """Add an order with its items."""
        order_id = self._insert(sales_order, order.columns)
        for item in order.items:
            self._insert(sales_order_item, {**item, "order_id": order_id})

    def change_order(self, order: OrderDraft, known: KnownOrder) -> tuple[Outcome, list[Outcome]]:
        """Make an order that came from this source say what the source says now."""
        differs = {name: value for name, value in order.columns.items() if known.row[name] != value}
        if differs:
            self._update(sales_order, known.row["id"], differs)
        present = {row["position"]: row for row in known.items}
        settled: list[Outcome] = []
        for item in order.items:
            row = present.pop(item["position"], None)
            if row is None:
                self._insert(sales_order_item, {**item, "order_id": known.row["id"]})
                settled.append(Outcome.CREATED)
            elif changed := {name: value for name, value in item.items() if row[name] != value}:
                self._update(sales_order_item, row["id"], changed)
                settled.append(Outcome.UPDATED)
            else:
                settled.append(Outcome.UNCHANGED)
        gone = [row["id"] for row in present.values()] if self._changes.origin.has_items else []
        self._changes.gone_items += gone
        touched = bool(differs or gone) or any(outcome is not Outcome.UNCHANGED for outcome in settled)
        return (Outcome.UPDATED if touched else Outcome.UNCHANGED), settled


def _key_of(table: Table, row: RowMapping) -> tuple[object, ...]:
    columns: Columns = {str(name): value for name, value in row.items()}
    if table is email_address:
        return (columns["normalized"],)
    if table is phone_number:
        return phone_key(columns)
    if table is postal_address:
        return address_key(columns)
    return (columns["key"],)
