"""``/transfers``: what the acquirer of a deal asks of us, as itself, by a token its own key got it (RFC 7523).

    POST /transfers/{reference}/pull              opens the newest package, once; tells the names of its tag files
    GET  /transfers/{reference}/files/{path}      a file of the bag, or a range of it
    POST /transfers/{reference}/receipt           its signed receipt, file by file
    GET  /transfers/{reference}/deltas            what was told since
    GET  /transfers/{reference}/deltas/{n}        one of these, signed
    POST /transfers/{reference}/deltas/{n}        its signed acknowledgement, or for a recall that it destroyed all

Statements are compact JSON Web Signatures, ``application/jose`` (RFC 7515).
"""

import re

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from cdp.access.viewer import Actor, Viewer
from cdp.core.errors import Unauthenticated
from cdp.core.platform import Platform
from cdp.endpoints.oauth.possession import target_of
from cdp.operations.delivery import deltas, pulling, receipts
from cdp.operations.delivery.deltas import DeltaMissing
from cdp.operations.delivery.statements import StatementInvalid
from cdp.operations.oauth.callers import viewer_of

PATH = "/transfers"
NO_STORE = {"Cache-Control": "no-store"}
LONGEST_ORDINAL = 9
_RANGE = re.compile(r"bytes=(\d{1,18})-(\d{0,18})")


async def _caller(request: Request) -> tuple[Platform, Viewer, str]:
    """A program with a bearer token; a browser's cookie counts for nothing here."""
    platform: Platform = request.app.state.platform
    viewer = await viewer_of(platform, request.headers, {}, target=target_of(platform, request))
    if viewer.actor is Actor.ANONYMOUS:
        raise Unauthenticated
    return platform, viewer, request.path_params["reference"]


async def _statement(request: Request) -> str:
    try:
        return (await request.body()).decode("ascii").strip()
    except UnicodeDecodeError:
        raise StatementInvalid from None


async def pull(request: Request) -> Response:
    """Open the pull."""
    platform, viewer, reference = await _caller(request)
    return JSONResponse(await pulling.open_pull(platform, viewer, reference), headers=NO_STORE)


async def file(request: Request) -> Response:
    """One file, whole or a range of it; never cached."""
    platform, viewer, reference = await _caller(request)
    asked = _RANGE.fullmatch(request.headers.get("range", ""))
    start, end = (int(asked[1]), int(asked[2]) + 1 if asked[2] else None) if asked else (0, None)
    served = await pulling.serve(platform, viewer, reference, request.path_params["path"], start=start, end=end)
    headers = {
        **NO_STORE,
        "Accept-Ranges": "bytes",
        "ETag": f'"{served.sha256}"',
        "Content-Length": str(served.end - served.start),
    }
    if asked:
        headers["Content-Range"] = f"bytes {served.start}-{served.end - 1}/{served.size_bytes}"
    status = 206 if asked else 200
    return StreamingResponse(served.chunks, status, headers=headers, media_type="application/octet-stream")


async def receipt(request: Request) -> Response:
    """Take the receipt of the newest package."""
    platform, viewer, reference = await _caller(request)
    taken = await receipts.take(platform, viewer, reference, await _statement(request))
    said = {"sha256": taken.sha256, "accepted": taken.accepted, "rejected": taken.rejected}
    return JSONResponse(said, headers=NO_STORE)


async def listed(request: Request) -> Response:
    """What was told since the package."""
    platform, viewer, reference = await _caller(request)
    return JSONResponse({"deltas": await deltas.listed(platform, viewer, reference)}, headers=NO_STORE)


async def delta(request: Request) -> Response:
    """Read one, or acknowledge it."""
    platform, viewer, reference = await _caller(request)
    given = request.path_params["ordinal"]
    if not (given.isascii() and given.isdigit() and len(given) <= LONGEST_ORDINAL):
        raise DeltaMissing
    if request.method == "POST":
        await deltas.acknowledge(platform, viewer, reference, int(given), await _statement(request))
        return Response(status_code=204, headers=NO_STORE)
    text = await deltas.document(platform, viewer, reference, int(given))
    return Response(text, media_type="application/json", headers=NO_STORE)


routes = [
    Route(f"{PATH}/{{reference}}/pull", pull, methods=["POST"]),
    Route(f"{PATH}/{{reference}}/files/{{path:path}}", file, methods=["GET"]),
    Route(f"{PATH}/{{reference}}/receipt", receipt, methods=["POST"]),
    Route(f"{PATH}/{{reference}}/deltas", listed, methods=["GET"]),
    Route(f"{PATH}/{{reference}}/deltas/{{ordinal}}", delta, methods=["GET", "POST"]),
]
