"""The outbox: sent after the commit, retried while the server is away, cancelled and given up visibly."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from email import message_from_bytes, policy
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP
from sqlalchemy import select

from cdp.core.db import Role
from cdp.core.mail import SmtpMailer
from cdp.jobs.send_message import send_message
from cdp.operations import messages
from cdp.operations.letters import Letter
from cdp.tables.message import MessageStatus, message
from tests.engine import Engine
from tests.population import Person, make_person, picture

LETTER = Letter("test", "privacy_requests", "A subject\nwith a break", "Grüße\n")


class Inbox:
    """A real SMTP server; ``refuses`` counts down messages it turns away."""

    def __init__(self) -> None:
        self.mails: list[Any] = []
        self.refuses = 0
        self.port = 0

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        if self.refuses:
            self.refuses -= 1
            return "451 try again later"
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 taken"


@pytest.fixture
async def inbox() -> AsyncIterator[Inbox]:
    one = Inbox()
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(one, hostname="localhost"), "127.0.0.1", 0)
    one.port = server.sockets[0].getsockname()[1]
    yield one
    server.close()
    await server.wait_closed()


def by_smtp(engine: Engine, port: int) -> Engine:
    platform = replace(engine.platform, mailer=SmtpMailer(f"smtp://127.0.0.1:{port}", "privacy@example.com"))
    return Engine(platform, replace(engine.place, platform=platform))


async def queued(engine: Engine, person: Person) -> str:
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        return str(await messages.queue(tx, person.customer_id, person.email, LETTER))


async def status_of(engine: Engine, message_id: str) -> MessageStatus:
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        return await tx.scalar(select(message.c.status).where(message.c.id == message_id))


async def test_a_message_is_sent_once_and_audited(engine: Engine, inbox: Inbox) -> None:
    ada, bystander = await make_person(engine.platform.db), await make_person(engine.platform.db)
    before = await picture(engine.platform.db, bystander)
    mailing = by_smtp(engine, inbox.port)
    message_id = await queued(mailing, ada)
    for _ in range(3):
        await send_message({"workplace": mailing.place}, message_id)
    (mail,) = inbox.mails
    assert (mail["To"], mail["Subject"]) == (ada.email, "A subject with a break")
    assert mail["Message-ID"].startswith(f"<{message_id}@")
    assert mail.get_content().strip() == "Grüße"
    assert await status_of(engine, message_id) is MessageStatus.SENT
    assert await engine.audited(ada) == ["message.sent"]
    assert await picture(engine.platform.db, bystander) == before


async def test_a_message_is_tried_again(engine: Engine, inbox: Inbox) -> None:
    mailing = by_smtp(engine, inbox.port)
    inbox.refuses = 2
    message_id = await queued(mailing, await make_person(engine.platform.db))
    await mailing.work()
    assert len(inbox.mails) == 1
    assert await status_of(engine, message_id) is MessageStatus.SENT


async def test_a_server_that_stays_away_is_given_up_visibly(engine: Engine) -> None:
    mailing = by_smtp(engine, 1)
    ada = await make_person(engine.platform.db)
    message_id = await queued(mailing, ada)
    await mailing.work()
    assert await status_of(engine, message_id) is MessageStatus.FAILED
    assert await engine.audited(ada) == ["message.queued"] * 3 + ["message.failed"]


async def test_a_dead_workers_message_leaves_under_the_same_id(engine: Engine, inbox: Inbox) -> None:
    mailing = by_smtp(engine, inbox.port)
    message_id = await queued(mailing, await make_person(engine.platform.db))
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        (claimed,) = await messages.claim(tx, await messages.due(tx, limit=1), lease_s=0)
    await mailing.work()
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        late = await messages.settle(tx, [(claimed, False)], max_attempts=1, retry_base_s=0)
    assert late == {}
    assert await status_of(engine, message_id) is MessageStatus.SENT


async def test_a_rolled_back_message_never_leaves(engine: Engine) -> None:
    ada = await make_person(engine.platform.db)

    async def change_of_mind() -> None:
        async with engine.platform.db.transaction(Role.WORKER) as tx:
            await messages.queue(tx, ada.customer_id, ada.email, LETTER)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await change_of_mind()
    await engine.work()
    assert engine.letters(ada) == []
