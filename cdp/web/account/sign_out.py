"""Sign out: a button, because a mere link could be followed by anybody's page."""

from urllib.parse import urlsplit

from starlette.responses import Response

from cdp.core.seal import Unsealable
from cdp.core.sign import decode
from cdp.operations.accounts.sessions import COOKIES
from cdp.operations.accounts.sign_in import sign_out
from cdp.operations.federation.arrivals import farewell
from cdp.operations.oauth.clients import AFTER_SIGN_OUT
from cdp.web.visit import SIGN_IN, Visit

CLEARED = '"cache", "storage"'


async def show(visit: Visit) -> Response:
    """Ask once."""
    after = _after(visit, visit.request.query_params.get("after", ""))
    if after:
        parts = urlsplit(after)
        visit.request.scope["state"]["form_targets"] = (f"{parts.scheme}://{parts.netloc}",)
    return visit.page("account/sign_out.html", title="Sign out", after=visit.request.query_params.get("after", ""))


async def submit(visit: Visit) -> Response:
    """End the session, forget what the browser kept."""
    elsewhere = None
    if visit.session is not None:
        elsewhere = await farewell(visit.platform, visit.session, back=SIGN_IN[visit.actor])
        await sign_out(visit.platform, visit.session)
    visit.set_cookie(COOKIES[visit.actor], "")
    after = _after(visit, visit.field("after"))
    if elsewhere is not None and after is None:
        # A page and not a redirect: the policy of the page that posted the form admits no other host.
        response: Response = visit.page("account/signed_out.html", title="You are signed out", address=elsewhere)
    else:
        response = visit.redirect(after or SIGN_IN[visit.actor])
    response.headers["Clear-Site-Data"] = CLEARED
    return response


def _after(visit: Visit, sealed: str) -> str | None:
    """Where an app asked to go afterwards; sealed by the logout endpoint, so that it is one of its own addresses."""
    try:
        return visit.platform.sealer.open(decode(sealed), AFTER_SIGN_OUT).decode() if sealed else None
    except (Unsealable, ValueError):
        return None
