"""Demonstrating Proof of Possession: a token is bound to a key, and every use of it comes with a fresh signature.

A proof is good for one request, once, for about a minute. There is no nonce of ours: what it would add, that proofs are
not made ahead of time, the single use and the narrow window bound already.
Source: RFC 9449, https://www.rfc-editor.org/rfc/rfc9449.
"""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from cdp.core.db import Role, Tx
from cdp.core.errors import Unauthenticated
from cdp.core.platform import Platform
from cdp.core.sign import encode
from cdp.operations.oauth import proofs
from cdp.operations.oauth.proofs import LONGEST_ID, ProofUnreadable, UnusableKey

TYP = "dpop+jwt"
SCHEME = "DPoP"
HEADER = "dpop"
GOOD_FOR = timedelta(seconds=60)
LEEWAY = timedelta(seconds=15)
_DEFAULT_PORTS = {"http": 80, "https": 443}


class DPoPInvalid(Unauthenticated):
    """The DPoP proof is missing, not valid for this request, or was used before."""

    code = "INVALID_DPOP_PROOF"


@dataclass(frozen=True)
class Target:
    """The request a proof must be about: its method and its public address."""

    method: str
    url: str


@dataclass(frozen=True)
class Proof:
    """A proof whose signature, target and time are right; whether it is fresh is known when it is spent."""

    thumbprint: str
    token_id: str
    expires_at: datetime


def read_proof(sent: str, target: Target, *, now: datetime, access_token: str | None = None) -> Proof:
    """Check a proof (RFC 9449 section 4.3); ``access_token`` where it comes with one. Raises DPoPInvalid."""
    try:
        members = proofs.unverified(sent).header.get("jwk")
        key = proofs.public_key(members)
        said = proofs.read(sent, [key])
        if (
            said.header.get("typ") != TYP
            or said.text("htm") != target.method
            or _address(said.text("htu")) != _address(target.url)
            or len(said.text("jti")) > LONGEST_ID
            or not now - GOOD_FOR <= said.moment("iat") <= now + LEEWAY
            or (access_token is not None and not _names(said.text("ath"), access_token))
        ):
            raise DPoPInvalid
        return Proof(key.thumbprint(), said.text("jti"), said.moment("iat") + GOOD_FOR + LEEWAY)
    except (ProofUnreadable, UnusableKey) as error:
        raise DPoPInvalid from error


async def spend(tx: Tx, proof: Proof) -> None:
    """Use a proof up. Raises DPoPInvalid when that was done before."""
    if not await proofs.spend(tx, SCHEME, proof.thumbprint, proof.token_id, until=proof.expires_at):
        raise DPoPInvalid


async def check_use(platform: Platform, sent: str | None, target: Target | None, *, token: str, bound_to: str) -> None:
    """Check the proof that comes with a bound access token, and use it up. Raises DPoPInvalid."""
    if not sent or target is None:
        raise DPoPInvalid
    proof = read_proof(sent, target, now=platform.clock(), access_token=token)
    if not hmac.compare_digest(proof.thumbprint, bound_to):
        raise DPoPInvalid
    async with platform.db.transaction(Role.WORKER) as tx:
        await spend(tx, proof)


def _names(digest: str, access_token: str) -> bool:
    found = encode(hashlib.sha256(access_token.encode()).digest())
    return digest.isascii() and hmac.compare_digest(digest, found)


def _address(url: str) -> tuple[str, str, int | None, str]:
    """An address without query and fragment, normalised as RFC 3986 section 6.2 has it. Raises DPoPInvalid."""
    try:
        parts = urlsplit(url)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError as error:
        raise DPoPInvalid from error
    return parts.scheme, (parts.hostname or "").lower(), port, parts.path or "/"
