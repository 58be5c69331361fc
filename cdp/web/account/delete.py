"""Delete the account: what goes, what stays and why; then a typed word; then the request's own page."""

from starlette.responses import Response

from cdp.operations import erasure, requests
from cdp.operations.erasure import ConfirmationMissing
from cdp.web.account.request import COOKIE
from cdp.web.visit import Problem, Visit

WORD = "DELETE"


async def show(visit: Visit) -> Response:
    """Ask every system what it would do, and show it."""
    return await _page(visit, [])


async def submit(visit: Visit) -> Response:
    """Open the request; the account freezes and the visitor is signed out, with a key to the status page."""
    viewer, platform = visit.viewer, visit.platform
    try:
        erasure.check_confirmation(visit.field("confirmation"))
    except ConfirmationMissing:
        return await _page(visit, [Problem("confirmation", f"Type {WORD} to confirm.")])
    try:
        async with platform.db.transaction(viewer.role, subject=viewer.subject) as tx:
            opened = await requests.open_erasure(tx, viewer, platform, reason=visit.field("reason") or None)
    except requests.RequestAlreadyOpen as already:
        return visit.redirect(f"/account/requests/{already.extensions['reference']}")
    visit.set_cookie(COOKIE, opened.status_key or "")
    return visit.redirect(f"/account/requests/{opened.reference}")


async def _page(visit: Visit, problems: list[Problem]) -> Response:
    preview = await erasure.preview(visit.platform, visit.viewer)
    settings = visit.platform.settings
    return visit.page(
        "account/delete.html",
        title="Delete your account",
        problems=problems,
        preview=preview,
        cooling_off=settings.cooling_off,
        word=WORD,
        reason=visit.field("reason"),
    )
