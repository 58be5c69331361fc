"""What the acquirer signs: a JSON Web Signature by a key of its client, over one JSON object. Imports nothing heavy.

The same key that proves the client to us signs its receipts, so nobody else can have given them, and we can not have
made them up. Source: RFC 7515 (JWS), RFC 7517 (JWK).
"""

import json
from collections.abc import Mapping
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from cdp.core.errors import InvalidInput
from cdp.core.sign import canonical, decode, encode
from cdp.operations.oauth import proofs
from cdp.operations.oauth.proofs import PublicKey

RECEIPT, ACKNOWLEDGEMENT, DESTRUCTION = (
    "cdp.transfer-receipt",
    "cdp.transfer-acknowledgement",
    "cdp.transfer-destruction",
)
TYPE = "cdp-transfer+jws"
LARGEST_BYTES = 8 * 1024 * 1024
_MODELS: Mapping[str, str] = {"ES256": "ES256", "EdDSA": "Ed25519", "Ed25519": "Ed25519", "RS256": "RS256"}


class StatementInvalid(InvalidInput):
    """This is no statement signed by a key of the acquirer."""

    code = "STATEMENT_INVALID"


def read(statement: str, jwks: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What was said, and the public key that has signed it. Raises StatementInvalid."""
    if len(statement) > LARGEST_BYTES or not statement.isascii() or statement.count(".") != 2:
        raise StatementInvalid
    head, body, signature = statement.split(".")
    try:
        header, said, signed = json.loads(decode(head)), json.loads(decode(body)), decode(signature)
    except (ValueError, RecursionError):
        raise StatementInvalid from None
    if not isinstance(header, dict) or not isinstance(said, dict) or "crit" in header or header.get("typ") != TYPE:
        raise StatementInvalid
    model = _MODELS.get(str(header.get("alg")))
    for members in jwks.get("keys", []) if model else []:
        if _fits(str(model), members, f"{head}.{body}".encode(), signed):
            return said, dict(members)
    raise StatementInvalid


def _fits(model: str, members: Mapping[str, Any], signed: bytes, signature: bytes) -> bool:
    algorithm = JWSRegistry.algorithms[model]
    try:
        key = proofs.public_key(dict(members))
        algorithm.check_key(key)
        return bool(algorithm.verify(signed, signature, key))
    except (JoseError, ValueError, TypeError, InvalidInput):
        return False


def sign(said: Mapping[str, Any], key: PublicKey, *, kind: str = TYPE) -> str:
    """A statement signed with a private key, as a receiver makes it; ``kind`` is its media type."""
    name = _algorithm(key)
    header: dict[str, Any] = {"alg": name, "typ": kind}
    if key.kid:
        header["kid"] = key.kid
    head, body = encode(canonical(header)), encode(canonical(dict(said)))
    made = JWSRegistry.algorithms[_MODELS[name]].sign(f"{head}.{body}".encode(), key)
    return f"{head}.{body}.{encode(made)}"


def thumbprint(members: Mapping[str, Any]) -> str:
    """The name of a public key (RFC 7638)."""
    return str(proofs.public_key(dict(members)).thumbprint())


def _algorithm(key: PublicKey) -> str:
    match key:
        case OKPKey():
            return "EdDSA"
        case ECKey():
            return "ES256"
        case RSAKey():
            return "RS256"
