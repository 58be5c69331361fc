"""A processor without an interface: a mail with a link of its own for each step, and their answer through it.

The mail is written with the task, in one transaction and once a key; a worker that dies before sends none, one that
dies later sends it once. Its link is derived from the request's secret, so that a reminder carries the same one and
nobody can make it again once that secret is gone.
"""

import base64
import hashlib
import hmac
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from sqlalchemy import Row, func, insert, or_, select, update

from cdp.connectors import people
from cdp.connectors.base import Code, ConfigurationInvalid, Outcome, Page, Problem, State, Subject, System, Unfinished
from cdp.connectors.calls import configured
from cdp.connectors.mail import letters
from cdp.core.db import Role, Tx
from cdp.core.ids import new_id
from cdp.core.platform import Platform
from cdp.tables.customer import IdentityType
from cdp.tables.manual import ManualStatus, manual_task
from cdp.tables.message import message
from cdp.tables.request import TaskStep, privacy_request

SEND = "send_message"


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Processor:
    """``configuration``: whom to ask, by which identifiers, how long they have, when they are reminded."""

    address: Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$", max_length=320)]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    identifiers: Annotated[tuple[IdentityType, ...], Field(min_length=1)] = (IdentityType.EMAIL,)
    due_days: Annotated[int, Field(ge=1, le=60)] = 14
    remind_days: Annotated[int, Field(ge=1, le=60)] = 7
    verify: bool = True
    language: Literal["en", "de"] = "en"


class Mail:
    """One address of one processor."""

    def __init__(self, system: System, platform: Platform) -> None:
        self._system = system
        self._platform = platform
        self._told = configured(Processor, system.configuration)
        if self._told.remind_days > self._told.due_days:
            raise ConfigurationInvalid((Problem("VALUE_INVALID", "remind_days", "A reminder comes before the end"),))

    async def read(self, subject: Subject, key: str) -> AsyncIterator[Page]:  # noqa: ARG002
        """Nothing is copied by mail: it would carry somebody's data in the open."""
        nothing: tuple[Page, ...] = ()
        for page in nothing:
            yield page
        raise Unfinished(Outcome(State.UNSUPPORTED, Code.NOT_OFFERED))

    async def check(self, subject: Subject, key: str) -> Outcome:  # noqa: ARG002
        """Nobody is asked twice: what is there is seen by whoever removes it."""
        return Outcome(State.UNSUPPORTED, Code.NOT_OFFERED)

    async def erase(self, subject: Subject, key: str) -> Outcome:
        """Ask for the deletion; waiting until the processor answers, failed once their time is over."""
        return await self._ask(TaskStep.ERASE, subject, key)

    async def verify(self, subject: Subject, key: str) -> Outcome:
        """Ask for a second look, unless that is not agreed with them: then the certificate says it was not verified."""
        if not self._told.verify:
            return Outcome(State.UNSUPPORTED, Code.NOT_OFFERED)
        return await self._ask(TaskStep.VERIFY, subject, key)

    async def probe(self) -> tuple[Problem, ...]:
        """Nothing to try without writing to somebody: the address was read when the system was set up."""
        return ()

    async def _ask(self, step: TaskStep, subject: Subject, key: str) -> Outcome:
        if not any(known.type in set(self._told.identifiers) for known in subject.proven):
            return Outcome(State.UNSUPPORTED, Code.NO_IDENTIFIER)
        code = _code(subject, key)

        async def mail(tx: Tx, task: Row[Any]) -> None:
            await self._write(tx, task, code, is_reminder=False)

        task = await people.asked(
            self._platform,
            self._system,
            subject,
            step,
            key,
            within=timedelta(days=self._told.due_days),
            token_hash=hashlib.sha256(code.encode()).digest(),
            then=mail,
        )
        return people.outcome_of(await self._pressed(task, code))

    async def _pressed(self, task: Row[Any], code: str) -> Row[Any]:
        """Remind who does not answer, once; let the task lapse when their time is over."""
        if task.status is not ManualStatus.OPEN:
            return task
        mine = manual_task.c.id == task.id
        is_open = manual_task.c.status == ManualStatus.OPEN
        async with self._platform.db.transaction(Role.WORKER) as tx:
            over = update(manual_task).where(mine, is_open, manual_task.c.due_at < func.now())
            lapsed = await tx.first(over.values(status=ManualStatus.LAPSED).returning(manual_task))
            if lapsed is not None:
                return lapsed
            again = manual_task.c.code == people.ASK_AGAIN
            begins = manual_task.c.due_at - timedelta(days=self._told.due_days - self._told.remind_days)
            is_late = manual_task.c.reminded_at.is_(None) & (begins < func.now())
            late = update(manual_task).where(mine, is_open, or_(again, is_late))
            reminded = await tx.first(late.values(reminded_at=func.now(), code=None).returning(manual_task))
            if reminded is not None:
                await self._write(tx, reminded, code, is_reminder=True)
        return reminded or task

    async def _write(self, tx: Tx, task: Row[Any], code: str, *, is_reminder: bool) -> None:
        reference = await tx.scalar(select(privacy_request.c.reference).where(privacy_request.c.id == task.request_id))
        subject, body = letters.write(
            task.step,
            self._told.language,
            is_reminder=is_reminder,
            title=self._told.name,
            reference=str(reference),
            until=f"{task.due_at:%Y-%m-%d}",
            link=f"{self._platform.settings.url}{letters.PAGE}#{code}",
            code=code,
        )
        message_id = new_id()
        await tx.execute(
            insert(message).values(
                id=message_id,
                request_id=task.request_id,
                purpose=letters.PURPOSE,
                template=letters.TEMPLATE,
                recipient=self._told.address,
                subject=subject,
                body=body,
            )
        )
        tx.ring(SEND, message_id)


def _code(subject: Subject, key: str) -> str:
    made = hmac.new(subject.secret, f"mail:{key}".encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(made).rstrip(b"=").decode()
