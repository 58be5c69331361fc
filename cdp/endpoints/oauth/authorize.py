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
from cdp.endpoints.oauth.grants import CodeGrant, register
from cdp.endpoints.oauth.server import Answer, Fields, ProtocolRequest, Server, in_thread, read_form
from cdp.operations.accounts import sessions
from cdp.operations.accounts.sessions import BrowserSession
from cdp.operations.oauth import grants
from cdp.operations.oauth.app_consent import ANSWER, PROMPTED, open_moment, read_answer, seal_moment
from cdp.operations.oauth.clients import AUTHORIZE_PATH, OAuthClient, UnknownScope
from cdp.operations.oauth.grants import realm_of

LONGEST_REQUEST = 3000
LONGEST_NONCE = 500
PAGES = {Actor.CUSTOMER: "/account", Actor.STAFF: "/console"}
# Parameters that would go unread: a request whose meaning hides in them must not be taken for another one.
UNSUPPORTED = {"request": "request_not_supported", "request_uri": "request_uri_not_supported"}


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
    client: OAuthClient
    redirect_uri: str
    scope: str
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
    if request.method == "POST":
        # Cookies of the session do not come along with a foreign form; the same request by GET brings them.
        return RedirectResponse(_again(Fields((await read_form(request)).multi_items()), {}), status_code=303)
    fields = Fields(request.query_params.multi_items())
    _refuse_strange(fields, request.url.query)
    actor = _realm(fields)
    cookie = request.cookies.get(sessions.cookie_name(platform.settings, actor))
    session = await sessions.find(platform, cookie, actor=actor)
    async with platform.db.transaction(Role.WORKER) as tx:
        server = register(Server(platform, tx))
        protocol = ProtocolRequest(platform, request, fields)
        try:
            return await _answer(tx, server, protocol, actor, session)
        except OAuth2Error as error:
            error.state = fields.get("state")
            if not error.redirect_uri:
                raise AuthorizationRefused(error=error.error) from error
            return _to_client(server, Answer(*error()))


async def _answer(
    tx: Tx, server: Server, protocol: ProtocolRequest, actor: Actor, session: BrowserSession | None
) -> Response:
    grant: CodeGrant = await in_thread(server.get_authorization_grant, protocol)
    grant.validate_no_multiple_request_parameter(protocol)
    redirect_uri: str = await in_thread(grant.validate_authorization_request)
    _refuse_unsupported(protocol, redirect_uri)
    asked = _Asked(server.platform, protocol.args, protocol.client, redirect_uri, protocol.scope, actor, session)
    detour = await _detour(tx, asked)
    if detour is not None:
        return RedirectResponse(detour, status_code=303, headers={"Cache-Control": "no-store"})
    assert asked.session is not None, "without one there is a detour or an error"
    viewer = asked.session.viewer
    answer: Answer = await in_thread(server.create_authorization_response, protocol, viewer, grant)
    return _to_client(server, answer)


def _realm(fields: Fields) -> Actor:
    """Whose sign-in this is about; a mixture is refused later, when it is known whom to tell."""
    try:
        return realm_of(fields.get("scope", "").split())
    except UnknownScope:
        return Actor.CUSTOMER


def _refuse_unsupported(protocol: ProtocolRequest, redirect_uri: str) -> None:
    for name, error in UNSUPPORTED.items():
        if name in protocol.args:
            raise OAuth2Error(error=error, redirect_uri=redirect_uri)
    if protocol.args.get("response_mode", "query") != "query":
        raise InvalidRequestError("Unsupported 'response_mode'", redirect_uri=redirect_uri)
    nonce = protocol.args.get("nonce", "")
    if len(nonce) > LONGEST_NONCE or not nonce.isascii() or not nonce.isprintable():
        raise InvalidRequestError("Invalid 'nonce' parameter.", redirect_uri=redirect_uri)
    try:
        realm_of(protocol.scope.split())
    except UnknownScope as error:
        raise OAuth2Error(error="invalid_scope", redirect_uri=redirect_uri) from error


async def _detour(tx: Tx, asked: _Asked) -> str | None:
    """Where the person has to go first, or None. With ``prompt=none`` nowhere: raises what is missing."""
    silent = "none" in asked.prompts
    if silent and len(asked.prompts) > 1:
        raise InvalidRequestError("Invalid 'prompt' parameter.", redirect_uri=asked.redirect_uri)
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
        scope=asked.scope,
        now=asked.now,
    )
    if answer is False:
        raise AccessDeniedError(redirect_uri=asked.redirect_uri)
    if answer or (asked.client.first_party and "consent" not in asked.prompts):
        return None
    if "consent" not in asked.prompts and await grants.is_consented(tx, session.viewer, asked.client, asked.scope):
        return None
    if silent:
        raise ConsentRequiredError(redirect_uri=asked.redirect_uri)
    return f"{PAGES[asked.actor]}/connect?{urlencode({'next': _again(asked.fields, {})})}"


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
    if not (max_age.isascii() and max_age.isdigit() and len(max_age) < 10):
        raise InvalidRequestError("Invalid 'max_age' parameter.", redirect_uri=asked.redirect_uri)
    return asked.now - signed_in_at > timedelta(seconds=int(max_age))


def _sign_in(asked: _Asked) -> str:
    sealed = seal_moment(asked.platform.sealer, _prompt_context(asked), asked.now)
    wanted = {"next": _again(asked.fields, {PROMPTED: sealed})}
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
    """Authlib repeats these in its sentences, which may hold printable ASCII only."""
    names = ("client_id", "redirect_uri", "response_type", "scope", "prompt")
    values = [value for name, value in fields.multi_items() if name in names]
    if len(query) > LONGEST_REQUEST or any(
        not value.isascii() or not value.isprintable() or '"' in value or "\\" in value for value in values
    ):
        raise AuthorizationRefused


def _to_client(server: Server, answer: Answer) -> Response:
    headers = [
        (name, add_params_to_uri(value, [("iss", server.issuer.url)]) if name == "Location" else value)
        for name, value in answer.headers
    ]
    return Answer(answer.status, answer.body, headers).response()
