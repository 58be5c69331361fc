"""A file on its way to the acquirer: encoded, hashed, encrypted and stored as it comes; plain text touches no disk."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from types import TracebackType
from typing import Self, TypeVar

from cdp.core.age import Encryption
from cdp.core.blobs import Blobs
from cdp.operations.bulk.formats import Encoder
from cdp.operations.delivery.parts import MadeFile
from cdp.tables.delivery import FileKind

A = TypeVar("A")
PENDING = 1


class Outgoing:
    """One file: ``put`` batches of whole lines, then ``end``. Left without an end it leaves nothing in the store."""

    def __init__(
        self,
        blobs: Blobs,
        recipient: str,
        *,
        kind: FileKind,
        name: str,
        key: str,
        encoder: Encoder,
        thread: Executor,
    ) -> None:
        self._blobs, self._kind, self._name, self._key = blobs, kind, name, key
        self._encoder, self._thread = encoder, thread
        self._encryption = Encryption(recipient)
        self._plain, self._sealed = hashlib.sha256(), hashlib.sha256()
        self._plain_bytes = self._size = 0
        self._rows = 0
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(PENDING)
        self._storing: asyncio.Task[int] | None = None

    async def __aenter__(self) -> Self:
        # Two files of a part are on their way together: one part of each in memory is enough.
        self._storing = asyncio.create_task(self._blobs.put_stream(self._key, self._chunks(), at_once=1))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._storing is not None:
            self._storing.cancel()
            await asyncio.gather(self._storing, return_exceptions=True)
        await self._beside(self._encryption.close)

    async def put(self, lines: bytes) -> None:
        """Take whole lines. Raises what the store raises."""
        await self._offer(await self._beside(self._take, lines))

    async def end(self) -> MadeFile:
        """Write the rest. Raises what the store raises."""
        await self._offer(await self._beside(self._finish))
        await self._offer(b"", is_last=True)
        assert self._storing is not None, "it was entered"
        await self._storing
        return MadeFile(
            self._kind,
            self._name,
            self._key,
            self._rows,
            self._plain_bytes,
            self._plain.digest(),
            self._size,
            self._sealed.digest(),
        )

    async def _beside(self, do: Callable[..., A], *given: bytes) -> A:
        return await asyncio.get_running_loop().run_in_executor(self._thread, do, *given)

    async def _offer(self, sealed: bytes, *, is_last: bool = False) -> None:
        """Hand bytes to the store, unless it has broken meanwhile."""
        assert self._storing is not None, "it was entered"
        for one in ([sealed] if sealed else []) + ([None] if is_last else []):
            putting = asyncio.create_task(self._queue.put(one))
            await asyncio.wait({putting, self._storing}, return_when=asyncio.FIRST_COMPLETED)
            if not putting.done():
                putting.cancel()
                await self._storing  # raises what broke it

    async def _chunks(self) -> AsyncIterator[bytes]:
        while (chunk := await self._queue.get()) is not None:
            yield chunk

    def _take(self, lines: bytes) -> bytes:
        self._rows += lines.count(b"\n")
        return self._seal(self._encoder.feed(lines))

    def _finish(self) -> bytes:
        sealed = self._seal(self._encoder.finish())
        rest = self._encryption.finish()
        self._sealed.update(rest)
        self._size += len(rest)
        return sealed + rest

    def _seal(self, plain: bytes) -> bytes:
        self._plain.update(plain)
        self._plain_bytes += len(plain)
        sealed = self._encryption.feed(plain)
        self._sealed.update(sealed)
        self._size += len(sealed)
        return sealed
