"""Registration: one whole customer or nothing, the same answer for everybody, and the end of a suppression."""

import secrets

import pytest
from sqlalchemy import func, insert, select

from cdp.access.viewer import Actor, Viewer
from cdp.core.db import Role
from cdp.core.ids import new_id, new_reference
from cdp.operations import suppression as suppression_list
from cdp.operations import values
from cdp.operations.accounts import email_proofs
from cdp.operations.accounts.accounts import Registration, change_password, register
from cdp.operations.accounts.passwords import WeakPassword, check_strength
from cdp.operations.accounts.sessions import find
from cdp.tables.account import account
from cdp.tables.audit import audit_event
from cdp.tables.certificate import suppression
from cdp.tables.contact import email_address
from cdp.tables.customer import customer, identity
from cdp.tables.message import message
from cdp.tables.policy import collection, policy_acceptance, policy_version
from cdp.tables.request import RequestStatus, RequestType, privacy_request
from tests.browser import submit, title, visitor, without_noise
from tests.mailbox import mailed_code
from tests.site import PASSWORD


def _fields(email: str, **changed: str) -> dict[str, str]:
    return {"email": email, "password": PASSWORD, "policy": "yes", "given_name": "Ada", **changed}


def _new_email() -> str:
    return f"New.{secrets.token_hex(6)}@Example.org"


async def test_a_registration_is_a_whole_customer(app, platform, new_customer):
    email = _new_email()
    async with visitor(app) as browser:
        answer = await submit(browser, "/account/register", **_fields(email, country="de", family_name=" Byron "))
        assert (answer.status_code, answer.headers["location"]) == (303, "/account/sign-in?registered=1")
        assert "your account is ready" in (await browser.get(answer.headers["location"])).text
        signed = await submit(browser, "/account/sign-in", username=email, password=PASSWORD)
        assert signed.status_code == 303
    async with platform.db.transaction(Role.WORKER) as tx:
        found = select(customer).join(account, account.c.customer_id == customer.c.id)
        row = (await tx.execute(found.where(account.c.username == email.lower()))).one()
        assert (row.given_name, row.family_name, row.country) == ("Ada", "Byron", "DE")
        where = (await tx.execute(select(collection).where(collection.c.id == row.collection_id))).one()
        assert (where.point, where.customer_id) == ("registration", row.id)
        newest = select(policy_version.c.id).order_by(policy_version.c.effective_from.desc()).limit(1)
        assert where.policy_version_id == await tx.scalar(newest)
        for table in (account, email_address, policy_acceptance):
            own = (await tx.execute(select(table).where(table.c.customer_id == row.id))).one()
            assert (own.collection_id, own.origin_identity_id) == (row.collection_id, row.origin_identity_id)
        known = await tx.all(select(identity.c.type, identity.c.value).where(identity.c.customer_id == row.id))
        assert {tuple(one) for one in known} == {("username", email.lower()), ("email", email.lower())}
        stored = await tx.scalar(select(account.c.password_hash).where(account.c.customer_id == row.id))
        assert stored.startswith("$argon2id$")
        audited = select(audit_event.c.action).where(audit_event.c.subject_ref == row.audit_ref)
        assert "account.registered" in (await tx.execute(audited)).scalars().all()


async def test_registering_twice_looks_like_registering_once(app, platform):
    email, answers = _new_email(), []
    for _ in range(2):
        async with visitor(app) as browser:
            answer = await submit(browser, "/account/register", **_fields(email))
            after = await browser.get(answer.headers["location"])
            answers.append((answer.status_code, answer.headers["location"], without_noise(after)))
    assert answers[0] == answers[1]
    async with platform.db.transaction(Role.WORKER) as tx:
        owner = await tx.scalar(select(account.c.customer_id).where(account.c.username == email.lower()))
        sent = select(message.c.template).where(message.c.customer_id == owner).order_by(message.c.id)
        assert (await tx.execute(sent)).scalars().all() == ["account_registered", "account_exists"]
        addresses = select(func.count()).where(email_address.c.normalized == email.lower())
        assert await tx.scalar(addresses) == 1
    async with visitor(app) as browser:
        assert (await submit(browser, "/account/sign-in", username=email, password=PASSWORD)).status_code == 303


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"email": "no address"}, "email"),
        ({"email": "a@b@c.example"}, "email"),
        ({"email": "a\r\nbcc: x@example.org"}, "email"),
        ({"password": "short"}, "password"),
        ({"password": "Password1234!"}, "password"),
        ({"policy": "no"}, "policy"),
        ({"policy": ""}, "policy"),
        ({"country": "Atlantis"}, "country"),
        ({"given_name": "A\u202eda\x00"}, "given_name"),
        ({"family_name": "x" * 101}, "family_name"),
    ],
)
async def test_what_is_wrong_is_said_and_nothing_is_kept(app, platform, changed, field):
    email = _new_email()
    async with visitor(app) as browser:
        answer = await submit(browser, "/account/register", **_fields(**{"email": email, **changed}))
    assert answer.status_code == 422
    assert title(answer).startswith("Error: ")
    assert f'<a href="#{field}">' in answer.text
    assert PASSWORD not in answer.text
    async with platform.db.transaction(Role.WORKER) as tx:
        assert await tx.scalar(select(func.count()).where(account.c.username == email.lower())) == 0


async def test_nobody_fills_a_mailbox_with_our_messages(app, platform):
    """Known and unknown addresses are slowed down alike."""
    email, statuses = _new_email(), []
    for number in range(6):
        async with visitor(app, address=f"198.51.100.{100 + number}") as browser:
            answer = await submit(browser, "/account/register", **_fields(email))
            statuses.append(answer.status_code)
    assert statuses == [303] * 4 + [429] * 2
    assert int(answer.headers["retry-after"]) > 0
    async with platform.db.transaction(Role.WORKER) as tx:
        sent = select(func.count()).where(message.c.recipient == values.email(email).address)
        assert await tx.scalar(sent) == 4
    async with visitor(app, address="198.51.100.105") as browser:
        other = await submit(browser, "/account/register", **_fields(_new_email()))
    assert other.status_code == 303


async def test_an_address_that_another_customer_proved_stays_theirs(platform, new_customer):
    """Typing an address proves nothing: the identity of its owner is not taken over."""
    owner = await new_customer()
    email = _new_email()
    async with platform.db.transaction(Role.WORKER) as tx:
        row = (await tx.execute(select(account).where(account.c.username == owner))).one()
        origin = {"customer_id": row.customer_id, "collection_id": row.collection_id}
        await tx.execute(insert(identity).values(id=new_id(), **origin, type="email", value=email.lower()))
    newcomer = await register(platform, Registration(email, PASSWORD, accepts_policy=True))
    async with platform.db.transaction(Role.WORKER) as tx:
        held = select(identity.c.customer_id).where(identity.c.type == "email", identity.c.value == email.lower())
        assert await tx.scalar(held) == row.customer_id
    assert newcomer != row.customer_id


async def test_proving_the_address_lifts_the_suppression_and_is_recorded(platform):
    email, other = _new_email(), _new_email()
    async with platform.db.transaction(Role.WORKER) as tx:
        request_id = new_id()
        await tx.execute(
            insert(privacy_request).values(
                id=request_id,
                reference=new_reference("ER"),
                type=RequestType.ERASURE,
                status=RequestStatus.COMPLETED,
                subject_ref=new_id(),
                channel="account_page",
                due_at=platform.clock(),
            )
        )
        for address in (email, other):
            keyed = platform.pepper.hash("email", address.lower())
            line = {"identity_type": "email", "value_hash": keyed.value, "key_version": keyed.key_version}
            await tx.execute(insert(suppression).values(id=new_id(), **line, request_id=request_id))
    customer_id = await register(platform, Registration(email, PASSWORD, accepts_policy=True))
    async with platform.db.transaction(Role.WORKER) as tx:
        assert await suppression_list.is_suppressed(tx, platform.pepper, "email", email.lower()), (
            "typing proves nothing"
        )
    viewer = Viewer(Actor.CUSTOMER, customer_id=customer_id)
    await email_proofs.prove(platform, viewer, await mailed_code(platform, email.lower()))
    async with platform.db.transaction(Role.WORKER) as tx:
        lifted = select(suppression.c.value_hash).where(
            suppression.c.request_id == request_id, suppression.c.lifted_at.is_not(None)
        )
        assert [bytes(row[0]) for row in await tx.all(lifted)] == [platform.pepper.hash("email", email.lower()).value]
        mine = select(customer.c.audit_ref).where(customer.c.id == customer_id)
        audited = select(audit_event.c.details).where(
            audit_event.c.action == "suppression.lifted", audit_event.c.subject_ref.in_(mine)
        )
        assert await tx.scalar(audited) == {"entries": 1}


@pytest.mark.parametrize(
    "password",
    [
        "",
        "ninechars",
        "1234567890",
        "password12",
        "P@ssw0rd!!",
        "Passwort2024",
        "qwertyuiop",
        "aaaaaaaaaaaa",
        "abcabcabcabc",
        "abcdefghijkl",
        "zyxwvutsrqpo",
        "ada.lovelace@example.org",
        "Lovelace!1234",
        "x" * 300,
    ],
)
def test_easy_passwords_are_refused(password):
    with pytest.raises(WeakPassword):
        check_strength(password, username="ada.lovelace@example.org")


@pytest.mark.parametrize(
    "password",
    [PASSWORD, "correct horse battery", "密码密码是很长的一句话呀", "lovelace went home", "🦆🐢🦊🐝🐙🦉🐍🦋🐌🐞"],
)
def test_good_ones_are_not(password):
    check_strength(password, username="ada.lovelace@example.org")


async def test_a_new_password_signs_everybody_else_out(app, platform, new_customer, signed_in):
    name, bystander = await new_customer(), await new_customer()
    mine, elsewhere, theirs = await signed_in(name), await signed_in(name), await signed_in(bystander)
    current = await find(platform, mine.cookies["cdp_session"])
    await change_password(platform, current, "a wholly new sentence")
    assert await find(platform, mine.cookies["cdp_session"]) is not None
    assert await find(platform, elsewhere.cookies["cdp_session"]) is None
    assert await find(platform, theirs.cookies["cdp_session"]) is not None
    async with visitor(app, address="198.51.100.9") as browser:
        assert (await submit(browser, "/account/sign-in", username=name, password=PASSWORD)).status_code == 401
        done = await submit(browser, "/account/sign-in", username=name, password="a wholly new sentence")
        assert done.status_code == 303
