"""One visit of one page: who came, with what form, and the cookies that go back."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from cdp.access.viewer import ANONYMOUS, Actor, Viewer
from cdp.compiler.reader import Reader
from cdp.core.errors import StepUpRequired, TooLarge
from cdp.core.ids import new_token
from cdp.core.platform import Platform
from cdp.operations.accounts import sessions
from cdp.operations.accounts.csrf import check_csrf, check_origin, csrf_token
from cdp.operations.accounts.sessions import BrowserSession, Client
from cdp.web.render import render

LONGEST_NEXT = 4000
_LOCAL = re.compile(r"/(?![/\\])[^\\\x00-\x20\x7f]*")
SIGN_IN = {Actor.CUSTOMER: "/account/sign-in", Actor.STAFF: "/console/sign-in"}
HOME = {Actor.CUSTOMER: "/account", Actor.STAFF: "/console"}


@dataclass(frozen=True)
class Problem:
    """What is wrong with one field of a form; ``field`` is its id, empty for the form as a whole."""

    field: str
    message: str


class Visit:
    """What a page is given. ``form`` is empty until the guard has checked that it is not forged."""

    def __init__(self, request: Request, platform: Platform, actor: Actor, session: BrowserSession | None) -> None:
        self.request = request
        self.platform = platform
        self.actor = actor
        self.session = session
        self.form = FormData()
        self._cookies: list[tuple[str, str, int | None]] = []

    @property
    def viewer(self) -> Viewer:
        """Who came; ANONYMOUS without a session."""
        return self.session.viewer if self.session else ANONYMOUS

    @property
    def now(self) -> datetime:
        """The platform's clock."""
        return self.platform.clock()

    @property
    def client(self) -> Client:
        """Where the request comes from."""
        request = self.request
        return Client(request.client.host if request.client else "", request.headers.get("user-agent", ""))

    @cached_property
    def csrf(self) -> str:
        """The token for the forms of this page; gives an anonymous browser something to bind it to."""
        return csrf_token(self.platform.pepper, self.binding)

    @cached_property
    def binding(self) -> str:
        """What forms and challenges of this browser are bound to: its session, or a cookie that it gets here."""
        if self._binding is None:
            self.set_cookie("cdp_form", self._new_browser)
        return self._binding or f"form:{self._new_browser}"

    @cached_property
    def _new_browser(self) -> str:
        return new_token()

    @property
    def _browser(self) -> str | None:
        return self.cookie("cdp_form")

    @property
    def _binding(self) -> str | None:
        if self.session is not None:
            return self.session.csrf_binding
        return f"form:{self._browser}" if self._browser else None

    async def read_form(self, *, max_bytes: int) -> None:
        """Read the posted form. Raises CsrfRefused when it is forged, TooLarge."""
        headers = self.request.headers
        check_origin(self.platform.settings.url, origin=headers.get("origin"), fetch_site=headers.get("sec-fetch-site"))
        if int(headers.get("content-length") or max_bytes + 1) > max_bytes:
            raise TooLarge
        form = await self.request.form(max_files=1, max_fields=200, max_part_size=max_bytes)
        check_csrf(self.platform.pepper, self._binding, _text(form, "csrf"))
        self.form = form

    def field(self, name: str) -> str:
        """A text field of the posted form, trimmed; empty when it is absent."""
        return _text(self.form, name).strip()

    def secret(self, name: str) -> str:
        """A field as typed: spaces of a password count."""
        return _text(self.form, name)

    def require_fresh(self) -> None:
        """Send the visitor to sign in again unless they did within the last minutes (RFC 9470)."""
        self.viewer.require_fresh(self.now, max_age_s=self.platform.settings.step_up_max_age_s)

    @property
    def is_fresh(self) -> bool:
        """Whether ``require_fresh`` would let pass: pages ask for the password before somebody fills in a form."""
        try:
            self.require_fresh()
        except StepUpRequired:
            return False
        return True

    @property
    def reference(self) -> str:
        """The reference in the address of a page about one request."""
        return str(self.request.path_params["reference"])

    def sign_in_again(self, path: str) -> str:
        """Where to sign in freshly, to come back to ``path``."""
        return sign_in_address(self.actor, path, again=True)

    @property
    def next(self) -> str:
        """Where to go afterwards: a path of our own, never another host."""
        given = _text(self.form, "next") or self.request.query_params.get("next", "")
        return local_path(given) or HOME[self.actor]

    async def read(self, document: str, **variables: object) -> dict[str, Any]:
        """Run the query in a file below ``web`` as who came: one statement, decoded data."""
        return await self.reader.one(document_text(document), self.viewer, **variables)

    @property
    def reader(self) -> Reader:
        """What reads for pages."""
        found: Reader = self.request.app.state.reader
        return found

    def page(
        self,
        template: str,
        *,
        title: str,
        problems: Sequence[Problem] = (),
        status: int | None = None,
        **context: object,
    ) -> HTMLResponse:
        """Render a page of this visit; with problems it is a 422 and its title says "Error:"."""
        found = {**context, "title": title, "problems": problems}
        return render(self.request, template, found, status=status or (422 if problems else 200))

    def redirect(self, path: str) -> Response:
        """Go on to a page after a post (303), so that reloading sends nothing twice."""
        return RedirectResponse(path, status_code=303)

    def cookie(self, name: str) -> str | None:
        """A cookie of ours by its plain name."""
        return self.request.cookies.get(self._full(name))

    def set_cookie(self, name: str, value: str, *, max_age_s: int | None = None) -> None:
        """Set a cookie with the answer; without an age it ends with the browser, an empty value removes it."""
        self._cookies.append((self._full(name), value, 0 if value == "" else max_age_s))

    def _full(self, name: str) -> str:
        return sessions.full_cookie_name(self.platform.settings, name)

    def finish(self, response: Response) -> Response:
        """Add the cookies of this visit to its answer."""
        for name, value, max_age_s in self._cookies:
            secure = self.platform.settings.is_secure
            response.set_cookie(name, value, max_age=max_age_s, path="/", secure=secure, httponly=True, samesite="lax")
        return response


@cache
def document_text(name: str) -> str:
    """The text of a page's document, ``account/overview.graphql``."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _text(form: FormData, name: str) -> str:
    value = form.get(name)
    return value if isinstance(value, str) else ""


def local_path(given: str) -> str | None:
    """The path if it stays on this host, else None: no scheme, no host, no backslash, no control characters."""
    if len(given) > LONGEST_NEXT or not _LOCAL.fullmatch(given):
        return None
    parts = urlsplit(given)
    return given if not parts.scheme and not parts.netloc else None


def sign_in_address(actor: Actor, path: str, *, again: bool = False) -> str:
    """Where somebody signs in, to come back to ``path``; ``again`` asks who is signed in for the password."""
    wanted = {"next": path} | ({"reauth": "1"} if again else {})
    return f"{SIGN_IN[actor]}?{urlencode(wanted)}"


async def open_visit(request: Request, actor: Actor) -> Visit:
    """Begin a visit in the realm of customers or of staff."""
    platform: Platform = request.app.state.platform
    token = request.cookies.get(sessions.cookie_name(platform.settings, actor))
    visit = Visit(request, platform, actor, await sessions.find(platform, token, actor=actor))
    request.scope.setdefault("state", {})["visit"] = visit
    return visit
