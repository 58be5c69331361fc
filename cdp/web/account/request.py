"""One request and its true state, for who is signed in or holds its status key; works when the account is gone.

The key comes behind the ``#`` of a link, which no server sees, or is typed in; it is exchanged by POST for a cookie of
this path, so that it never stands in a log, a Referer or the history.
"""

import json
from contextlib import suppress
from typing import Any

from anyio.to_thread import run_sync
from starlette.responses import RedirectResponse, Response

from cdp.access.viewer import Actor, Viewer
from cdp.core.errors import NotFound
from cdp.operations import request_views
from cdp.operations.certificate_pdf import render as render_pdf
from cdp.operations.request_views import RequestView
from cdp.operations.requests import TooLateToUndo
from cdp.tables.request import RequestStatus, RequestType
from cdp.web.live import stream
from cdp.web.render import markup
from cdp.web.visit import Problem, Visit
from cdp.web.words import REQUEST_STATUS, STEP, TASK_STATUS

COOKIE = "cdp_status"
TIMELINE = (
    ("Requested", {RequestStatus.RECEIVED, RequestStatus.CHECKING}),
    ("Waiting period", {RequestStatus.COOLING_OFF}),
    ("Deleting", {RequestStatus.ERASING}),
    ("Making sure", {RequestStatus.VERIFYING}),
    ("Done", {RequestStatus.COMPLETED}),
)


def _reference(visit: Visit) -> str:
    return str(visit.request.path_params["reference"])


async def _find(visit: Visit) -> RequestView:
    """The request, by key or by session. Raises NotFound."""
    key = visit.cookie(COOKIE)
    if key:
        try:
            return await request_views.with_key(visit.platform, _reference(visit), key)
        except NotFound:
            pass
    if visit.session is None:
        raise NotFound
    return await request_views.of_viewer(visit.platform, visit.viewer, _reference(visit))


async def show(visit: Visit) -> Response:
    """The state, or a form for the status key."""
    try:
        view = await _find(visit)
    except NotFound:
        return _ask_for_key(visit, [])
    if view.type is not RequestType.ERASURE:
        return RedirectResponse(f"/account/downloads/{view.reference}", status_code=303)
    return visit.page("account/request.html", title="Your deletion request", **context(view))


def context(view: RequestView) -> dict[str, Any]:
    """What the templates of a request need."""
    reached = next((n for n, (_, statuses) in enumerate(TIMELINE) if view.status in statuses), -1)
    return {
        "view": view,
        "total": len(view.systems),
        "statuses": REQUEST_STATUS,
        "task_statuses": TASK_STATUS,
        "step_names": STEP,
        "timeline": [label for label, _ in TIMELINE],
        "reached": reached,
        "retained": _retained(view),
    }


def _retained(view: RequestView) -> list[dict[str, Any]]:
    """What stays, as the signed certificate says it, else as the systems announced it."""
    if view.certificate:
        systems = json.loads(view.certificate).get("systems", [])
        return [{"system": s.get("title", s.get("name")), **kept} for s in systems for kept in s.get("retained", [])]
    return [
        {"system": system.title, **kept}
        for system in view.systems
        for kept in system.steps[0].evidence.get("retained", [])
    ]


def _ask_for_key(visit: Visit, problems: list[Problem]) -> Response:
    return visit.page(
        "account/status_key.html", title="Look at a request", problems=problems, reference=_reference(visit)
    )


async def submit_key(visit: Visit) -> Response:
    """Exchange the status key for a cookie."""
    key = visit.field("key")
    try:
        view = await request_views.with_key(visit.platform, _reference(visit), key)
    except NotFound:
        return _ask_for_key(visit, [Problem("key", "This key does not open this request.")])
    visit.set_cookie(COOKIE, key)
    return visit.redirect(f"/account/requests/{view.reference}")


async def progress(visit: Visit) -> Response:
    """The live part as server-sent events; ends when the key no longer opens the request."""
    view = await _find(visit)

    async def current() -> str:
        return markup("account/request_live.html", **context(await _find(visit)))

    return stream(visit, view.id, current)


async def undo(visit: Visit) -> Response:
    """Call the deletion off."""
    view = await _find(visit)
    viewer = visit.viewer if visit.session else Viewer(Actor.CUSTOMER)
    with suppress(TooLateToUndo):  # The page itself shows how far it is.
        await request_views.undo(visit.platform, viewer, view)
    return visit.redirect(f"/account/requests/{view.reference}")


async def certificate_json(visit: Visit) -> Response:
    """The signed certificate, byte for byte as it was signed."""
    reference, document = await _certificate(visit)
    return _attachment(document, f"certificate-{reference}.json", "application/json")


async def certificate_pdf(visit: Visit) -> Response:
    """The certificate to read and print."""
    reference, document = await _certificate(visit)
    pdf = await run_sync(render_pdf, document)
    return _attachment(pdf, f"certificate-{reference}.pdf", "application/pdf")


async def _certificate(visit: Visit) -> tuple[str, bytes]:
    view = await _find(visit)
    if view.certificate is None:
        raise NotFound
    return view.reference, view.certificate.encode()


def _attachment(body: bytes, filename: str, media_type: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{filename}"', "Cache-Control": "no-store"}
    return Response(body, media_type=media_type, headers=headers)
