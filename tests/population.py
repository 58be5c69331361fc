"""People for tests: a customer with a row of every kind, and a picture of everything held about one.

person = await make_person(db)             a customer with account, contacts, preference, consent, order …
before = await picture(db, person)         every row about them, to show that a bystander was not touched
"""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import insert, select

from cdp.access.scopes import CUSTOMER_SCOPES
from cdp.access.viewer import Actor, Viewer
from cdp.core.db import Database, Role, Tx
from cdp.core.ids import CustomerId, new_id
from cdp.operations import reference
from cdp.tables.account import account
from cdp.tables.base import metadata
from cdp.tables.consent import Channel, ConsentAction, consent, preference
from cdp.tables.contact import AddressKind, PhoneKind, email_address, phone_number, postal_address
from cdp.tables.customer import CustomerKind, IdentityType, customer, identity
from cdp.tables.event import DeviceKind, device, event
from cdp.tables.inquiry import InquiryKind, inquiry, survey_response
from cdp.tables.order import OrderStatus, sales_order, sales_order_item
from cdp.tables.policy import CollectionPoint, collection

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LONG_AGO = datetime(2026, 1, 15, 9, tzinfo=UTC)


@dataclass(frozen=True)
class Person:
    """A customer of a test, with the ids of their first rows."""

    customer_id: CustomerId
    audit_ref: UUID
    origin: dict[str, UUID]
    email: str
    email_id: UUID
    phone_id: UUID
    address_id: UUID
    order_id: UUID
    inquiry_id: UUID
    consent_id: UUID

    def viewer(self, *scopes: str, authenticated_at: datetime | None = NOW) -> Viewer:
        """The person signed in, with every scope of a customer unless some are named."""
        return Viewer(
            Actor.CUSTOMER,
            customer_id=self.customer_id,
            scopes=frozenset(scopes) or CUSTOMER_SCOPES,
            authenticated_at=authenticated_at,
            client_id="tests",
        )


async def make_person(db: Database, *, given_name: str = "Ada", country: str | None = "DE") -> Person:
    """Write one customer whose values nobody else has."""
    async with db.transaction(Role.WORKER) as tx:
        await reference.ensure_reference(tx)
        return await _write(tx, given_name, country)


async def _write(tx: Tx, given_name: str, country: str | None) -> Person:
    known = await reference.current(tx, NOW)
    mark = secrets.token_hex(5)
    customer_id, identity_id, collection_id, audit_ref = (new_id() for _ in range(4))
    origin = {"customer_id": customer_id, "origin_identity_id": identity_id, "collection_id": collection_id}
    await tx.execute(
        insert(customer).values(
            id=customer_id,
            kind=CustomerKind.PERSON,
            given_name=given_name,
            family_name=f"Family{mark}",
            country=country,
            locale="en",
            brand_id=known.brand_id,
            audit_ref=audit_ref,
            origin_identity_id=identity_id,
            collection_id=collection_id,
        )
    )
    await tx.execute(
        insert(collection).values(
            id=collection_id,
            customer_id=customer_id,
            origin_identity_id=identity_id,
            point=CollectionPoint.REGISTRATION,
            source="tests",
            collected_at=LONG_AGO,
            policy_version_id=known.policy_version_id,
            brand_id=known.brand_id,
        )
    )
    await tx.execute(
        insert(identity).values(id=identity_id, **_owned(origin), type=IdentityType.USERNAME, value=f"user-{mark}")
    )
    email = f"ada.{mark}@example.com"
    ids = await _contacts(tx, origin, email, mark)
    order_id, inquiry_id, consent_id = await _history(tx, origin, mark)
    await tx.execute(insert(account).values(**origin, username=f"user-{mark}"))
    return Person(CustomerId(customer_id), audit_ref, origin, email, *ids, order_id, inquiry_id, consent_id)


def _owned(origin: dict[str, UUID]) -> dict[str, UUID | None]:
    return {**origin, "origin_identity_id": None}


async def _contacts(tx: Tx, origin: dict[str, UUID], email: str, mark: str) -> tuple[UUID, UUID, UUID]:
    email_id, phone_id, address_id = new_id(), new_id(), new_id()
    proven = {"verified_at": LONG_AGO, "is_primary": True}
    digits = f"+49151{int(mark, 16) % 10**8:08d}"
    await tx.execute(insert(email_address).values(id=email_id, **origin, address=email, normalized=email, **proven))
    await tx.execute(
        insert(phone_number).values(id=phone_id, **origin, number=digits, e164=digits, kind=PhoneKind.MOBILE, **proven)
    )
    await tx.execute(
        insert(postal_address).values(
            id=address_id,
            **origin,
            kind=AddressKind.HOME,
            recipient=f"Ada {mark}",
            line1=f"Street {mark}",
            city="Berlin",
            postal_code="10115",
            country="DE",
            **proven,
        )
    )
    return email_id, phone_id, address_id


async def _history(tx: Tx, origin: dict[str, UUID], mark: str) -> tuple[UUID, UUID, UUID]:
    order_id, inquiry_id, consent_id, device_id = (new_id() for _ in range(4))
    await tx.execute(insert(preference).values(**origin, key="theme", value="dark"))
    await tx.execute(
        insert(consent).values(
            id=consent_id,
            **origin,
            purpose="promotions",
            channel=Channel.EMAIL,
            action=ConsentAction.GIVEN,
            wording="Yes, send me offers.",
            recorded_at=LONG_AGO,
        )
    )
    await tx.execute(
        insert(sales_order).values(
            id=order_id,
            **origin,
            number=f"SO-{mark}",
            status=OrderStatus.COMPLETED,
            placed_at=LONG_AGO,
            currency="EUR",
            total=Decimal("20.50"),
            billing_name=f"Ada {mark}",
        )
    )
    line = {"order_id": order_id, "title": "A book", "quantity": 1, "unit_price": Decimal("10.25")}
    await tx.execute(
        insert(sales_order_item),
        [{"id": new_id(), **origin, **line, "position": n, "sku": f"B-{n}"} for n in (1, 2)],
    )
    await tx.execute(
        insert(inquiry).values(
            id=inquiry_id,
            **origin,
            kind=InquiryKind.PRODUCT,
            subject=f"Question {mark}",
            body="Does it fit?",
            received_at=LONG_AGO,
        )
    )
    await tx.execute(
        insert(survey_response).values(**origin, survey="welcome", answers={"a": mark}, submitted_at=LONG_AGO)
    )
    seen = {"first_seen_at": LONG_AGO, "last_seen_at": LONG_AGO}
    await tx.execute(insert(device).values(id=device_id, **origin, kind=DeviceKind.LAPTOP, **seen))
    await tx.execute(insert(event).values(**origin, device_id=device_id, type="page", page="/", occurred_at=LONG_AGO))
    return order_id, inquiry_id, consent_id


async def picture(db: Database, person: Person) -> dict[str, list[tuple[Any, ...]]]:
    """Every row about the person, table by table, the audit log included."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    async with db.transaction(Role.WORKER) as tx:
        for table in metadata.sorted_tables:
            if table.name == "customer":
                mine = table.c.id == person.customer_id
            elif table.name == "audit_event":
                mine = table.c.subject_ref == person.audit_ref
            elif "customer_id" in table.c:
                mine = table.c.customer_id == person.customer_id
            else:
                continue
            rows = await tx.all(select(table).where(mine).order_by(table.c.id))
            found[table.name] = [tuple(row) for row in rows]
    return found


async def audited(db: Database, person: Person) -> list[str]:
    """Actions the audit log holds about the person, oldest first."""
    async with db.transaction(Role.WORKER) as tx:
        log = metadata.tables["audit_event"]
        rows = await tx.all(
            select(log.c.action).where(log.c.subject_ref == person.audit_ref).order_by(log.c.occurred_at, log.c.id)
        )
    return [row.action for row in rows]
