"""Proving an e-mail address: once, in time, by the one whose account it is, and never by merely opening the link."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import insert, select, update

from cdp.access.viewer import Actor, Viewer
from cdp.core.db import Role
from cdp.core.ids import new_id
from cdp.operations import messages
from cdp.operations.accounts import email_proofs
from cdp.operations.accounts.mail_links import LinkRefused
from cdp.tables.account import account, mail_link
from cdp.tables.audit import audit_event
from cdp.tables.contact import email_address
from cdp.tables.customer import customer, identity
from cdp.tables.message import message
from tests.browser import submit, title, visitor
from tests.mailbox import mailed, mailed_code
from tests.site import PASSWORD

PAGE = "/account/verify-email"


async def _who(platform, name: str):
    async with platform.db.transaction(Role.WORKER) as tx:
        return await tx.first(
            select(account.c.customer_id, customer.c.audit_ref, customer.c.collection_id, customer.c.origin_identity_id)
            .join_from(account, customer, customer.c.id == account.c.customer_id)
            .where(account.c.username == name)
        )


async def _viewer(platform, name: str) -> Viewer:
    return Viewer(Actor.CUSTOMER, customer_id=(await _who(platform, name)).customer_id)


async def _proven(platform, name: str) -> tuple[bool, bool]:
    """Whether contact and identity say so."""
    who = await _who(platform, name)
    async with platform.db.transaction(Role.WORKER) as tx:
        contact = select(email_address.c.verified_at).where(email_address.c.customer_id == who.customer_id)
        known = select(identity.c.verified_at).where(
            identity.c.customer_id == who.customer_id, identity.c.type == "email"
        )
        return await tx.scalar(contact) is not None, await tx.scalar(known) is not None


async def _events(platform, name: str) -> list[tuple[str, str, str | None]]:
    who = await _who(platform, name)
    async with platform.db.transaction(Role.WORKER) as tx:
        log = audit_event.c
        found = select(log.action, log.outcome, log.code).where(log.subject_ref == who.audit_ref).order_by(log.id)
        return [tuple(row) for row in await tx.all(found)]


async def test_the_button_proves_and_the_link_alone_does_not(app, platform, new_customer, signed_in):
    name, bystander = await new_customer(), await new_customer()
    code = await mailed_code(platform, name)
    browser = await signed_in(name)
    assert (await browser.get(PAGE)).status_code == 200
    assert await _proven(platform, name) == (False, False)
    answer = await submit(browser, PAGE, code=code)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{PAGE}?done=1")
    assert "is confirmed" in title(await browser.get(f"{PAGE}?done=1"))
    assert await _proven(platform, name) == (True, True)
    assert await _proven(platform, bystander) == (False, False)
    assert ("email.verified", "ok", None) in await _events(platform, name)


async def test_who_is_not_signed_in_is_asked_first(app, platform, new_customer):
    name = await new_customer()
    code = await mailed_code(platform, name)
    async with visitor(app) as browser:
        answer = await submit(browser, PAGE, code=code)
        assert answer.headers["location"] == "/account/sign-in?next=%2Faccount%2Fverify-email"
        assert code not in answer.headers["location"]
        assert await _proven(platform, name) == (False, False)
        answer = await submit(browser, answer.headers["location"], username=name, password=PASSWORD)
        assert answer.headers["location"] == PAGE
        answer = await submit(browser, PAGE)
        assert answer.headers["location"] == f"{PAGE}?done=1"
        assert "cdp_proof" not in browser.cookies
    assert await _proven(platform, name) == (True, True)


async def test_a_link_is_good_once(platform, new_customer, signed_in):
    name = await new_customer()
    code, browser = await mailed_code(platform, name), await signed_in(name)
    await submit(browser, PAGE, code=code)
    again = await submit(browser, PAGE, code=code)
    assert again.status_code == 422
    assert "ask for a new one" in again.text
    assert code not in again.text
    assert (await _events(platform, name))[-1] == ("email.verified", "refused", "LINK_REFUSED")


async def test_of_two_at_once_exactly_one_wins(platform, new_customer):
    name = await new_customer()
    code, viewer = await mailed_code(platform, name), await _viewer(platform, name)
    tries = [email_proofs.prove(platform, viewer, code) for _ in range(5)]
    answers = await asyncio.gather(*tries, return_exceptions=True)
    assert [type(one) for one in answers if one is not None] == [LinkRefused] * 4
    assert [event[1] for event in await _events(platform, name) if event[0] == "email.verified"].count("ok") == 1


async def test_a_link_is_good_for_a_day(platform, new_customer, signed_in):
    name = await new_customer()
    code, browser, who = await mailed_code(platform, name), await signed_in(name), await _who(platform, name)
    async with platform.db.transaction(Role.WORKER) as tx:
        mine = update(mail_link).where(mail_link.c.customer_id == who.customer_id)
        past = {name: mail_link.c[name] - timedelta(hours=24) for name in ("created_at", "expires_at")}
        await tx.execute(mine.values(past))
    assert (await submit(browser, PAGE, code=code)).status_code == 422
    assert await _proven(platform, name) == (False, False)


async def test_somebody_elses_link_is_refused_and_stays_good(platform, new_customer, signed_in):
    """Whoever registers with a foreign address must not get its proof by its owner's click, nor the other way."""
    attacker, victim = await new_customer(), await new_customer()
    code, browser = await mailed_code(platform, attacker), await signed_in(victim)
    assert (await submit(browser, PAGE, code=code)).status_code == 422
    assert await _proven(platform, attacker) == await _proven(platform, victim) == (False, False)
    await email_proofs.prove(platform, await _viewer(platform, attacker), code)
    assert await _proven(platform, attacker) == (True, True)


@pytest.mark.parametrize("code", ["", "x", "é" * 43, "a" * 43, "\x00" * 43, "x" * 5000])
async def test_garbage_is_refused(app, new_customer, signed_in, code):
    browser = await signed_in(await new_customer())
    assert (await submit(browser, PAGE, code=code)).status_code == 422
    async with visitor(app) as stranger:
        assert (await submit(stranger, PAGE, code=code)).status_code in {303, 422}


async def test_an_identity_another_customer_proved_stays_theirs(platform, new_customer):
    name, owner = await new_customer(), await new_customer()
    theirs = await _who(platform, owner)
    async with platform.db.transaction(Role.WORKER) as tx:
        held = update(identity).where(identity.c.type == "email", identity.c.value == name)
        await tx.execute(held.values(customer_id=theirs.customer_id, verified_at=platform.clock()))
    await email_proofs.prove(platform, await _viewer(platform, name), await mailed_code(platform, name))
    assert await _proven(platform, name) == (True, False)
    assert ("identity.contested", "refused", "IDENTITY_TAKEN") in await _events(platform, name)


async def test_an_identity_somebody_only_claimed_goes_to_who_proves_it(platform, new_customer):
    name, claimant = await new_customer(), await new_customer()
    theirs = await _who(platform, claimant)
    async with platform.db.transaction(Role.WORKER) as tx:
        held = update(identity).where(identity.c.type == "email", identity.c.value == name)
        await tx.execute(held.values(customer_id=theirs.customer_id))
    await email_proofs.prove(platform, await _viewer(platform, name), await mailed_code(platform, name))
    assert await _proven(platform, name) == (True, True)


async def test_an_identity_that_rows_came_by_stays_with_them(platform, new_customer):
    name, owner = await new_customer(), await new_customer()
    theirs = await _who(platform, owner)
    async with platform.db.transaction(Role.WORKER) as tx:
        held = update(identity).where(identity.c.type == "email", identity.c.value == name)
        await tx.execute(held.values(customer_id=theirs.customer_id))
        held_id = await tx.scalar(select(identity.c.id).where(identity.c.type == "email", identity.c.value == name))
        mine = update(email_address).where(email_address.c.customer_id == theirs.customer_id)
        await tx.execute(mine.values(origin_identity_id=held_id))
    await email_proofs.prove(platform, await _viewer(platform, name), await mailed_code(platform, name))
    assert await _proven(platform, name) == (True, False)


async def test_an_address_that_is_gone_is_not_proven(platform, new_customer):
    name = await new_customer()
    code, who = await mailed_code(platform, name), await _who(platform, name)
    async with platform.db.transaction(Role.WORKER) as tx:
        mine = update(email_address).where(email_address.c.customer_id == who.customer_id)
        await tx.execute(mine.values(address="other@example.org", normalized="other@example.org"))
    with pytest.raises(LinkRefused):
        await email_proofs.prove(platform, await _viewer(platform, name), code)
    assert await _proven(platform, name) == (False, False)


async def test_a_frozen_account_changes_nothing(platform, new_customer, signed_in):
    name = await new_customer()
    code, browser, who = await mailed_code(platform, name), await signed_in(name), await _who(platform, name)
    async with platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(update(customer).where(customer.c.id == who.customer_id).values(status="frozen"))
    assert (await submit(browser, PAGE, code=code)).status_code == 422
    assert await _proven(platform, name) == (False, False)


async def test_the_letter_forgets_its_link_once_it_is_sent(platform, new_customer):
    name = await new_customer()
    code = await mailed_code(platform, name)
    async with platform.db.transaction(Role.WORKER) as tx:
        message_id = await tx.scalar(select(message.c.id).where(message.c.recipient == name))
        (outgoing,) = await messages.claim(tx, [message_id], lease_s=30)
        assert code in outgoing.body
        await messages.settle(tx, [(outgoing, True)], max_attempts=3, retry_base_s=1)
        assert code not in await tx.scalar(select(message.c.body).where(message.c.id == message_id))
    assert await mailed(platform, name) == ["account_registered"]


async def test_what_is_stored_opens_nothing(platform, new_customer):
    name = await new_customer()
    who, viewer = await _who(platform, name), await _viewer(platform, name)
    async with platform.db.transaction(Role.WORKER) as tx:
        stored = await tx.scalar(select(mail_link.c.token_hash).where(mail_link.c.customer_id == who.customer_id))
    with pytest.raises(LinkRefused):
        await email_proofs.prove(platform, viewer, stored.hex())


async def test_a_second_address_is_proven_by_its_own_link(platform, new_customer):
    name, bystander = await new_customer(), await new_customer()
    who, viewer = await _who(platform, name), await _viewer(platform, name)
    email_id, second = new_id(), f"second.{name}"
    origin = {"customer_id": who.customer_id, "collection_id": who.collection_id}
    async with platform.db.transaction(Role.WORKER) as tx:
        values = {"id": email_id, "address": second, "normalized": second, **origin}
        await tx.execute(insert(email_address).values(values))
    await email_proofs.send(platform, viewer, email_id, address="198.51.100.31")
    await email_proofs.prove(platform, viewer, await mailed_code(platform, second))
    async with platform.db.transaction(Role.WORKER) as tx:
        proven = select(email_address.c.normalized).where(
            email_address.c.customer_id == who.customer_id, email_address.c.verified_at.is_not(None)
        )
        assert [row.normalized for row in await tx.all(proven)] == [second]
    assert await mailed(platform, bystander) == ["account_registered"]
