"""What a client signs in tests: proofs of possession (RFC 9449) and assertions (RFC 7523), right or bent."""

import hashlib
import secrets
import time

from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey

from cdp.core.sign import encode
from tests.browser import BASE

Key = ECKey | OKPKey | RSAKey
ALGORITHMS = {"EC": "ES256", "OKP": "Ed25519", "RSA": "RS256"}


def new_key() -> ECKey:
    return ECKey.generate_key("P-256")


def signed(key: Key, header: dict[str, object], claims: dict[str, object]) -> str:
    header = {"alg": ALGORITHMS[key.key_type], **header}
    present = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(header, present, key, [str(header["alg"])], default_type=None)


def proof(key: Key, method: str, path: str, *, token: str | None = None, header=None, **changed) -> str:
    """A DPoP proof; ``None`` leaves a claim out."""
    claims = {"htm": method, "htu": BASE + path, "iat": int(time.time()), "jti": secrets.token_urlsafe(16)}
    if token is not None:
        claims["ath"] = encode(hashlib.sha256(token.encode()).digest())
    head = {"typ": "dpop+jwt", "jwk": key.as_dict(private=False), **(header or {})}
    return signed(key, head, claims | changed)


def assertion(key: Key, client_id: str, *, header=None, **changed) -> dict[str, str]:
    """Fields by which a client proves itself."""
    now = int(time.time())
    claims = {"iss": client_id, "sub": client_id, "aud": BASE, "iat": now, "exp": now + 60}
    claims |= {"jti": secrets.token_urlsafe(16)}
    return {
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": signed(key, {"typ": "JWT", **(header or {})}, claims | changed),
    }
