"""Pack an export: what was parked becomes one sealed package, offered in the transaction that settles the task."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import datetime

from sqlalchemy import Row, select

from cdp.connectors.base import Code, Outcome, State
from cdp.core import age, age_scrypt
from cdp.core.clock import iso
from cdp.core.db import Role, Tx
from cdp.core.ids import RequestId
from cdp.core.platform import Platform
from cdp.core.seal import seal_stream
from cdp.operations import letters, messages, subjects
from cdp.operations.letters import Template
from cdp.operations.packages import parked
from cdp.operations.packages.choices import Choices, ExportCategory
from cdp.operations.packages.packages import Document, Missing, Packer, Source
from cdp.operations.requests import evidence, exports, guests, opening, retries
from cdp.operations.requests.exports import ExportRow, Package
from cdp.operations.requests.tasks import Performed, Work
from cdp.operations.subjects import SealedPerson
from cdp.operations.systems import OWN
from cdp.tables.request import TaskStatus, TaskStep, request_task
from cdp.tables.system import system

NO_PACKAGE = "NO_PACKAGE"
WITHDRAWN = "WITHDRAWN"


@dataclass
class _Measured:
    """Size and hash of what streams by."""

    size_bytes: int = 0
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    async def take(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            self.size_bytes += len(chunk)
            self.digest.update(chunk)
            yield chunk


async def pack(platform: Platform, work: Work, sealed: SealedPerson) -> Performed:
    """Stream the package into the object store under a key of its own. Raises KeyGone once it was withdrawn."""
    async with platform.db.transaction(Role.WORKER) as tx:
        row = await exports.of_request(tx, work.request_id)
        reads = await _reads(tx, work.request_id)
        chosen = await exports.choices_of(tx, platform.sealer, work.request_id)
        may_retry = await retries.may(tx, work.request_id, chosen)
    if row is None:
        return Performed(Outcome(State.FAILED, NO_PACKAGE))
    packer = await _packer(platform, work, sealed, reads)
    retried_at = platform.clock() + platform.settings.export_retry
    missing_ = tuple(
        replace(one, retried_at=retried_at if may_retry and one.state in retries.PASSING else None)
        for one in packer.missing
    )
    papers: tuple[Document, ...] = ()
    if row.customer_id is not None and ExportCategory.SIGN_INS in chosen.categories:
        papers = await evidence.documents(platform, row.customer_id)
    packer = replace(packer, chosen=chosen, missing=missing_, documents=papers)
    key = platform.keys.get(exports.key_name(row.id))
    object_key = f"{exports.folder(row.id)}{work.fence}.zip"
    measured = _Measured()
    parked_bytes = await _parked_bytes(platform, work.request_id)
    async with aclosing(_locked(packer.stream(parked_bytes=parked_bytes), chosen)) as locked:
        await platform.blobs.put_stream(object_key, seal_stream(key, measured.take(locked)))
    missing = [
        {"system": one.system, "code": one.code, "retriedAt": iso(one.retried_at) if one.retried_at else None}
        for one in packer.missing
    ]
    again = retried_at if any(one.retried_at for one in packer.missing) else None
    package = Package(object_key, measured.size_bytes, measured.digest.digest(), packer.files, missing, again)

    async def offer(tx: Tx) -> Outcome:
        return await _offer(tx, platform, row, package, sealed)

    async def withdraw() -> None:
        await platform.blobs.delete(object_key)

    return Performed(Outcome(State.FAILED, WITHDRAWN), then=offer, otherwise=withdraw)


async def _locked(chunks: AsyncIterator[bytes], chosen: Choices) -> AsyncGenerator[bytes, None]:
    """The package as its reader gets it: in the age format, if they chose a lock (https://age-encryption.org/v1)."""
    if chosen.passphrase is not None:
        async for chunk in age_scrypt.encrypt(chosen.passphrase, chunks):
            yield chunk
    elif chosen.age_key is not None:
        with age.Encryption(chosen.age_key) as encryption:
            async for chunk in chunks:
                yield await asyncio.to_thread(encryption.feed, chunk)
            yield await asyncio.to_thread(encryption.finish)
    else:
        async for chunk in chunks:
            yield chunk


async def _reads(tx: Tx, request_id: RequestId) -> list[Row[tuple[object, ...]]]:
    found = await tx.all(
        select(
            system.c.name,
            system.c.title,
            system.c.kind,
            request_task.c.status,
            request_task.c.code,
            request_task.c.attempt,
            request_task.c.evidence,
        )
        .join(system, system.c.id == request_task.c.system_id)
        .where(request_task.c.request_id == request_id, request_task.c.step == TaskStep.READ)
        .order_by(system.c.position.desc(), system.c.name)
    )
    return [*found]


async def _packer(platform: Platform, work: Work, sealed: SealedPerson, reads: list[Row[tuple[object, ...]]]) -> Packer:
    key = platform.keys.get(subjects.key_name(work.request_id))
    sources: list[Source] = []
    missing: list[Missing] = []
    snapshot_at = platform.clock()
    for read in reads:  # one object each, in the order of the package
        if read.status is not TaskStatus.DONE:
            code = read.code or Code.UNREACHABLE
            missing.append(Missing(read.name, read.title, read.status.value, code, read.attempt))
            continue
        said = read.evidence["evidence"]
        prefix = parked.place(work.request_id, read.name, said["fence"])
        folder = "data" if read.kind == OWN else f"systems/{read.name}"
        found = await parked.collections(platform.blobs, key, prefix)
        sources.append(Source(folder, read.title, tuple(found)))
        if read.kind == OWN:
            snapshot_at = datetime.fromisoformat(said["readAt"])
    return Packer(
        blobs=platform.blobs,
        key=key,
        signer=platform.signer,
        reference=work.reference,
        subject=str(work.subject_ref),
        snapshot_at=snapshot_at,
        created_at=platform.clock(),
        language=letters.language_of(sealed.person.locale),
        sources=tuple(sources),
        missing=tuple(missing),
    )


async def _parked_bytes(platform: Platform, request_id: RequestId) -> int:
    keys = await platform.blobs.keys(parked.folder(request_id))
    return sum([await platform.blobs.size(key) for key in keys])


async def _offer(tx: Tx, platform: Platform, row: ExportRow, package: Package, sealed: SealedPerson) -> Outcome:
    until = await exports.ready(tx, row.id, package, ttl=platform.settings.export_ttl)
    if until is None:
        return Outcome(State.FAILED, WITHDRAWN)
    person = sealed.person
    if person.recipient is not None:
        template, code = Template.EXPORT_READY, ""
        if await opening.is_by_link(tx, row.request_id):
            template = Template.EXPORT_READY_BY_LINK
            code = await guests.issue_file_link(tx, platform, row.request_id)
        letter = letters.write(
            template,
            person.locale,
            reference=row.reference,
            base=platform.settings.url,
            link=f"{platform.settings.url}{guests.FILE_PAGE}#{code}",
            secret=code,
            until=f"{iso(until)[:16].replace('T', ' ')} UTC",
        )
        await messages.queue(tx, row.customer_id, person.recipient, letter, request_id=row.request_id)
    return Outcome(State.DONE, Code.FOUND, {"bytes": package.size_bytes, "sha256": package.sha256.hex()})
