"""What an authorization request must look like, whichever way it comes: in an address, or pushed ahead (RFC 9126)."""

import re

from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import InvalidRequestError

from cdp.endpoints.oauth.grants import CodeGrant, refused_details
from cdp.endpoints.oauth.server import Fields, ProtocolRequest, Server, in_thread
from cdp.operations.oauth.authorization_details import PARAMETER, Details, InvalidAuthorizationDetails, read
from cdp.operations.oauth.clients import UnknownScope
from cdp.operations.oauth.grants import realm_of

LONGEST_NONCE = 500
# Parameters that would go unread: a request whose meaning hides in them must not be taken for another one.
UNSUPPORTED = {"request": "request_not_supported", "request_uri": "request_uri_not_supported"}
REPEATED = frozenset({"client_id", "redirect_uri", "response_type", "scope", "prompt"})
_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}")


def is_strange(fields: Fields) -> bool:
    """Authlib repeats some parameters in its sentences, which may hold printable ASCII only."""
    values = [value for name, value in fields.multi_items() if name in REPEATED]
    return any(not value.isascii() or not value.isprintable() or '"' in value or "\\" in value for value in values)


async def checked(server: Server, protocol: ProtocolRequest) -> tuple[CodeGrant, str]:
    """The grant a request is for and its redirect address, with everything a client can get wrong found in order.

    Raises OAuth2Error; only one that carries ``redirect_uri`` may be told to the client by the browser.
    """
    grant: CodeGrant = await in_thread(server.get_authorization_grant, protocol)
    grant.validate_no_multiple_request_parameter(protocol)
    redirect_uri: str = await in_thread(grant.validate_authorization_request)
    for name, error in UNSUPPORTED.items():
        if name in protocol.args:
            raise OAuth2Error(error=error, redirect_uri=redirect_uri)
    wrong = next((name for name, is_wrong in _doubts(protocol) if is_wrong), None)
    if wrong is not None:
        raise InvalidRequestError(f"Invalid '{wrong}' parameter.", redirect_uri=redirect_uri)
    details_of(protocol, redirect_uri)
    return grant, redirect_uri


def details_of(protocol: ProtocolRequest, redirect_uri: str | None = None) -> Details:
    """The authorization details a request asks for. Raises OAuth2Error, also for scopes of two kinds of people."""
    try:
        return read(protocol.args.get(PARAMETER), protocol.client, realm_of(protocol.scope.split()))
    except UnknownScope as error:
        raise OAuth2Error(error="invalid_scope", redirect_uri=redirect_uri) from error
    except InvalidAuthorizationDetails as error:
        raise refused_details(error, redirect_uri) from error


def _doubts(protocol: ProtocolRequest) -> list[tuple[str, bool]]:
    args = protocol.args
    nonce, max_age, prompts = args.get("nonce", ""), args.get("max_age", "0"), args.get("prompt", "").split()
    return [
        ("response_mode", args.get("response_mode", "query") != "query"),
        ("nonce", len(nonce) > LONGEST_NONCE or not nonce.isascii() or not nonce.isprintable()),
        ("max_age", not (max_age.isascii() and max_age.isdigit() and len(max_age) < 10)),
        ("prompt", "none" in prompts and len(prompts) > 1),
        ("dpop_jkt", "dpop_jkt" in args and _THUMBPRINT.fullmatch(args["dpop_jkt"]) is None),
    ]
