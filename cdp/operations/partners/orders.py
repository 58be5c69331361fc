"""The disclosure gate: what a court or an authority orders, recorded with its document and agreed to by two others.

Nothing goes to third parties otherwise (promise P10). An order names one person and the fields it covers; it is
followed once, and the disclosure stands in the customer's log: at once, or when the silence it demands is over.
Sources: GDPR art. 6(1)(c), 23(2)(h).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, insert, or_, select, update

from cdp.access.sharing import MANAGE_SCOPE, SHAREABLE
from cdp.access.viewer import SYSTEM, Viewer
from cdp.compiler.reader import Reader
from cdp.core.db import Role, Tx
from cdp.core.errors import Conflict, Forbidden, InvalidInput, NotFound
from cdp.core.ids import CustomerId, global_id, new_id
from cdp.core.platform import Platform
from cdp.operations import audit, messages, values
from cdp.operations.attachments.attachments import Attachment
from cdp.operations.audit.events import request_id
from cdp.operations.letters import Letter
from cdp.operations.partners.partners import require
from cdp.operations.reference import Purpose
from cdp.tables.contact import email_address
from cdp.tables.customer import customer
from cdp.tables.partner import disclosure
from cdp.tables.policy import LegalBasis
from cdp.tables.sharing import ORDER_TRANSITIONS, OrderStatus, legal_order

SCOPE = MANAGE_SCOPE
OBJECT = "LegalOrder"
TEMPLATE = "legal_disclosure"
PURPOSE = "legal_order"
UNREACHABLE = "NO_ADDRESS"
COVERABLE = frozenset().union(*SHAREABLE.values())
WAYS: Mapping[str, tuple[str, str]] = {
    "Customer": ("", ""),
    "Brand": ("brand {", "}"),
    "EmailAddress": ("contacts { emails {", "} }"),
    "PhoneNumber": ("contacts { phones {", "} }"),
    "PostalAddress": ("contacts { addresses {", "} }"),
    "Preference": ("preferences {", "}"),
    "Order": ("orders(first: 100, after: $after) { nodes {", "} pageInfo { hasNextPage endCursor } }"),
    "OrderItem": ("orders(first: 100, after: $after) { nodes { id items {", "} } pageInfo { hasNextPage endCursor } }"),
    "Inquiry": ("inquiries(first: 100, after: $after) { nodes {", "} pageInfo { hasNextPage endCursor } }"),
    "Quotation": ("quotations(first: 100, after: $after) { nodes {", "} pageInfo { hasNextPage endCursor } }"),
}
"""How a query gets to a type from its customer, and back."""
PAGED: Mapping[str, frozenset[str]] = {
    "orders": frozenset({"Order", "OrderItem"}),
    "inquiries": frozenset({"Inquiry"}),
    "quotations": frozenset({"Quotation"}),
}
"""What comes in pages: the field, and the types that are reached through it."""


class OrderIncomplete(InvalidInput):
    """An order names an authority, its reference, a law, fields that can be disclosed, and comes with its document."""

    code = "ORDER_INCOMPLETE"


class OrderNotOpen(Conflict):
    """This order does not wait for that."""

    code = "ORDER_NOT_OPEN"


class OrderNeedsAnother(Forbidden):
    """Somebody else has to agree: neither who recorded it nor who agreed before."""

    code = "ORDER_NEEDS_ANOTHER"


@dataclass(frozen=True)
class NewOrder:
    """What is ordered; ``silent_until`` where the customer may not be told before."""

    authority: str
    case_ref: str
    law: str
    fields: frozenset[str] = field(repr=False)
    silent_until: datetime | None = None


async def propose(
    tx: Tx, viewer: Viewer, platform: Platform, customer_id: CustomerId, wanted: NewOrder, *, document: Attachment
) -> UUID:
    """Record an order with its document; two others agree before anything is disclosed. Returns its id.

    Raises MissingScope, PartnerRoleNeeded, StepUpRequired, NotFound, OrderIncomplete, InvalidText.
    """
    require(viewer, platform)
    known = select(customer.c.audit_ref).where(customer.c.id == customer_id).with_for_update(key_share=True)
    subject_ref = await tx.scalar(known)
    if subject_ref is None:
        raise NotFound
    is_past = wanted.silent_until is not None and wanted.silent_until <= platform.clock()
    if not wanted.fields or not wanted.fields <= COVERABLE or document.object_key is None or is_past:
        raise OrderIncomplete
    order_id = new_id()
    await tx.execute(
        insert(legal_order).values(
            id=order_id,
            customer_id=customer_id,
            subject_ref=subject_ref,
            authority=values.text(wanted.authority, "authority", longest=200),
            case_ref=values.text(wanted.case_ref, "caseRef", longest=100),
            law=values.text(wanted.law, "law", longest=200),
            fields=sorted(wanted.fields),
            silent_until=wanted.silent_until,
            proposed_by_id=viewer.staff_id,
            **document.columns,
        )
    )
    await _note(tx, viewer, "legal_order.proposed", order_id, subject_ref)
    return order_id


async def agree(tx: Tx, viewer: Viewer, platform: Platform, order_id: UUID) -> OrderStatus:
    """Agree to an order as the second, or as the third person, which approves it.

    Raises MissingScope, PartnerRoleNeeded, StepUpRequired, NotFound, OrderNotOpen, OrderNeedsAnother.
    """
    require(viewer, platform)
    row = await _locked(tx, order_id)
    if viewer.staff_id in {row.proposed_by_id, row.endorsed_by_id}:
        raise OrderNeedsAnother
    if row.status is OrderStatus.PROPOSED:
        endorsed = {"endorsed_by_id": viewer.staff_id}
        await _move(tx, viewer, row, OrderStatus.ENDORSED, "legal_order.endorsed", wrote=endorsed)
        return OrderStatus.ENDORSED
    approved = {"approved_by_id": viewer.staff_id, "approved_at": func.now()}
    await _move(tx, viewer, row, OrderStatus.APPROVED, "legal_order.approved", wrote=approved)
    return OrderStatus.APPROVED


async def refuse(tx: Tx, viewer: Viewer, platform: Platform, order_id: UUID, *, reason: str) -> None:
    """Refuse an order that was not followed yet. Raises like ``agree``, OrderNeedsAnother excepted; InvalidText."""
    require(viewer, platform)
    row = await _locked(tx, order_id)
    why = values.text(reason, "reason", longest=2000, lines=True)
    await _move(tx, viewer, row, OrderStatus.REFUSED, "legal_order.refused", wrote={"reason": why})


async def disclose(platform: Platform, reader: Reader, viewer: Viewer, order_id: UUID) -> Mapping[str, Any]:
    """Follow an approved order, once: read exactly what it covers, note the disclosure, and only then hand it out.

    A read that fails leaves the order as it was. Raises MissingScope, PartnerRoleNeeded, StepUpRequired, NotFound,
    OrderNotOpen.
    """
    require(viewer, platform)
    async with platform.db.transaction(Role.WORKER) as tx:
        row = await _locked(tx, order_id)
    if row.status is not OrderStatus.APPROVED or row.customer_id is None:
        raise OrderNotOpen
    found = await _read(reader, row.fields, global_id("Customer", row.customer_id))
    async with platform.db.transaction(Role.WORKER) as tx:
        row = await _locked(tx, order_id)
        if row.customer_id is None:
            raise OrderNotOpen
        followed = {"disclosed_by_id": viewer.staff_id, "disclosed_at": func.now()}
        await _move(tx, viewer, row, OrderStatus.DISCLOSED, "legal_order.disclosed", wrote=followed)
        await tx.execute(
            insert(disclosure).values(
                id=new_id(),
                customer_id=row.customer_id,
                order_id=order_id,
                recipient=row.authority,
                purpose=PURPOSE,
                legal_basis=LegalBasis.LEGAL_OBLIGATION.value,
                fields=list(row.fields),
                request=request_id(),
                hidden_until=row.silent_until,
            )
        )
    return {"order": str(order_id), "caseRef": row.case_ref, "customer": found}


async def _read(reader: Reader, fields: list[str], customer_id: str) -> dict[str, Any]:
    """What an order covers, all of it, however many pages that is. Raises OrderNotOpen for somebody who is gone."""
    found: dict[str, Any] | None = (await reader.one(covering(fields), SYSTEM, id=customer_id, after=None))["customer"]
    if found is None:
        raise OrderNotOpen
    for name, kinds in PAGED.items():
        rest = covering([one for one in fields if one.partition(".")[0] in kinds]) if name in found else ""
        while rest and (page := found[name].pop("pageInfo"))["hasNextPage"]:
            more = (await reader.one(rest, SYSTEM, id=customer_id, after=page["endCursor"]))["customer"]
            if more is None:
                raise OrderNotOpen
            found[name] = {"nodes": found[name]["nodes"] + more[name]["nodes"], "pageInfo": more[name]["pageInfo"]}
    return found


async def tell_due(tx: Tx, *, limit: int) -> int:
    """Write to the customers of orders that were followed, once they may know; returns how many are settled."""
    due = (
        select(legal_order.c.id, legal_order.c.customer_id, legal_order.c.subject_ref, legal_order.c.authority)
        .where(
            legal_order.c.told_at.is_(None),
            legal_order.c.status == OrderStatus.DISCLOSED,
            or_(legal_order.c.silent_until.is_(None), legal_order.c.silent_until <= func.now()),
        )
        .order_by(legal_order.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    found = await tx.all(due)
    for row in found:  # few, and each is a letter with an event of its own
        address = await tx.scalar(
            select(email_address.c.address)
            .where(email_address.c.customer_id == row.customer_id)
            .order_by(email_address.c.is_primary.desc(), email_address.c.id)
            .limit(1)
        )
        if address is not None:
            await messages.queue(tx, CustomerId(row.customer_id), address, _letter())
        await tx.execute(update(legal_order).where(legal_order.c.id == row.id).values(told_at=func.now()))
        # Who was erased since, or has no address, was told nothing: the log does not say so either.
        code = None if address is not None else UNREACHABLE
        await _note(tx, SYSTEM, "legal_order.told", row.id, row.subject_ref, code=code)
    return len(found)


def covering(fields: list[str]) -> str:
    """The query that reads exactly these fields of a customer."""
    wanted: dict[str, list[str]] = {}
    for one in sorted(fields):
        type_name, _, name = one.partition(".")
        wanted.setdefault(type_name, []).append(name)
    parts = [" ".join((WAYS[kind][0], *names, WAYS[kind][1])) for kind, names in wanted.items()]
    given = "$id: ID!, $after: String" if any("$after" in part for part in parts) else "$id: ID!"
    return f"query({given}) {{ customer(id: $id) {{ id {' '.join(parts)} }} }}"


def _letter() -> Letter:
    body = (
        "We had to disclose data about you to an authority that ordered it by law.\n\n"
        "You find what, when and to whom under Disclosures in your account.\n"
    )
    return Letter(TEMPLATE, Purpose.PRIVACY_REQUESTS, "We disclosed data about you", body)


async def _locked(tx: Tx, order_id: UUID) -> Row[Any]:
    row = await tx.first(select(legal_order).where(legal_order.c.id == order_id).with_for_update())
    if row is None:
        raise NotFound
    return row


async def _move(
    tx: Tx, viewer: Viewer, row: Row[Any], new: OrderStatus, action: str, *, wrote: Mapping[str, object]
) -> None:
    if new not in ORDER_TRANSITIONS[row.status]:
        raise OrderNotOpen
    moved = await tx.execute(
        update(legal_order)
        .where(legal_order.c.id == row.id, legal_order.c.status == row.status)
        .values(status=new, **wrote)
    )
    if moved.rowcount != 1:
        raise OrderNotOpen
    await _note(tx, viewer, action, row.id, row.subject_ref)


async def _note(
    tx: Tx, viewer: Viewer, action: str, order_id: UUID, subject_ref: UUID, *, code: str | None = None
) -> None:
    """An event; what a silent order is about is kept from the person it is about by naming nobody."""
    silent = select(legal_order.c.silent_until).where(legal_order.c.id == order_id)
    is_silent = await tx.scalar(silent) is not None
    about = None if is_silent and action != "legal_order.told" else subject_ref
    await audit.record(tx, viewer, action, subject_ref=about, object_type=OBJECT, object_id=order_id, code=code)
