"""A customer database behind a webhook, served by uvicorn on a free port: the receiving side, written from the README.

``mode`` makes it misbehave in one way; ``calls`` are the bodies it accepted.
"""

import asyncio
import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn

SECRET = "a secret both sides of the webhook know"
Raw = tuple[int, dict[str, str], bytes]


@dataclass
class Peer:
    """What the peer holds and how it behaves."""

    people: dict[str, dict[str, list[dict[str, Any]]]] = field(default_factory=dict)
    remembered: dict[str, Raw] = field(default_factory=dict)
    calls: list[dict[str, Any]] = field(default_factory=list)
    effects: dict[str, int] = field(default_factory=dict)
    mode: str = "honest"
    answer: Raw | None = None
    url: str = ""
    canary_calls: int = 0

    async def respond(self, path: str, headers: dict[str, str], body: bytes) -> Raw:
        """Answer one call."""
        if path == "/canary":
            self.canary_calls += 1
            return _json(200, {"state": "done"})
        if self.mode != "trusting" and not _signed(headers, body):
            return _json(401, {"state": "refused", "code": "BAD_SIGNATURE"})
        call = json.loads(body)
        assert headers["idempotency-key"] == call["key"]
        self.calls.append(call)
        if self.mode == "hanging":
            await asyncio.sleep(30)
        if self.answer is not None:
            return self.answer
        if self.mode == "dropping" and call["step"] == "erase" and call["key"] not in self.remembered:
            self._settle(call)
            return 500, {}, b"the answer was lost"
        return self._settle(call)

    def _settle(self, call: dict[str, Any]) -> Raw:
        if call["step"] != "erase":
            return _json(200, self._step(call))
        if call["key"] not in self.remembered:
            self.effects[call["key"]] = self.effects.get(call["key"], 0) + 1
            self.remembered[call["key"]] = _json(200, self._step(call))
        return self.remembered[call["key"]]

    def _step(self, call: dict[str, Any]) -> dict[str, Any]:
        known = [one["value"] for one in call["subject"]["identifiers"] if one["value"] in self.people]
        held = [self.people[value] for value in known]
        counts = {name: len(rows) for person in held for name, rows in person.items()}
        done = {"key": call["key"], "state": "done"}
        match call["step"]:
            case "probe":
                return done
            case "read":
                return {**done, "records": {name: rows for person in held for name, rows in person.items()}}
            case "check":
                return {**done, "records": counts}
            case "erase":
                if self.mode != "deletes_nothing":
                    self.people = {value: rows for value, rows in self.people.items() if value not in known}
                return {**done, "records": counts}
            case _:
                return {**done, "found": sum(counts.values())}

    async def __call__(
        self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        """ASGI."""
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        status, answered, content = await self.respond(scope["path"], headers, body)
        sent = [(name.encode(), value.encode()) for name, value in answered.items()]
        await send({"type": "http.response.start", "status": status, "headers": sent})
        await send({"type": "http.response.body", "body": content})


def _json(status: int, value: object) -> Raw:
    return status, {"content-type": "application/json"}, json.dumps(value).encode()


def _signed(headers: dict[str, str], body: bytes) -> bool:
    timestamp = headers.get("cdp-timestamp", "")
    expected = hmac.new(SECRET.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    given = headers.get("cdp-signature", "").removeprefix("v1=")
    fresh = timestamp.isdigit() and abs(time.time() - int(timestamp)) < 300
    return fresh and hmac.compare_digest(given, expected)


@contextmanager
def served() -> Iterator[Peer]:
    """Serve a peer from a thread for the length of the block."""
    peer = Peer()
    listening = socket.create_server(("127.0.0.1", 0))
    peer.url = f"http://127.0.0.1:{listening.getsockname()[1]}/hook"
    config = uvicorn.Config(
        peer, lifespan="off", log_config=None, ws="none", date_header=False, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield peer
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        listening.close()
