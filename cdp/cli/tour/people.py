"""The demo's people: customers who register like anybody, prove their address, and have bought things; and colleagues.

Running the demo again finds who stayed and registers anew who left; proving the address lifts the earlier suppression.
"""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

from sqlalchemy import insert, select, update

from cdp.access.viewer import SYSTEM, Actor, Viewer
from cdp.cli.tour.systems import Copy
from cdp.core.db import Role, Tx
from cdp.core.ids import new_id
from cdp.core.platform import Platform
from cdp.operations.accounts import email_proofs, staff_accounts
from cdp.operations.accounts.accounts import Registration, register
from cdp.operations.accounts.passwords import hash_password
from cdp.operations.production import DEMO_SOURCE, DEMO_STAFF
from cdp.tables.account import account
from cdp.tables.consent import preference
from cdp.tables.contact import AddressKind, PhoneKind, email_address, phone_number, postal_address
from cdp.tables.order import OrderStatus, sales_order, sales_order_item
from cdp.tables.staff import staff

PASSWORD = "lantern orchard granite"  # noqa: S105 - printed by the demo, refused in production
ANNA = Copy("Anna Lindqvist", "anna@example.com")
BEN = Copy("Ben Okafor", "ben@example.com")
CLARA = Copy("Clara Moreau", "clara@example.com")
PEOPLE = (ANNA, BEN, CLARA)
COLLEAGUES = dict(
    zip(DEMO_STAFF, (("Eva Brandt", ("agent",)), ("Omar Haddad", ("privacy_officer", "supervisor"))), strict=True)
)
HOMES = {
    ANNA.email: ("SE", "Storgatan 12", "Lund", "222 20", "+46 46 123 45 67", "+46461234567"),
    BEN.email: ("GB", "14 Mill Lane", "Leeds", "LS1 4AP", "+44 113 496 0123", "+441134960123"),
    CLARA.email: ("FR", "3 rue des Lilas", "Lyon", "69003", "+33 4 78 12 34 56", "+33478123456"),
}
SHELF = (("TEA-250", "Assam tea, 250 g", "8.90"), ("KETTLE-1", "Steel kettle", "49.00"), ("CUP-6", "Six cups", "24.50"))


async def settle_in(platform: Platform) -> None:
    """Make sure that everybody of the demo has an account with a proven address, a home and three orders."""
    for person in PEOPLE:
        async with platform.db.transaction(Role.WORKER) as tx:
            known = await tx.scalar(select(account.c.id).where(account.c.username == person.email))
        if known is None:
            await _move_in(platform, person)
    for username, (name, roles) in COLLEAGUES.items():
        async with platform.db.transaction(Role.WORKER) as tx:
            known = await tx.scalar(select(staff.c.id).where(staff.c.username == username))
        if known is None:
            await _hire(platform, username, name, roles)


async def _hire(platform: Platform, username: str, name: str, roles: Sequence[str]) -> None:
    password_hash = await hash_password(platform.settings, PASSWORD)
    async with platform.db.transaction(Role.WORKER) as tx:
        await staff_accounts.add(tx, SYSTEM, platform, username, name=name, roles=roles)
        # As if they had followed the link.
        await tx.execute(update(staff).where(staff.c.username == username).values(password_hash=password_hash))


async def _move_in(platform: Platform, person: Copy) -> None:
    given, _, family = person.name.partition(" ")
    country = HOMES[person.email][0]
    customer_id = await register(
        platform, Registration(person.email, PASSWORD, True, given, family, country, source=DEMO_SOURCE)
    )
    now = platform.clock()
    async with platform.db.transaction(Role.WORKER) as tx:
        # As if they had followed the link in the letter.
        await email_proofs.prove_address(tx, platform, Viewer(Actor.CUSTOMER, customer_id=customer_id), person.email)
        row = await tx.first(
            select(email_address.c.origin_identity_id, email_address.c.collection_id).where(
                email_address.c.customer_id == customer_id
            )
        )
        assert row is not None, "registration wrote an address"
        origin = {
            "customer_id": customer_id,
            "origin_identity_id": row.origin_identity_id,
            "collection_id": row.collection_id,
        }
        await _furnish(tx, person, origin)
        for age in range(3):
            await _buy(tx, person, origin, number=age, placed_at=now - timedelta(days=40 * age + 3))


async def _furnish(tx: Tx, person: Copy, origin: dict[str, UUID]) -> None:
    country, line1, city, postal_code, number, e164 = HOMES[person.email]
    await tx.execute(
        insert(postal_address).values(
            id=new_id(),
            **origin,
            kind=AddressKind.HOME,
            recipient=person.name,
            line1=line1,
            city=city,
            postal_code=postal_code,
            country=country,
            is_primary=True,
        )
    )
    await tx.execute(
        insert(phone_number).values(
            id=new_id(), **origin, number=number, e164=e164, kind=PhoneKind.LANDLINE, is_primary=True
        )
    )
    await tx.execute(insert(preference).values(id=new_id(), **origin, key="newsletter.rhythm", value="monthly"))


async def _buy(tx: Tx, person: Copy, origin: dict[str, UUID], *, number: int, placed_at: object) -> None:
    country, line1, city, postal_code, _, _ = HOMES[person.email]
    order_id, goods = new_id(), SHELF[: number + 1]
    await tx.execute(
        insert(sales_order).values(
            id=order_id,
            **origin,
            number=f"D-{str(order_id)[-12:].upper()}",
            status=OrderStatus.COMPLETED,
            placed_at=placed_at,
            currency="EUR",
            total=sum((Decimal(price) for _, _, price in goods), Decimal(0)),
            billing_name=person.name,
            billing_line1=line1,
            billing_city=city,
            billing_postal_code=postal_code,
            billing_country=country,
        )
    )
    for position, (sku, title, price) in enumerate(goods, 1):
        await tx.execute(
            insert(sales_order_item).values(
                id=new_id(),
                **origin,
                order_id=order_id,
                position=position,
                sku=sku,
                title=title,
                quantity=1,
                unit_price=Decimal(price),
            )
        )
