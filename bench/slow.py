"""Many systems in one process, a port each, every answer after a while: ``python -m bench.slow DELAY_MS PORT…``.

``PUT /people`` names the people every system knows; ``/people?email=…`` searches one system, ``DELETE`` forgets there.
"""

import asyncio
import json
import socket
import sys
from collections import Counter
from urllib.parse import parse_qs

import uvicorn
from starlette.types import Receive, Scope, Send


class Systems:
    """Who is known where; the same people everywhere at first."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._people: dict[str, str] = {}
        self._gone: set[tuple[str, str]] = set()
        self.calls: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call."""
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        path, method, name = scope["path"], scope["method"], str(scope["server"][1])
        status, answer = 200, b"{}"
        match path.split("/")[1:]:
            case ["people"] if method == "PUT":
                self._people |= {email: str(number) for number, email in enumerate(json.loads(body))}
                self._gone.clear()
            case ["calls"]:
                answer = json.dumps(self.calls).encode()
            case ["people"]:
                await asyncio.sleep(self._delay_s)
                self.calls["search"] += 1
                email = parse_qs(scope["query_string"].decode())["email"][0]
                number = self._people.get(email)
                found = [] if number is None or (name, number) in self._gone else [{"id": number, "email": email}]
                answer = json.dumps({"items": found}).encode()
            case ["people", number] if method == "DELETE":
                await asyncio.sleep(self._delay_s)
                self.calls["delete"] += 1
                self._gone.add((name, number))
                status, answer = 204, b""
            case _:
                status = 404
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


def serve(delay_s: float, ports: list[int]) -> None:
    """Until it is told to stop."""
    listening = [socket.create_server(("127.0.0.1", port), backlog=512) for port in ports]
    uvicorn.Server(
        uvicorn.Config(Systems(delay_s), log_level="warning", access_log=False, lifespan="off", ws="none")
    ).run(sockets=listening)


if __name__ == "__main__":
    serve(int(sys.argv[1]) / 1000, [int(port) for port in sys.argv[2:]])
