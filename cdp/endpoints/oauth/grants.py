"""The two grants there are, code and refresh token, with PKCE S256 for every client and ID tokens of OpenID Connect.

What Authlib leaves open is closed here: ``plain`` is refused also when it is meant by silence (RFC 7636 section 4.3),
public and confidential clients alike need PKCE (RFC 9700 section 2.1.1), refresh tokens rotate.
"""

from authlib.oauth2 import OAuth2Error, OAuth2Request
from authlib.oauth2.rfc6749 import InvalidGrantError, InvalidRequestError, InvalidScopeError
from authlib.oauth2.rfc6749 import grants as authlib
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc7636.challenge import compare_s256_code_challenge
from authlib.oidc.core.grants import OpenIDCode
from joserfc.jwk import RSAKey

from cdp.access.strength import strength_of
from cdp.endpoints.oauth.client_auth import AUTH_METHODS
from cdp.endpoints.oauth.server import Server
from cdp.operations.oauth import grants
from cdp.operations.oauth.authorization_details import (
    PARAMETER,
    Details,
    InvalidAuthorizationDetails,
    narrow,
    read,
)
from cdp.operations.oauth.clients import OAuthClient
from cdp.operations.oauth.grants import AuthorizationRequest, Grant, Redeemed, Refreshed
from cdp.operations.oauth.token_keys import ALGORITHM


class S256Challenge(CodeChallenge):  # type: ignore[misc]  # Authlib has no types
    """Proof Key for Code Exchange, S256 only (RFC 7636)."""

    DEFAULT_CODE_CHALLENGE_METHOD = "S256"
    SUPPORTED_CODE_CHALLENGE_METHOD = ("S256",)
    CODE_CHALLENGE_METHODS = {"S256": compare_s256_code_challenge}

    def validate_code_challenge(self, grant: authlib.BaseGrant, redirect_uri: str) -> None:
        """Refuse a request without a challenge, and one that does not say S256 in so many letters."""
        data = grant.request.payload.data
        if not data.get("code_challenge"):
            raise InvalidRequestError("Missing 'code_challenge'")
        if data.get("code_challenge_method") != "S256":
            raise InvalidRequestError("Unsupported 'code_challenge_method'")
        super().validate_code_challenge(grant, redirect_uri)


class CodeGrant(authlib.AuthorizationCodeGrant):  # type: ignore[misc]
    """Authorization code (RFC 6749 section 4.1)."""

    TOKEN_ENDPOINT_AUTH_METHODS = AUTH_METHODS
    server: Server

    def save_authorization_code(self, code: str, request: OAuth2Request) -> None:
        """Open the grant and write its code; ``request.user`` is the viewer who agreed."""
        server, client, now = self.server, request.client, self.server.platform.clock()
        details = read(request.payload.data.get(PARAMETER), client, request.user.actor)
        grant = server.call(grants.open_grant, server.tx, request.user, client, request.scope, now=now, details=details)
        asked = request.payload
        wanted = AuthorizationRequest(
            code,
            asked.redirect_uri,
            asked.data["code_challenge"],
            asked.data.get("nonce"),
            asked.data.get("dpop_jkt"),
        )
        server.call(grants.save_code, server.tx, grant, client, wanted, now=now)

    def query_authorization_code(self, code: str, client: OAuthClient) -> Redeemed | None:
        """Consume it here, before anything else is checked: a code is tried once."""
        server = self.server
        found = server.call(grants.redeem_code, server.tx, client, code, now=server.platform.clock())
        if found is None:
            return None
        if found.request.dpop_jkt not in {None, server.proven_key}:
            raise InvalidGrantError("The code is bound to another key.")
        server.narrowed = narrowed(found.grant, self.request)
        return found

    def delete_authorization_code(self, authorization_code: Redeemed) -> None:
        """It is consumed already."""

    def authenticate_user(self, authorization_code: Redeemed) -> Grant:
        """The grant stands for the person from here on."""
        return authorization_code.grant


class RefreshGrant(authlib.RefreshTokenGrant):  # type: ignore[misc]
    """Refresh token with rotation (RFC 6749 section 6, RFC 9700 section 4.14)."""

    TOKEN_ENDPOINT_AUTH_METHODS = AUTH_METHODS
    INCLUDE_NEW_REFRESH_TOKEN = True
    server: Server

    def authenticate_refresh_token(self, refresh_token: str) -> Refreshed | None:
        """Consume it; a request for more than was granted is refused before, so that it costs the client nothing."""
        server, now = self.server, self.server.platform.clock()
        grant = server.call(grants.of_refresh_token, server.tx, refresh_token)
        asked = (self.request.payload.scope or "").split()
        if grant is not None and not set(asked) <= set(grant.scope.split()):
            raise InvalidScopeError
        server.narrowed = narrowed(grant, self.request) if grant is not None else None
        client, jkt = self.request.client, server.proven_key
        return server.call(grants.redeem_refresh_token, server.tx, client, refresh_token, now=now, jkt=jkt)

    def authenticate_user(self, refresh_token: Refreshed) -> Grant:
        """The grant stands for the person."""
        return refresh_token.grant

    def revoke_old_credential(self, refresh_token: Refreshed) -> None:
        """It is consumed already."""


class IdToken(OpenIDCode):  # type: ignore[misc]
    """ID tokens (OpenID Connect Core section 2), from the code and again at each refresh."""

    def __init__(self, server: Server) -> None:
        super().__init__(require_nonce=False)
        self._server = server

    def exists_nonce(self, nonce: str, request: OAuth2Request) -> bool:  # noqa: ARG002 - Authlib's signature
        """A nonce is the client's to check; opening the same address twice is no attack on us."""
        return False

    def resolve_client_private_key(self, client: OAuthClient) -> RSAKey:  # noqa: ARG002
        """The key of today."""
        return self._server.issuer.keys.signing

    def get_client_algorithm(self, client: OAuthClient) -> str:  # noqa: ARG002
        """One algorithm for everybody."""
        return ALGORITHM

    def get_encode_header(self, client: OAuthClient) -> dict[str, str]:  # noqa: ARG002
        """Name the key, so that rotation works."""
        return {"alg": ALGORITHM, "kid": str(self._server.issuer.keys.signing.kid)}

    def get_compatible_claims(self, request: OAuth2Request) -> dict[str, object]:
        """Claims of every ID token; ``auth_time`` is the real sign-in, also after a refresh."""
        now, grant = int(self._server.platform.clock().timestamp()), request.user
        claims: dict[str, object] = {
            "iss": self._server.issuer.url,
            "aud": grant.client_id,
            "iat": now,
            "exp": now + self._server.platform.settings.access_token_ttl_s,
            "auth_time": int(grant.authenticated_at.timestamp()),
            "amr": list(grant.amr),
            "acr": strength_of(grant.amr).value,
        }
        if grant.session_id is not None:
            claims["sid"] = str(grant.session_id)
        return claims

    def generate_user_info(self, user: Grant, scope: str) -> dict[str, str]:  # noqa: ARG002
        """Only who; the rest is at the userinfo endpoint."""
        return {"sub": user.subject}


def narrowed(grant: Grant, request: OAuth2Request) -> Details:
    """The authorization details of a token request (RFC 9396 section 6). Raises OAuth2Error."""
    try:
        return narrow(grant.details, request.payload.data.get(PARAMETER))
    except InvalidAuthorizationDetails as error:
        raise refused_details(error) from error


def refused_details(error: InvalidAuthorizationDetails, redirect_uri: str | None = None) -> OAuth2Error:
    """In the shape of RFC 9396 section 5."""
    return OAuth2Error(error.message, error="invalid_authorization_details", redirect_uri=redirect_uri)


def register(server: Server) -> Server:
    """Teach a server its grants."""
    server.register_grant(CodeGrant, [S256Challenge(required=True), IdToken(server)])
    server.register_grant(RefreshGrant, [IdToken(server)])
    return server
