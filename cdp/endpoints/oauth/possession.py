"""DPoP at our own endpoints (RFC 9449 section 5): the key a token request proves is the key its tokens are bound to."""

from authlib.oauth2 import OAuth2Error
from starlette.requests import Request

from cdp.core.db import Tx
from cdp.core.platform import Platform
from cdp.operations.oauth import dpop
from cdp.operations.oauth.dpop import HEADER, DPoPInvalid, Target


def target_of(platform: Platform, request: Request) -> Target:
    """A request as the client knows it: under the public address, whatever proxies made of it."""
    return Target(request.method, platform.settings.url + request.url.path)


async def proven_key(platform: Platform, tx: Tx, request: Request) -> str | None:
    """Thumbprint of the key a request proves; None without a proof. Uses the proof up. Raises OAuth2Error."""
    sent = request.headers.getlist(HEADER)
    if not sent:
        return None
    try:
        if len(sent) > 1:
            raise DPoPInvalid  # noqa: TRY301 - a second proof makes the first invalid
        proof = dpop.read_proof(sent[0], target_of(platform, request), now=platform.clock())
        await dpop.spend(tx, proof)
    except DPoPInvalid as error:
        raise OAuth2Error(error.message, error="invalid_dpop_proof") from error
    return proof.thumbprint
