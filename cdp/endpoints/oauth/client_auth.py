"""How a client proves itself at our endpoints: exactly one way at a time (RFC 6749 section 2.3).

Beside secrets there is ``private_key_jwt`` (RFC 7523): a statement that names us is accepted under the issuer's name or
the address of the endpoint it was sent to, or of the token endpoint (RFC 9126 section 2).
"""

from collections.abc import Mapping, Sequence

from authlib.oauth2.rfc6749 import InvalidClientError, InvalidRequestError

from cdp.core.db import Tx
from cdp.core.platform import Platform
from cdp.operations.oauth import client_assertions
from cdp.operations.oauth.client_assertions import ASSERTION_TYPE, METHOD, AssertionRefused
from cdp.operations.oauth.clients import OAuthClient

AUTH_METHODS = [METHOD, "client_secret_basic", "client_secret_post", "none"]
# For endpoints that are of no use to a client that can prove nothing.
PROVING_METHODS = AUTH_METHODS[:-1]
_ASSERTION = frozenset({"client_assertion", "client_assertion_type"})


def methods_for(form: Mapping[str, str], headers: Mapping[str, str], methods: Sequence[str]) -> list[str]:
    """Which methods to try: an assertion that is sent is the one. Raises InvalidRequestError for two at once."""
    sent = [bool(_ASSERTION & form.keys()), "client_secret" in form, "authorization" in headers]
    if sum(sent) > 1:
        raise InvalidRequestError("A client proves itself in one way.")
    if not sent[0]:
        return [method for method in methods if method != METHOD]
    return [method for method in methods if method == METHOD]


async def by_assertion(platform: Platform, tx: Tx, form: Mapping[str, str], endpoint: str) -> OAuthClient:
    """The client whose assertion a form carries. Raises InvalidClientError."""
    if form.get("client_assertion_type") != ASSERTION_TYPE:
        raise InvalidClientError("Unknown 'client_assertion_type'.")
    issuer = platform.settings.url
    audiences = {issuer, f"{issuer}/oauth/token", endpoint}
    assertion = form.get("client_assertion", "")
    try:
        client = await client_assertions.check(tx, assertion, audiences=audiences, now=platform.clock())
    except AssertionRefused as error:
        raise InvalidClientError(error.message) from error
    if form.get("client_id", client.client_id) != client.client_id:
        raise InvalidClientError("The assertion is of another client.")
    return client
