"""Random rows of every kind a query can reach: ties, nulls, odd texts, so that order and escaping are really tried."""

import hashlib
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import insert

from cdp.core.db import Database, Role, Tx
from cdp.core.ids import CustomerId, new_reference
from cdp.tables import (
    account,
    certificate,
    consent,
    contact,
    customer,
    event,
    export,
    inquiry,
    message,
    order,
    policy,
    request,
    system,
)

E = TypeVar("E", bound=StrEnum)
T = TypeVar("T")
START = datetime(2026, 1, 1, tzinfo=UTC)
TEXTS = ("plain", 'quo"te', "back\\slash", "Grüße 😀", "tab\tline\nend", "x" * 40, "%_like", "\x01\x1f", "", "O'Neil")


class Rows:
    """Makes rows with one seeded source of chance."""

    def __init__(self, tx: Tx, seed: int) -> None:
        self.tx = tx
        self.chance = random.Random(seed)
        self.seed = seed
        self.serial = 0
        self.customers: list[CustomerId] = []

    def id(self) -> UUID:
        return UUID(int=self.chance.getrandbits(128), version=4)

    def name(self, prefix: str) -> str:
        self.serial += 1
        return f"{prefix}{self.seed}-{self.serial}"

    def text(self) -> str:
        return self.chance.choice(TEXTS) or "-"

    def maybe(self, value: T) -> T | None:
        return value if self.chance.random() < 0.6 else None

    def member(self, kind: type[E]) -> E:
        return self.chance.choice(list(kind))

    def moment(self) -> datetime:
        """One of few, so that ties are common."""
        return START + timedelta(hours=self.chance.randrange(6), microseconds=self.chance.choice([0, 1, 500_000]))

    def json(self) -> Any:
        return self.chance.choice([True, None, 3, 'a"b', [1, {"x": None}], {"k": "v", "n": 1.5}])

    async def add(self, table: Any, **values: Any) -> UUID:
        row_id = values.setdefault("id", self.id())
        await self.tx.execute(insert(table).values(**values))
        return row_id


async def populate(db: Database, seed: int, *, customers: int = 6) -> list[CustomerId]:
    """Fill a migrated database; answers with the new customers' ids."""
    async with db.transaction(Role.WORKER) as tx:
        rows = Rows(tx, seed)
        brand = await rows.add(policy.brand, code=rows.name("b"), name=rows.text())
        version = await rows.add(
            policy.policy_version,
            version=rows.name("v"),
            title=rows.text(),
            body=rows.text(),
            body_sha256=hashlib.sha256(b"body").digest(),
            effective_from=rows.moment(),
        )
        purposes = [rows.name("p") for _ in range(2)]
        for code in purposes:
            await tx.execute(
                insert(policy.purpose).values(
                    code=code,
                    title=rows.text(),
                    description=rows.text(),
                    legal_basis=rows.member(policy.LegalBasis),
                    needs_consent=True,
                )
            )
        systems = [
            await rows.add(system.system, name=rows.name("s"), title=rows.text(), kind="sql", position=position)
            for position in (5, 5, 1)
        ]
        for _ in range(customers):
            await _customer(rows, brand, version, purposes, systems)
        return rows.customers


async def _customer(rows: Rows, brand: UUID, version: UUID, purposes: list[str], systems: list[UUID]) -> None:
    customer_id, collection_id = CustomerId(rows.id()), rows.id()
    rows.customers.append(customer_id)
    await rows.add(
        customer.customer,
        id=customer_id,
        kind=rows.member(customer.CustomerKind),
        given_name=rows.maybe(rows.text()),
        family_name=rows.maybe(rows.text()),
        organisation_name=rows.maybe(rows.text()),
        country=rows.maybe("DE"),
        locale=rows.maybe("de-DE"),
        brand_id=brand,
        audit_ref=rows.id(),
        collection_id=collection_id,
        created_at=rows.moment(),
    )
    await rows.add(
        policy.collection,
        id=collection_id,
        customer_id=customer_id,
        point=rows.member(policy.CollectionPoint),
        source=rows.text(),
        collected_at=rows.moment(),
        policy_version_id=version,
        brand_id=brand,
    )
    own = {"customer_id": customer_id, "collection_id": collection_id}
    account_id = await rows.add(account.account, **own, username=rows.name("user") + "@example.org")
    await rows.add(
        account.session,
        customer_id=customer_id,
        account_id=account_id,
        token_hash=hashlib.sha256(rows.name("t").encode()).digest(),
        authenticated_at=rows.moment(),
        expires_at=rows.moment(),
        created_at=rows.moment(),
        ip_address=rows.maybe("::1"),
    )
    await _contacts(rows, own)
    await _papers(rows, own, purposes, version)
    await _orders(rows, own)
    await _requests(rows, customer_id, systems)


async def _contacts(rows: Rows, own: dict[str, Any]) -> None:
    for position in range(rows.chance.randrange(4)):
        address = rows.chance.choice(["Ann@Example.org", "odd", "ü@x.y.z", "a@b"]) + rows.name("")
        await rows.add(
            contact.email_address,
            **own,
            address=address,
            normalized=address.lower(),
            is_primary=position == 0,
            verified_at=rows.maybe(rows.moment()),
            created_at=rows.moment(),
        )
        await rows.add(
            contact.phone_number,
            **own,
            number=rows.text(),
            e164=rows.maybe("+49301"),
            kind=rows.member(contact.PhoneKind),
            created_at=rows.moment(),
        )
        await rows.add(
            contact.postal_address,
            **own,
            kind=rows.member(contact.AddressKind),
            recipient=rows.maybe(rows.text()),
            line1=rows.text(),
            line2=rows.maybe(rows.text()),
            city=rows.maybe(rows.text()),
            postal_code=rows.maybe("10115"),
            country=rows.maybe("DE"),
            created_at=rows.moment(),
        )
        await rows.add(
            customer.identity,
            **own,
            type=rows.member(customer.IdentityType),
            value=rows.name("i"),
            issuer="shop",
            created_at=rows.moment(),
        )
        await rows.add(consent.preference, **own, key=rows.name("k"), value=rows.json())


async def _papers(rows: Rows, own: dict[str, Any], purposes: list[str], version: UUID) -> None:
    for _ in range(rows.chance.randrange(5)):
        await rows.add(
            consent.consent,
            **own,
            purpose=rows.chance.choice(purposes),
            channel=rows.chance.choice([consent.Channel.EMAIL, consent.Channel.ANY]),
            action=rows.member(consent.ConsentAction),
            wording=rows.text(),
            recorded_at=rows.moment(),
        )
        asked = await rows.add(
            inquiry.inquiry,
            **own,
            kind=rows.member(inquiry.InquiryKind),
            status=rows.member(inquiry.InquiryStatus),
            subject=rows.text(),
            body=rows.text(),
            received_at=rows.moment(),
            answered_at=rows.maybe(rows.moment()),
        )
        await rows.add(
            inquiry.quotation,
            **own,
            inquiry_id=rows.maybe(asked),
            number=rows.name("Q"),
            status=rows.member(inquiry.QuotationStatus),
            currency="EUR",
            total=Decimal(rows.chance.randrange(10_000)) / 100,
            lead_time_days=rows.maybe(5),
            requested_at=rows.moment(),
            respond_by=rows.moment(),
        )
        await rows.add(
            inquiry.survey_response, **own, survey=rows.text(), answers=rows.json(), submitted_at=rows.moment()
        )
        used = await rows.add(
            event.device,
            **own,
            kind=rows.member(event.DeviceKind),
            browser=rows.maybe(rows.text()),
            first_seen_at=rows.moment(),
            last_seen_at=rows.moment(),
        )
        await rows.add(
            event.event,
            **own,
            device_id=rows.maybe(used),
            type=rows.chance.choice(["page", "track"]),
            name=rows.maybe(rows.text()),
            time_on_page_ms=rows.maybe(1200),
            properties=rows.maybe(rows.json()),
            occurred_at=rows.moment(),
        )
        await rows.add(
            message.message,
            customer_id=own["customer_id"],
            purpose=rows.chance.choice(purposes),
            template="welcome",
            recipient="ann@example.org",
            subject=rows.text(),
            body=rows.text(),
            status=rows.member(message.MessageStatus),
            created_at=rows.moment(),
        )
        await rows.add(
            policy.policy_acceptance,
            **own,
            policy_version_id=version,
            decision=rows.member(policy.AcceptanceDecision),
            decided_at=rows.moment(),
        )


async def _orders(rows: Rows, own: dict[str, Any]) -> None:
    for _ in range(rows.chance.randrange(8)):
        bought = await rows.add(
            order.sales_order,
            **own,
            number=rows.name("O"),
            kind=rows.member(order.OrderKind),
            status=rows.member(order.OrderStatus),
            placed_at=rows.moment(),
            confirmed_at=rows.maybe(rows.moment()),
            currency="EUR",
            total=Decimal(rows.chance.choice([0, 100, 1999, 10**15 + 1])) / 100,
            billing_name=rows.maybe(rows.text()),
            billing_line1=rows.maybe(rows.text()),
        )
        for position in range(rows.chance.randrange(4)):
            await rows.add(
                order.sales_order_item,
                **own,
                order_id=bought,
                position=position + 1,
                sku=rows.text(),
                title=rows.text(),
                quantity=rows.chance.randrange(1, 9),
                unit_price=Decimal(rows.chance.randrange(1_000)) / 100,
            )


async def _requests(rows: Rows, customer_id: CustomerId, systems: list[UUID]) -> None:
    for _ in range(rows.chance.randrange(3)):
        kind = rows.chance.choice([request.RequestType.ACCESS, request.RequestType.ERASURE])
        asked = await rows.add(
            request.privacy_request,
            customer_id=customer_id,
            reference=new_reference("PR"),
            type=kind,
            status=rows.chance.choice([request.RequestStatus.COMPLETED, request.RequestStatus.CANCELLED]),
            subject_ref=rows.id(),
            channel="account",
            reason=rows.maybe(rows.text()),
            requested_at=rows.moment(),
            due_at=rows.moment(),
            cooling_off_until=rows.maybe(rows.moment()),
        )
        for system_id in systems:
            for step in rows.chance.sample(list(request.TaskStep), 2):
                await rows.add(
                    request.request_task,
                    customer_id=customer_id,
                    request_id=asked,
                    system_id=system_id,
                    step=step,
                    status=rows.member(request.TaskStatus),
                    code=rows.maybe("FOUND"),
                    evidence=rows.maybe({"rows": 2}),
                    next_run_at=rows.moment(),
                )
        if kind is request.RequestType.ACCESS:
            await rows.add(
                export.export,
                customer_id=customer_id,
                request_id=asked,
                reference=new_reference("EX"),
                status=rows.member(export.ExportStatus),
                size_bytes=rows.maybe(2**60 + 1),
                sha256=rows.maybe(hashlib.sha256(b"x").digest()),
                missing=rows.maybe([]),
                created_at=rows.moment(),
            )
        else:
            await rows.add(
                certificate.certificate,
                request_id=asked,
                reference=new_reference("CE"),
                document='{"a": 1}',
                key_id="k1",
                issued_at=rows.moment(),
            )
