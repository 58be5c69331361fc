"""The request engine in a test's hands: open requests as people do, let the sweeper work, look at what came of it.

engine.open_erasure(person)     as the person, in their own transaction
await engine.work()             everything that is due, as a worker would
"""

import asyncio
import json
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from email import message_from_bytes, policy
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Row, select, update

from cdp.access.viewer import SYSTEM, Viewer
from cdp.core import log
from cdp.core.db import Role
from cdp.core.platform import Platform
from cdp.core.settings import Settings
from cdp.jobs.sweep import sweep
from cdp.jobs.workplace import Workplace
from cdp.operations import journal, systems
from cdp.operations.packages.choices import EVERYTHING, Choices
from cdp.operations.reference import ensure_reference
from cdp.operations.requests import certificates, exports, requests
from cdp.operations.requests.certificates import Issued
from cdp.operations.requests.opening import Opened
from cdp.operations.residual import passes
from cdp.operations.systems import Registration
from cdp.schema.schema import open_reader
from cdp.tables.audit import audit_event
from cdp.tables.message import MessageStatus, message
from cdp.tables.request import RequestStatus, TaskStatus, TaskStep, privacy_request, request_task
from cdp.tables.system import system
from tests.conftest import fresh_place
from tests.connectors.webhook_peer import SECRET, Peer
from tests.population import Person

QUICK: dict[str, Any] = {
    "cooling_off": timedelta(0),
    "lease_s": 1.0,
    "sweep_s": 0.2,
    "retry_base_s": 0.0,
    "task_timeout_s": 1.0,
    "max_attempts": 4,
    "residual_every": timedelta(0),
}


@dataclass
class Engine:
    """One platform and one workplace on it."""

    platform: Platform
    place: Workplace

    def viewer(self, person: Person, *scopes: str) -> Viewer:
        return person.viewer(*scopes, authenticated_at=self.platform.clock())

    async def open_erasure(self, person: Person) -> Opened:
        async with self.platform.db.transaction(Role.CUSTOMER, subject=person.customer_id) as tx:
            return await requests.open_erasure(tx, self.viewer(person), self.platform, reason="no longer needed")

    async def open_export(self, person: Person, chosen: Choices = EVERYTHING) -> Opened:
        async with self.platform.db.transaction(Role.CUSTOMER, subject=person.customer_id) as tx:
            return await requests.open_export(tx, self.viewer(person), self.platform, chosen=chosen)

    async def cancel(self, person: Person, reference: str) -> None:
        async with self.platform.db.transaction(Role.CUSTOMER, subject=person.customer_id) as tx:
            await requests.cancel(tx, self.viewer(person), reference)

    async def retry(self, reference: str) -> None:
        async with self.platform.db.transaction(Role.WORKER) as tx:
            await requests.retry(tx, SYSTEM, reference)

    async def work(self) -> None:
        """Everything that is due, and every retry that comes due at once."""
        for _ in range(self.platform.settings.max_attempts + 2):
            swept = await sweep(self.place, concurrency=8)
            if not await passes.run_due(self.platform) and not swept:
                break

    def with_settings(self, **changes: Any) -> "Engine":
        """The same platform under other settings."""
        platform = replace(self.platform, settings=self.platform.settings.model_copy(update=changes))
        return Engine(platform, replace(self.place, platform=platform))

    async def connect(self, peer: Peer, name: str = "newsletter", *, timeout_s: int = 1) -> None:
        """Connect a webhook peer, tried first."""
        configuration = {"url": peer.url, "timeout_s": timeout_s, "identifiers": ["email"]}
        wanted = Registration(name, name.capitalize(), "webhook", configuration, {"secret": SECRET})
        await systems.add(self.platform, SYSTEM, wanted)

    async def request(self, reference: str) -> Row[Any]:
        async with self.platform.db.transaction(Role.WORKER) as tx:
            found = await tx.first(select(privacy_request).where(privacy_request.c.reference == reference))
        assert found is not None
        return found

    async def status(self, reference: str) -> RequestStatus:
        return (await self.request(reference)).status

    async def tasks(self, reference: str) -> dict[tuple[str, TaskStep], Row[Any]]:
        statement = (
            select(request_task, system.c.name)
            .join(system, system.c.id == request_task.c.system_id)
            .join(privacy_request, privacy_request.c.id == request_task.c.request_id)
            .where(privacy_request.c.reference == reference)
        )
        async with self.platform.db.transaction(Role.WORKER) as tx:
            return {(row.name, row.step): row for row in await tx.all(statement)}

    async def outcomes(self, reference: str) -> dict[str, tuple[TaskStatus, str | None]]:
        found = await self.tasks(reference)
        return {f"{name}.{step}": (row.status, row.code) for (name, step), row in found.items()}

    async def audited(self, person: Person) -> list[str]:
        async with self.platform.db.transaction(Role.WORKER) as tx:
            mine = select(audit_event.c.action).where(audit_event.c.subject_ref == person.audit_ref)
            return [row.action for row in await tx.all(mine.order_by(audit_event.c.id))]

    async def certificate(self, reference: str) -> Issued:
        async with self.platform.db.transaction(Role.WORKER) as tx:
            found = await certificates.of_request(tx, (await self.request(reference)).id)
        assert found is not None
        return found

    async def download(self, person: Person, reference: str) -> bytes:
        found = await exports.download(self.platform, self.viewer(person), reference)
        return b"".join([chunk async for chunk in found.chunks])

    async def package(self, person: Person, reference: str) -> zipfile.ZipFile:
        return zipfile.ZipFile(BytesIO(await self.download(person, reference)))

    async def cool_off(self, reference: str) -> None:
        """Let the cooling-off time be over."""
        async with self.platform.db.transaction(Role.WORKER) as tx:
            over = update(privacy_request).where(privacy_request.c.reference == reference)
            await tx.execute(over.values(cooling_off_until=privacy_request.c.requested_at))

    async def expire_leases(self) -> None:
        """Let every lease run out, as if its worker had died long ago."""
        async with self.platform.db.transaction(Role.WORKER) as tx:
            running = update(request_task).where(request_task.c.status == TaskStatus.RUNNING)
            await tx.execute(running.values(next_run_at=request_task.c.started_at))
            sending = update(message).where(message.c.status == MessageStatus.SENDING)
            await tx.execute(sending.values(next_run_at=message.c.created_at))

    async def closed(self, *references: str) -> None:
        """Wait until other processes have closed these requests."""

        async def all_closed() -> bool:
            return all([(await self.request(reference)).key_id is None for reference in references])

        await until(all_closed)

    def letters(self, person: Person) -> list[str]:
        """Every mail that left for a person: subject and text."""
        return self.letters_to(person.email)

    def letters_to(self, email: str) -> list[str]:
        """Every mail that left for an address."""
        folder = Path(self.platform.settings.state_dir) / "outbox"
        mails = [message_from_bytes(one.read_bytes(), policy=policy.default) for one in sorted(folder.glob("*.eml"))]
        return [f"{mail['Subject']}\n{mail.get_content()}" for mail in mails if mail["To"] == email]

    async def objects(self, prefix: str = "") -> list[str]:
        return await self.platform.blobs.keys(prefix)

    def keys(self, prefix: str) -> list[str]:
        return self.platform.keys.names(prefix)

    async def journal(self) -> list[dict[str, Any]]:
        """Every entry of the erasure journal, as the object store has it."""
        return [dict(entry.read) for entry in await journal.newer(self.platform, journal.NOTHING)]

    def document(self, issued: Issued) -> dict[str, Any]:
        return json.loads(issued.document)


async def until(holds: Callable[[], Awaitable[bool]], *, within_s: float = 120.0) -> None:
    """Wait until something holds that another process brings about."""
    async with asyncio.timeout(within_s):
        while not await holds():  # noqa: ASYNC110 - the other process has no event to wait for
            await asyncio.sleep(0.03)


async def opened(settings: Settings) -> AsyncIterator[Engine]:
    """An engine over a fresh platform without a doorbell: only what a test lets work happens."""
    log.configure("json", "error")
    platform = Platform.open(settings)
    async with platform.db.transaction(Role.WORKER) as tx:
        await ensure_reference(tx)
    reader = open_reader(platform)
    yield Engine(platform, Workplace(platform, reader, "tests"))
    await reader.close()
    await platform.close()


@pytest.fixture
async def engine(fresh_settings: Settings) -> AsyncIterator[Engine]:
    """An engine of the test's own; nothing cools off, nothing waits."""
    async for one in opened(fresh_settings.model_copy(update={**QUICK, "redis_url": ""})):
        yield one


@pytest.fixture(scope="module")
async def lasting_engine(running: Settings, worker_name: str) -> AsyncIterator[Engine]:
    """The same for a module whose tests only look at what was made once."""
    with fresh_place(running, worker_name) as place:
        async for one in opened(place.model_copy(update={**QUICK, "redis_url": ""})):
            yield one
