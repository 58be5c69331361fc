"""Every page of the platform: one line each. A page is for customers unless its line says otherwise."""

from collections.abc import Sequence

from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from cdp.access.viewer import Actor
from cdp.web import assets
from cdp.web.account import connect, display, register, sign_in, sign_out
from cdp.web.guard import Allow, Page
from cdp.web.visit import Visit


async def _home(_: Visit) -> Response:
    return RedirectResponse("/account", status_code=303)


PAGES: Sequence[Page] = (
    Page("/", _home, allow=Allow.ANYONE),
    Page("/display", None, display.submit, allow=Allow.ANYONE),
    Page("/account/sign-in", sign_in.show, sign_in.submit, allow=Allow.ANYONE),
    Page("/account/register", register.show, register.submit, allow=Allow.ANYONE),
    Page("/account/sign-out", sign_out.show, sign_out.submit, allow=Allow.ANYONE),
    Page("/account/connect", connect.show, connect.submit),
    Page("/console/sign-in", sign_in.show, sign_in.submit, allow=Allow.ANYONE, realm=Actor.STAFF),
    Page("/console/sign-out", sign_out.show, sign_out.submit, allow=Allow.ANYONE, realm=Actor.STAFF),
    Page("/console/connect", connect.show, connect.submit, allow=Allow.STAFF),
)


def routes() -> list[BaseRoute]:
    """The routes of all pages and of their static files."""
    return [assets.route, *(page.route() for page in PAGES)]
