"""The gate before everything while the process waits for its database: 503, and why. Load balancers may ask."""

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from cdp.operations.starting import Standby
from cdp.web.errors import error_response
from cdp.web.proxies import OPERATION

STATIC = "/static/"


class StandbyGate:
    """Lets nobody in before the process may serve; the error page's own files are open."""

    def __init__(self, app: ASGIApp, *, standby: Standby) -> None:
        self._app = app
        self._standby = standby

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See https://asgi.readthedocs.io/en/latest/specs/www.html."""
        reason = self._standby.reason
        if reason is None or scope["type"] != "http" or _is_open(scope["path"]):
            await self._app(scope, receive, send)
        else:
            await error_response(Request(scope), reason)(scope, receive, send)


def _is_open(path: str) -> bool:
    return path in OPERATION or path.startswith(STATIC)
