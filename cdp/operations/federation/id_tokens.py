"""Checking an ID token of somebody else: signature, issuer, audience, time, nonce, and how long ago they signed in.

Source: OpenID Connect Core section 3.1.3.7, https://openid.net/specs/openid-connect-core-1_0.html#IDTokenValidation
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from cdp.core.errors import Unauthenticated
from cdp.operations.federation.directory import Directory
from cdp.operations.federation.provider import Provider

LARGEST_TOKEN = 16 * 1024
LONGEST_SUBJECT = 255


class IdTokenInvalid(Unauthenticated):
    """The service you signed in with sent a proof that does not hold; try again."""

    code = "ID_TOKEN_INVALID"


@dataclass(frozen=True)
class Expected:
    """What we asked for: the token must answer exactly this request."""

    nonce: str
    now: datetime
    max_age_s: int


async def check(directory: Directory, provider: Provider, token: object, expected: Expected) -> Mapping[str, object]:
    """The claims of a token that holds. Raises IdTokenInvalid, ProviderUnavailable, ProviderBroken."""
    if not isinstance(token, str) or len(token) > LARGEST_TOKEN or not token.isascii():
        raise IdTokenInvalid
    algorithms = list((await directory.endpoints()).algorithms)
    keys = await directory.keys()
    claims = _read(token, keys, algorithms)
    if claims is None:
        fresh = await directory.keys(but=keys)
        claims = _read(token, fresh, algorithms) if fresh is not keys else None
    if claims is None:
        raise IdTokenInvalid
    _check_names(claims, provider)
    _check_times(claims, provider, expected)
    if not hmac.compare_digest(str(claims.get("nonce", "")).encode(), expected.nonce.encode()):
        raise IdTokenInvalid
    return claims


def authenticated_at(claims: Mapping[str, object], now: datetime) -> datetime:
    """When they signed in there, never in our future; a whole second counts until it is over."""
    ended = datetime.fromtimestamp(_moment(claims, "auth_time") + 1, UTC) - timedelta(microseconds=1)
    return min(now, ended)


def _read(token: str, keys: KeySet, algorithms: list[str]) -> Mapping[str, object] | None:
    try:
        return jwt.decode(token, keys, algorithms).claims
    except (JoseError, ValueError, TypeError):
        return None


def _check_names(claims: Mapping[str, object], provider: Provider) -> None:
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    party = claims.get("azp")
    subject = claims.get("sub")
    if claims.get("iss") != provider.issuer or provider.client_id not in audiences:
        raise IdTokenInvalid
    if (party is None and len(audiences) > 1) or party not in {None, provider.client_id}:
        raise IdTokenInvalid
    if not isinstance(subject, str) or not 0 < len(subject) <= LONGEST_SUBJECT or not subject.isprintable():
        raise IdTokenInvalid


def _check_times(claims: Mapping[str, object], provider: Provider, expected: Expected) -> None:
    now_s = expected.now.timestamp()
    if _moment(claims, "exp") + provider.leeway_s <= now_s or _moment(claims, "iat") - provider.leeway_s > now_s:
        raise IdTokenInvalid
    # ``max_age`` was asked for, so the provider must say when (section 2), and it must be recent enough.
    signed_in = _moment(claims, "auth_time")
    if signed_in - provider.leeway_s > now_s or now_s - signed_in > expected.max_age_s + provider.leeway_s:
        raise IdTokenInvalid


def _moment(claims: Mapping[str, object], name: str) -> float:
    found = claims.get(name)
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found < 1e11:
        raise IdTokenInvalid
    return float(found)
