"""The outermost layer of every answer: a request id, security headers, and an end to errors nobody expected.

Pages get a strict content security policy with a nonce and Trusted Types; what is not a page gets one that allows
nothing. Source: OWASP HTTP Security Response Headers Cheat Sheet,
https://cheatsheetseries.owasp.org/cheatsheets/HTTP_Headers_Cheat_Sheet.html
"""

import secrets
from collections.abc import Mapping, Sequence

import structlog
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars, reset_contextvars

from cdp.web.errors import error_response

Header = tuple[bytes, bytes]
log = structlog.get_logger()

ALWAYS: Sequence[Header] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)
HSTS: Header = (b"strict-transport-security", b"max-age=63072000; includeSubDomains")
NOTHING = b"default-src 'none'; frame-ancestors 'none'"
POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'self'; img-src 'self' data:; font-src 'self'{fonts}; "
    "connect-src 'self'; manifest-src 'self'; form-action 'self'{form_targets}; base-uri 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types default"
)


class Perimeter:
    """Wraps the whole application; the innermost exception handler answers for everything with a code of its own."""

    def __init__(self, app: ASGIApp, *, is_secure: bool) -> None:
        self._app = app
        self._always = [*ALWAYS, *([HSTS] if is_secure else [])]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See https://asgi.readthedocs.io/en/latest/specs/www.html."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        request_id = state["request_id"] = secrets.token_hex(8)
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = self._complete(message.get("headers", ()), state, request_id)
            await send(message)

        bound = bind_contextvars(request_id=request_id)
        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:
            # Whatever comes here is a bug of ours; its text may quote somebody's data.
            log.exception("request.failed", error_type=type(error).__name__)
            if started:
                raise ConnectionAbortedError("the answer broke off") from None
            await error_response(Request(scope), error)(scope, receive, send_with_headers)
        finally:
            reset_contextvars(**bound)

    def _complete(self, headers: Sequence[Header], state: Mapping[str, object], request_id: str) -> list[Header]:
        given = {name for name, _ in headers}
        added = [(name, value) for name, value in self._always if name not in given]
        if b"content-security-policy" not in given:
            is_page = any(name == b"content-type" and value.startswith(b"text/html") for name, value in headers)
            added.append((b"content-security-policy", policy(state) if is_page else NOTHING))
            if is_page and b"cache-control" not in given:
                added.append((b"cache-control", b"no-store"))
        return [*headers, *added, (b"x-request-id", request_id.encode())]


def policy(state: Mapping[str, object]) -> bytes:
    """The policy of a page.

    ``form_targets`` are origins a form may end at after redirects, ``font_sources`` what else fonts may come from.
    """
    targets, fonts = _listed(state.get("form_targets")), _listed(state.get("font_sources"))
    return POLICY.format(nonce=state.get("nonce", "none"), form_targets=targets, fonts=fonts).encode()


def _listed(sources: object) -> str:
    return "".join(f" {source}" for source in sources) if isinstance(sources, tuple) else ""
