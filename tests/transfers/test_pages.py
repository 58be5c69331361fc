"""Pages: a customer sees who would get what and keeps it here with one click; staff move deals on in the console."""

from html import unescape
from typing import Any

from sqlalchemy import delete, func, insert, select, update

from cdp.core.ids import global_id
from cdp.tables.audit import audit_event
from cdp.tables.hold import legal_hold
from cdp.tables.transfer import ReceiptState, TransferStatus, transfer_customer
from tests.browser import submit
from tests.engine import QUICK, opened
from tests.population import Person
from tests.site import app, give_account, new_customer, new_staff, platform, signed_in
from tests.transfers.office import Office, opened_office

__all__ = ["app", "new_customer", "new_staff", "platform", "signed_in"]


async def told(office: Office, code: str) -> tuple[Any, list[Person], list[str]]:
    """A deal of which two customers with accounts were told; they, and their user names."""
    brand_id = await office.brand(code)
    people = [await office.person(brand_id) for _ in range(2)]
    names = [await give_account(office.engine.platform, person) for person in people]
    deal = await office.create(brand=code)
    await office.told(deal)
    return deal, people, names


async def test_one_click_keeps_it_here(settings: Any, app: Any, new_customer: Any, signed_in: Any) -> None:
    async for engine in opened(settings.model_copy(update={**QUICK, "redis_url": ""})):
        office = await opened_office(engine)
        deal, (person, bystander), names = await told(office, "clicked")
        browser = await signed_in(names[0])
        here = f"/account/transfers/{deal.reference}"
        listed = unescape((await browser.get("/account/transfers")).text)
        assert "Sale of the main brand" in listed
        page = unescape((await browser.get(here)).text)
        for words in ("Acme GmbH", "Germany", "contacts.emails.address", "Keep my data here", "unless you object"):
            assert words in page
        done = await submit(browser, here)
        assert (done.status_code, done.headers["location"]) == (303, here)
        again = unescape((await browser.get(here)).text)
        assert "You objected" in again
        assert "Keep my data here" not in again
        assert (await office.member(deal, person)).objection_channel == "account_page"
        assert (await office.member(deal, bystander)).objected_at is None
        stranger = await signed_in(await new_customer())
        assert (await stranger.get(here)).status_code == 404
        assert "No sale concerns you" in (await stranger.get("/account/transfers")).text


async def test_who_was_written_to_and_stays_after_all_reads_so(settings: Any, app: Any, signed_in: Any) -> None:
    """The letter's link leads somewhere, also for who is held or whose contract has ended meanwhile; never why."""
    async for engine in opened(settings.model_copy(update={**QUICK, "redis_url": ""})):
        office = await opened_office(engine)
        deal, (person, bystander), names = await told(office, "stays")
        async with office.tx() as tx:
            values = {"customer_id": person.customer_id, "subject_ref": person.audit_ref}
            held = {"category": "order", "reason": "A case.", "review_at": func.now()}
            await tx.execute(insert(legal_hold).values(**values, **held))
        await office.freeze(deal)
        browser = await signed_in(names[0])
        page = await browser.get(f"/account/transfers/{deal.reference}")
        assert (page.status_code, "Your data stays here" in page.text, "Keep my data" in page.text) == (
            200,
            True,
            False,
        )
        assert "held" not in page.text
        assert "stays here" in (await browser.get("/account/transfers")).text
        async with office.tx() as tx:
            await tx.execute(delete(legal_hold).where(legal_hold.c.customer_id == person.customer_id))
        mine = transfer_customer.c.customer_id == bystander.customer_id
        for receipt, words in ((ReceiptState.ACCEPTED, "Your data still"), (ReceiptState.DESTROYED, "is destroyed")):
            async with office.tx() as tx:
                await tx.execute(
                    update(transfer_customer).where(mine).values(transferred_at=func.now(), receipt=receipt)
                )
            await office.change(deal, status=TransferStatus.RECALLED)
            page = await (await signed_in(names[1])).get(f"/account/transfers/{deal.reference}")
            assert words in page.text


async def test_a_deal_in_the_console(settings: Any, app: Any, new_staff: Any, signed_in: Any) -> None:
    async for engine in opened(settings.model_copy(update={**QUICK, "redis_url": ""})):
        office = await opened_office(engine)
        deal, _, _ = await told(office, "consoled")
        here = f"/console/transfers/{global_id('Transfer', deal.id)}"
        maker = await signed_in(await new_staff("privacy_officer"), page="/console/sign-in")
        assert deal.reference in (await maker.get("/console/transfers")).text
        shown = unescape((await maker.get(here)).text)
        assert "Acme GmbH" in shown
        assert "Freeze" in shown
        done = await submit(maker, here, action=f"{here}/freeze")
        assert done.status_code == 303, done.text
        row = await office.row(deal)
        assert row.status is TransferStatus.FROZEN
        own = await submit(maker, here, action=f"{here}/approve", sha256=bytes(row.frozen_sha256).hex())
        assert (own.status_code, "Somebody else" in own.text) == (403, True)
        async with office.tx() as tx:
            refused = (audit_event.c.object_id == deal.id, audit_event.c.outcome == "refused")
            codes = [one.code for one in await tx.all(select(audit_event.c.code).where(*refused))]
        assert codes == ["SECOND_PERSON_NEEDED"], "the deal's own ledger has it"
        second = await signed_in(await new_staff("supervisor"), page="/console/sign-in")
        done = await submit(second, here, action=f"{here}/approve", sha256=bytes(row.frozen_sha256).hex())
        assert done.status_code == 303, done.text
        assert "1 of 2" in unescape((await second.get(here)).text)
        agent = await signed_in(await new_staff("analyst"), page="/console/sign-in")
        assert (await agent.get(here)).status_code == 403
