"""Connect a device: type the code it shows, then say yes or no as who is signed in (RFC 8628 section 3.3)."""

from urllib.parse import urlencode

from starlette.responses import Response

from cdp.access.viewer import Actor
from cdp.operations.accounts.brake import TooManyTries
from cdp.operations.oauth import devices
from cdp.operations.oauth.devices import CodeUnknown
from cdp.web.visit import HOME, Problem, Visit

TITLE = "Connect a device"
LONGEST_CODE = 20
PATH = {Actor.CUSTOMER: "/account/device", Actor.STAFF: "/console/device"}


async def show(visit: Visit) -> Response:
    """The form; an address that brings a code along only fills it in."""
    return _form(visit, visit.request.query_params.get("user_code", "")[:LONGEST_CODE])


async def submit(visit: Visit) -> Response:
    """Recognise the code and go to whoever may decide; too many wrong ones have to wait."""
    typed = visit.field("user_code")[:LONGEST_CODE]
    try:
        actor, sealed = await devices.recognise(visit.platform, typed, address=visit.client.address)
    except CodeUnknown as refusal:
        return _form(visit, typed, [Problem("user_code", refusal.message)])
    except TooManyTries as refusal:
        response = _form(visit, typed, [Problem("", refusal.message)], status=refusal.status)
        response.headers["Retry-After"] = str(refusal.extensions["retryAfterS"])
        return response
    return visit.redirect(f"{PATH[actor]}?{urlencode({'ask': sealed})}")


async def show_question(visit: Visit) -> Response:
    """Who asks for what."""
    asked = visit.request.query_params.get("ask", "")
    question = await devices.question_of(visit.platform, asked)
    title = f"Let {question.client_name} use your account?"
    return visit.page("public/device_question.html", title=title, question=question, ask=asked)


async def submit_question(visit: Visit) -> Response:
    """Record the answer."""
    allowed = visit.field("answer") == "yes"
    await devices.decide(visit.platform, visit.viewer, visit.field("ask"), allowed=allowed)
    title = "Your device is connected" if allowed else "Nothing was connected"
    return visit.page("public/device_done.html", title=title, allowed=allowed, home=HOME[visit.actor])


def _form(visit: Visit, typed: str, problems: list[Problem] | None = None, *, status: int | None = None) -> Response:
    return visit.page("public/device.html", title=TITLE, problems=problems or [], status=status, typed=typed)
