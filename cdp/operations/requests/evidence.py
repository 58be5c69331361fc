"""What an agent relied on: who showed what, who acts for whom and on what basis, and the document, sealed.

The document lies in the object store under a key of its own; destroying that key is what makes evidence erasable, in
every copy and backup. It is stored before the row that names it; if the row is never written, the key goes at once.
Source: GDPR art. 12(6) (identity), art. 11(2); acting for others: EDPB Guidelines 01/2022, section 3.4,
https://www.edpb.europa.eu/our-work-tools/our-documents/guidelines/guidelines-012022-data-subject-rights-right-access_en
"""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

from sqlalchemy import BindParameter, ColumnElement, delete, insert, select

from cdp.access.viewer import Viewer
from cdp.core.db import Role, Tx
from cdp.core.errors import InvalidInput, NotFound, TooLarge
from cdp.core.ids import CustomerId, new_id
from cdp.core.keys import KeyGone
from cdp.core.platform import Platform
from cdp.core.seal import Sealer
from cdp.operations import audit, values
from cdp.operations.moves import RequestRow
from cdp.operations.packages.formats import file_name
from cdp.operations.packages.packages import Document
from cdp.tables.request import EvidenceKind, evidence, privacy_request

MAX_FILE_BYTES = 5 * 1024 * 1024
MEDIA_TYPES = frozenset({"application/pdf", "image/jpeg", "image/png", "text/plain", "message/rfc822"})


class EvidenceMissing(InvalidInput):
    """Say how the person showed who they are, or who acts for them and on what basis."""

    code = "EVIDENCE_MISSING"


class FileTooLarge(TooLarge):
    """A document of evidence has at most 5 MB."""

    code = "FILE_TOO_LARGE"


class MediaTypeRefused(InvalidInput):
    """A document of evidence is a PDF, an image, a text or an e-mail."""

    code = "MEDIA_TYPE_REFUSED"


@dataclass(frozen=True)
class File:
    """A document as an agent hands it in."""

    name: str = field(repr=False)
    media_type: str
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class Given:
    """Evidence as an agent hands it in; a representative has a name and a basis."""

    kind: EvidenceKind
    note: str = field(repr=False)
    representative_name: str | None = field(default=None, repr=False)
    representative_basis: str | None = None
    file: File | None = None


@dataclass(frozen=True)
class Stored:
    """Evidence whose document is sealed and in the store, ready to be written down."""

    id: UUID
    given: Given = field(repr=False)
    object_key: str | None
    key_id: str | None


def check(given: Given) -> Given:
    """Hold evidence against what it must say. Raises EvidenceMissing, FileTooLarge, MediaTypeRefused, InvalidText."""
    is_represented = given.kind is EvidenceKind.REPRESENTATIVE
    if is_represented and not (given.representative_name and given.representative_basis):
        raise EvidenceMissing
    if given.file is not None:
        if given.file.media_type not in MEDIA_TYPES:
            raise MediaTypeRefused
        if len(given.file.content) > MAX_FILE_BYTES:
            raise FileTooLarge(limit_bytes=MAX_FILE_BYTES)
    return Given(
        given.kind,
        values.text(given.note, "note", longest=2000, lines=True),
        _line(given.representative_name, "representativeName") if is_represented else None,
        _line(given.representative_basis, "representativeBasis") if is_represented else None,
        given.file,
    )


def _line(given: str | None, name: str) -> str | None:
    return values.optional(lambda text: values.text(text, name, longest=200), given)


@asynccontextmanager
async def stored(platform: Platform, given: Given) -> AsyncIterator[Stored]:
    """Seal and store the document for the time of a block that writes the row; undone when the block fails."""
    given, evidence_id = check(given), new_id()
    if given.file is None:
        yield Stored(evidence_id, given, None, None)
        return
    key_id, object_key = f"evidence-{evidence_id}", f"evidence/{evidence_id}"
    key = platform.keys.create(key_id)
    try:
        await platform.blobs.put(object_key, Sealer({"evidence": key}).seal(given.file.content, object_key))
        yield Stored(evidence_id, given, object_key, key_id)
    except BaseException:
        platform.keys.destroy(key_id)
        await platform.blobs.delete(object_key)
        raise


async def record(tx: Tx, viewer: Viewer, request: RequestRow, one: Stored) -> None:
    """Write evidence down for a request."""
    file = one.given.file
    await tx.execute(
        insert(evidence).values(
            id=one.id,
            customer_id=request.customer_id,
            request_id=request.id,
            kind=one.given.kind,
            note=one.given.note,
            representative_name=one.given.representative_name,
            representative_basis=one.given.representative_basis,
            file_name=values.text(file.name, "fileName", longest=200) if file else None,
            media_type=file.media_type if file else None,
            size_bytes=len(file.content) if file else None,
            sha256=hashlib.sha256(file.content).digest() if file else None,
            object_key=one.object_key,
            key_id=one.key_id,
            staff_id=viewer.staff_id,
        )
    )
    await audit.record(
        tx,
        viewer,
        "evidence.recorded",
        subject_ref=request.subject_ref,
        object_type="Evidence",
        object_id=one.id,
        details={"kind": one.given.kind.value, "hasFile": file is not None},
    )


async def read_file(platform: Platform, viewer: Viewer, evidence_id: UUID) -> File:
    """Open a document for an agent; that they looked is recorded. Raises MissingScope, NotFound, KeyGone."""
    viewer.require_scope("requests:work")
    async with platform.db.transaction(Role.WORKER) as tx:
        row = await tx.first(
            select(evidence, privacy_request.c.subject_ref)
            .join(privacy_request, privacy_request.c.id == evidence.c.request_id)
            .where(evidence.c.id == evidence_id, evidence.c.object_key.is_not(None))
        )
        if row is None:
            raise NotFound
        await audit.record(
            tx,
            viewer,
            "evidence.read",
            subject_ref=row.subject_ref,
            object_type="Evidence",
            object_id=evidence_id,
        )
    return File(row.file_name, row.media_type, await _opened(platform, row.object_key, row.key_id))


async def _opened(platform: Platform, object_key: str, key_id: str) -> bytes:
    sealed = await platform.blobs.get(object_key)
    return Sealer({"evidence": platform.keys.get(key_id)}).open(sealed, object_key)


async def documents(platform: Platform, customer_id: CustomerId) -> tuple[Document, ...]:
    """Every document of a person's requests, for their copy; each is opened when its turn comes."""
    held = select(evidence.c.id, evidence.c.file_name, evidence.c.object_key, evidence.c.key_id)
    async with platform.db.transaction(Role.WORKER) as tx:
        found = await tx.all(
            held.where(evidence.c.customer_id == customer_id, evidence.c.object_key.is_not(None)).order_by(
                evidence.c.id
            )
        )
    return tuple(
        Document(f"{number:03d}-{file_name(row.file_name)}", partial(_opened, platform, row.object_key, row.key_id))
        for number, row in enumerate((row for row in found if _has_key(platform, row.key_id)), 1)
    )


def _has_key(platform: Platform, key_id: str) -> bool:
    """Whether a document can be opened still: destroying its key is how it is deleted."""
    try:
        platform.keys.get(key_id)
    except KeyGone:
        return False
    return True


def of(customer_id: UUID | BindParameter[UUID] | None, request_id: UUID | BindParameter[UUID]) -> ColumnElement[bool]:
    """The evidence about a person, or that of a request whose person we hold no row of."""
    return evidence.c.request_id == request_id if customer_id is None else evidence.c.customer_id == customer_id


async def destroy(platform: Platform, *, customer_id: CustomerId | None, request_id: UUID) -> int:
    """Destroy the keys, files and rows of a person's evidence, or of one request's; doing it again is fine."""
    async with platform.db.transaction(Role.WORKER) as tx:
        theirs = select(evidence.c.id, evidence.c.object_key, evidence.c.key_id).where(of(customer_id, request_id))
        found = await tx.all(theirs)
    for row in found:
        if row.key_id:
            platform.keys.destroy(row.key_id)
            await platform.blobs.delete(row.object_key)
    async with platform.db.transaction(Role.WORKER) as tx:
        gone = await tx.execute(delete(evidence).where(evidence.c.id.in_([row.id for row in found])))
    return gone.rowcount
