"""Dynamic client registration (RFC 7591): off unless set, and by invitation only."""

import json
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from cdp.core.db import Role
from cdp.core.errors import InvalidInput, NotFound
from cdp.core.platform import Platform
from cdp.endpoints.oauth.server import NO_STORE
from cdp.operations.oauth import registration
from cdp.operations.oauth.clients import InvalidRedirect, NewClient
from cdp.operations.oauth.registration import InvalidClientMetadata, InvitationInvalid


async def register(request: Request) -> Response:
    """Register a client. Raises NotFound while this is off."""
    platform: Platform = request.app.state.platform
    if not platform.settings.client_registration:
        raise NotFound
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise InvitationInvalid
    try:
        metadata = await _metadata(request)
        async with platform.db.transaction(Role.WORKER) as tx:
            added = await registration.register(tx, token.strip(), metadata, now=platform.clock())
    except InvalidInput as error:
        code = "invalid_redirect_uri" if isinstance(error, InvalidRedirect) else "invalid_client_metadata"
        return JSONResponse({"error": code, "error_description": error.message}, status_code=400, headers=NO_STORE)
    shown = registered(added, issued_at=int(platform.clock().timestamp()))
    return JSONResponse(dict(shown), status_code=201, headers=NO_STORE)


def registered(added: NewClient, *, issued_at: int) -> Mapping[str, object]:
    """A client's metadata as registered, with its secret this once (RFC 7591 section 3.2.1)."""
    client = added.client
    shown: dict[str, object] = {
        "client_id": client.client_id,
        "client_id_issued_at": issued_at,
        "client_name": client.name,
        "redirect_uris": list(client.redirect_uris),
        "post_logout_redirect_uris": list(client.post_logout_redirect_uris),
        "grant_types": list(client.grant_types),
        "response_types": ["code"],
        "scope": " ".join(client.scopes),
        "token_endpoint_auth_method": client.auth_method,
        "authorization_details_types": list(client.authorization_types),
        "require_pushed_authorization_requests": client.requires_pushed,
        "dpop_bound_access_tokens": client.requires_dpop,
    }
    if client.jwks is not None:
        shown["jwks"] = client.jwks
    if added.secret is not None:
        shown |= {"client_secret": added.secret, "client_secret_expires_at": 0}
    return shown


async def _metadata(request: Request) -> Mapping[str, object]:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise InvalidClientMetadata("Send application/json.")
    try:
        found = json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise InvalidClientMetadata("This is not JSON.") from error
    if not isinstance(found, dict):
        raise InvalidClientMetadata("This is no object.")
    return found
