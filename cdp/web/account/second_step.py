"""The second step of signing in: a code or a passkey; for staff who have neither yet, setting up what they need."""

from starlette.responses import Response

from cdp.core.errors import PlatformError
from cdp.operations.accounts import second_step, totp
from cdp.operations.accounts.brake import TooManyTries
from cdp.operations.accounts.challenges import ChallengeRefused
from cdp.operations.accounts.entrance import SignedIn
from cdp.operations.accounts.half_sign_ins import HalfSignInGone
from cdp.operations.accounts.passkeys import PasskeyRefused
from cdp.operations.accounts.second_step import Waiting
from cdp.operations.accounts.totp import AlreadySetUp, BadCode
from cdp.web.account.entering import HALF_COOKIE, allow_target, keep, visitor, with_retry
from cdp.web.visit import Problem, Visit, sign_in_address

TITLE = "One more step"
SET_UP = "Protect your sign-in"


async def show(visit: Visit) -> Response:
    """The form; without half a sign-in, the whole begins again."""
    try:
        return await _form(visit, await _look(visit))
    except HalfSignInGone:
        return _start_again(visit)


async def submit(visit: Visit) -> Response:
    """Check what was given: a passkey's answer, the first code of a new app, or a code."""
    try:
        waiting = await _look(visit)
        try:
            if visit.field("sealed"):
                return await _enrol(visit, waiting)
            keep(visit, await _prove(visit, waiting))
        except (BadCode, PasskeyRefused, ChallengeRefused, AlreadySetUp, TooManyTries) as error:
            return await _form(visit, await _look(visit), error)
    except HalfSignInGone:
        return _start_again(visit)
    return visit.redirect(visit.next)


async def _prove(visit: Visit, waiting: Waiting) -> SignedIn:
    half = waiting.half
    comes_from = visitor(visit, half.person.username)
    if answer := visit.secret("credential"):
        return await second_step.by_passkey(visit.platform, half, answer, comes_from)
    return await second_step.by_code(visit.platform, half, visit.field("code"), comes_from)


async def _enrol(visit: Visit, waiting: Waiting) -> Response:
    half = waiting.half
    comes_from = visitor(visit, half.person.username)
    done = await second_step.enrol(visit.platform, half, visit.field("sealed"), visit.field("code"), comes_from)
    keep(visit, done.signed_in)
    return visit.page(
        "account/recovery_codes.html", title="Your recovery codes", codes=done.recovery_codes, onward=visit.next
    )


async def _look(visit: Visit) -> Waiting:
    return await second_step.look(visit.platform, visit.cookie(HALF_COOKIE[visit.actor]), visit.actor)


def _start_again(visit: Visit) -> Response:
    return visit.redirect(sign_in_address(visit.actor, visit.next, again=visit.session is not None))


async def _form(visit: Visit, waiting: Waiting, error: PlatformError | None = None) -> Response:
    await allow_target(visit)
    setup = None
    if not waiting.factors.any:
        half = waiting.half
        sealed = "" if isinstance(error, AlreadySetUp) else visit.field("sealed")
        setup = totp.offer(visit.platform, half.person.username, binding=half.binding, sealed=sealed)
    response = visit.page(
        "account/second_step.html",
        title=TITLE if setup is None else SET_UP,
        problems=[Problem("code" if waiting.factors.has_totp or setup else "", error.message)] if error else [],
        status=error.status if error else 200,
        waiting=waiting,
        setup=setup,
        next=visit.next,
    )
    return with_retry(response, error)
