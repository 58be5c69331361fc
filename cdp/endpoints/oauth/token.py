"""Token endpoint, revocation (RFC 7009) and introspection (RFC 7662): a client, not a person, at the other end."""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from authlib.oauth2 import OAuth2Error, OAuth2Request
from authlib.oauth2.rfc6749 import InvalidRequestError
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from starlette.requests import Request
from starlette.responses import Response

from cdp.core.db import Role
from cdp.core.errors import Unauthenticated
from cdp.core.platform import Platform
from cdp.endpoints.oauth.client_auth import AUTH_METHODS, PROVING_METHODS
from cdp.endpoints.oauth.client_credentials import ClientCredentials
from cdp.endpoints.oauth.device import DeviceGrant
from cdp.endpoints.oauth.grants import register
from cdp.endpoints.oauth.possession import proven_key
from cdp.endpoints.oauth.server import (
    Answer,
    ProtocolRequest,
    Server,
    UnreadableForm,
    failure,
    in_thread,
    read_form,
    refuse_repeated,
    refuse_unreadable_basic,
)
from cdp.endpoints.oauth.token_exchange import TokenExchange
from cdp.operations.oauth import grants
from cdp.operations.oauth.authorization_details import PARAMETER, Details
from cdp.operations.oauth.clients import OAuthClient
from cdp.operations.oauth.dpop import SCHEME
from cdp.operations.oauth.grants import Grant
from cdp.operations.oauth.tokens import AccessToken, issuer_of


class _TokenServer(Server):
    """A server that was told about the access token a request names; checking one takes a transaction of its own."""

    named: AccessToken | None = None


@dataclass(frozen=True)
class _Known:
    """A living token of either kind, in the shape Authlib reads."""

    client_id: str
    access: AccessToken | None = None
    grant: Grant | None = None

    @property
    def grant_id(self) -> UUID:
        assert self.access or self.grant, "a token is one of the two"
        return self.access.grant_id if self.access else self.grant.id  # type: ignore[union-attr]  # see the line above

    def check_client(self, client: OAuthClient) -> bool:
        return client.client_id == self.client_id

    def is_expired(self) -> bool:
        return False

    def is_revoked(self) -> bool:
        return False


def _known(server: Server, token: str) -> _Known | None:
    """Whatever the hint says: the two kinds can not be taken for each other."""
    assert isinstance(server, _TokenServer), "these endpoints are registered there"
    if server.named is not None:
        return _Known(server.named.client_id, access=server.named)
    grant = server.call(grants.of_refresh_token, server.tx, token)
    return _Known(grant.client_id, grant=grant) if grant else None


class Revocation(RevocationEndpoint):  # type: ignore[misc]  # Authlib has no types
    """Ends the whole grant, whichever of its tokens is named."""

    CLIENT_AUTH_METHODS = AUTH_METHODS
    server: Server

    def query_token(self, token_string: str, token_type_hint: str | None) -> _Known | None:  # noqa: ARG002
        """See Authlib."""
        return _known(self.server, token_string)

    def revoke_token(self, token: _Known, request: OAuth2Request) -> None:  # noqa: ARG002
        """See Authlib."""
        self.server.call(grants.end, self.server.tx, token.grant_id, now=self.server.platform.clock())


class Introspection(IntrospectionEndpoint):  # type: ignore[misc]
    """Tells a confidential client about its own tokens, and about nobody else's."""

    CLIENT_AUTH_METHODS = PROVING_METHODS
    server: Server

    def query_token(self, token_string: str, token_type_hint: str | None) -> _Known | None:  # noqa: ARG002
        """See Authlib."""
        return _known(self.server, token_string)

    def check_permission(self, token: _Known, client: OAuthClient, request: OAuth2Request) -> bool:  # noqa: ARG002
        """See Authlib."""
        return token.check_client(client)

    def introspect_token(self, token: _Known) -> dict[str, object]:
        """No name, no address: ids and times."""
        url = self.server.issuer.url
        if token.access is None:
            assert token.grant is not None, "a token is one of the two"
            about: dict[str, object] = {"iss": url, "client_id": token.client_id, "sub": token.grant.subject}
            return {**about, "scope": token.grant.scope, **_details(token.grant.details)}
        found = token.access
        bound: dict[str, object] = {"token_type": SCHEME, "cnf": {"jkt": found.bound_to}} if found.bound_to else {}
        return {
            "iss": url,
            "aud": self.server.issuer.audience,
            "client_id": found.client_id,
            "sub": found.subject,
            "scope": found.scope,
            "token_type": "Bearer",
            "iat": found.issued_at,
            "exp": found.expires_at,
            "jti": found.token_id,
            **_details(found.details),
            **bound,
        }


def _details(details: Details) -> dict[str, object]:
    return {PARAMETER: [dict(detail) for detail in details]} if details else {}


async def token(request: Request) -> Response:
    """Exchange a code or a refresh token."""
    return await _answer(request, lambda server, asked: server.create_token_response(asked), takes_proof=True)


async def revoke(request: Request) -> Response:
    """End a grant; this process forgets its access tokens at once, the others within seconds."""
    answer = await _answer(request, lambda server, asked: server.create_endpoint_response("revocation", asked))
    issuer_of(request.app.state.platform).look_again()
    return answer


async def introspect(request: Request) -> Response:
    """Say what a token is."""
    return await _answer(request, lambda server, asked: server.create_endpoint_response("introspection", asked))


async def _answer(
    request: Request, work: Callable[[Server, ProtocolRequest], Answer], *, takes_proof: bool = False
) -> Response:
    platform: Platform = request.app.state.platform
    try:
        fields = await read_form(request)
        refuse_repeated(fields)
        refuse_unreadable_basic(request.headers)
    except UnreadableForm as error:
        return failure(InvalidRequestError(error.message)).response()
    except OAuth2Error as error:
        return failure(error).response()
    named = await _access_token(platform, fields.get("token"))
    agent = await _access_token(platform, fields.get("actor_token"))
    # A refusal commits too: a replayed token has ended its family by then.
    async with platform.db.transaction(Role.WORKER) as tx:
        server = _TokenServer(platform, tx)
        server.named, server.agent = named, agent
        register(server)
        server.register_grant(ClientCredentials)
        server.register_grant(DeviceGrant)
        server.register_grant(TokenExchange)
        server.register_endpoint(Revocation)
        server.register_endpoint(Introspection)
        try:
            server.proven_key = await proven_key(platform, tx, request) if takes_proof else None
            answer = await in_thread(work, server, ProtocolRequest(platform, request, fields))
        except OAuth2Error as error:
            answer = failure(error)
    return answer.response()


async def _access_token(platform: Platform, token: str | None) -> AccessToken | None:
    try:
        return await issuer_of(platform).check(token) if token else None
    except Unauthenticated:
        return None
