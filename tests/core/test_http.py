"""Outbound HTTP against running peers: what may be called, and what a hostile or broken answer does."""

import asyncio
import gzip
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from cdp.core.http import AnswerTooLarge, CallFailed, Outbound, TargetForbidden, is_public

Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Canary:
    """A server that counts who came and keeps what they said."""

    def __init__(self, answer: bytes = OK, *, then_silence: bool = False) -> None:
        self.heard: list[bytes] = []
        self.connections = 0
        self._answer = answer
        self._then_silence = then_silence

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                break
            length = _length(head)
            self.heard.append(head + await reader.readexactly(length))
            writer.write(self._answer)
            await writer.drain()
            if not self._then_silence:
                break
        writer.close()


def _length(head: bytes) -> int:
    names = (line.partition(b":") for line in head.lower().split(b"\r\n"))
    return next((int(value) for name, _, value in names if name == b"content-length"), 0)


@asynccontextmanager
async def _listening(peer: Peer, *, host: str = "127.0.0.1") -> AsyncIterator[int]:
    server = await asyncio.start_server(peer, host, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.fixture
async def outbound() -> AsyncIterator[Outbound]:
    client = Outbound(allow_private=True, timeout_s=3)
    yield client
    await client.close()


@pytest.fixture
async def guarded() -> AsyncIterator[Outbound]:
    client = Outbound(timeout_s=3)
    yield client
    await client.close()


async def test_a_call_and_its_answer(outbound: Outbound):
    canary = Canary(b"HTTP/1.1 418 Teapot\r\nX-Kind: tea\r\nContent-Length: 5\r\n\r\nshort")
    async with _listening(canary) as port:
        answer = await outbound.request("POST", f"http://127.0.0.1:{port}/a?b=1", headers={"X-A": "1"}, content=b"body")
    assert (answer.status, answer.headers["x-kind"], answer.body) == (418, "tea", b"short")
    (heard,) = canary.heard
    assert heard.startswith(b"POST /a?b=1 HTTP/1.1\r\n")
    assert heard.endswith(b"\r\n\r\nbody")
    assert f"host: 127.0.0.1:{port}".encode() in heard.lower()


async def test_a_name_is_sent_as_host_and_tried_on_every_address(outbound: Outbound):
    canary = Canary()
    async with _listening(canary, host="127.0.0.1") as port:
        assert (await outbound.request("GET", f"http://localhost:{port}/")).status == 200
    assert f"host: localhost:{port}".encode() in canary.heard[0].lower()


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "017700000001", "[::1]", "[::ffff:127.0.0.1]", "0"],
)
async def test_loopback_is_refused_and_never_called(guarded: Outbound, host: str):
    canary = Canary()
    async with _listening(canary) as port:
        with pytest.raises((TargetForbidden, CallFailed)) as refusal:
            await guarded.request("GET", f"http://{host}:{port}/")
    assert canary.connections == 0
    assert refusal.type is TargetForbidden or host not in {"127.0.0.1", "localhost"}


async def test_what_an_operator_connected_may_be_inside_and_nothing_else():
    canary = Canary()
    client = Outbound(inside=(ipaddress.ip_network("127.0.0.0/8"),), timeout_s=3)
    async with _listening(canary) as port:
        url = f"http://127.0.0.1:{port}/"
        with pytest.raises(TargetForbidden):
            await client.request("GET", url)
        assert canary.connections == 0
        assert (await client.request("GET", url, may_be_inside=True)).status == 200
    elsewhere = Outbound(inside=(ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8")))
    async with _listening(canary) as port:
        for host in ("127.0.0.1", "[::ffff:127.0.0.1]"):
            with pytest.raises(TargetForbidden):
                await elsewhere.request("GET", f"http://{host}:{port}/", may_be_inside=True)
    assert canary.connections == 1
    await client.close()
    await elsewhere.close()


@pytest.mark.parametrize(
    "url",
    [
        "", "http://", "file:///etc/passwd", "ftp://192.0.2.1/", "gopher://x/", "//127.0.0.1/", "javascript:1",
        "http://user:secret@192.0.2.1/", "http://[::1", "http://a b/", "http://192.0.2.1:99999/", "\x00", "unix:/run/x",
    ],
)  # fmt: skip
async def test_what_is_no_target_is_refused(guarded: Outbound, url: str):
    with pytest.raises((TargetForbidden, CallFailed)):
        await guarded.request("GET", url)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("1.1.1.1", True), ("2606:4700::1111", True), ("127.0.0.1", False), ("10.1.2.3", False),
        ("172.16.0.1", False), ("192.168.1.1", False), ("169.254.169.254", False), ("100.64.0.1", False),
        ("0.0.0.0", False), ("224.0.0.1", False), ("255.255.255.255", False), ("192.0.2.1", False),
        ("198.18.0.1", False), ("192.0.0.8", False), ("192.88.99.1", False), ("::", False),
        ("::1", False), ("::ffff:10.0.0.1", False), ("::ffff:1.1.1.1", True), ("::7f00:1", False),
        ("64:ff9b::7f00:1", False), ("64:ff9b::101:101", True), ("64:ff9b:1::7f00:1", False), ("2002:7f00:1::", False),
        ("2001:0:7f00:1:0:0:80ff:fffe", False), ("fe80::1%lo", False), ("fd00::1", False), ("fec0::1", False),
        ("ff02::1", False), ("2001:db8::1", False),
    ],
)  # fmt: skip
def test_public_is_global_unicast_alone(address: str, public: bool):
    assert is_public(address) is public


async def test_a_redirect_is_an_answer_and_not_followed(outbound: Outbound):
    inner = Canary()
    async with _listening(inner) as target:
        redirect = f"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{target}/\r\nContent-Length: 0\r\n\r\n".encode()
        async with _listening(Canary(redirect)) as port:
            assert (await outbound.request("GET", f"http://127.0.0.1:{port}/")).status == 302
    assert inner.connections == 0


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000,
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n" + b"x" * 1024 + b"\r\n400\r\n" + b"x" * 1024,
    ],
)
async def test_an_answer_larger_than_asked_for_is_refused(outbound: Outbound, answer: bytes):
    async with _listening(Canary(answer)) as port:
        with pytest.raises(AnswerTooLarge):
            await outbound.request("GET", f"http://127.0.0.1:{port}/", max_bytes=1_500)


async def test_a_compressed_answer_is_not_unpacked(outbound: Outbound):
    bomb = gzip.compress(bytes(50_000_000))
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n".encode()
    canary = Canary(head + bomb)
    async with _listening(canary) as port:
        assert (await outbound.request("GET", f"http://127.0.0.1:{port}/")).body == bomb
    assert b"accept-encoding: identity" in canary.heard[0].lower()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000,
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
)
async def test_a_broken_answer_is_a_failed_call(outbound: Outbound, answer: bytes):
    async with _listening(Canary(answer)) as port:
        with pytest.raises(CallFailed) as failure:
            await outbound.request("GET", f"http://127.0.0.1:{port}/")
    assert failure.value.code == "CALL_FAILED"


@pytest.mark.parametrize("begins", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n1234"])
async def test_silence_ends_with_the_time_out(outbound: Outbound, begins: bytes):
    async with _listening(Canary(begins, then_silence=True)) as port:
        with pytest.raises(CallFailed) as failure:
            await outbound.request("GET", f"http://127.0.0.1:{port}/", timeout_s=0.2)
    assert isinstance(failure.value.__cause__, TimeoutError)


async def test_a_trickle_ends_with_the_time_out_too():
    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                writer.write(b".")
                await writer.drain()
                await asyncio.sleep(0.02)
        except ConnectionError:
            writer.close()

    client = Outbound(allow_private=True, timeout_s=0.3)
    async with _listening(trickle) as port:
        with pytest.raises(CallFailed):
            await client.request("GET", f"http://127.0.0.1:{port}/")
    await client.close()


async def test_nobody_listening_and_no_such_name_are_failed_calls(outbound: Outbound):
    async with _listening(Canary()) as port:
        pass
    for url in (f"http://127.0.0.1:{port}/", "http://nothing.invalid/", f"http://{'a' * 80}.invalid/"):
        with pytest.raises(CallFailed):
            await outbound.request("GET", url)


async def test_plain_http_on_a_tls_url_is_a_failed_call(outbound: Outbound):
    async with _listening(Canary()) as port:
        with pytest.raises(CallFailed):
            await outbound.request("GET", f"https://127.0.0.1:{port}/")


class Rebinding:
    """A resolver that gives another answer each time it is asked."""

    def __init__(self, *answers: list[str]) -> None:
        self.asked = 0
        self._answers = answers

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked += 1
        return self._answers[self.asked - 1]


async def test_the_address_that_was_checked_is_the_one_that_is_called():
    canary, resolver = Canary(), Rebinding(["127.0.0.1"], ["192.0.2.1"])
    client = Outbound(allow_private=True, timeout_s=3, resolve=resolver)
    async with _listening(canary) as port:
        answer = await client.request("GET", f"http://rebind.example:{port}/")
    await client.close()
    assert (answer.status, resolver.asked, canary.connections) == (200, 1, 1)


async def test_one_private_address_among_public_ones_is_enough_to_refuse():
    canary, resolver = Canary(), Rebinding(["93.184.215.14", "127.0.0.1"])
    client = Outbound(timeout_s=3, resolve=resolver)
    async with _listening(canary) as port:
        with pytest.raises(TargetForbidden):
            await client.request("GET", f"http://rebind.example:{port}/")
    await client.close()
    assert canary.connections == 0
