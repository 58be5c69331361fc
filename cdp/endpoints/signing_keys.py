"""``/.well-known/cdp-signing-keys``: the public keys by which anybody checks certificates and packages offline."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cdp.operations import signing_keys

ADDRESS = "/.well-known/cdp-signing-keys"


async def show(request: Request) -> Response:
    """Every key this installation signs or has signed with."""
    headers = {"Cache-Control": "public, max-age=3600", "Access-Control-Allow-Origin": "*"}
    return JSONResponse(signing_keys.document(request.app.state.platform), headers=headers)


routes = [Route(ADDRESS, show)]
