"""A document as staff hand it in, sealed in the object store; destroying its key is what makes it erasable.

It is stored before the row that names it; if that row is never written, the key goes at once. Every table that names
such documents has the columns ``file_name``, ``media_type``, ``size_bytes``, ``sha256``, ``object_key``, ``key_id``.
"""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import BindParameter, ColumnElement, Row, Table, null, or_, select, update

from cdp.core.db import Role
from cdp.core.errors import InvalidInput, TooLarge
from cdp.core.ids import CustomerId, new_id
from cdp.core.platform import Platform
from cdp.core.seal import Sealer
from cdp.operations import lineage, values
from cdp.tables.hold import EFFECTIVE, legal_hold
from cdp.tables.manual import manual_task
from cdp.tables.paper import paper_record
from cdp.tables.sharing import legal_order

MAX_BYTES = 5 * 1024 * 1024
MEDIA_TYPES = frozenset(
    {
        "application/json",
        "application/pdf",
        "image/jpeg",
        "image/png",
        "message/rfc822",
        "text/csv",
        "text/plain",
    }
)
CONTEXT = "attachment"


class DocumentTooLarge(TooLarge):
    """A document has at most 5 MB."""

    code = "DOCUMENT_TOO_LARGE"


class DocumentTypeRefused(InvalidInput):
    """A document is a PDF, an image, a text, a table (CSV, JSON) or an e-mail."""

    code = "DOCUMENT_TYPE_REFUSED"


@dataclass(frozen=True)
class Document:
    """A document as staff hand it in."""

    name: str = field(repr=False)
    media_type: str
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class Attachment:
    """A sealed document, as the columns of the row that names it; every one of them None where there is none."""

    file_name: str | None = field(default=None, repr=False)
    media_type: str | None = None
    size_bytes: int | None = None
    sha256: bytes | None = None
    object_key: str | None = None
    key_id: str | None = None

    @property
    def columns(self) -> dict[str, str | int | bytes | None]:
        """The values to write."""
        return {
            "file_name": self.file_name,
            "media_type": self.media_type,
            "size_bytes": self.size_bytes,
            "sha256": self.sha256,
            "object_key": self.object_key,
            "key_id": self.key_id,
        }


NONE = Attachment()


@asynccontextmanager
async def stored(
    platform: Platform, given: Document | None, *, replaces: tuple[Table, UUID] | None = None
) -> AsyncIterator[Attachment]:
    """Seal and store a document for the time of a block that writes the row; undone when the block fails.

    ``replaces`` is the row whose earlier document this one takes the place of; that one is destroyed afterwards.
    Raises DocumentTooLarge, DocumentTypeRefused, InvalidText.
    """
    if given is None:
        yield NONE
        return
    if given.media_type not in MEDIA_TYPES:
        raise DocumentTypeRefused
    if len(given.content) > MAX_BYTES:
        raise DocumentTooLarge(limit_bytes=MAX_BYTES)
    name = values.text(given.name, "fileName", longest=200)
    earlier = await _earlier(platform, replaces)
    document_id = new_id()
    key_id, object_key = f"attachment-{document_id}", f"attachments/{document_id}"
    key = platform.keys.create(key_id)
    try:
        await platform.blobs.put(object_key, Sealer({CONTEXT: key}).seal(given.content, object_key))
        digest = hashlib.sha256(given.content).digest()
        yield Attachment(name, given.media_type, len(given.content), digest, object_key, key_id)
    except BaseException:
        platform.keys.destroy(key_id)
        await platform.blobs.delete(object_key)
        raise
    if earlier is not None:
        platform.keys.destroy(earlier.key_id)
        await platform.blobs.delete(earlier.object_key)


async def _earlier(platform: Platform, replaces: tuple[Table, UUID] | None) -> Row[Any] | None:
    if replaces is None:
        return None
    table, row_id = replaces
    async with platform.db.transaction(Role.WORKER) as tx:
        return await tx.first(
            select(table.c.object_key, table.c.key_id).where(table.c.id == row_id, table.c.object_key.is_not(None))
        )


async def read(platform: Platform, object_key: str, key_id: str) -> bytes:
    """Open a sealed document. Raises KeyGone, Unsealable, ObjectMissing."""
    sealed = await platform.blobs.get(object_key)
    return Sealer({CONTEXT: platform.keys.get(key_id)}).open(sealed, object_key)


async def destroy(platform: Platform, table: Table, where: ColumnElement[bool]) -> int:
    """Destroy the keys and files that rows of a table name, and cut the names; doing it again is fine."""
    async with platform.db.transaction(Role.WORKER) as tx:
        found = await tx.all(
            select(table.c.id, table.c.object_key, table.c.key_id).where(where, table.c.object_key.is_not(None))
        )
    for row in found:
        platform.keys.destroy(row.key_id)
        await platform.blobs.delete(row.object_key)
    if found:
        cut = {"file_name": null(), "object_key": null(), "key_id": null()}
        async with platform.db.transaction(Role.WORKER) as tx:
            await tx.execute(update(table).where(table.c.id.in_([row.id for row in found])).values(cut))
    return len(found)


async def destroy_of(platform: Platform, subject_ref: UUID, customer_id: CustomerId) -> int:
    """Destroy every document about somebody who is being erased; those of holds that still keep something stay."""
    return sum([await destroy(platform, table, about) for table, about in of_person(subject_ref, customer_id)])


def of_person(
    subject_ref: UUID | BindParameter[UUID], customer_id: CustomerId | BindParameter[UUID]
) -> list[tuple[Table, ColumnElement[bool]]]:
    """Which rows of which tables may name a document about somebody that an erasure destroys."""
    # By any name the log knows somebody by, those of records merged into theirs included.
    merged = lineage.log_names_of([customer_id])
    held, ordered = (
        or_(t.c.subject_ref == subject_ref, t.c.subject_ref.in_(merged)) for t in (legal_hold, legal_order)
    )
    return [
        (legal_hold, held & legal_hold.c.status.not_in(EFFECTIVE)),
        (manual_task, manual_task.c.customer_id == customer_id),
        (legal_order, ordered),
        (paper_record, paper_record.c.customer_id == customer_id),
    ]
