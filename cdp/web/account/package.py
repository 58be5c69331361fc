"""One copy of somebody's data: how far it is, the file itself, and its removal."""

import re
from typing import Any

from starlette.responses import RedirectResponse, Response, StreamingResponse

from cdp.core.errors import NotFound, StepUpRequired
from cdp.operations import exports, request_views
from cdp.operations.request_views import RequestView
from cdp.web.live import stream
from cdp.web.reading import read
from cdp.web.render import markup
from cdp.web.visit import Visit, sign_in_address
from cdp.web.words import REQUEST_STATUS, STEP, TASK_STATUS, parsed_times

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


def _reference(visit: Visit) -> str:
    return str(visit.request.path_params["reference"])


async def _package(visit: Visit) -> dict[str, Any]:
    found = await read(visit, "account/package")
    for package in parsed_times(found["viewer"]["customer"]["exports"]["nodes"]):
        if package["reference"] == _reference(visit):
            return package
    raise NotFound


async def show(visit: Visit) -> Response:
    """Progress while it is made, then the link."""
    package = await _package(visit)
    view = await request_views.of_viewer(visit.platform, visit.viewer, _reference(visit))
    context = _words(view)
    return visit.page("account/package.html", title="Your copy", package=package, view=view, **context)


async def progress(visit: Visit) -> Response:
    """The live part as server-sent events."""
    view = await request_views.of_viewer(visit.platform, visit.viewer, _reference(visit))

    async def current() -> str:
        now = await request_views.of_viewer(visit.platform, visit.viewer, view.reference)
        return markup("account/progress.html", view=now, **_words(now))

    return stream(visit, view.id, current)


def _words(view: RequestView) -> dict[str, object]:
    return {"statuses": REQUEST_STATUS, "task_statuses": TASK_STATUS, "step_names": STEP, "total": len(view.systems)}


async def fetch(visit: Visit) -> Response:
    """The ZIP, whole or a range of it (RFC 9110, 14.2); never cached, always an attachment."""
    reference, asked = _reference(visit), _RANGE.fullmatch(visit.request.headers.get("range", ""))
    start = int(asked[1]) if asked else 0
    end = int(asked[2]) + 1 if asked and asked[2] else None
    try:
        download = await exports.download(visit.platform, visit.viewer, reference, start=start, end=end)
    except StepUpRequired:
        back = f"/account/downloads/{reference}"
        return RedirectResponse(sign_in_address(visit.actor, back, again=True), status_code=303)
    headers = {
        "Content-Disposition": f'attachment; filename="{download.filename}"',
        "Content-Length": str(download.end - download.start),
        "Accept-Ranges": "bytes",
        "Cache-Control": "no-store",
        "ETag": f'"{download.sha256.hex()}"',
    }
    if asked:
        headers["Content-Range"] = f"bytes {download.start}-{download.end - 1}/{download.size_bytes}"
    status = 206 if asked else 200
    return StreamingResponse(download.chunks, status_code=status, headers=headers, media_type="application/zip")


async def remove(visit: Visit) -> Response:
    """Remove the copy now; its key is destroyed with it."""
    viewer, platform = visit.viewer, visit.platform
    async with platform.db.transaction(viewer.role, subject=viewer.subject) as tx:
        await exports.revoke(tx, viewer, _reference(visit))
    return visit.redirect(f"/account/downloads/{_reference(visit)}")
