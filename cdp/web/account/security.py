"""Security: where the account is signed in, which apps may use it, what happened lately; end any of it."""

import ipaddress
from collections.abc import Mapping
from functools import lru_cache
from uuid import UUID

from anyio.to_thread import run_sync
from starlette.responses import Response
from ua_parser import parse

from cdp.access.scopes import SCOPES
from cdp.core.errors import NotFound
from cdp.operations import account_security
from cdp.operations.account_security import Happening
from cdp.operations.accounts import email_proofs
from cdp.operations.accounts.accounts import change_password
from cdp.operations.accounts.brake import TooManyTries
from cdp.operations.accounts.passwords import WeakPassword
from cdp.operations.accounts.sessions import COOKIES
from cdp.operations.collection import CustomerFrozen
from cdp.operations.reveals import reveals
from cdp.web.account import factors
from cdp.web.account.sign_out import CLEARED
from cdp.web.visit import SIGN_IN, Problem, Visit
from cdp.web.words import looked, revealed

HERE = "/account/security"
# Entry of the log -> what is said of it when it went well, and when it was refused.
HAPPENINGS: Mapping[str, tuple[str, str]] = {
    "account.registered": ("Account created", "Somebody tried to register with your address again"),
    "account.password_changed": ("Password changed", "Password change refused"),
    "customer.revealed": ("Somebody of our staff saw masked details of you", "A look at masked details was refused"),
    "customer.read": ("Your data was looked at", "A look at your data was refused"),
    "device.approved": ("Device connected", "Device refused"),
    "device.denied": ("Device refused", "Device refused"),
    "email.verified": ("E-mail address confirmed", "A link to confirm an address was refused"),
    "email.proof_sent": ("Link to confirm an address sent", "Link to confirm an address refused"),
    "passkey.added": ("Passkey added", "Passkey refused"),
    "passkey.removed": ("Passkey removed", "Passkey not removed"),
    "recovery_code.used": ("Recovery code used", "Recovery code refused"),
    "recovery_codes.made": ("New recovery codes made", "New recovery codes refused"),
    "totp.added": ("Authenticator app set up", "Authenticator app refused"),
    "totp.removed": ("Authenticator app removed", "Authenticator app not removed"),
    "delegation.opened": ("Somebody of our staff could act for you", "Acting for you was refused"),
    "export.downloaded": ("Data copy downloaded", "Download of a data copy refused"),
    "grant.ended": ("App disconnected", "App disconnected"),
    "grant.opened": ("App connected", "App refused"),
    "identity.linked": ("Sign-in with another provider linked", "Linking another provider refused"),
    "password.reset": ("Password set by a link", "Setting a password by a link was refused"),
    "password.reset_asked": ("Link for a new password asked for", "Link for a new password refused"),
    "request.opened": ("Privacy request opened", "Privacy request refused"),
    "session.ended": ("Signed out", "Sign-out refused"),
    "session.ended_everywhere": ("Signed out everywhere", "Sign-out refused"),
    "session.refused": ("Sign-in failed", "Sign-in failed"),
    "session.renewed": ("Signed in again", "Sign-in failed"),
    "session.started": ("Signed in", "Sign-in failed"),
}
NOTICES: Mapping[str, str] = {
    "ended": "That browser is signed out.",
    "disconnected": "The app is disconnected.",
    "sent": "A link is on its way. It works once, for 24 hours.",
    "added": "It is added.",
    "removed": "It is removed.",
    "changed": "Your password is changed. Every other browser and every app is signed out.",
}


async def show(visit: Visit) -> Response:
    """Everything at one glance."""
    return await _page(visit, [])


async def _page(visit: Visit, problems: list[Problem], *, status: int | None = None) -> Response:
    found = await account_security.look(visit.platform, visit.viewer, actions=HAPPENINGS)
    names = await run_sync(lambda: [device(browser.user_agent) for browser in found.browsers])
    return visit.page(
        "account/security.html",
        title="Security",
        problems=problems,
        status=status,
        notice=NOTICES.get(visit.request.query_params.get("done", "")),
        browsers=list(zip(found.browsers, names, strict=True)),
        apps=[(app, [SCOPES.get(scope, scope) for scope in app.scopes]) for app in found.apps],
        happenings=[(one, HAPPENINGS[one.action][one.is_refused], _detail(one)) for one in found.happenings],
        unproven=found.unproven,
        factors=await factors.look(visit),
        place=place,
    )


def _detail(one: Happening) -> str:
    """What else there is to say of an entry."""
    if one.is_refused:
        return ""
    if one.action == reveals.ACTION:
        return revealed(one.details, one.note)
    return looked(one.details) if one.action == "customer.read" else ""


@lru_cache(maxsize=1000)
def device(user_agent: str) -> str:
    """A browser's own description as people say it: "Firefox on Windows"."""
    known = parse(user_agent)
    program = known.user_agent.family if known.user_agent else "Unknown browser"
    return f"{program} on {known.os.family}" if known.os else program


def place(address: str) -> str:
    """Where an address is, as far as we know: no service is asked, so that nobody learns who signs in here."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return "place unknown"
    if found.is_loopback:
        return "this machine"
    return "a private network" if found.is_private else "place unknown"


async def end_session(visit: Visit) -> Response:
    """Sign one browser out."""
    await account_security.end_session(visit.platform, visit.viewer, _id(visit))
    return visit.redirect(f"{HERE}?done=ended")


async def end_everything(visit: Visit) -> Response:
    """Sign out everywhere, here too."""
    await account_security.end_everything(visit.platform, visit.viewer)
    visit.set_cookie(COOKIES[visit.actor], "")
    response = visit.redirect(SIGN_IN[visit.actor])
    response.headers["Clear-Site-Data"] = CLEARED
    return response


async def end_app(visit: Visit) -> Response:
    """Take an app's permission back."""
    await account_security.end_app(visit.platform, visit.viewer, _id(visit))
    return visit.redirect(f"{HERE}?done=disconnected")


async def send_proof(visit: Visit) -> Response:
    """Mail the link that confirms an address once more."""
    try:
        await email_proofs.send(visit.platform, visit.viewer, _id(visit), address=visit.client.address)
    except (TooManyTries, CustomerFrozen) as refusal:
        response = await _page(visit, [Problem("", refusal.message)], status=refusal.status)
        if isinstance(refusal, TooManyTries):
            response.headers["Retry-After"] = str(refusal.extensions["retryAfterS"])
        return response
    return visit.redirect(f"{HERE}?done=sent")


async def show_password(visit: Visit) -> Response:
    """The form for a new password; the guard has asked for the old one."""
    return _password_form(visit, [])


async def submit_password(visit: Visit) -> Response:
    """Change it."""
    assert visit.session is not None, "the guard lets nobody in without one"
    try:
        await change_password(visit.platform, visit.session, visit.secret("password"))
    except WeakPassword as refusal:
        return _password_form(visit, [Problem("password", refusal.message)])
    return visit.redirect(f"{HERE}?done=changed")


def _password_form(visit: Visit, problems: list[Problem]) -> Response:
    return visit.page("account/password.html", title="Change your password", problems=problems)


def _id(visit: Visit) -> UUID:
    try:
        return UUID(visit.field("id"))
    except ValueError as error:
        raise NotFound from error
