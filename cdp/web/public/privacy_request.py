"""Ask about one's data without an account: choose what, name an address, prove it by a mailed link, fetch the copy.

The pages say the same to everybody; only the mailbox learns whether there is anything.
"""

import re

from starlette.responses import Response, StreamingResponse

from cdp.core.errors import InvalidInput
from cdp.operations.accounts.brake import TooManyTries
from cdp.operations.accounts.mail_links import LinkRefused
from cdp.operations.requests import guests
from cdp.operations.requests.exports import ExportGone, ExportNotReady
from cdp.tables.request import RequestType
from cdp.web.account.request import COOKIE
from cdp.web.visit import Problem, Visit

HERE = "/privacy/request"
TITLE = "Your data, without an account"
CHOICES = (
    (RequestType.ACCESS, "A copy of my data", "Everything we and the systems connected to us hold about you."),
    (RequestType.PORTABILITY, "My data to take elsewhere", "The same, for another service to read."),
    (
        RequestType.ERASURE,
        "Deletion of my data",
        "Everywhere but where a law makes us keep it. You can undo it.",
    ),
    (RequestType.OBJECTION, "No more advertising", "It stops at once."),
)
CODE = re.compile(r"[\w-]{43}", re.ASCII)


async def show(visit: Visit) -> Response:
    """The form; afterwards, where to look."""
    if "sent" in visit.request.query_params:
        return visit.page("public/privacy_request.html", title="Look into your mailbox", sent=True)
    return _form(visit, [])


async def submit(visit: Visit) -> Response:
    """Mail the proof; the answer is the same for every address."""
    try:
        kind = RequestType(visit.field("type"))
    except ValueError:
        return _form(visit, [Problem("type-access", "Choose what you would like.")])
    locale = visit.request.headers.get("accept-language", "")[:20].split(",")[0] or None
    try:
        await guests.ask(visit.platform, kind, visit.field("email"), locale=locale, address=visit.client.address)
    except TooManyTries as error:
        response = _form(visit, [Problem("email", error.message)], status=error.status)
        response.headers["Retry-After"] = str(error.extensions["retryAfterS"])
        return response
    except InvalidInput as error:
        return _form(visit, [Problem("email", error.message)])
    return visit.redirect(f"{HERE}?sent=1")


def _form(visit: Visit, problems: list[Problem], *, status: int | None = None) -> Response:
    return visit.page(
        "public/privacy_request.html",
        title=TITLE,
        problems=problems,
        status=status,
        sent=False,
        choices=CHOICES,
        chosen=visit.field("type"),
        email=visit.field("email"),
    )


async def show_confirm(visit: Visit) -> Response:
    """The button behind the mailed link: opening the link changes nothing."""
    return _confirm(visit, [])


async def submit_confirm(visit: Visit) -> Response:
    """Open the request, and its status page with the key to it."""
    code = visit.field("code")
    try:
        opened = await guests.confirm(visit.platform, code if CODE.fullmatch(code) else "")
    except LinkRefused as refusal:
        return _confirm(visit, [Problem("code", refusal.message)])
    visit.set_cookie(COOKIE, opened.status_key or "")
    return visit.redirect(f"/account/requests/{opened.reference}")


def _confirm(visit: Visit, problems: list[Problem]) -> Response:
    return visit.page("public/privacy_request_confirm.html", title="Confirm your request", problems=problems)


async def show_file(visit: Visit) -> Response:
    """The button behind the link to a copy."""
    return _file(visit, [])


async def submit_file(visit: Visit) -> Response:
    """The copy itself; never cached, always an attachment."""
    code = visit.field("code")
    try:
        download = await guests.download(visit.platform, code if CODE.fullmatch(code) else "")
    except (LinkRefused, ExportGone, ExportNotReady) as refusal:
        return _file(visit, [Problem("code", refusal.message)])
    headers = {
        "Content-Disposition": f'attachment; filename="{download.filename}"',
        "Content-Length": str(download.size_bytes),
        "Cache-Control": "no-store",
    }
    return StreamingResponse(download.chunks, headers=headers, media_type="application/zip")


def _file(visit: Visit, problems: list[Problem]) -> Response:
    return visit.page("public/privacy_request_file.html", title="Your copy", problems=problems)
