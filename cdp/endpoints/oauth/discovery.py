"""Discovery (RFC 8414, OpenID Connect Discovery 1.0) and keys (RFC 7517): exactly what is there, and nothing more."""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from cdp.access.authorization_types import TYPES
from cdp.access.scopes import SCOPES
from cdp.access.strength import Strength
from cdp.core.platform import Platform
from cdp.endpoints.oauth.client_auth import AUTH_METHODS
from cdp.endpoints.oauth.token import Introspection
from cdp.operations.oauth.clients import GRANT_TYPES
from cdp.operations.oauth.proofs import ALGORITHMS
from cdp.operations.oauth.token_keys import ALGORITHM
from cdp.operations.oauth.tokens import issuer_of

# Endpoints a client proves itself at, as their metadata begin.
AUTHENTICATED = ("token", "revocation", "introspection")
CACHED = {"Cache-Control": "public, max-age=300"}
CLAIMS = (
    "sub",
    "iss",
    "aud",
    "exp",
    "iat",
    "auth_time",
    "nonce",
    "at_hash",
    "acr",
    "amr",
    "sid",
    "name",
    "given_name",
    "family_name",
    "locale",
    "email",
    "email_verified",
)


def metadata(issuer: str, *, registration: bool) -> Mapping[str, object]:
    """The document both well-known addresses show."""
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/oauth/authorize",
        "token_endpoint": f"{issuer}/oauth/token",
        "jwks_uri": f"{issuer}/oauth/jwks",
        "userinfo_endpoint": f"{issuer}/oauth/userinfo",
        "revocation_endpoint": f"{issuer}/oauth/revoke",
        "introspection_endpoint": f"{issuer}/oauth/introspect",
        "end_session_endpoint": f"{issuer}/oauth/logout",
        "device_authorization_endpoint": f"{issuer}/oauth/device_authorization",
        "pushed_authorization_request_endpoint": f"{issuer}/oauth/par",
        "require_pushed_authorization_requests": False,
        **({"registration_endpoint": f"{issuer}/oauth/register"} if registration else {}),
        "scopes_supported": list(SCOPES),
        "acr_values_supported": [one.value for one in Strength],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": list(GRANT_TYPES),
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [ALGORITHM],
        "token_endpoint_auth_methods_supported": list(AUTH_METHODS),
        "revocation_endpoint_auth_methods_supported": list(AUTH_METHODS),
        "introspection_endpoint_auth_methods_supported": list(Introspection.CLIENT_AUTH_METHODS),
        **{f"{name}_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS) for name in AUTHENTICATED},
        "code_challenge_methods_supported": ["S256"],
        "dpop_signing_alg_values_supported": list(ALGORITHMS),
        "authorization_details_types_supported": list(TYPES),
        "claims_supported": list(CLAIMS),
        "prompt_values_supported": ["none", "login", "consent", "select_account"],
        "ui_locales_supported": ["en"],
        "authorization_response_iss_parameter_supported": True,
        "backchannel_logout_supported": True,
        "backchannel_logout_session_supported": True,
        "claims_parameter_supported": False,
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
    }


async def configuration(request: Request) -> Response:
    """The metadata document."""
    platform: Platform = request.app.state.platform
    found = metadata(issuer_of(platform).url, registration=platform.settings.client_registration)
    return JSONResponse(dict(found), headers=CACHED)


async def jwks(request: Request) -> Response:
    """The public keys."""
    keys = issuer_of(request.app.state.platform).keys.public()
    return JSONResponse(dict(keys), headers=CACHED, media_type="application/jwk-set+json")
