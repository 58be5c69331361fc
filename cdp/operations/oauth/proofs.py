"""Statements signed by keys of others: read only with public keys and algorithms named here, and good once.

Neither ``none`` nor anything with a shared secret is among them, whatever a token's header says (RFC 8725 section 3.1).
Sources: RFC 7515 (JWS), RFC 7517 (JWK), RFC 8037 and RFC 9864 (Ed25519).
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, OKPKey, RSAKey
from joserfc.jws import JWSRegistry
from sqlalchemy.dialects.postgresql import insert

from cdp.core.db import Tx
from cdp.core.errors import InvalidInput
from cdp.core.sign import decode
from cdp.tables.oauth import oauth_seen_proof

# EdDSA means Ed25519 here; the older name is the one most libraries still write.
_MODELS: Mapping[str, str] = {"ES256": "ES256", "EdDSA": "Ed25519", "Ed25519": "Ed25519", "RS256": "RS256"}
ALGORITHMS: Sequence[str] = tuple(_MODELS)
LARGEST_PROOF = 8 * 1024
MOST_KEYS = 10
SMALLEST_RSA_BITS, LARGEST_RSA_BITS = 2048, 8192
LONGEST_ID = 200
_KINDS: Mapping[str, tuple[str, frozenset[str]]] = {
    "EC": ("P-256", frozenset({"kty", "crv", "x", "y"})),
    "OKP": ("Ed25519", frozenset({"kty", "crv", "x"})),
    "RSA": ("", frozenset({"kty", "n", "e"})),
}
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})

PublicKey: TypeAlias = ECKey | OKPKey | RSAKey
Members: TypeAlias = Mapping[str, object]


class UnusableKey(InvalidInput):
    """A key is a public one: EC on P-256, OKP on Ed25519, or RSA of 2048 to 8192 bits; a set has one to ten of them."""

    code = "UNUSABLE_KEY"


class ProofUnreadable(InvalidInput):
    """This is no statement signed by that key."""

    code = "PROOF_UNREADABLE"


@dataclass(frozen=True)
class Statement:
    """What was signed, not yet checked by anybody but for the signature."""

    header: Members
    claims: Members

    def text(self, name: str) -> str:
        """A claim that is text of bounded length. Raises ProofUnreadable."""
        value = self.claims.get(name)
        if not isinstance(value, str) or not 0 < len(value) <= LARGEST_PROOF:
            raise ProofUnreadable
        return value

    def moment(self, name: str) -> datetime:
        """A claim that is a point in time. Raises ProofUnreadable."""
        value = self.claims.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ProofUnreadable
        try:
            return datetime.fromtimestamp(value, UTC)
        except (OverflowError, OSError, ValueError) as error:
            raise ProofUnreadable from error


def public_key(members: object) -> PublicKey:
    """Read one JWK. Raises UnusableKey, also for a private key: who sends one has just lost it."""
    if not isinstance(members, dict) or members.keys() & _PRIVATE or members.get("use", "sig") != "sig":
        raise UnusableKey
    curve, wanted = _KINDS.get(str(members.get("kty")), ("", frozenset()))
    if not wanted or not all(isinstance(members.get(name), str) for name in wanted) or members.get("crv", "") != curve:
        raise UnusableKey
    plain: dict[str, str | list[str]] = {name: str(members[name]) for name in wanted}
    try:
        if "n" in plain and not SMALLEST_RSA_BITS <= _bits(str(plain["n"])) <= LARGEST_RSA_BITS:
            raise UnusableKey
        return JWKRegistry.import_key(plain)  # type: ignore[return-value]  # of one of the three kinds above
    except (JoseError, ValueError, TypeError) as error:
        raise UnusableKey from error


def key_set(jwks: object) -> Mapping[str, object]:
    """Read a JWK set and answer what of it is kept: public members and key ids. Raises UnusableKey."""
    found = jwks.get("keys") if isinstance(jwks, dict) else None
    if not isinstance(found, list) or not 1 <= len(found) <= MOST_KEYS:
        raise UnusableKey
    kept = []
    for members in found:
        kid = members.get("kid") if isinstance(members, dict) else None
        if kid is not None and not (isinstance(kid, str) and len(kid) <= LONGEST_ID):
            raise UnusableKey
        plain = dict(public_key(members).as_dict(private=False))
        plain.pop("kid", None)
        kept.append({**plain, **({"kid": kid} if kid else {})})
    return {"keys": kept}


def read(token: str, keys: Sequence[PublicKey]) -> Statement:
    """Read a compact JWS that one of these keys has signed. Raises ProofUnreadable."""
    signed = _parts(token)
    name = _MODELS.get(str(signed.header.get("alg")))
    if name is None or "crit" in signed.header:
        raise ProofUnreadable
    model = JWSRegistry.algorithms[name]
    head, body, signature = token.encode().split(b".")
    for key in keys:
        try:
            model.check_key(key)
            if model.verify(head + b"." + body, decode(signature.decode()), key):
                return signed
        except (JoseError, ValueError, TypeError):
            continue
    raise ProofUnreadable


def unverified(token: str) -> Statement:
    """What a token says, nobody knows by whom: to find out whose keys to try. Raises ProofUnreadable."""
    return _parts(token)


async def spend(tx: Tx, *about: str, until: datetime) -> bool:
    """Use up a statement, named by who made it for what and its ``jti``; False when that was done before."""
    name = hashlib.sha256(json.dumps(about).encode()).digest()
    row = {"proof_hash": name, "expires_at": until}
    added = insert(oauth_seen_proof).values(row).on_conflict_do_nothing().returning(oauth_seen_proof.c.proof_hash)
    return await tx.scalar(added) is not None


def _parts(token: str) -> Statement:
    if len(token) > LARGEST_PROOF or not token.isascii() or token.count(".") != 2:
        raise ProofUnreadable
    head, body, _ = token.split(".")
    try:
        # Not joserfc's reader: a header with an RSA key in it is larger than it takes.
        header, claims = json.loads(decode(head)), json.loads(decode(body))
    except (ValueError, RecursionError) as error:
        raise ProofUnreadable from error
    if not isinstance(claims, dict) or not isinstance(header, dict):
        raise ProofUnreadable
    return Statement(header, claims)


def _bits(number: str) -> int:
    return int.from_bytes(decode(number)).bit_length()
