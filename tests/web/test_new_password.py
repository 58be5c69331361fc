"""A forgotten password: nobody learns who has an account, a link is good once, and everybody else is signed out."""

import asyncio
import secrets
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from cdp.access.viewer import Actor
from cdp.core.db import Role
from cdp.operations.accounts import new_passwords
from cdp.operations.accounts.mail_links import LinkRefused
from cdp.operations.accounts.sessions import find
from cdp.tables.account import account, mail_link
from cdp.tables.audit import audit_event
from cdp.tables.contact import email_address
from cdp.tables.customer import customer
from cdp.tables.oauth import oauth_client, oauth_grant
from tests.browser import submit, visitor, without_noise
from tests.mailbox import mailed, mailed_code
from tests.site import PASSWORD

ASK = "/account/forgotten-password"
SET = "/account/new-password"
NEW = "a wholly new sentence"


def _somewhere() -> str:
    return f"2001:db8:{secrets.randbelow(65536):x}:{secrets.randbelow(65536):x}::1"


async def _asked(platform, name: str) -> str:
    await new_passwords.ask(platform, name, address=_somewhere())
    return await mailed_code(platform, name)


async def _events(platform, name: str) -> list[tuple[str, str, str | None]]:
    async with platform.db.transaction(Role.WORKER) as tx:
        mine = select(customer.c.audit_ref).join(account, account.c.customer_id == customer.c.id)
        log = audit_event.c
        found = select(log.action, log.outcome, log.code).where(
            log.subject_ref.in_(mine.where(account.c.username == name))
        )
        return [tuple(row) for row in await tx.all(found.order_by(log.id))]


async def _signs_in(app, name: str, password: str) -> bool:
    async with visitor(app, address=_somewhere()) as browser:
        return (await submit(browser, "/account/sign-in", username=name, password=password)).status_code == 303


async def test_a_link_sets_a_new_password_and_ends_everything_else(app, platform, new_customer, signed_in):
    name, bystander = await new_customer(), await new_customer()
    elsewhere, theirs = await signed_in(name), await signed_in(bystander)
    async with visitor(app, address=_somewhere()) as browser:
        answer = await submit(browser, ASK, username=f" {name.upper()} ")
        assert (answer.status_code, answer.headers["location"]) == (303, f"{ASK}?sent=1")
        code = await mailed_code(platform, name)
        assert (await browser.get(SET)).status_code == 200
        assert await _signs_in(app, name, PASSWORD)
        answer = await submit(browser, SET, code=code, password=NEW)
        assert (answer.status_code, answer.headers["location"]) == (303, "/account/sign-in?renewed=1")
        assert "new password is set" in (await browser.get(answer.headers["location"])).text
    assert not await _signs_in(app, name, PASSWORD)
    assert await _signs_in(app, name, NEW)
    assert await find(platform, elsewhere.cookies["cdp_session"]) is None
    assert await find(platform, theirs.cookies["cdp_session"]) is not None
    assert await _signs_in(app, bystander, PASSWORD)
    assert await mailed(platform, name) == ["account_registered", "password_reset", "password_changed"]
    assert await mailed(platform, bystander) == ["account_registered"]
    events = await _events(platform, name)
    assert ("password.reset_asked", "ok", None) in events
    assert ("password.reset", "ok", None) in events
    assert ("email.verified", "ok", None) in events, "who got the letter has the address"


async def test_apps_end_with_the_old_password(platform, new_customer):
    name, bystander = await new_customer(), await new_customer()
    grants = {}
    async with platform.db.transaction(Role.WORKER) as tx:
        client_id = await tx.scalar(select(oauth_client.c.id).limit(1))
        if client_id is None:
            values = {"client_id": secrets.token_hex(8), "name": "An app", "redirect_uris": []}
            made = oauth_client.insert().values(**values, grant_types=[], scopes=[]).returning(oauth_client.c.id)
            client_id = await tx.scalar(made)
        for one in (name, bystander):
            owner = await tx.scalar(select(account.c.customer_id).where(account.c.username == one))
            values = {"customer_id": owner, "client_id": client_id, "scope": "openid offline_access"}
            made = oauth_grant.insert().values(**values, authenticated_at=platform.clock()).returning(oauth_grant.c.id)
            grants[one] = await tx.scalar(made)
    await new_passwords.set_by_link(platform, Actor.CUSTOMER, await _asked(platform, name), NEW)
    async with platform.db.transaction(Role.WORKER) as tx:
        ended = select(oauth_grant.c.revoked_at)
        assert await tx.scalar(ended.where(oauth_grant.c.id == grants[name])) is not None
        assert await tx.scalar(ended.where(oauth_grant.c.id == grants[bystander])) is None


async def test_nobody_learns_who_has_an_account(app, platform, new_customer):
    answers = []
    for name in (await new_customer(), f"nobody.{secrets.token_hex(6)}@example.org", "x" * 400, "\x00", ""):
        async with visitor(app, address=_somewhere()) as browser:
            began = asyncio.get_running_loop().time()
            answer = await submit(browser, ASK, username=name)
            assert asyncio.get_running_loop().time() - began >= new_passwords.ANSWER_AFTER_S
            after = await browser.get(answer.headers["location"])
            headers = sorted(answer.headers)
            answers.append((answer.status_code, answer.headers["location"], headers, without_noise(after)))
    assert all(answer == answers[0] for answer in answers)


async def test_nobody_fills_a_mailbox(app, platform, new_customer):
    """Known and unknown names are slowed down alike."""
    known, unknown = await new_customer(), f"nobody.{secrets.token_hex(6)}@example.org"
    for name in (known, unknown):
        statuses = []
        for _ in range(6):
            async with visitor(app, address=_somewhere()) as browser:
                answer = await submit(browser, ASK, username=name)
                statuses.append(answer.status_code)
        assert statuses == [303] * 4 + [429] * 2
        assert int(answer.headers["retry-after"]) > 0
    assert (await mailed(platform, known)).count("password_reset") == 4


async def test_a_link_is_good_once(app, platform, new_customer):
    name = await new_customer()
    older, code = await _asked(platform, name), await _asked(platform, name)
    await new_passwords.set_by_link(platform, Actor.CUSTOMER, code, NEW)
    async with visitor(app, address=_somewhere()) as browser:
        for used in (code, older):
            answer = await submit(browser, SET, code=used, password="another long sentence")
            assert answer.status_code == 422
            assert used not in answer.text
    assert await _signs_in(app, name, NEW)


async def test_of_two_at_once_exactly_one_wins(app, platform, new_customer):
    name = await new_customer()
    code = await _asked(platform, name)
    chosen = [f"sentence number {n} of them" for n in range(4)]
    tries = [new_passwords.set_by_link(platform, Actor.CUSTOMER, code, one) for one in chosen]
    answers = await asyncio.gather(*tries, return_exceptions=True)
    assert [type(one) for one in answers if one is not None] == [LinkRefused] * 3
    assert await _signs_in(app, name, chosen[answers.index(None)])
    assert (await mailed(platform, name)).count("password_changed") == 1


async def test_a_link_is_good_for_an_hour(app, platform, new_customer):
    name = await new_customer()
    code = await _asked(platform, name)
    async with platform.db.transaction(Role.WORKER) as tx:
        mine = select(account.c.customer_id).where(account.c.username == name).scalar_subquery()
        past = {"expires_at": mail_link.c.expires_at - timedelta(hours=1)}
        await tx.execute(update(mail_link).where(mail_link.c.customer_id == mine).values(past))
    with pytest.raises(LinkRefused):
        await new_passwords.set_by_link(platform, Actor.CUSTOMER, code, NEW)
    assert await _signs_in(app, name, PASSWORD)


async def test_a_link_of_another_kind_or_realm_is_refused(app, platform, new_customer):
    name = await new_customer()
    proof, code = await mailed_code(platform, name), await _asked(platform, name)
    for actor, given in ((Actor.CUSTOMER, proof), (Actor.STAFF, code), (Actor.CUSTOMER, ""), (Actor.CUSTOMER, "é\x00")):
        with pytest.raises(LinkRefused):
            await new_passwords.set_by_link(platform, actor, given, NEW)
    async with visitor(app, address=_somewhere()) as browser:
        assert (await submit(browser, "/console/new-password", code=code, password=NEW)).status_code == 422
    assert await _signs_in(app, name, PASSWORD)


async def test_an_easy_password_leaves_the_link_good(app, platform, new_customer):
    name = await new_customer()
    code = await _asked(platform, name)
    async with visitor(app, address=_somewhere()) as browser:
        answer = await submit(browser, SET, code=code, password="1234567890")
        assert answer.status_code == 422
        assert '<a href="#password">' in answer.text
        assert (await submit(browser, SET, code=code, password=NEW)).status_code == 303
    assert await _signs_in(app, name, NEW)


async def test_the_letter_goes_to_the_proven_address(platform, new_customer):
    """An address somebody merely typed gets no link while there is one they have proven."""
    name = await new_customer()
    proven = f"proven.{name}"
    async with platform.db.transaction(Role.WORKER) as tx:
        mine = select(account.c.customer_id).where(account.c.username == name).scalar_subquery()
        row = (await tx.all(select(email_address).where(email_address.c.customer_id == mine)))[0]
        origin = {"customer_id": row.customer_id, "collection_id": row.collection_id}
        values = {"address": proven, "normalized": proven, "verified_at": platform.clock()}
        await tx.execute(email_address.insert().values(**origin, **values))
    await new_passwords.ask(platform, name, address=_somewhere())
    assert await mailed(platform, proven) == ["password_reset"]
    assert "password_reset" not in await mailed(platform, name)


async def test_who_watches_a_deletion_gets_a_password_and_nothing_else(app, platform, new_customer):
    name = await new_customer()
    code = await _asked(platform, name)
    async with platform.db.transaction(Role.WORKER) as tx:
        mine = select(account.c.customer_id).where(account.c.username == name).scalar_subquery()
        await tx.execute(update(customer).where(customer.c.id == mine).values(status="frozen"))
    await new_passwords.set_by_link(platform, Actor.CUSTOMER, code, NEW)
    assert await _signs_in(app, name, NEW)
    assert "email.verified" not in [event[0] for event in await _events(platform, name)]
