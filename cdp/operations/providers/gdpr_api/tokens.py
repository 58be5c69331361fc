"""Whether a call is allowed: a token of our issuer, for us, about this person, for this deed, by a strong sign-in.

Source: the authentication part of gdpr-api-openapi.yaml 1.1.0, https://github.com/City-of-Helsinki/open-city-profile;
RFC 7519, RFC 8725 (algorithms are ours to choose, never the token's).
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from enum import StrEnum

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from cdp.core.errors import Unauthenticated
from cdp.core.platform import Platform
from cdp.operations.federation.directory import ALGORITHMS
from cdp.operations.providers.gdpr_api.keys import keys_of
from cdp.operations.providers.gdpr_api.service import Service, service_of

LARGEST_TOKEN = 16 * 1024
# How far ahead the issuer's clock may be; the end of a token is exact.
LEEWAY_S = 30


class Deed(StrEnum):
    """What a call asks for."""

    QUERY = "query"
    DELETE = "delete"


class TokenRefused(Unauthenticated):
    """This token does not open this person's data."""

    code = "TOKEN_REFUSED"


async def admit(platform: Platform, authorization: str | None, person: str, deed: Deed) -> Service:
    """The service a call may use. Raises TokenRefused whatever is wrong, IssuerUnavailable."""
    service = service_of(platform.settings)
    scheme, _, token = (authorization or "").partition(" ")
    if service is None or scheme.lower() != "bearer" or not token.isascii() or len(token) > LARGEST_TOKEN:
        raise TokenRefused
    claims = await _claims(platform, service, token.strip())
    _check_names(claims, service, person)
    _check_times(claims, platform.clock())
    wanted = service.query_scope if deed is Deed.QUERY else service.delete_scope
    level = claims.get("loa")
    if wanted not in _scopes(claims, service) or not isinstance(level, str) or level not in service.levels:
        raise TokenRefused
    return service


async def _claims(platform: Platform, service: Service, token: str) -> Mapping[str, object]:
    known = keys_of(platform, service.issuer)
    keys = await known.keys()
    claims = _read(token, keys)
    if claims is None:
        fresh = await known.keys(but=keys)
        claims = _read(token, fresh) if fresh is not keys else None
    if claims is None:
        raise TokenRefused
    return claims


def _read(token: str, keys: KeySet) -> Mapping[str, object] | None:
    try:
        return jwt.decode(token, keys, list(ALGORITHMS)).claims
    except (JoseError, ValueError, TypeError, RecursionError):
        return None


def _check_names(claims: Mapping[str, object], service: Service, person: str) -> None:
    """One audience: a token that names others too could have been got from them."""
    audience = claims.get("aud")
    if (
        claims.get("iss") != service.issuer
        or audience not in (service.audience, [service.audience])
        or claims.get("sub") != person
    ):
        raise TokenRefused


def _check_times(claims: Mapping[str, object], now: datetime) -> None:
    now_s = now.timestamp()
    begins_s = [_moment(claims[name]) for name in ("iat", "nbf") if name in claims]
    if _moment(claims.get("exp")) <= now_s or any(begin > now_s + LEEWAY_S for begin in begins_s):
        raise TokenRefused


def _moment(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e11:
        raise TokenRefused
    return float(value)


def _scopes(claims: Mapping[str, object], service: Service) -> frozenset[str]:
    """The scopes granted, in whichever of the two forms was agreed."""
    if service.scope_claim:
        return frozenset(_texts(claims.get(service.scope_claim)))
    authorization = claims.get("authorization")
    permissions = authorization.get("permissions") if isinstance(authorization, dict) else None
    found = permissions if isinstance(permissions, list) else []
    return frozenset(one for given in found if isinstance(given, dict) for one in _texts(given.get("scopes")))


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, list):
        yield from (one for one in value if isinstance(one, str))
