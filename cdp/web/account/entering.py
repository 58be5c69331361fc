"""What every page of a sign-in shares: its cookies, and the app that may wait at its end."""

from starlette.responses import Response

from cdp.access.viewer import Actor
from cdp.core.errors import PlatformError
from cdp.operations.accounts import entrance
from cdp.operations.accounts.brake import TooManyTries
from cdp.operations.accounts.entrance import SignedIn, Visitor
from cdp.operations.accounts.sessions import COOKIES
from cdp.operations.oauth.pushed import form_target
from cdp.web.visit import Visit

DEVICE_MAX_AGE_S = 365 * 86400
HALF_MAX_AGE_S = 600
DEVICE_COOKIE = {Actor.CUSTOMER: "cdp_device", Actor.STAFF: "cdp_console_device"}
HALF_COOKIE = {Actor.CUSTOMER: "cdp_half", Actor.STAFF: "cdp_console_half"}


def visitor(visit: Visit, username: str = "") -> Visitor:
    """Where the visit comes from; with a name, also the device that this account has signed in on before."""
    device = visit.cookie(DEVICE_COOKIE[visit.actor])
    proven = entrance.proven_device(visit.platform, visit.actor, username, device) if username else None
    return Visitor(visit.client, proven, visit.session)


def keep(visit: Visit, done: SignedIn) -> None:
    """Give the browser what it is known by from now on."""
    visit.set_cookie(COOKIES[visit.actor], done.session_token)
    visit.set_cookie(DEVICE_COOKIE[visit.actor], done.device_token, max_age_s=DEVICE_MAX_AGE_S)
    if visit.cookie(HALF_COOKIE[visit.actor]):
        visit.set_cookie(HALF_COOKIE[visit.actor], "")


async def allow_target(visit: Visit) -> None:
    """Let the form end at the app that waits: a browser follows redirects under the policy of the page that posted."""
    target = await form_target(visit.platform, visit.next)
    visit.request.scope["state"]["form_targets"] = (target,) if target else ()


def with_retry(response: Response, error: PlatformError | None) -> Response:
    """Say when to come again."""
    if isinstance(error, TooManyTries):
        response.headers["Retry-After"] = str(error.extensions["retryAfterS"])
    return response
