"""Client credentials (RFC 6749 section 4.4): a program in its own name, be it a partner's, a system's or an analyst's.

It gets what it was given when it was registered, never more, and no refresh token: it can prove itself again.
"""

from authlib.oauth2.rfc6749 import InvalidScopeError
from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant

from cdp.access.viewer import Actor, Viewer
from cdp.endpoints.oauth.client_auth import PROVING_METHODS
from cdp.endpoints.oauth.grants import refused_details
from cdp.endpoints.oauth.server import Server
from cdp.operations.oauth import grants, partner_access
from cdp.operations.oauth.authorization_details import PARAMETER, InvalidAuthorizationDetails, read

# They are about a person who signs in.
OF_PEOPLE = frozenset({"openid", "offline_access"})


class ClientCredentials(ClientCredentialsGrant):  # type: ignore[misc]  # Authlib has no types
    """The client is the subject."""

    TOKEN_ENDPOINT_AUTH_METHODS = PROVING_METHODS
    server: Server

    def validate_token_request(self) -> None:
        """Refuse what was not given, rather than leave it out: a program would notice only later."""
        super().validate_token_request()
        client = self.request.client
        own = [name for name in client.scopes if name not in OF_PEOPLE]
        asked = self.request.payload.scope
        if set((asked or "").split()) - set(own):
            raise InvalidScopeError
        self.request.scope = " ".join(own if asked is None else dict.fromkeys(asked.split()))

    def create_token_response(self) -> tuple[int, dict[str, object], list[tuple[str, str]]]:
        """Open a grant of the client's own and issue its one token."""
        server, client, scope = self.server, self.request.client, self.request.scope
        try:
            details = read(self.request.payload.data.get(PARAMETER), client, Actor.CLIENT)
            server.call(partner_access.check, server.tx, client, details)
        except InvalidAuthorizationDetails as error:
            raise refused_details(error) from error
        if not scope and not details:
            raise InvalidScopeError
        viewer = Viewer(Actor.CLIENT, client_id=client.client_id, purpose="none")
        grant = server.call(
            grants.open_grant, server.tx, viewer, client, scope, now=server.platform.clock(), details=details
        )
        token = self.generate_token(user=grant, scope=scope, include_refresh_token=False)
        return 200, token, self.TOKEN_RESPONSE_HEADER
