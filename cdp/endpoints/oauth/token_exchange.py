"""Token exchange (RFC 8693): an agent gets a short-lived token to act for a named customer.

The agent's own access token is the ``actor_token``. The customer is not there to sign anything: the ``subject_token``
is their global id, of a type of ours; ``reason`` and ``case_ref`` say why, and the log keeps them.
"""

from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import InvalidRequestError, InvalidScopeError, UnauthorizedClientError
from authlib.oauth2.rfc6749.grants import BaseGrant, TokenEndpointMixin

from cdp.core.errors import PlatformError, StepUpRequired
from cdp.endpoints.oauth.client_auth import AUTH_METHODS
from cdp.endpoints.oauth.server import Server
from cdp.operations.oauth import delegations
from cdp.operations.oauth.clients import EXCHANGE, UnknownScope
from cdp.operations.oauth.delegations import Wanted
from cdp.operations.oauth.tokens import AccessToken

ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a name, no secret
CUSTOMER = "urn:cdp:params:oauth:token-type:customer"
LONGEST_FIELD = 2000


class StaleAgent(OAuth2Error):  # type: ignore[misc]  # Authlib has no types
    """The agent has to sign in again (RFC 9470)."""

    error = "insufficient_user_authentication"

    def __init__(self, refusal: StepUpRequired) -> None:
        super().__init__(description=refusal.message)
        self._missing = refusal.extensions

    def get_body(self) -> list[tuple[str, object]]:
        """With what the next sign-in has to be."""
        return [*super().get_body(), *self._missing.items()]


class TokenExchange(BaseGrant, TokenEndpointMixin):  # type: ignore[misc]
    """Delegation to staff; anything else this standard could do is refused."""

    GRANT_TYPE = EXCHANGE
    TOKEN_ENDPOINT_AUTH_METHODS = AUTH_METHODS
    server: Server

    def validate_token_request(self) -> None:
        """See RFC 8693 section 2.1."""
        client = self.authenticate_token_endpoint_client()
        if not client.check_grant_type(self.GRANT_TYPE):
            raise UnauthorizedClientError
        given = self.request.payload.data
        types = {"subject_token_type": CUSTOMER, "actor_token_type": ACCESS_TOKEN}
        for name, known in types.items():
            if given.get(name) != known:
                raise InvalidRequestError(f"{name} must be {known}")
        if given.get("requested_token_type", ACCESS_TOKEN) != ACCESS_TOKEN:
            raise InvalidRequestError("requested_token_type must be an access token")
        if "resource" in given or given.get("audience", self.server.issuer.audience) != self.server.issuer.audience:
            raise InvalidTarget
        self.request.client = client

    def create_token_response(self) -> tuple[int, dict[str, object], list[tuple[str, str]]]:
        """Open the grant and issue its one token; a refusal is noted and commits."""
        server, client, given = self.server, self.request.client, self.request.payload.data
        agent = self._agent()
        names = ("subject_token", "scope", "reason", "case_ref")
        wanted = Wanted(*(given.get(name, "")[:LONGEST_FIELD] for name in names))
        try:
            grant = server.call(delegations.open, server.tx, server.platform, client, agent, wanted)
        except PlatformError as refusal:
            server.call(delegations.record_refusal, server.tx, agent.viewer, wanted, refusal)
            if isinstance(refusal, StepUpRequired):
                raise StaleAgent(refusal) from refusal
            if isinstance(refusal, UnknownScope):
                raise InvalidScopeError from refusal
            raise InvalidRequestError(f"{refusal.code}: {refusal.message}") from refusal
        token, life_s = server.delegated_token(grant)
        body: dict[str, object] = {
            "access_token": token,
            "issued_token_type": ACCESS_TOKEN,
            "token_type": "DPoP" if server.proven_key else "Bearer",
            "expires_in": life_s,
            "scope": grant.scope,
        }
        return 200, body, self.TOKEN_RESPONSE_HEADER

    def _agent(self) -> AccessToken:
        """The agent's token; one that is bound to a key counts only with a proof of that key."""
        agent = self.server.agent
        if agent is None or (agent.bound_to is not None and agent.bound_to != self.server.proven_key):
            raise InvalidRequestError("The actor_token is not valid here.")
        return agent


class InvalidTarget(OAuth2Error):  # type: ignore[misc]
    """RFC 8693 section 2.2.2."""

    error = "invalid_target"
