"""What left the tables or is about to: letters that wait, packages that can be fetched, sessions that live."""

from datetime import timedelta

import pytest
from sqlalchemy import func, insert, select, update

from cdp.core.blobs import ObjectMissing
from cdp.core.db import Role
from cdp.core.ids import new_id
from cdp.core.keys import KeyGone
from cdp.operations import messages, moves, subjects
from cdp.operations.letters import Letter, Template
from cdp.operations.reference import Purpose
from cdp.operations.requests import survey
from cdp.operations.requests.exports import key_name
from cdp.tables.account import account, session
from cdp.tables.export import export
from cdp.tables.message import MessageStatus, message
from tests.engine import Engine
from tests.population import Person, make_person

OFFER = Letter(template="offer", purpose=Purpose.PROMOTIONS, subject="An offer", body="Hello")


async def queue_for_later(engine: Engine, person: Person) -> None:
    """A letter that is due in an hour."""
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        message_id = await messages.queue(tx, person.customer_id, person.email, OFFER)
        later = update(message).where(message.c.id == message_id)
        await tx.execute(later.values(next_run_at=func.now() + timedelta(hours=1)))


async def test_a_letter_that_waits_never_leaves(engine: Engine) -> None:
    ada, bystander = await make_person(engine.platform.db), await make_person(engine.platform.db)
    for person in (ada, bystander):
        await queue_for_later(engine, person)
    await engine.open_erasure(ada)
    await engine.work()
    assert not [letter for letter in engine.letters(ada) if "An offer" in letter]
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        left = await tx.all(select(message.c.customer_id, message.c.status))
    assert [(row.customer_id, row.status) for row in left] == [(bystander.customer_id, MessageStatus.QUEUED)]


async def test_a_package_that_can_be_fetched_is_destroyed(engine: Engine) -> None:
    ada, bystander = await make_person(engine.platform.db), await make_person(engine.platform.db)
    taken = {person.customer_id: await engine.open_export(person) for person in (ada, bystander)}
    await engine.work()
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        rows = {row.customer_id: row for row in await tx.all(select(export))}
    mine = rows[ada.customer_id]
    assert await engine.platform.blobs.size(mine.object_key) > 0
    await engine.open_erasure(ada)
    await engine.work()
    with pytest.raises(KeyGone):
        engine.platform.keys.get(key_name(mine.id))
    with pytest.raises(ObjectMissing):
        await engine.platform.blobs.size(mine.object_key)
    assert await engine.download(bystander, taken[bystander.customer_id].reference)


async def test_a_session_that_begins_meanwhile_ends(engine: Engine) -> None:
    """Who signs in to watch the deletion is signed out when our own rows go; nobody else is."""
    ada, bystander = await make_person(engine.platform.db), await make_person(engine.platform.db)
    opened = await engine.with_settings(cooling_off=timedelta(days=1)).open_erasure(ada)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        for person in (ada, bystander):
            account_id = await tx.scalar(select(account.c.id).where(account.c.customer_id == person.customer_id))
            now = engine.platform.clock()
            times = {"authenticated_at": now, "expires_at": now + timedelta(hours=1)}
            whose = {"customer_id": person.customer_id, "account_id": account_id, "token_hash": new_id().bytes * 2}
            await tx.execute(insert(session).values(id=new_id(), **whose, **times))
    await engine.cool_off(opened.reference)
    await engine.work()
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        left = await tx.all(select(session.c.customer_id, session.c.revoked_at))
    assert [tuple(row) for row in left] == [(bystander.customer_id, None)]


@pytest.mark.parametrize(
    ("template", "status", "expected"),
    [
        ("offer", MessageStatus.QUEUED, (True, False)),
        ("offer", MessageStatus.SENDING, (False, True)),
        (Template.ERASURE_FINAL, MessageStatus.QUEUED, (False, True)),
        (Template.ERASURE_FINAL, MessageStatus.SENT, (False, False)),
    ],
)
async def test_an_erasure_waits_for_letters_on_their_way_and_cancels_the_others(
    engine: Engine, template: str, status: MessageStatus, expected: tuple[bool, bool]
) -> None:
    ada, bystander = await make_person(engine.platform.db), await make_person(engine.platform.db)
    opened, untouched = await engine.open_erasure(ada), await engine.open_erasure(bystander)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        theirs = message.c.customer_id.in_((ada.customer_id, bystander.customer_id))
        await tx.execute(update(message).where(theirs).values(status=MessageStatus.SENT))
        message_id = await messages.queue(tx, ada.customer_id, ada.email, OFFER)
        now_is = {"template": template, "status": status}
        await tx.execute(update(message).where(message.c.id == message_id).values(now_is))
        found = []
        for reference in (opened.reference, untouched.reference):
            row = await engine.request(reference)
            request = await moves.lock(tx, row.id)
            person = await subjects.gather(tx, row.customer_id)
            assert request is not None
            assert person is not None
            outside = await survey.look(tx, request, person, last=Template.ERASURE_FINAL)
            found.append((outside.has_letters, outside.has_unsent))
    assert found == [expected, (False, False)]
