"""Cross-origin requests: which foreign pages may call the API with a token of their own.

Only the origins an operator names, only the paths that read tokens, and never with cookies: a page elsewhere can use
what it was given by OAuth, and nothing of a session here. Source: https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from urllib.parse import urlsplit

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from cdp.core.errors import InvalidInput

PATHS = frozenset(
    {
        "/graphql",
        "/oauth/token",
        "/oauth/par",
        "/oauth/revoke",
        "/oauth/userinfo",
        "/oauth/jwks",
        "/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server",
    }
)
HEADERS = ("authorization", "content-type", "dpop")
EXPOSED = ("x-request-id", "retry-after", "www-authenticate", "dpop-nonce")
MAX_AGE_S = 600


class OriginInvalid(InvalidInput):
    """CDP_CORS_ORIGINS names origins: scheme and host, without a path, and no wildcard."""

    code = "ORIGIN_INVALID"


def origins_of(setting: str) -> list[str]:
    """The origins an operator names. Raises OriginInvalid."""
    found = [one.strip() for one in setting.split(",") if one.strip()]
    for one in found:
        parts = urlsplit(one)
        if parts.scheme not in {"http", "https"} or not parts.hostname or one != f"{parts.scheme}://{parts.netloc}":
            raise OriginInvalid
        if "*" in one or "@" in one:
            raise OriginInvalid
    return found


class Cors:
    """Middleware that answers preflights and marks answers for the named origins; other paths never hear of it."""

    def __init__(self, app: ASGIApp, origins: list[str]) -> None:
        self._app = app
        self._marking = CORSMiddleware(
            app,
            allow_origins=origins,
            allow_methods=("GET", "POST"),
            allow_headers=HEADERS,
            expose_headers=EXPOSED,
            max_age=MAX_AGE_S,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See https://asgi.readthedocs.io/en/latest/specs/www.html."""
        is_open = scope["type"] == "http" and scope["path"] in PATHS
        await (self._marking if is_open else self._app)(scope, receive, send)
