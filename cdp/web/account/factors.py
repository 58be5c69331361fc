"""Second factors of who is signed in: authenticator app, passkeys, recovery codes; for customers and for staff."""

from collections.abc import Awaitable, Sequence
from uuid import UUID

from starlette.responses import Response

from cdp.access.viewer import Actor
from cdp.core.db import Role
from cdp.core.errors import InvalidInput, NotFound, PlatformError
from cdp.operations.accounts import factors, passkeys, totp
from cdp.operations.accounts.challenges import ChallengeRefused
from cdp.operations.accounts.factors import Change, FactorNeeded, Overview
from cdp.operations.accounts.owner import Owner
from cdp.operations.accounts.passkeys import PasskeyExists, PasskeyRefused, TooManyPasskeys
from cdp.operations.accounts.sessions import BrowserSession
from cdp.operations.accounts.totp import AlreadySetUp, BadCode
from cdp.web.visit import Problem, Visit

SECURITY = {Actor.CUSTOMER: "/account/security", Actor.STAFF: "/console/security"}
AUTHENTICATOR = "Set up an authenticator app"
PASSKEY = "Add a passkey"
CODES = "Your recovery codes"


async def look(visit: Visit) -> Overview:
    """What the security page shows of it."""
    return await factors.look(visit.platform, Owner.of(visit.viewer))


async def show_authenticator(visit: Visit) -> Response:
    """A secret to scan or to type; nothing is kept before the first code is right."""
    if (await look(visit)).has_totp:
        return visit.redirect(SECURITY[visit.actor])
    return _authenticator(visit, [])


async def submit_authenticator(visit: Visit) -> Response:
    """Keep it once its first code is right."""
    try:
        codes = await factors.add_totp(_change(visit), visit.field("sealed"), "".join(visit.field("code").split()))
    except BadCode as refusal:
        return _authenticator(visit, [Problem("code", refusal.message)], sealed=visit.field("sealed"))
    except AlreadySetUp:
        return visit.redirect(SECURITY[visit.actor])
    return _added(visit, codes)


def _authenticator(visit: Visit, problems: list[Problem], *, sealed: str = "") -> Response:
    session = _session(visit)
    setup = totp.offer(visit.platform, session.username, binding=session.csrf_binding, sealed=sealed)
    here = SECURITY[visit.actor]
    return visit.page("account/authenticator.html", title=AUTHENTICATOR, problems=problems, setup=setup, security=here)


async def remove_authenticator(visit: Visit) -> Response:
    """Forget the app."""
    return await _ending(visit, factors.remove_totp(_change(visit)))


async def show_passkeys(visit: Visit) -> Response:
    """A name for the new key, and the button that makes it; elsewhere, why it can not work."""
    return await _passkeys(visit, [])


async def submit_passkey(visit: Visit) -> Response:
    """Keep the public half of what the browser made."""
    try:
        codes = await factors.add_passkey(_change(visit), visit.secret("credential"), name=visit.field("name"))
    except (PasskeyRefused, ChallengeRefused, PasskeyExists, TooManyPasskeys) as refusal:
        return await _passkeys(visit, [Problem("", refusal.message)])
    except InvalidInput:
        return await _passkeys(visit, [Problem("name", "Give the passkey a name of at most 100 characters.")])
    return _added(visit, codes)


async def _passkeys(visit: Visit, problems: list[Problem]) -> Response:
    session, options = _session(visit), ""
    if passkeys.works_at(visit.platform.settings):
        async with visit.platform.db.transaction(Role.WORKER) as tx:
            options = await passkeys.registration(
                tx, visit.platform, Owner.of(visit.viewer), session.username, binding=session.csrf_binding
            )
    return visit.page(
        "account/passkey.html",
        title=PASSKEY,
        problems=problems,
        options=options,
        name=visit.field("name"),
        security=SECURITY[visit.actor],
    )


async def remove_passkey(visit: Visit) -> Response:
    """Forget one key."""
    try:
        passkey_id = UUID(visit.field("id"))
    except ValueError as error:
        raise NotFound from error
    return await _ending(visit, factors.remove_passkey(_change(visit), passkey_id))


async def renew_codes(visit: Visit) -> Response:
    """New recovery codes in place of the old, shown this once."""
    codes = await factors.renew_recovery_codes(_change(visit))
    return _added(visit, codes)


async def show_console(visit: Visit) -> Response:
    """The factors of a member of staff, on a page of their own."""
    return await _console(visit, None)


async def _console(visit: Visit, refusal: PlatformError | None) -> Response:
    return visit.page(
        "account/console_security.html",
        title="Security",
        problems=[Problem("", refusal.message)] if refusal else [],
        status=refusal.status if refusal else 200,
        factors=await look(visit),
        security=SECURITY[visit.actor],
    )


async def _ending(visit: Visit, work: Awaitable[None]) -> Response:
    try:
        await work
    except FactorNeeded as refusal:
        return await _console(visit, refusal)
    return visit.redirect(f"{SECURITY[visit.actor]}?done=removed")


def _added(visit: Visit, codes: Sequence[str]) -> Response:
    """Show new codes now or never."""
    security = SECURITY[visit.actor]
    if not codes:
        return visit.redirect(f"{security}?done=added")
    return visit.page("account/recovery_codes.html", title=CODES, codes=codes, onward=security)


def _change(visit: Visit) -> Change:
    return Change(visit.platform, _session(visit))


def _session(visit: Visit) -> BrowserSession:
    assert visit.session is not None, "the guard lets nobody in without one"
    return visit.session
