"""Serve a peer over HTTP by uvicorn on a free port, from a thread, for the length of a block."""

import asyncio
import json
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import uvicorn

Raw = tuple[int, dict[str, str], bytes]


@dataclass(frozen=True)
class Call:
    """One call as it came in; ``path`` is still encoded, headers have lower-case names."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    @property
    def asked(self) -> dict[str, str]:
        return dict(parse_qsl(self.query, keep_blank_values=True))

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Respond = Callable[[Call], Awaitable[Raw]]


def answer(status: int, value: object = None, **headers: str) -> Raw:
    """An answer of JSON, or of the bytes given."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return status, {"content-type": "application/json", **headers}, body


@contextmanager
def serving(respond: Respond) -> Iterator[str]:
    """Yield the base URL."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        call = Call(scope["method"], scope["raw_path"].decode(), scope["query_string"].decode(), headers, body)
        status, answered, content = await respond(call)
        sent = [(name.encode(), value.encode()) for name, value in answered.items()]
        await send({"type": "http.response.start", "status": status, "headers": sent})
        await send({"type": "http.response.body", "body": content})

    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, lifespan="off", log_config=None, ws="none", date_header=False, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        listening.close()


async def hang() -> None:
    """Longer than anybody waits."""
    await asyncio.sleep(30)
