"""Set a new password with the code of a mailed link; for customers and, under the console's address, for staff."""

from starlette.responses import Response

from cdp.operations.accounts import new_passwords
from cdp.operations.accounts.mail_links import LinkRefused
from cdp.operations.accounts.passwords import WeakPassword
from cdp.web.visit import SIGN_IN, Problem, Visit


async def show(visit: Visit) -> Response:
    """The form; opening it uses nothing up."""
    return _form(visit, [])


async def submit(visit: Visit) -> Response:
    """Set it, then let the person sign in with it."""
    try:
        await new_passwords.set_by_link(visit.platform, visit.actor, visit.field("code"), visit.secret("password"))
    except LinkRefused as refusal:
        return _form(visit, [Problem("code", refusal.message)])
    except WeakPassword as refusal:
        return _form(visit, [Problem("password", refusal.message)], code=visit.field("code"))
    return visit.redirect(f"{SIGN_IN[visit.actor]}?renewed=1")


def _form(visit: Visit, problems: list[Problem], *, code: str = "") -> Response:
    title = "Set a new password"
    return visit.page("account/new_password.html", title=title, problems=problems, typed_code=code)
