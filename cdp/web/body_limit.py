"""How much a request may carry: refused by its own word before anything is read, by counting where it says nothing."""

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cdp.core.errors import TooLarge
from cdp.web.errors import error_response


class BodyLimit:
    """Answers 413 in the platform's own words; inside, reading on raises TooLarge."""

    def __init__(self, app: ASGIApp, *, most_bytes: int) -> None:
        self._app = app
        self._most_bytes = most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See https://asgi.readthedocs.io/en/latest/specs/www.html."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        said = Headers(scope=scope).get("content-length", "0")
        if not said.isdecimal() or int(said) > self._most_bytes:
            await error_response(Request(scope), TooLarge())(scope, receive, send)
            return
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._most_bytes:
                raise TooLarge
            return message

        await self._app(scope, counted, send)
