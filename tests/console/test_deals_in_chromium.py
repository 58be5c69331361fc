"""Every page of transfers and partners in a real browser, under axe: light, dark, narrow, with problems and without."""

import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import insert, update

from cdp.core.db import Role
from cdp.core.ids import global_id, new_id
from cdp.core.platform import Platform
from cdp.tables.partner import PartnerFunction, partner, partner_grant
from cdp.tables.policy import LegalBasis
from cdp.tables.sharing import OrderStatus, legal_order
from cdp.tables.transfer import TransferStatus, transfer
from tests.console.test_customer import page_of
from tests.console.test_in_chromium import OpenPage, address, open_page, sign_in
from tests.engine import QUICK, Engine, opened
from tests.pages.conftest import browser
from tests.pages.test_every_page import WIDE, inspect
from tests.pages.walking import follow
from tests.population import Person
from tests.transfers.office import Office, opened_office

__all__ = ["address", "browser", "open_page"]

pytestmark = pytest.mark.browser


@pytest.fixture
async def engine(settings: Any) -> AsyncIterator[Engine]:
    async for one in opened(settings.model_copy(update={**QUICK, "redis_url": ""})):
        yield one


async def change(office: Office, deal: Any, status: TransferStatus) -> None:
    """Let a deal stand somewhere, as far as its page shows."""
    async with office.tx() as tx:
        await tx.execute(update(transfer).where(transfer.c.id == deal.id).values(status=status))


async def test_every_page_of_a_deal(engine: Engine, open_page: OpenPage, new_staff: Any) -> None:
    office = await opened_office(engine)
    code = f"walk-{secrets.token_hex(4)}"
    brand_id = await office.brand(code)
    for _ in range(2):
        await office.person(brand_id)
    deal = await office.create(brand=code)
    await office.classify(deal)
    page = await open_page(viewport=WIDE)
    await sign_in(page, await new_staff("privacy_officer"))
    await page.goto("/console/transfers")
    await inspect(page)
    here = f"/console/transfers/{global_id('Transfer', deal.id)}"
    await page.goto(here)
    await inspect(page)
    await page.locator("#fingerprint").fill("00")
    await follow(page, page.get_by_role("button", name="Confirm"))
    await inspect(page)
    await follow(page, page.get_by_role("button", name="Look at a few"))
    await inspect(page)
    await office.confirm(deal)
    await office.notify(deal)
    await office.engine.work()
    await office.freeze(deal)
    for status in (TransferStatus.FROZEN, TransferStatus.DELIVERING):
        await change(office, deal, status)
        await page.goto(here)
        for one in await page.locator("summary").all():
            await one.click()
        await inspect(page)


async def seed(platform: Platform, person: Person, staff_id: Any) -> None:
    """A partner with a grant that waits, and an order that may be followed."""
    partner_id, now = new_id(), datetime.now(UTC)
    async with platform.db.transaction(Role.WORKER) as tx:
        known = {"code": f"w-{secrets.token_hex(4)}", "name": "Walked Mailings", "contact": "it@walked.example"}
        await tx.execute(insert(partner).values(id=partner_id, **known))
        await tx.execute(
            insert(partner_grant).values(
                partner_id=partner_id,
                function=PartnerFunction.EMAIL_CONTACT,
                purposes=["orders"],
                fields=["EmailAddress.address"],
                actions=["read"],
                legal_basis=LegalBasis.CONTRACT,
                brands=[],
                countries=["DE"],
                retention_days=30,
                contract_reference="C-1",
                valid_from=now,
                valid_until=now.replace(year=now.year + 1),
                proposed_by_id=staff_id,
            )
        )
        await tx.execute(
            insert(legal_order).values(
                customer_id=person.customer_id,
                subject_ref=person.audit_ref,
                authority="A court",
                case_ref=f"12 O {secrets.token_hex(3)}",
                law="ZPO § 142",
                fields=["Customer.givenName"],
                status=OrderStatus.APPROVED,
                proposed_by_id=staff_id,
            )
        )


async def test_every_page_of_partners(engine: Engine, open_page: OpenPage, new_staff: Any, person: Person) -> None:
    office = await opened_office(engine)
    await seed(engine.platform, person, office.maker.staff_id)
    page = await open_page(viewport=WIDE)
    await sign_in(page, await new_staff("privacy_officer"))
    await page.goto("/console/partners")
    await inspect(page)
    await page.goto("/console/partners/new")
    await inspect(page)
    for name, value in (("code", "Not A Code"), ("name", "X"), ("contact", "it@x.example")):
        await page.locator(f"#{name}").fill(value)
    await follow(page, page.get_by_role("button", name="Add it"))
    await inspect(page)
    await page.goto("/console/partners")
    await follow(page, page.get_by_role("link", name="Propose a grant for Walked Mailings").first)
    await inspect(page)
    await page.get_by_label("Contact by e-mail").check()
    await follow(page, page.get_by_role("button", name="Continue"))
    await inspect(page)
    await page.get_by_label("Contract", exact=True).first.check()
    await page.locator("#contract_reference").fill("C-2")
    await follow(page, page.get_by_role("button", name="Propose it"))
    await inspect(page)
    await page.goto(page_of(person))
    await follow(page, page.get_by_role("link", name="Legal order"))
    await inspect(page)
