"""One request and its true state, for who is signed in or holds its status key; works when the account is gone.

The key comes behind the ``#`` of a link, which no server sees, or is typed in; it is exchanged by POST for a cookie, so
that it never stands in a log, a Referer or the history.
"""

from contextlib import suppress
from typing import Any

from anyio.to_thread import run_sync
from starlette.responses import Response

from cdp.access.viewer import Actor, Viewer
from cdp.core.errors import NotFound
from cdp.operations.accounts import sessions
from cdp.operations.requests import certificates, request_views
from cdp.operations.requests.certificate_pdf import render as render_pdf
from cdp.operations.requests.opening import EXPORTS
from cdp.operations.requests.request_views import RequestView
from cdp.operations.requests.requests import TooLateToUndo
from cdp.tables.request import RequestStatus, RequestType
from cdp.web.account.right import TITLE, UNDO, said
from cdp.web.live import stream
from cdp.web.render import markup
from cdp.web.visit import Problem, Visit
from cdp.web.words import FINISHED, REQUEST_STATUS, TASK_STATUS

COOKIE = "cdp_status"
TIMELINE = (
    ("Requested", {RequestStatus.RECEIVED, RequestStatus.CHECKING}),
    ("Waiting period", {RequestStatus.COOLING_OFF}),
    ("Deleting", {RequestStatus.ERASING}),
    ("Making sure", {RequestStatus.VERIFYING}),
    ("Done", {RequestStatus.COMPLETED}),
)
MOVING = frozenset({RequestStatus.CHECKING, RequestStatus.ERASING, RequestStatus.VERIFYING, RequestStatus.COLLECTING})


async def _find(visit: Visit) -> RequestView:
    """The request, by key or by session. Raises NotFound."""
    key = visit.cookie(COOKIE)
    if key:
        with suppress(NotFound):
            return await request_views.with_key(visit.platform, visit.reference, key)
    if visit.session is None or not await sessions.is_alive(visit.platform, visit.session):
        raise NotFound
    return await request_views.of_viewer(visit.platform, visit.viewer, visit.reference)


async def show(visit: Visit) -> Response:
    """The state, or a form for the status key."""
    try:
        view = await _find(visit)
    except NotFound:
        return _ask_for_key(visit, [])
    if view.type in EXPORTS and visit.session is not None and not visit.cookie(COOKIE):
        return visit.redirect(f"/account/downloads/{view.reference}")
    return visit.page("account/request.html", title=TITLE[view.type], live=_live(view), **_context(visit, view))


def _live(view: RequestView) -> str:
    """The template of the live parts: a deletion tells more than the others."""
    return f"account/{'request' if view.type is RequestType.ERASURE else 'right'}_live.html"


def words(view: RequestView) -> dict[str, Any]:
    """What the table of systems needs, for requests of every type."""
    finished, total = view.finished_systems, len(view.systems)
    word = FINISHED[view.step]
    return {
        "view": view,
        "status_said": REQUEST_STATUS[view.status],
        "is_moving": view.status in MOVING,
        "finished_word": word,
        "task_words": TASK_STATUS,
        "summary": f"{finished} of {total} systems {word}.",
    }


def _context(visit: Visit, view: RequestView) -> dict[str, Any]:
    reached = next((n for n, (_, statuses) in enumerate(TIMELINE) if view.status in statuses), -1)
    until = view.cooling_off_until
    return {
        **words(view),
        "timeline": [label for label, _ in TIMELINE],
        "reached": reached,
        "said": said(view),
        "undo_label": UNDO[view.type],
        # A system that does not answer holds everything up, also beyond the time that was promised.
        "undo_until": until if until is not None and until > visit.now else None,
    }


def _ask_for_key(visit: Visit, problems: list[Problem]) -> Response:
    return visit.page(
        "account/status_key.html", title="Look at a request", problems=problems, reference=visit.reference
    )


async def submit_key(visit: Visit) -> Response:
    """Exchange the status key for a cookie."""
    key = visit.field("key")
    try:
        view = await request_views.with_key(visit.platform, visit.reference, key)
    except NotFound:
        return _ask_for_key(visit, [Problem("key", "This key does not open this request.")])
    visit.set_cookie(COOKIE, key)
    return visit.redirect(f"/account/requests/{view.reference}")


async def progress(visit: Visit) -> Response:
    """The live parts as server-sent events; they end when neither key nor session opens the request any more."""
    view = await _find(visit)

    async def current() -> str:
        now = await _find(visit)
        return markup(_live(now), visit=visit, **_context(visit, now))

    return stream(visit, view.id, current)


async def undo(visit: Visit) -> Response:
    """Call the deletion off."""
    view = await _find(visit)
    viewer = visit.viewer if visit.session else Viewer(Actor.CUSTOMER)
    with suppress(TooLateToUndo):  # The page itself says how far it is.
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


async def addendum_json(visit: Visit) -> Response:
    """The signed addendum, byte for byte."""
    view = await _find(visit)
    if view.addendum is None:
        raise NotFound
    return _attachment(view.addendum.encode(), f"addendum-{view.reference}.json", "application/json")


async def verifier(visit: Visit) -> Response:
    """The program that checks both without us."""
    view = await _find(visit)
    if view.certificate is None:
        raise NotFound
    return _attachment(certificates.verifier(), certificates.VERIFIER, "text/x-python")


async def _certificate(visit: Visit) -> tuple[str, bytes]:
    view = await _find(visit)
    if view.certificate is None:
        raise NotFound
    return view.reference, view.certificate.encode()


def _attachment(body: bytes, filename: str, media_type: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{filename}"', "Cache-Control": "no-store"}
    return Response(body, media_type=media_type, headers=headers)
