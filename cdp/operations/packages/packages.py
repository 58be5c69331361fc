"""The package a customer takes out: a ZIP streamed member by member, flat in memory however much there is.

Order: data files, the readable page, what is missing, schema, README, and last ``manifest.json`` with the size and
SHA-256 of each and ``manifest.sig`` over its bytes. The archive's comment is a seal: a signature over every byte before
it, so that a change anywhere, also in the ZIP's own tables, is seen (``operations.verification``).
"""

import hashlib
import json
import zlib
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from stream_zip import ZIP_32, ZIP_64, Method, async_stream_zip

from cdp.connectors.base import Json, Record
from cdp.core.blobs import Blobs
from cdp.core.clock import iso
from cdp.core.sign import Signer, canonical, encode
from cdp.operations.packages import parked, readable, spreadsheets
from cdp.operations.packages.choices import EVERYTHING, Choices, ExportFormat
from cdp.operations.packages.formats import MANIFEST, PACKAGE, SEAL, SIGNATURE, VERSION, file_name
from cdp.operations.packages.parked import Collection
from cdp.operations.packages.readable import Section
from cdp.operations.packages.shapes import SCHEMA, Shape

MODE = 0o100600
# Above this much parked data a package may pass the limits of the older ZIP format.
LARGE_BYTES = 256 * 1024 * 1024
FLUSH_BYTES = 64 * 1024

Member = tuple[str, datetime, int, Method, AsyncIterable[bytes]]


@dataclass(frozen=True)
class Source:
    """What one system gave. ``folder`` is where it goes: ``data`` for ours, ``systems/<name>`` for the others."""

    folder: str
    title: str
    collections: tuple[Collection, ...]


@dataclass(frozen=True)
class Missing:
    """A system whose part could not be had."""

    system: str
    title: str
    state: str
    code: str
    tries: int = 0
    retried_at: datetime | None = None


@dataclass(frozen=True)
class Document:
    """A file we hold about somebody, as it was handed in."""

    name: str
    load: Callable[[], Awaitable[bytes]]


@dataclass
class Packer:
    """One package being made; ``files`` fills as it streams."""

    blobs: Blobs
    key: bytes
    signer: Signer
    reference: str
    subject: str
    snapshot_at: datetime
    created_at: datetime
    language: str
    sources: tuple[Source, ...]
    missing: tuple[Missing, ...]
    chosen: Choices = EVERYTHING
    documents: tuple[Document, ...] = ()
    files: list[dict[str, Json]] = field(default_factory=list)

    def stream(self, *, parked_bytes: int) -> AsyncIterator[bytes]:
        """The ZIP's bytes, seal included."""
        method = ZIP_64 if parked_bytes > LARGE_BYTES else ZIP_32
        archive = async_stream_zip(self._members(method), get_compressobj=_deflate)
        return _sealed(archive, self.signer)

    async def _members(self, method: Method) -> AsyncIterator[Member]:
        for source in self.sources:
            for collection in source.collections:
                path = f"{source.folder}/{file_name(collection.name)}"
                records = collection.records
                if ExportFormat.JSON in self.chosen.formats:
                    yield self._member(f"{path}.json", method, self._json(collection), records=records)
                for inner, shape in collection.shape.tables() if ExportFormat.CSV in self.chosen.formats else ():
                    name = "_".join([path, *map(file_name, inner)])
                    rows = spreadsheets.table(self._records(collection), inner, shape.columns())
                    yield self._member(f"{name}.csv", method, rows, records=None if inner else records)
        for document in self.documents:
            yield self._member(f"documents/{document.name}", method, _loaded(document))
        if ExportFormat.HTML in self.chosen.formats:
            yield self._member("index.html", method, self._html())
        yield self._member("missing.json", method, _whole([self._missing(one) for one in self.missing]))
        if ExportFormat.JSON in self.chosen.formats:
            yield self._member("schema.json", method, _whole(self._schema()))
        yield self._member("README.txt", method, _text(self._page().readme()))
        manifest = canonical(self._manifest())
        yield self._member(MANIFEST, method, _chunk(manifest))
        yield self._member(SIGNATURE, method, _chunk(canonical(signature_of(manifest, self.signer))))

    def _member(self, path: str, method: Method, chunks: AsyncIterator[bytes], *, records: int | None = None) -> Member:
        return path, self.created_at, MODE, method, self._measured(path, chunks, records)

    async def _measured(self, path: str, chunks: AsyncIterator[bytes], records: int | None) -> AsyncIterator[bytes]:
        digest, size = hashlib.sha256(), 0
        async for chunk in chunks:
            digest.update(chunk)
            size += len(chunk)
            yield chunk
        if path not in (MANIFEST, SIGNATURE):
            self.files.append({"path": path, "bytes": size, "records": records, "sha256": digest.hexdigest()})

    def _records(self, collection: Collection) -> AsyncIterator[Record]:
        return parked.records(self.blobs, self.key, collection)

    async def _json(self, collection: Collection) -> AsyncIterator[bytes]:
        held, separator = bytearray(b"["), b"\n"
        async for record in self._records(collection):
            held += separator + json.dumps(record, ensure_ascii=False).encode()
            separator = b",\n"
            if len(held) > FLUSH_BYTES:
                yield bytes(held)
                held.clear()
        yield bytes(held) + b"\n]\n"

    def _page(self) -> readable.Page:
        at = f"{iso(self.snapshot_at)[:16].replace('T', ' ')} UTC"
        return readable.Page(self.language, self.reference, at, is_everything=self.chosen.is_everything)

    async def _html(self) -> AsyncIterator[bytes]:
        page = self._page()
        there = [(source, one) for source in self.sources for one in source.collections]
        sections = [
            Section(
                page.own() if source.folder == "data" else source.title,
                one.name,
                f"{source.folder}/{file_name(one.name)}.json",
                one.records,
            )
            for source, one in there
        ]
        lost = [(one.title, one.code, page.retry(one.retried_at)) for one in self.missing]
        yield "".join(readable.head(page, sections, lost)).encode()
        for number, (section, (_, collection)) in enumerate(zip(sections, there, strict=True)):
            yield readable.section_head(page, number, section).encode()
            shown = 0
            async for record in self._records(collection):
                shown += 1
                if shown > readable.SHOWN:
                    break
                yield readable.article(page, record).encode()
            yield readable.SECTION_END.encode()
        yield readable.FOOT.encode()

    def _missing(self, one: Missing) -> Json:
        return {
            "system": one.system,
            "title": one.title,
            "state": one.state,
            "code": one.code,
            "tries": one.tries,
            "retriedAt": iso(one.retried_at) if one.retried_at else None,
            "note": self._page().retry(one.retried_at),
        }

    def _schema(self) -> dict[str, Json]:
        def array(shape: Shape) -> dict[str, Json]:
            return {"type": "array", "items": shape.schema() if shape.types else {}}

        files: dict[str, Json] = {
            f"{source.folder}/{file_name(one.name)}.json": array(one.shape)
            for source in self.sources
            for one in source.collections
        }
        return {"$schema": SCHEMA, "title": "Files of this package", "$defs": files}

    def _manifest(self) -> dict[str, object]:
        return {
            "version": VERSION,
            "kind": PACKAGE,
            "request": self.reference,
            "subject": self.subject,
            "snapshotAt": iso(self.snapshot_at),
            "createdAt": iso(self.created_at),
            "missing": len(self.missing),
            "chosen": {name: self.chosen.document()[name] for name in ("categories", "formats")},
            "files": sorted(self.files, key=lambda one: str(one["path"])),
            "keyId": self.signer.key_id,
        }


def signature_of(manifest: bytes, signer: Signer) -> dict[str, str]:
    """The detached signature over the manifest's bytes."""
    return {"algorithm": "Ed25519", "keyId": signer.key_id, "value": encode(signer.sign_bytes(manifest))}


def seal_text(digest: bytes, signer: Signer) -> bytes:
    """The archive's comment: key id and signature over the SHA-256 of every byte before it."""
    return SEAL + f"{signer.key_id}:{encode(signer.sign_bytes(SEAL + digest))}".encode()


async def _sealed(archive: AsyncIterable[bytes], signer: Signer) -> AsyncIterator[bytes]:
    """Replace the empty comment at the archive's end, its last two bytes, by the seal."""
    length = len(seal_text(b"", signer)).to_bytes(2, "little")
    digest, held = hashlib.sha256(), b""
    async for chunk in archive:
        held += chunk
        digest.update(held[:-2])
        yield held[:-2]
        held = held[-2:]
    digest.update(length)
    yield length + seal_text(digest.digest(), signer)


def _deflate() -> "zlib._Compress":
    return zlib.compressobj(level=6, wbits=-zlib.MAX_WBITS)


async def _loaded(document: Document) -> AsyncIterator[bytes]:
    yield await document.load()


async def _chunk(raw: bytes) -> AsyncIterator[bytes]:
    yield raw


def _text(text: str) -> AsyncIterator[bytes]:
    return _chunk(text.encode())


def _whole(document: Json) -> AsyncIterator[bytes]:
    return _chunk(json.dumps(document, ensure_ascii=False, indent=1).encode() + b"\n")


def total(sources: Iterable[Source]) -> int:
    """How many records a package holds."""
    return sum(one.records for source in sources for one in source.collections)
