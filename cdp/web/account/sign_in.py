"""Sign in with user name and password, or with a passkey; and again, where a page demands a fresh sign-in."""

from urllib.parse import urlencode

from starlette.responses import Response

from cdp.access.viewer import Actor
from cdp.core.errors import PlatformError
from cdp.operations.accounts import passkeys
from cdp.operations.accounts.brake import TooManyTries
from cdp.operations.accounts.challenges import ChallengeRefused
from cdp.operations.accounts.passkeys import PasskeyRefused
from cdp.operations.accounts.second_step import with_passkey_alone
from cdp.operations.accounts.sign_in import Attempt, BadCredentials, Halfway, confirm, sign_in
from cdp.web.account import external
from cdp.web.account.entering import DEVICE_COOKIE, HALF_COOKIE, HALF_MAX_AGE_S, allow_target, keep, visitor, with_retry
from cdp.web.visit import HOME, SIGN_IN, Problem, Visit

TITLE = "Sign in"
AGAIN = "Sign in again"


async def show(visit: Visit) -> Response:
    """The form; who is signed in already goes on, unless asked to sign in again."""
    if visit.session is not None and not _again(visit):
        return visit.redirect(visit.next)
    return await _form(visit)


async def submit(visit: Visit) -> Response:
    """Check the password. A wrong one and an unknown name look the same."""
    if external.button(visit, again=False) is not None:
        return visit.redirect(SIGN_IN[visit.actor])
    password, device = visit.secret("password"), visit.cookie(DEVICE_COOKIE[visit.actor])
    try:
        if visit.session is not None and _again(visit):
            done = await confirm(visit.platform, visit.session, password, client=visit.client, device=device)
        else:
            attempt = Attempt(visit.actor, visit.field("username"), password, visit.client, device)
            done = await sign_in(visit.platform, attempt, current=visit.session)
    except (BadCredentials, TooManyTries) as error:
        return await _form(visit, error)
    if isinstance(done, Halfway):
        visit.set_cookie(HALF_COOKIE[visit.actor], done.token, max_age_s=HALF_MAX_AGE_S)
        return visit.redirect(f"{SIGN_IN[visit.actor]}/second?{urlencode({'next': visit.next})}")
    keep(visit, done)
    return visit.redirect(visit.next)


async def submit_passkey(visit: Visit) -> Response:
    """Sign in with a passkey and nothing else."""
    try:
        done = await with_passkey_alone(
            visit.platform, visit.actor, visit.secret("credential"), visitor(visit), binding=visit.binding
        )
    except (PasskeyRefused, ChallengeRefused, TooManyTries) as error:
        return await _form(visit, error, field="")
    keep(visit, done)
    return visit.redirect(visit.next)


def _again(visit: Visit) -> bool:
    return "1" in {visit.request.query_params.get("reauth"), visit.field("reauth")}


async def _form(visit: Visit, error: PlatformError | None = None, *, field: str = "password") -> Response:
    again = visit.session is not None and _again(visit)
    elsewhere = external.button(visit, again=again)
    if elsewhere is not None:
        title, home = AGAIN if again else TITLE, HOME[visit.actor]
        return visit.page("account/external_sign_in.html", title=title, external=elsewhere, again=again, home=home)
    await allow_target(visit)
    settings = visit.platform.settings
    response = visit.page(
        "account/sign_in.html",
        title=AGAIN if again else TITLE,
        problems=[Problem(field, error.message)] if error else [],
        status=error.status if error else 200,
        again=again,
        username=visit.session.username if visit.session and again else visit.field("username"),
        next=visit.next,
        action=SIGN_IN[visit.actor],
        key_options=passkeys.sign_in_options(visit.platform, binding=visit.binding)
        if passkeys.works_at(settings)
        else "",
        is_staff=visit.actor is Actor.STAFF,
        registered="registered" in visit.request.query_params,
        renewed="renewed" in visit.request.query_params,
        home=HOME[visit.actor],
    )
    return with_retry(response, error)
