"""Device authorization endpoint and grant (RFC 8628): for an app that runs where there is no browser."""

from typing import Any

from authlib.oauth2 import OAuth2Error, rfc8628
from authlib.oauth2.rfc6749 import (
    AccessDeniedError,
    InvalidGrantError,
    InvalidRequestError,
    InvalidScopeError,
    UnauthorizedClientError,
)
from starlette.requests import Request
from starlette.responses import Response

from cdp.core.db import Role
from cdp.core.platform import Platform
from cdp.endpoints.oauth.client_auth import AUTH_METHODS
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
from cdp.operations.oauth import devices
from cdp.operations.oauth.clients import DEVICE_CODE, UnknownScope
from cdp.operations.oauth.devices import Poll, Polled
from cdp.operations.oauth.grants import Grant, realm_of

PAGE = "/device"
ENDPOINT = "device_authorization"


class DeviceEndpoint(rfc8628.DeviceAuthorizationEndpoint):  # type: ignore[misc]  # Authlib has no types
    """Hands out a pair of codes."""

    ENDPOINT_NAME = ENDPOINT
    CLIENT_AUTH_METHODS = AUTH_METHODS
    server: Server

    def create_endpoint_response(self, request: ProtocolRequest) -> tuple[int, dict[str, Any], list[tuple[str, str]]]:
        """See RFC 8628 section 3.2."""
        client = self.authenticate_client(request)
        if not client.check_grant_type(DEVICE_CODE):
            raise UnauthorizedClientError
        scope = client.get_allowed_scope(request.payload.scope)
        if scope is None:
            raise InvalidScopeError
        try:
            realm_of(scope.split())
        except UnknownScope as error:
            raise InvalidScopeError from error
        server, platform = self.server, self.server.platform
        opened = server.call(devices.open, server.tx, platform.pepper, client, scope, now=platform.clock())
        shown, page = devices.written(opened.user_code), f"{server.issuer.url}{PAGE}"
        body = {
            "device_code": opened.device_code,
            "user_code": shown,
            "verification_uri": page,
            "verification_uri_complete": f"{page}?user_code={shown}",
            "expires_in": int(devices.LIFE.total_seconds()),
            "interval": devices.INTERVAL_S,
        }
        return 200, body, []


class DeviceGrant(rfc8628.DeviceCodeGrant):  # type: ignore[misc]
    """The device asks whether somebody has decided (RFC 8628 section 3.4)."""

    TOKEN_ENDPOINT_AUTH_METHODS = AUTH_METHODS
    server: Server

    def validate_token_request(self) -> None:
        """Take the grant if there is one; otherwise say what the device has to do (section 3.5)."""
        device_code = self.request.payload.data.get("device_code")
        if not device_code:
            raise InvalidRequestError("Missing 'device_code' in payload")
        client = self.authenticate_token_endpoint_client()
        if not client.check_grant_type(self.GRANT_TYPE):
            raise UnauthorizedClientError
        server = self.server
        polled = server.call(devices.poll, server.tx, client, device_code, now=server.platform.clock())
        self.request.client = client
        self.request.user = _granted(polled)
        self.request.credential = _Scope(polled.scope)


class _Scope(str):
    """What Authlib asks a device credential about, once it is redeemed."""

    __slots__ = ()

    def get_scope(self) -> str:
        return str(self)


def _granted(polled: Polled) -> Grant:
    match polled.state:
        case Poll.UNKNOWN:
            raise InvalidGrantError
        case Poll.EXPIRED:
            raise rfc8628.ExpiredTokenError
        case Poll.PENDING:
            raise rfc8628.AuthorizationPendingError
        case Poll.TOO_FAST:
            raise rfc8628.SlowDownError
        case Poll.DENIED:
            raise AccessDeniedError
        case Poll.GRANTED:
            assert polled.grant is not None, "it comes with a grant"
            return polled.grant


async def authorize_device(request: Request) -> Response:
    """Answer with codes and the address a person types theirs at."""
    platform: Platform = request.app.state.platform
    try:
        fields = await read_form(request)
        refuse_repeated(fields)
        refuse_unreadable_basic(request.headers)
    except UnreadableForm as error:
        return failure(InvalidRequestError(error.message)).response()
    except OAuth2Error as error:
        return failure(error).response()
    async with platform.db.transaction(Role.WORKER) as tx:
        server = Server(platform, tx)
        server.register_endpoint(DeviceEndpoint)
        protocol = ProtocolRequest(platform, request, fields)
        answer: Answer = await in_thread(server.create_endpoint_response, ENDPOINT, protocol)
    return answer.response()
