"""RP-initiated logout (OpenID Connect RP-Initiated Logout 1.0).

An app that proves by an ID token of ours whom it signed in ends that person's session at once; anybody else only gets
the person asked. Afterwards the browser goes to an address the client has registered, or stays with us.
"""

from urllib.parse import urlencode

from authlib.oauth2 import OAuth2Error, OAuth2Request
from authlib.oidc.rpinitiated import EndSessionEndpoint
from authlib.oidc.rpinitiated.end_session import EndSessionRequest
from joserfc.jwk import KeySet
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cdp.access.viewer import Actor
from cdp.core.db import Role
from cdp.core.platform import Platform
from cdp.core.sign import encode
from cdp.endpoints.oauth.authorize import PAGES
from cdp.endpoints.oauth.server import Fields, ProtocolRequest, Server, failure, in_thread, read_form
from cdp.operations.accounts import sessions
from cdp.operations.accounts.sessions import BrowserSession
from cdp.operations.accounts.sign_in import sign_out
from cdp.operations.oauth.clients import AFTER_SIGN_OUT, OAuthClient
from cdp.operations.oauth.token_keys import ALGORITHM


class EndSession(EndSessionEndpoint):  # type: ignore[misc]  # Authlib has no types
    """Checks the request; ending the session is done by the caller, who knows the browser."""

    server: Server

    def get_server_jwks(self) -> KeySet:
        """Keys an ID token may be signed with."""
        return self.server.issuer.keys.key_set

    def get_algorithms(self) -> list[str]:
        """Ours."""
        return [ALGORITHM]

    def is_post_logout_redirect_uri_legitimate(
        self,
        request: OAuth2Request,  # noqa: ARG002 - Authlib's signature
        post_logout_redirect_uri: str,  # noqa: ARG002
        client: OAuthClient,  # noqa: ARG002
        logout_hint: str | None,  # noqa: ARG002
    ) -> bool:
        """It is registered, and without an ID token the person is asked first."""
        return True


async def logout(request: Request) -> Response:
    """End the session of this browser, or ask whether to."""
    platform: Platform = request.app.state.platform
    pairs = (await read_form(request) if request.method == "POST" else request.query_params).multi_items()
    fields = Fields(pairs)
    async with platform.db.transaction(Role.WORKER) as tx:
        server = Server(platform, tx)
        server.register_endpoint(EndSession)
        protocol = ProtocolRequest(platform, request, fields)
        try:
            asked: EndSessionRequest = await in_thread(server.validate_endpoint_request, "end_session", protocol)
        except OAuth2Error as error:
            return failure(error).response()
    claims = asked.id_token_claims or {}
    proven = asked.client is not None and claims.get("iss") == server.issuer.url
    for actor in Actor.CUSTOMER, Actor.STAFF:
        cookie = request.cookies.get(sessions.cookie_name(platform.settings, actor))
        session = await sessions.find(platform, cookie, actor=actor)
        if session is None:
            continue
        if proven and claims.get("sub") == _subject(session):
            await sign_out(platform, session)
            return _gone(platform, actor, asked.redirect_uri)
        return _ask(platform, actor, asked.redirect_uri)
    return _gone(platform, Actor.CUSTOMER, asked.redirect_uri)


def _subject(session: BrowserSession) -> str:
    return str(session.viewer.customer_id or session.viewer.staff_id)


def _ask(platform: Platform, actor: Actor, after: str | None) -> Response:
    sealed = encode(platform.sealer.seal(after.encode(), AFTER_SIGN_OUT)) if after else ""
    query = f"?{urlencode({'after': sealed})}" if sealed else ""
    return RedirectResponse(f"{PAGES[actor]}/sign-out{query}", status_code=303)


def _gone(platform: Platform, actor: Actor, after: str | None) -> Response:
    response = RedirectResponse(after or f"{PAGES[actor]}/sign-in", status_code=303)
    secure = platform.settings.is_secure
    name = sessions.cookie_name(platform.settings, actor)
    response.delete_cookie(name, path="/", secure=secure, httponly=True, samesite="lax")
    response.headers["Clear-Site-Data"] = '"cache", "storage"'
    return response
