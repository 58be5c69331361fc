"""Ask for a link that sets a new password. The answer is the same for every name."""

from starlette.responses import Response

from cdp.operations.accounts import new_passwords
from cdp.operations.accounts.brake import TooManyTries
from cdp.web.visit import Problem, Visit

HERE = "/account/forgotten-password"
TITLE = "Forgotten your password?"


async def show(visit: Visit) -> Response:
    """The form; afterwards, where to look."""
    sent = "sent" in visit.request.query_params
    return visit.page("account/forgotten_password.html", title="Look into your mailbox" if sent else TITLE, sent=sent)


async def submit(visit: Visit) -> Response:
    """Mail the link, if there is anybody to mail it to."""
    try:
        await new_passwords.ask(visit.platform, visit.field("username"), address=visit.client.address)
    except TooManyTries as error:
        problems = [Problem("username", error.message)]
        page = "account/forgotten_password.html"
        response = visit.page(page, title=TITLE, problems=problems, status=error.status, sent=False)
        response.headers["Retry-After"] = str(error.extensions["retryAfterS"])
        return response
    return visit.redirect(f"{HERE}?sent=1")
