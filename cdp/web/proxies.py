"""Who really asks, when a proxy stands before us; and plain http, which leads to https and nowhere else.

``X-Forwarded-For`` and ``X-Forwarded-Proto`` count only when the connection itself comes from ``CDP_TRUSTED_PROXIES``;
from anybody else they are removed before anything can read them. Of the addresses the last that is no trusted proxy is
the client: those before it are the client's own word.
Source: RFC 7239 section 8.1; https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/X-Forwarded-For
"""

import ipaddress
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from cdp.core.errors import Forbidden
from cdp.core.settings import Network
from cdp.web.errors import json_error

FORWARDED = (b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-real-ip")
# Load balancers ask these without TLS.
OPERATION = frozenset({"/livez", "/readyz", "/metrics"})


class HttpsRequired(Forbidden):
    """This site is open over https only; what was sent here may have been read on its way."""

    code = "HTTPS_REQUIRED"


class TrustedProxies:
    """Takes a proxy's word for the client's address and scheme, and nobody else's."""

    def __init__(self, app: ASGIApp, *, networks: Sequence[Network]) -> None:
        self._app = app
        self._networks = networks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See https://asgi.readthedocs.io/en/latest/specs/www.html."""
        if scope["type"] == "http":
            peer = (scope.get("client") or ("", 0))[0]
            if self._networks and self._is_trusted(peer):
                self._believe(scope, Headers(scope=scope), peer)
            scope["headers"] = [pair for pair in scope["headers"] if pair[0] not in FORWARDED]
        await self._app(scope, receive, send)

    def _believe(self, scope: Scope, headers: Headers, peer: str) -> None:
        hops = [hop.strip() for line in headers.getlist("x-forwarded-for") for hop in line.split(",")]
        client = next((hop for hop in reversed(hops) if not self._is_trusted(hop)), hops[0] if hops else peer)
        scope["client"] = (client if _address(client) is not None else peer, 0)
        scheme = headers.getlist("x-forwarded-proto")[-1:] or ["https"]
        said = scheme[0].rpartition(",")[2].strip().lower()
        scope["scheme"] = "http" if said == "http" else "https"
        scope.setdefault("state", {})["forwarded_scheme"] = scope["scheme"]

    def _is_trusted(self, address: str) -> bool:
        found = _address(address)
        return found is not None and any(found in network for network in self._networks)


class HttpsOnly:
    """Sends who came to a proxy over plain http to https."""

    def __init__(self, app: ASGIApp, *, url: str) -> None:
        self._app = app
        self._url = url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See https://asgi.readthedocs.io/en/latest/specs/www.html."""
        is_plain = scope["type"] == "http" and scope.get("state", {}).get("forwarded_scheme") == "http"
        if is_plain and self._url.startswith("https://") and scope["path"] not in OPERATION:
            await to_https(Request(scope), self._url)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def to_https(request: Request, url: str) -> Response:
    """The same address over https; what carries a body is refused, since its secret is out already."""
    if request.method not in {"GET", "HEAD"}:
        return json_error(request, HttpsRequired())
    query = request.scope["query_string"].decode("latin-1")
    path = request.scope.get("raw_path", request.url.path.encode()).partition(b"?")[0].decode("latin-1")
    return RedirectResponse(f"{url}{path}{'?' if query else ''}{query}", status_code=308)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
