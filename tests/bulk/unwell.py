"""A proxy in front of a store that is unwell when told to: it answers 503, or hangs up in the middle."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

FOR_LONG = 10**9
UNWELL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Unwell:
    """``refusals`` counts down: so many connections are answered 503 before any is passed on.

    ``bearable`` counts down too: after so many bytes it has had enough, and falls ill until somebody says otherwise.
    """

    def __init__(self, upstream: int) -> None:
        self.refusals = 0
        self.refused = 0
        self.bearable: int | None = None
        self.port = 0
        self._upstream = upstream
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def fall_ill(self, refusals: int) -> None:
        """Hang up on everybody, and refuse so many of those who come back."""
        self.refusals = refusals
        for one in self._open:
            one.close()

    def recover(self) -> None:
        """Be well from now on."""
        self.refusals, self.bearable = 0, None

    def _bear(self, size: int) -> None:
        if self.bearable is not None:
            self.bearable -= size
            if self.bearable <= 0:
                self.bearable = None
                self.fall_ill(FOR_LONG)

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            if self.refusals:
                self.refusals, self.refused = self.refusals - 1, self.refused + 1
                await reader.readuntil(b"\r\n\r\n")
                writer.write(UNWELL)
                await writer.drain()
                return
            inner, outer = await asyncio.open_connection("127.0.0.1", self._upstream)
            if self.refusals:  # it fell ill meanwhile
                outer.close()
                writer.close()
                return
            self._open |= {writer, outer}
            await asyncio.gather(_pass(reader, outer, self._bear), _pass(inner, writer))
        writer.close()
        self._open.discard(writer)


async def _pass(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, told: Callable[[int], None] = lambda _: None
) -> None:
    with suppress(OSError):
        while chunk := await reader.read(65536):
            told(len(chunk))
            if writer.is_closing():
                return
            writer.write(chunk)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def unwell(upstream: int) -> AsyncIterator[Unwell]:
    """A running proxy."""
    proxy = Unwell(upstream)
    server = await asyncio.start_server(proxy.take, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
