"""A platform whose process dies at a chosen moment: before or after any transaction, file, key, call or mail.

Nothing is faked: every part is the real one, and does what it does. ``Died`` is no Exception, so nothing of ours can
catch it; once dead, every part stays dead, as after a SIGKILL.
"""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

from cdp.core.blobs import Blobs
from cdp.core.db import Database, Role, Tx
from cdp.core.http import Answer, Outbound
from cdp.core.ids import CustomerId
from cdp.core.keys import KeyStore, Sealing
from cdp.core.mail import Mailer, OutboxMailer
from cdp.jobs.sweep import sweep
from cdp.jobs.workplace import Workplace
from tests.engine import Engine


class Died(BaseException):
    """The process is gone."""


@dataclass
class Life:
    """What is left of it, in moments."""

    left: int

    def moment(self) -> None:
        self.left -= 1
        if self.left <= 0:
            raise Died


class MortalDatabase(Database):
    """Dies before a transaction begins, or after it committed and before anybody was rung for."""

    def __init__(self, url: str, life: Life) -> None:
        super().__init__(url)
        self._life = life

    @asynccontextmanager
    async def transaction(self, role: Role, *, subject: CustomerId | None = None) -> AsyncIterator[Tx]:
        self._life.moment()
        async with super().transaction(role, subject=subject) as tx:
            yield tx
        self._life.moment()


class MortalBlobs(Blobs):
    def __init__(self, url: str, life: Life) -> None:
        super().__init__(url)
        self._life = life

    async def put(self, key: str, payload: bytes) -> None:
        self._life.moment()
        await super().put(key, payload)
        self._life.moment()

    async def put_durable(self, key: str, payload: bytes) -> None:
        self._life.moment()
        await super().put_durable(key, payload)
        self._life.moment()

    async def put_stream(self, key: str, chunks: AsyncIterable[bytes], *, at_once: int = 2) -> int:
        async def mortal() -> AsyncIterator[bytes]:
            async for chunk in chunks:
                yield chunk
            self._life.moment()

        size = await super().put_stream(key, mortal(), at_once=at_once)
        self._life.moment()
        return size

    async def delete(self, key: str) -> None:
        self._life.moment()
        await super().delete(key)


class MortalKeys(KeyStore):
    def __init__(self, folder: Path, sealing: Sealing, life: Life) -> None:
        super().__init__(folder, sealing)
        self._life = life

    def destroy(self, name: str) -> None:
        self._life.moment()
        super().destroy(name)
        self._life.moment()


class MortalOutbound(Outbound):
    """Dies with the other system's answer in hand."""

    def __init__(self, life: Life) -> None:
        super().__init__(allow_private=True)
        self._life = life

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        timeout_s: float | None = None,
        max_bytes: int = 1024 * 1024,
        may_be_inside: bool = False,
    ) -> Answer:
        self._life.moment()
        answer = await super().request(
            method,
            url,
            headers=headers,
            content=content,
            timeout_s=timeout_s,
            max_bytes=max_bytes,
            may_be_inside=may_be_inside,
        )
        self._life.moment()
        return answer


class MortalMailer:
    def __init__(self, inner: Mailer, life: Life) -> None:
        self._inner = inner
        self._life = life

    async def send(self, message_id: UUID, recipient: str, subject: str, text: str) -> None:
        await self._inner.send(message_id, recipient, subject, text)
        self._life.moment()


async def live(engine: Engine, moments: int) -> bool:
    """Work through a platform that dies after so many moments; whether it died."""
    return await mortally(engine, moments, lambda place: sweep(place, concurrency=1))


async def mortally(engine: Engine, moments: int, work: Callable[[Workplace], Awaitable[object]]) -> bool:
    """Do some work in a process that dies after so many moments; whether it died."""
    life, settings = Life(moments), engine.platform.settings
    outbox = OutboxMailer(settings.state_dir / "outbox", settings.mail_from)
    platform = replace(
        engine.platform,
        db=MortalDatabase(engine.platform.db.url, life),
        blobs=MortalBlobs(engine.platform.blobs.url, life),
        keys=MortalKeys(engine.platform.keys.folder, engine.platform.sealer, life),
        outbound=MortalOutbound(life),
        mailer=MortalMailer(outbox, life),
    )
    before = asyncio.all_tasks()
    try:
        await work(replace(engine.place, platform=platform))
    except Died:
        return True
    finally:
        orphans = asyncio.all_tasks() - before
        for orphan in orphans:
            orphan.cancel()
        await asyncio.gather(*orphans, return_exceptions=True)
        await platform.db.close()
        await platform.outbound.close()
    return False
