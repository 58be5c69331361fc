"""What a system gave for an export, parked until it is packed: sealed under the request's key in the object store.

One object a collection, one JSON record a line, so that packing streams each file alone and memory stays flat. The
index names them with their counts and shapes. A redone read writes beside an older one, never over it: a claim's
fence is part of the place, and only the settled task says which is right.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

from cdp.connectors.base import Json, Page, Record
from cdp.core.blobs import Blobs
from cdp.core.ids import RequestId
from cdp.core.seal import open_stream, seal_stream
from cdp.operations.packages.shapes import Shape


@dataclass(frozen=True)
class Collection:
    """One parked collection."""

    name: str
    object_key: str
    records: int
    shape: Shape


def folder(request_id: RequestId) -> str:
    """Where everything parked for a request lies."""
    return f"requests/{request_id}/"


def place(request_id: RequestId, system: str, fence: int) -> str:
    """Where one claim of one system's read parks."""
    return f"{folder(request_id)}{system}-{fence}/"


class _Pages:
    """Pages handed out one collection at a time, each page within its time-out."""

    def __init__(self, pages: AsyncIterator[Page], timeout_s: float) -> None:
        self._pages = pages
        self._timeout_s = timeout_s
        self.next: Page | None = None

    async def advance(self) -> None:
        async with asyncio.timeout(self._timeout_s):
            self.next = await anext(self._pages, None)

    async def lines(self, name: str, seen: "_Seen") -> AsyncIterator[bytes]:
        while self.next is not None and self.next.collection == name:
            for record in self.next.records:
                seen.take(record)
                yield json.dumps(record, ensure_ascii=False).encode() + b"\n"
            await self.advance()


@dataclass
class _Seen:
    """Count and shape of what streamed by."""

    shape: Shape
    records: int = 0

    def take(self, record: Record) -> None:
        self.shape.see(record)
        self.records += 1


async def park(
    blobs: Blobs, key: bytes, prefix: str, pages: AsyncIterator[Page], *, timeout_s: float
) -> list[Collection]:
    """Park everything a system yields; a page that takes longer than ``timeout_s`` raises TimeoutError."""
    source = _Pages(pages, timeout_s)
    await source.advance()
    parked: list[Collection] = []
    while source.next is not None:
        name, seen = source.next.collection, _Seen(Shape())
        object_key = f"{prefix}{len(parked):04d}.part"
        await blobs.put_stream(object_key, seal_stream(key, source.lines(name, seen)))
        parked.append(Collection(name, object_key, seen.records, seen.shape))
    await blobs.put_stream(f"{prefix}index", seal_stream(key, _index(parked)))
    return parked


async def _index(parked: list[Collection]) -> AsyncIterator[bytes]:
    document = [
        {"name": one.name, "objectKey": one.object_key, "records": one.records, "shape": one.shape.document()}
        for one in parked
    ]
    yield json.dumps(document).encode()


async def collections(blobs: Blobs, key: bytes, prefix: str) -> list[Collection]:
    """Read the index of a parked system."""
    raw = b"".join([chunk async for chunk in open_stream(key, blobs.stream(f"{prefix}index"))])
    document: list[dict[str, Json]] = json.loads(raw)
    return [
        Collection(str(one["name"]), str(one["objectKey"]), int(str(one["records"])), Shape.read(one["shape"]))
        for one in document
    ]


async def records(blobs: Blobs, key: bytes, collection: Collection) -> AsyncIterator[Record]:
    """Read a parked collection again, record by record."""
    held = b""
    async for chunk in open_stream(key, blobs.stream(collection.object_key)):
        *lines, held = (held + chunk).split(b"\n")
        for line in lines:
            yield json.loads(line)


async def discard(blobs: Blobs, request_id: RequestId) -> None:
    """Delete everything parked for a request."""
    for object_key in await blobs.all_keys(folder(request_id)):
        await blobs.delete(object_key)
