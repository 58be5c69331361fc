"""Every page passes here: signed in unless it says otherwise, forms proven to be ours, a fresh sign-in where demanded.

A page is two functions: ``show`` answers GET, ``submit`` answers POST and ends in a redirect. Their order of checks is
fixed: who, forged or not, fresh or not.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from cdp.access.viewer import Actor
from cdp.core.errors import Forbidden, StepUpRequired, Unauthenticated
from cdp.operations import audit
from cdp.web.account import external
from cdp.web.visit import SIGN_IN, Visit, open_visit, sign_in_address

Answer = Callable[[Visit], Awaitable[Response]]


class Allow(StrEnum):
    """Who may open a page."""

    ANYONE = "anyone"
    CUSTOMER = "customer"
    STAFF = "staff"


@dataclass(frozen=True)
class Page:
    """One page. ``fresh`` demands a sign-in at most ``step_up_max_age_s`` old for showing and for submitting.

    ``back`` is the page to come back to after signing in, where that is not this address itself: a file, a button.
    ``own`` pages are only for people who sign in with us, or do so once more to link an external sign-in.
    """

    path: str
    show: Answer | None = None
    submit: Answer | None = None
    allow: Allow = Allow.CUSTOMER
    fresh: bool = False
    realm: Actor | None = None
    max_form_bytes: int = 64 * 1024
    back: str | None = None
    own: bool = False

    @property
    def actor(self) -> Actor:
        """Whose session counts here."""
        return self.realm or (Actor.STAFF if self.allow is Allow.STAFF else Actor.CUSTOMER)

    def route(self) -> Route:
        """The guarded route."""
        methods = [*(["GET"] if self.show else []), *(["POST"] if self.submit else [])]
        return Route(self.path, self._answer, methods=methods)

    async def _answer(self, request: Request) -> Response:
        visit = await open_visit(request, self.actor)
        try:
            return visit.finish(await self._audited(visit))
        except StepUpRequired:
            return RedirectResponse(sign_in_address(self.actor, self._back(request), again=True), status_code=303)

    def _back(self, request: Request) -> str:
        return self.back.format(**request.path_params) if self.back else _here(request)

    async def _audited(self, visit: Visit) -> Response:
        """Answer, and record what is refused to somebody who is signed in; a question to sign in again is none."""
        method = visit.request.method
        try:
            return await self._guarded(visit)
        except (Forbidden, Unauthenticated) as refusal:
            asks = isinstance(refusal, StepUpRequired) and method == "GET"
            if visit.session is not None and not refusal.is_audited and not asks:
                action = "page.submitted" if method == "POST" else "page.opened"
                details = {"page": self.path}
                await audit.record_refusal(visit.platform.db, visit.viewer, action, refusal.code, details=details)
            raise

    async def _guarded(self, visit: Visit) -> Response:
        if self.allow is not Allow.ANYONE and visit.session is None:
            return RedirectResponse(sign_in_address(self.actor, self._back(visit.request)), status_code=303)
        if visit.request.method == "POST":
            await visit.read_form(max_bytes=self.max_form_bytes)
        if self.own and external.button(visit, again=False) is not None:
            return visit.redirect(SIGN_IN[self.actor])
        if self.fresh:
            visit.require_fresh()
        answer = self.submit if visit.request.method == "POST" else self.show
        assert answer is not None, "the route admits no other method"
        return await answer(visit)


def _here(request: Request) -> str:
    """The page itself, to come back to after signing in; a form has to be sent again."""
    query = request.url.query if request.method == "GET" else ""
    return request.url.path + (f"?{query}" if query else "")
