"""A client proves itself by a statement signed with its own key, method ``private_key_jwt``.

The statement names us, is good for minutes and once; the key's public half was registered with the client, so nothing
is fetched. Sources: RFC 7523 section 3, OpenID Connect Core 1.0 section 9, RFC 7521 section 4.2.
"""

from collections.abc import Collection
from datetime import datetime, timedelta

from cdp.core.db import Tx
from cdp.core.errors import Unauthenticated
from cdp.operations.oauth import clients, proofs
from cdp.operations.oauth.clients import OAuthClient
from cdp.operations.oauth.proofs import LONGEST_ID, ProofUnreadable, Statement

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
METHOD = "private_key_jwt"
LONGEST_LIFE = timedelta(minutes=10)
LEEWAY = timedelta(seconds=30)


class AssertionRefused(Unauthenticated):
    """This statement does not prove a client."""

    code = "CLIENT_ASSERTION_REFUSED"


async def check(tx: Tx, assertion: str, *, audiences: Collection[str], now: datetime) -> OAuthClient:
    """Find the client that has signed this. Uses the statement up. Raises AssertionRefused."""
    try:
        client = await clients.find(tx, proofs.unverified(assertion).text("sub"))
        if client is None or client.jwks is None:
            raise AssertionRefused
        said = _signed_by(client, assertion)
        _check_claims(said, client, audiences=audiences, now=now)
        until = said.moment("exp") + LEEWAY
    except ProofUnreadable as error:
        raise AssertionRefused from error
    if not await proofs.spend(tx, METHOD, client.client_id, said.text("jti"), until=until):
        raise AssertionRefused
    return client


def _signed_by(client: OAuthClient, assertion: str) -> Statement:
    kid = proofs.unverified(assertion).header.get("kid")
    assert client.jwks is not None, "asked before"
    found = client.jwks["keys"]
    assert isinstance(found, list), "it is kept so"
    wanted = [members for members in found if kid is None or members.get("kid") in {kid, None}]
    return proofs.read(assertion, [proofs.public_key(members) for members in wanted])


def _check_claims(said: Statement, client: OAuthClient, *, audiences: Collection[str], now: datetime) -> None:
    """One audience: a statement that also names somebody else could have been got from there."""
    audience = said.claims.get("aud")
    named = audience if isinstance(audience, list) else [audience]
    expires_at = said.moment("exp")
    begins_at = max((said.moment(name) for name in ("iat", "nbf") if name in said.claims), default=now)
    if (
        {said.text("iss"), said.text("sub")} != {client.client_id}
        or len(named) != 1
        or named[0] not in audiences
        or len(said.text("jti")) > LONGEST_ID
        or not now - LEEWAY < expires_at <= now + LONGEST_LIFE + LEEWAY
        or begins_at > now + LEEWAY
    ):
        raise AssertionRefused
