"""Userinfo (OpenID Connect Core section 5.3)."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from cdp.core.errors import Unauthenticated
from cdp.core.platform import Platform
from cdp.endpoints.oauth.possession import target_of
from cdp.operations.oauth.callers import viewer_of
from cdp.operations.requests.claims import claims_of


async def userinfo(request: Request) -> Response:
    """Answer with claims; only to a token, not to a page's session. Raises Unauthenticated, MissingScope."""
    platform: Platform = request.app.state.platform
    if "authorization" not in request.headers:
        raise Unauthenticated
    viewer = await viewer_of(platform, request.headers, {}, target=target_of(platform, request))
    return JSONResponse(dict(await claims_of(platform, viewer)), headers={"Cache-Control": "no-store"})
