"""The authorization endpoint: the one place a browser meets the protocol.

It renders nothing. Who is not signed in, or not freshly enough (``prompt=login``, ``max_age``), is sent to the sign-in
page; who has not agreed to an app of somebody else, to the page that asks; both come back here with the same request.
An error goes to the client only when client and redirect address are beyond doubt, otherwise it is shown to the person.
Answers name their issuer (RFC 9207).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlencode

from authlib.common.urls import add_params_to_uri
from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import AccessDeniedError, InvalidRequestError
from authlib.oidc.core.errors import ConsentRequiredError, LoginRequiredError
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cdp.access.strength import is_enough
from cdp.access.viewer import Actor
from cdp.core.db import Role, Tx
from cdp.core.errors import InvalidInput
from cdp.core.platform import Platform
from cdp.endpoints.oauth.authorization_request import checked, details_of, is_strange
from cdp.endpoints.oauth.grants import register
from cdp.endpoints.oauth.server import Answer, Fields, ProtocolRequest, Server, in_thread, read_form
from cdp.operations.accounts import sessions
from cdp.operations.accounts.csrf import CsrfRefused, check_origin
from cdp.operations.accounts.sessions import BrowserSession
from cdp.operations.oauth import grants, pushed
from cdp.operations.oauth.app_consent import ANSWER, PROMPTED, open_moment, read_answer, seal_moment, wish_of
from cdp.operations.oauth.authorization_details import Details
from cdp.operations.oauth.clients import AUTHORIZE_PATH, OAuthClient, UnknownScope
from cdp.operations.oauth.grants import realm_of
from cdp.operations.oauth.pushed import REFERENCE

LONGEST_REQUEST = 3000
PAGES = {Actor.CUSTOMER: "/account", Actor.STAFF: "/console"}

# Who was asked to sign in more strongly and could not (RFC 9470 section 5).
UNMET = "unmet_authentication_requirements"


class AuthorizationRefused(InvalidInput):
    """The app that sent you here made a request we can not accept."""

    code = "AUTHORIZATION_REFUSED"


@dataclass(frozen=True)
class _Asked:
    """A request whose client and redirect address are proven."""

    platform: Platform
    fields: Fields
    # What the browser carries: the same, or a reference to what the client has pushed ahead.
    sent: Fields
    client: OAuthClient
    redirect_uri: str
    scope: str
    details: Details
    actor: Actor
    session: BrowserSession | None

    @property
    def prompts(self) -> frozenset[str]:
        return frozenset(self.fields.get("prompt", "").split())

    @property
    def now(self) -> datetime:
        return self.platform.clock()


async def authorize(request: Request) -> Response:
    """Answer with a redirect: to the client, to the sign-in page, or to the page that asks for agreement."""
    platform: Platform = request.app.state.platform
    _refuse_foreign_frame(platform, request)
    if request.method == "POST":
        # Cookies of the session do not come along with a foreign form; the same request by GET brings them.
        return RedirectResponse(_again(Fields((await read_form(request)).multi_items()), {}), status_code=303)
    sent = Fields(request.query_params.multi_items())
    _refuse_strange(sent, request.url.query)
    fields = await _opened(platform, sent)
    actor = _realm(fields)
    cookie = request.cookies.get(sessions.cookie_name(platform.settings, actor))
    session = await sessions.find(platform, cookie, actor=actor)
    async with platform.db.transaction(Role.WORKER) as tx:
        server = register(Server(platform, tx))
        protocol = ProtocolRequest(platform, request, fields)
        try:
            answer = await _answer(tx, server, protocol, actor, session, sent=sent)
        except OAuth2Error as error:
            error.state = fields.get("state")
            if not error.redirect_uri:
                raise AuthorizationRefused(error=error.error) from error
            answer = Answer(*error())
        if isinstance(answer, Response):
            return answer
        if _is_pushed(sent) and not await pushed.use_up(tx, sent["request_uri"], now=platform.clock()):
            # Of two at once the second leaves no code behind: this ends its transaction.
            raise AuthorizationRefused(error="invalid_request_uri")
        return _to_client(server, answer)


async def _answer(
    tx: Tx,
    server: Server,
    protocol: ProtocolRequest,
    actor: Actor,
    session: BrowserSession | None,
    *,
    sent: Fields,
) -> Answer | Response:
    """The answer to the client, or a detour of the person."""
    grant, redirect_uri = await checked(server, protocol)
    client, platform = protocol.client, server.platform
    if client.requires_pushed and not _is_pushed(sent):
        raise InvalidRequestError("This client pushes its requests.", redirect_uri=redirect_uri)
    details = details_of(protocol)
    asked = _Asked(platform, protocol.args, sent, client, redirect_uri, protocol.scope, details, actor, session)
    detour = await _detour(tx, asked)
    if detour is not None:
        return RedirectResponse(detour, status_code=303, headers={"Cache-Control": "no-store"})
    assert asked.session is not None, "without one there is a detour or an error"
    viewer = asked.session.viewer
    answer: Answer = await in_thread(server.create_authorization_response, protocol, viewer, grant)
    return answer


def _is_pushed(sent: Fields) -> bool:
    return sent.get("request_uri", "").startswith(REFERENCE)


async def _opened(platform: Platform, sent: Fields) -> Fields:
    """The whole request: what was pushed, nothing that is written beside its reference (RFC 9126 section 4)."""
    if not _is_pushed(sent):
        return sent
    async with platform.db.transaction(Role.WORKER) as tx:
        found = await pushed.find(tx, sent.get("client_id", ""), sent["request_uri"], now=platform.clock())
    if found is None:
        raise AuthorizationRefused(error="invalid_request_uri")
    ours = [(name, value) for name, value in sent.multi_items() if name in {ANSWER, PROMPTED}]
    return Fields([*found.items(), *ours])


def _refuse_foreign_frame(platform: Platform, request: Request) -> None:
    """A page is opened by a person, never inside a page of others, by a script, or by a foreign form."""
    if request.headers.get("sec-fetch-dest", "document") != "document":
        raise AuthorizationRefused
    if request.method == "POST":
        try:
            headers = request.headers
            check_origin(platform.settings.url, origin=headers.get("origin"), fetch_site=headers.get("sec-fetch-site"))
        except CsrfRefused as error:
            raise AuthorizationRefused from error


def _realm(fields: Fields) -> Actor:
    """Whose sign-in this is about; a mixture is refused later, when it is known whom to tell."""
    try:
        return realm_of(fields.get("scope", "").split())
    except UnknownScope:
        return Actor.CUSTOMER


async def _detour(tx: Tx, asked: _Asked) -> str | None:
    """Where the person has to go first, or None. With ``prompt=none`` nowhere: raises what is missing."""
    silent = "none" in asked.prompts
    if asked.session is None or _is_stale(asked, asked.session):
        if silent:
            raise LoginRequiredError(redirect_uri=asked.redirect_uri)
        return _sign_in(asked)
    session = asked.session
    answer = read_answer(
        asked.platform.sealer,
        asked.fields.get(ANSWER),
        session_id=session.id,
        client_id=asked.client.client_id,
        wish=wish_of(asked.scope, asked.details),
        now=asked.now,
    )
    if answer is False:
        raise AccessDeniedError(redirect_uri=asked.redirect_uri)
    if answer or (asked.client.first_party and "consent" not in asked.prompts):
        return None
    if "consent" not in asked.prompts and await grants.is_consented(
        tx, session.viewer, asked.client, asked.scope, asked.details
    ):
        return None
    if silent:
        raise ConsentRequiredError(redirect_uri=asked.redirect_uri)
    return f"{PAGES[asked.actor]}/connect?{urlencode({'next': _again(asked.sent, {})})}"


def _is_stale(asked: _Asked, session: BrowserSession) -> bool:
    """Whether the request demands a fresher sign-in than there is; one it has caused itself is fresh."""
    signed_in_at = session.viewer.authenticated_at
    assert signed_in_at is not None, "a session begins with a sign-in"
    prompted_at = open_moment(asked.platform.sealer, _prompt_context(asked), asked.fields.get(PROMPTED))
    is_weak = not is_enough(session.viewer.acr, asked.fields.get("acr_values", "").split())
    if prompted_at is not None and signed_in_at >= prompted_at:
        if is_weak:
            raise OAuth2Error(error=UNMET, redirect_uri=asked.redirect_uri)
        return False
    if is_weak:
        return True
    if asked.prompts & {"login", "select_account"}:
        return True
    max_age = asked.fields.get("max_age")
    if max_age is None:
        return False
    return asked.now - signed_in_at > timedelta(seconds=int(max_age))


def _sign_in(asked: _Asked) -> str:
    sealed = seal_moment(asked.platform.sealer, _prompt_context(asked), asked.now)
    wanted = {"next": _again(asked.sent, {PROMPTED: sealed})}
    if asked.session is not None and "select_account" not in asked.prompts:
        wanted["reauth"] = "1"
    return f"{PAGES[asked.actor]}/sign-in?{urlencode(wanted)}"


def _prompt_context(asked: _Asked) -> str:
    return f"oauth.prompted:{asked.client.client_id}"


def _again(fields: Fields, added: Mapping[str, str]) -> str:
    """The same request by GET, on this host."""
    kept = [(name, value) for name, value in fields.multi_items() if name not in added]
    return f"{AUTHORIZE_PATH}?{urlencode([*kept, *added.items()])}"


def _refuse_strange(fields: Fields, query: str) -> None:
    if len(query) > LONGEST_REQUEST or is_strange(fields):
        raise AuthorizationRefused


def _to_client(server: Server, answer: Answer) -> Response:
    headers = [
        (name, add_params_to_uri(value, [("iss", server.issuer.url)]) if name == "Location" else value)
        for name, value in answer.headers
    ]
    return Answer(answer.status, answer.body, headers).response()
