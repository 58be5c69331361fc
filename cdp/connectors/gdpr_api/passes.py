"""The bearer tokens a service checks: about one person, for one call, signed with the key ``/oauth/jwks`` publishes.

A service follows our issuer's discovery to that key, as the contract says. Source: the authentication part of the GDPR
API of open-city-profile, https://github.com/City-of-Helsinki/open-city-profile; JWT, https://www.rfc-editor.org/rfc/rfc7519
"""

from functools import lru_cache
from typing import Annotated, Literal

from joserfc import jwt
from joserfc.jwk import RSAKey
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from cdp.core.ids import new_id
from cdp.core.keys import KeyGone, KeyStore
from cdp.core.platform import Platform

ALGORITHM = "RS256"
KEY_PREFIX = "oauth-rs256-"
LIFE_S = 300


@dataclass(frozen=True, config=ConfigDict(extra="forbid"), kw_only=True)
class SignedAuth:
    """Tokens of our own. With ``scope_claim`` the scopes stand in that claim, as the older form has it."""

    type: Literal["signed"]
    audience: Annotated[str, Field(min_length=1, max_length=300)]
    query_scope: Annotated[str, Field(min_length=1, max_length=100)] = "gdprquery"
    delete_scope: Annotated[str, Field(min_length=1, max_length=100)] = "gdprdelete"
    scope_claim: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    level: Annotated[str, Field(min_length=1, max_length=40)] = "substantial"


def token(platform: Platform, auth: SignedAuth, subject: str, scope: str) -> str:
    """A token that opens one person's data for one thing, for five minutes."""
    key = _newest(platform.keys)
    now = int(platform.clock().timestamp())
    claims: dict[str, object] = {
        "iss": platform.settings.url,
        "sub": subject,
        "aud": auth.audience,
        "iat": now,
        "auth_time": now,
        "exp": now + LIFE_S,
        "jti": str(new_id()),
        "loa": auth.level,
    }
    if auth.scope_claim is None:
        claims["authorization"] = {"permissions": [{"scopes": [scope]}]}
    else:
        claims[auth.scope_claim] = [scope]
    return jwt.encode({"alg": ALGORITHM, "kid": key.thumbprint(), "typ": "JWT"}, claims, key, [ALGORITHM])


def _newest(store: KeyStore) -> RSAKey:
    """The newest key that signs tokens; made here if nobody has signed anything yet."""
    for name in reversed(store.names(KEY_PREFIX)):
        try:
            return _read(store.get(name))
        except KeyGone:  # dropped by a rotation since the names were read
            continue
    return _read(store.create(f"{KEY_PREFIX}0001", RSAKey.generate_key(2048).as_pem(private=True)))


@lru_cache(maxsize=4)
def _read(pem: bytes) -> RSAKey:
    """Reading checks the primes, a tenth of a second long: once a key and process."""
    return RSAKey.import_key(pem, {"use": "sig", "alg": ALGORITHM})
