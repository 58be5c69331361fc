"""HTTP alone: reads a request's body and answers constant bytes; no ASGI application can be faster."""

import os
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send


def build() -> ASGIApp:
    """The application; ``BENCH_ANSWER`` names the file it answers."""
    body = Path(os.environ["BENCH_ANSWER"]).read_bytes()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return answer
