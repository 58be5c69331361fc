"""Sign in with user name and password; and again, with the password alone, where a page demands a fresh sign-in."""

from starlette.responses import Response

from cdp.access.viewer import Actor
from cdp.core.errors import PlatformError
from cdp.operations.accounts.brake import TooManyTries
from cdp.operations.accounts.sessions import COOKIES
from cdp.operations.accounts.sign_in import Attempt, BadCredentials, confirm, sign_in
from cdp.operations.oauth.clients import form_target
from cdp.web.visit import HOME, Problem, Visit

TITLE = "Sign in"
AGAIN = "Sign in again"
DEVICE_MAX_AGE_S = 365 * 86400
DEVICE_COOKIE = {Actor.CUSTOMER: "cdp_device", Actor.STAFF: "cdp_console_device"}


async def show(visit: Visit) -> Response:
    """The form; who is signed in already goes on, unless asked to sign in again."""
    if visit.session is not None and not _again(visit):
        return visit.redirect(visit.next)
    return await _form(visit)


async def submit(visit: Visit) -> Response:
    """Check the password. A wrong one and an unknown name look the same."""
    password, device = visit.secret("password"), visit.cookie(DEVICE_COOKIE[visit.actor])
    try:
        if visit.session is not None and _again(visit):
            done = await confirm(visit.platform, visit.session, password, client=visit.client, device=device)
        else:
            attempt = Attempt(visit.actor, visit.field("username"), password, visit.client, device)
            done = await sign_in(visit.platform, attempt, current=visit.session)
    except (BadCredentials, TooManyTries) as error:
        return await _form(visit, error)
    visit.set_cookie(COOKIES[visit.actor], done.session_token)
    visit.set_cookie(DEVICE_COOKIE[visit.actor], done.device_token, max_age_s=DEVICE_MAX_AGE_S)
    return visit.redirect(visit.next)


def _again(visit: Visit) -> bool:
    return "1" in {visit.request.query_params.get("reauth"), visit.field("reauth")}


async def _form(visit: Visit, error: PlatformError | None = None) -> Response:
    again = visit.session is not None and _again(visit)
    # The browser follows redirects under the policy of the page that posted: an app waiting at the end is allowed here.
    target = await form_target(visit.platform, visit.next)
    visit.request.scope["state"]["form_targets"] = (target,) if target else ()
    problems = [Problem("password", error.message)] if error else []
    response = visit.page(
        "account/sign_in.html",
        title=AGAIN if again else TITLE,
        problems=problems,
        status=error.status if error else 200,
        again=again,
        username=visit.session.username if visit.session and again else visit.field("username"),
        next=visit.next,
        is_staff=visit.actor is Actor.STAFF,
        registered="registered" in visit.request.query_params,
        renewed="renewed" in visit.request.query_params,
        home=HOME[visit.actor],
    )
    if isinstance(error, TooManyTries):
        response.headers["Retry-After"] = str(error.extensions["retryAfterS"])
    return response
