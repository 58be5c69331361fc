"""One copy of somebody's data: how far it is, the file itself, and its removal."""

import re
from typing import Any

from starlette.responses import Response, StreamingResponse

from cdp.core.errors import NotFound, Unauthenticated
from cdp.operations.accounts import sessions
from cdp.operations.requests import exports, request_views
from cdp.operations.requests.exports import ExportGone, ExportNotReady, RangeInvalid
from cdp.operations.requests.requests import TooLateToUndo
from cdp.tables.export import ExportStatus
from cdp.web.account.export import chosen_titles
from cdp.web.account.request import words
from cdp.web.live import stream
from cdp.web.render import markup
from cdp.web.visit import Visit
from cdp.web.words import EXPORT_STATUS, with_times

# One range, as browsers ask for it to go on with a download that broke off; others may be ignored (RFC 9110, 14.2).
_RANGE = re.compile(r"bytes=(\d{1,18})-(\d{0,18})")
MEDIA_TYPE = "application/zip"


async def show(visit: Visit) -> Response:
    """Progress while it is made, then the file."""
    return visit.page("account/package.html", title="Your copy", **await _context(visit))


async def _package(visit: Visit) -> dict[str, Any]:
    answer = await visit.read("account/package.graphql", reference=visit.reference)
    found = answer["viewer"]["customer"]["requests"]["nodes"]
    if not found or found[0]["export"] is None:
        raise NotFound
    package: dict[str, Any] = with_times(found[0]["export"])
    return package


async def _context(visit: Visit) -> dict[str, Any]:
    package = await _package(visit)
    view = await request_views.of_viewer(visit.platform, visit.viewer, visit.reference)
    status = ExportStatus[package["status"]]
    return {
        **words(view),
        "package": package,
        "package_status": status.name,
        "said": EXPORT_STATUS[status],
        "chosen_titles": chosen_titles(package["choices"]),
        "parts": exports.part_count(package["choices"], int(package["sizeBytes"] or 0)),
        "titles": {known.name: known.title for known in view.systems},
        "again": None if visit.is_fresh else visit.sign_in_again(f"/account/downloads/{visit.reference}"),
    }


async def progress(visit: Visit) -> Response:
    """The live parts as server-sent events; they end with the session."""
    view = await request_views.of_viewer(visit.platform, visit.viewer, visit.reference)

    async def current() -> str:
        if visit.session is None or not await sessions.is_alive(visit.platform, visit.session):
            raise Unauthenticated
        return markup("account/package_live.html", visit=visit, **await _context(visit))

    return stream(visit, view.id, current)


async def fetch(visit: Visit) -> Response:
    """The ZIP, whole or a range of it (RFC 9110, 14.2); never cached, always an attachment."""
    package, part = await _package(visit), _part(visit)
    name = exports.file_name(package["reference"], package["choices"], part)
    headers = {
        "Content-Disposition": f'attachment; filename="{name}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": "no-store",
        "ETag": f'"{package["sha256"]}{f"-{part}" if part else ""}"',
    }
    if visit.request.method == "HEAD":
        return _described(visit, package, headers, part)
    wanted = _range(visit, headers["ETag"])
    start, end = wanted or (0, None)
    try:
        download = await exports.download(
            visit.platform, visit.viewer, visit.reference, start=start, end=end, part=part
        )
    except RangeInvalid:
        size = exports.piece_bytes(package["choices"], int(package["sizeBytes"]), part)
        return Response(status_code=416, headers={"Content-Range": f"bytes */{size}"})
    headers["Content-Length"] = str(download.end - download.start)
    if wanted:
        headers["Content-Range"] = f"bytes {download.start}-{download.end - 1}/{download.size_bytes}"
    status = 206 if wanted else 200
    return StreamingResponse(download.chunks, status_code=status, headers=headers, media_type=MEDIA_TYPE)


def _part(visit: Visit) -> int:
    """Which part was asked for; 0 is the whole, and what is no number is no part."""
    given = visit.request.query_params.get("part", "0")
    return int(given) if given.isascii() and given.isdigit() and len(given) < 8 else -1


def _described(visit: Visit, package: dict[str, Any], headers: dict[str, str], part: int) -> Response:
    """The answer to HEAD: what a download would say, without being one."""
    visit.require_fresh()
    if package["status"] == ExportStatus.PREPARING.name:
        raise ExportNotReady
    if package["status"] != ExportStatus.READY.name or package["expiresAt"] <= visit.now:
        raise ExportGone
    response = Response(headers=headers, media_type=MEDIA_TYPE)
    size = exports.piece_bytes(package["choices"], int(package["sizeBytes"]), part)
    response.headers["Content-Length"] = str(size)
    return response


def _range(visit: Visit, etag: str) -> tuple[int, int | None] | None:
    """Start and end (not included) of the part asked for; None for the whole."""
    asked = _RANGE.fullmatch(visit.request.headers.get("range", ""))
    if asked is None or visit.request.headers.get("if-range", etag) != etag:
        return None
    start, end = int(asked[1]), int(asked[2]) + 1 if asked[2] else None
    return (start, end) if end is None or start < end else None


async def remove(visit: Visit) -> Response:
    """Stop the making, or remove the copy now; its key is destroyed with it."""
    viewer, platform = visit.viewer, visit.platform
    view = await request_views.of_viewer(platform, viewer, visit.reference)
    try:
        if view.can_undo:
            await request_views.undo(platform, viewer, view)
            return visit.redirect(f"/account/downloads/{view.reference}")
    except TooLateToUndo:
        pass  # It was finished in this moment: then it can be removed.
    async with platform.db.transaction(viewer.role, subject=viewer.subject) as tx:
        await exports.revoke(tx, viewer, view.reference)
    return visit.redirect(f"/account/downloads/{view.reference}")
