"""Merging duplicates in the console: seen on the customer's page, compared, decided, undone from the ledger."""

from collections.abc import Mapping

import httpx
from sqlalchemy import func, select, update

from cdp.core.db import Database, Role
from cdp.core.ids import global_id
from cdp.tables.account import account
from cdp.tables.contact import email_address
from cdp.tables.merge import MergeStatus, customer_merge
from tests.browser import forms
from tests.console.conftest import Colleague
from tests.console.test_customer import page_of
from tests.population import Person, audited, make_person, picture


async def twin_of(db: Database, person: Person) -> Person:
    """Somebody without a sign-in who has proven the same address."""
    twin = await make_person(db, given_name="Adele")
    async with db.transaction(Role.WORKER) as tx:
        mine = email_address.c.customer_id == twin.customer_id
        await tx.execute(update(email_address).where(mine).values(address=person.email, normalized=person.email))
        await tx.execute(account.delete().where(account.c.customer_id == twin.customer_id))
    return twin


async def _merge(browser: httpx.AsyncClient, keep: Person, drop: Person, **typed: str) -> httpx.Response:
    address = f"{page_of(keep)}/merge/{global_id('Customer', drop.customer_id)}"
    shown = await browser.get(address)
    given: Mapping[str, str] = forms(shown)[address]
    return await browser.post(address, data={**given, "reason": "The same person.", **typed})


async def _ledger(db: Database, keep: Person) -> list:
    async with db.transaction(Role.WORKER) as tx:
        return list(await tx.all(select(customer_merge).where(customer_merge.c.customer_id == keep.customer_id)))


async def test_a_duplicate_is_found_compared_merged_and_taken_apart(
    db: Database, colleague: Colleague, person: Person
) -> None:
    twin, bystander = await twin_of(db, person), await make_person(db)
    before = await picture(db, bystander)
    browser = await colleague("supervisor")
    there = f"{page_of(person)}/merge/{global_id('Customer', twin.customer_id)}"
    page = await browser.get(page_of(person))
    assert there in page.text
    assert "Same proven e-mail address" in page.text
    compared = await browser.get(there)
    assert "Adele" in compared.text
    assert "Merge them" in compared.text
    assert person.email not in compared.text
    answer = await _merge(browser, person, twin)
    assert answer.headers["location"] == f"{page_of(person)}?done=merge"
    page = await browser.get(page_of(person))
    assert there not in page.text
    [merge] = await _ledger(db, person)
    assert merge.status is MergeStatus.MERGED
    gone = await browser.get(page_of(twin))
    assert gone.headers["location"] == f"{page_of(person)}?done=merged"
    undoing = f"{page_of(person)}/merges/{global_id('CustomerMerge', merge.id)}"
    shown = await browser.get(undoing)
    answer = await browser.post(undoing, data={**forms(shown)[undoing], "reason": "They are sisters."})
    assert answer.headers["location"] == f"{page_of(person)}?done=unmerged"
    assert (await browser.get(page_of(twin))).status_code == 200
    assert "customer.unmerged" in await audited(db, person)
    assert await picture(db, bystander) == before


async def test_an_agent_proposes_and_a_supervisor_carries_out(
    db: Database, agent: httpx.AsyncClient, colleague: Colleague, person: Person
) -> None:
    twin = await twin_of(db, person)
    page = await agent.get(f"{page_of(person)}/merge/{global_id('Customer', twin.customer_id)}")
    assert "Propose to merge them" in page.text
    await _merge(agent, person, twin)
    [proposal] = await _ledger(db, person)
    assert proposal.status is MergeStatus.PROPOSED
    assert (await agent.get(page_of(twin))).status_code == 200
    await _merge(await colleague("supervisor"), person, twin)
    assert [row.status for row in await _ledger(db, person)] == [MergeStatus.MERGED]


async def test_what_was_changed_meanwhile_is_looked_at_again(
    db: Database, colleague: Colleague, person: Person
) -> None:
    twin, browser = await twin_of(db, person), await colleague("supervisor")
    stale = await _merge(browser, person, twin, drop_version="7")
    assert stale.status_code == 409
    assert "read it again" in stale.text
    empty = await _merge(browser, person, twin, reason="")
    assert "Say why they are the same." in empty.text
    assert await _ledger(db, person) == []


async def test_who_only_administers_sees_no_duplicates(db: Database, colleague: Colleague, person: Person) -> None:
    twin = await twin_of(db, person)
    administrator = await colleague("administrator")
    address = f"{page_of(person)}/merge/{global_id('Customer', twin.customer_id)}"
    assert (await administrator.get(address)).status_code == 403


async def test_an_office_and_a_shared_address_make_nobody_a_duplicate(
    db: Database, agent: httpx.AsyncClient, person: Person
) -> None:
    twins = [await twin_of(db, person) for _ in range(3)]
    assert "Possible duplicates" not in (await agent.get(page_of(person))).text
    async with db.transaction(Role.WORKER) as tx:
        pair = email_address.c.customer_id.in_([person.customer_id, twins[0].customer_id])
        office = f"info@{person.email.replace('@', '.')}"
        await tx.execute(update(email_address).where(pair).values(normalized=office))
    assert "Possible duplicates" not in (await agent.get(page_of(person))).text
    async with db.transaction(Role.WORKER) as tx:
        await tx.execute(
            update(email_address).where(pair).values(normalized=func.concat("a", email_address.c.normalized))
        )
    assert "Possible duplicates" in (await agent.get(page_of(person))).text
