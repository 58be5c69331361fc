"""The pull: the acquirer's own client opens a package once, for a time, and reads its files whole or in ranges.

    offered -> opened (by the client's first call) -> closed (by the receipt, or by the clock)

While it is open a broken download goes on where it ended. Every read is logged; one from the start of a file is an
event of the ledger too. Source: RFC 9110 (ranges), RFC 7523 (the client proves itself by its own key).
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, insert, select, update

from cdp.access.transfers import RECEIVE_SCOPE
from cdp.access.viewer import Actor, Viewer
from cdp.core.db import Role, Tx
from cdp.core.errors import Conflict, Forbidden, NotFound
from cdp.core.ids import new_id
from cdp.core.platform import Platform
from cdp.operations.bulk.control import RangeInvalid
from cdp.operations.delivery import bag, packages
from cdp.operations.transfers import states
from cdp.operations.transfers.states import TransferMissing
from cdp.tables.delivery import transfer_file, transfer_pull, transfer_pull_read
from cdp.tables.oauth import oauth_client
from cdp.tables.transfer import transfer

READ_BYTES = 1024 * 1024


class PullOver(NotFound):
    """This package was pulled, or its time is over; ask the seller to offer it again."""

    code = "PULL_OVER"
    status = 410


class PullNotOpen(Conflict):
    """Open the pull first."""

    code = "PULL_NOT_OPEN"


class FileMissing(NotFound):
    """The package has no such file."""

    code = "TRANSFER_FILE_NOT_FOUND"


class KeyedClientNeeded(Forbidden):
    """Only a client that proves itself by its own key receives a transfer (private_key_jwt)."""

    code = "KEYED_CLIENT_NEEDED"


@dataclass(frozen=True)
class Party:
    """The acquirer of a deal, as itself."""

    deal: Row[Any]
    viewer: Viewer
    jwks: dict[str, Any]


@dataclass(frozen=True)
class Served:
    """Bytes ``start`` up to (not including) ``end`` of a file of ``size_bytes``."""

    name: str
    size_bytes: int
    sha256: str
    start: int
    end: int
    chunks: AsyncIterator[bytes]


async def party(tx: Tx, viewer: Viewer, reference: str) -> Party:
    """The deal whose acquirer this is. Raises MissingScope, TransferMissing for anybody else, KeyedClientNeeded."""
    viewer.require_scope(RECEIVE_SCOPE)
    if viewer.actor is not Actor.CLIENT or viewer.client_id is None:
        raise TransferMissing
    row = await tx.first(
        select(transfer, oauth_client.c.jwks)
        .join(oauth_client, oauth_client.c.id == transfer.c.acquirer_client_id)
        .where(
            transfer.c.reference == reference.upper(),
            oauth_client.c.client_id == viewer.client_id,
            oauth_client.c.revoked_at.is_(None),
        )
    )
    if row is None:
        raise TransferMissing
    if row.jwks is None:
        raise KeyedClientNeeded
    return Party(await states.find(tx, row.id), viewer, row.jwks)


async def open_pull(platform: Platform, viewer: Viewer, reference: str) -> dict[str, Any]:
    """Open the newest package, or go on with the pull that is open. Raises PackageNotReady, PullOver, like party."""
    async with platform.db.transaction(Role.WORKER) as tx:
        mine = await party(tx, viewer, reference)
        package = await packages.latest(tx, mine.deal.id)
        if package is None:
            raise packages.PackageNotReady
        opened = await tx.scalar(
            update(transfer_pull)
            .where(
                transfer_pull.c.package_id == package.id,
                transfer_pull.c.opened_at.is_(None),
                transfer_pull.c.closed_at.is_(None),
                transfer_pull.c.expires_at > func.now(),
            )
            .values(opened_at=func.now())
            .returning(transfer_pull.c.id)
        )
        if opened is not None:
            said = {"revision": package.revision, "sha256": bytes(package.sha256).hex()}
            await states.note(tx, viewer, "transfer.opened", mine.deal.id, details=said)
        pull = await _open(tx, package.id)
    return {
        "reference": mine.deal.reference,
        "revision": package.revision,
        "expiresAt": pull.expires_at.isoformat(),
        "tags": sorted(package.tags),
    }


async def _open(tx: Tx, package_id: UUID) -> Row[Any]:
    """The pull of a package while it is open. Raises PullOver, PullNotOpen."""
    pull = await tx.first(
        select(transfer_pull, (transfer_pull.c.expires_at <= func.now()).label("is_late")).where(
            transfer_pull.c.package_id == package_id
        )
    )
    if pull is None or pull.closed_at is not None or pull.is_late:
        raise PullOver
    if pull.opened_at is None:
        raise PullNotOpen
    return pull


async def serve(
    platform: Platform, viewer: Viewer, reference: str, path: str, *, start: int = 0, end: int | None = None
) -> Served:
    """A file of the opened package, by its path in the bag. Raises FileMissing, RangeInvalid, like open_pull."""
    async with platform.db.transaction(Role.WORKER) as tx:
        mine = await party(tx, viewer, reference)
        package = await packages.latest(tx, mine.deal.id)
        if package is None:
            raise packages.PackageNotReady
        pull = await _open(tx, package.id)
        tag = package.tags.get(path)
        raw = tag.encode() if tag is not None else None
        row = None if raw is not None else await _file(tx, mine.deal.id, path)
        size = len(raw) if raw is not None else row.size_bytes  # type: ignore[union-attr]  # one of the two is there
        end = size if end is None else min(end, size)
        if not (0 <= start < end or start == end == size == 0):
            raise RangeInvalid
        log = {"id": new_id(), "pull_id": pull.id, "name": path, "start_byte": start, "end_byte": end}
        await tx.execute(insert(transfer_pull_read).values(log))
        hashed = bag.sha256(raw) if raw is not None else bytes(row.sha256).hex()  # type: ignore[union-attr]  # see above
        if start == 0:
            said = {"file": path, "sha256": hashed, "revision": package.revision}
            await states.note(tx, viewer, "transfer.file_pulled", mine.deal.id, details=said)
    chunks = _of(raw, start, end) if raw is not None else _chunks(platform, row.object_key, start, end)  # type: ignore[union-attr]
    return Served(path, size, hashed, start, end, chunks)


async def _file(tx: Tx, deal_id: UUID, path: str) -> Row[Any]:
    name = path.removeprefix(bag.PAYLOAD).removesuffix(bag.ENDING)
    if path != bag.path_of(name):
        raise FileMissing
    row = await tx.first(
        select(transfer_file).where(
            transfer_file.c.transfer_id == deal_id,
            transfer_file.c.name == name,
            transfer_file.c.replaced_by_id.is_(None),
        )
    )
    if row is None:
        raise FileMissing
    return row


async def _of(raw: bytes, start: int, end: int) -> AsyncIterator[bytes]:
    yield raw[start:end]


async def _chunks(platform: Platform, key: str, start: int, end: int) -> AsyncIterator[bytes]:
    for at in range(start, end, READ_BYTES):
        yield await platform.blobs.get_range(key, at, min(READ_BYTES, end - at))
