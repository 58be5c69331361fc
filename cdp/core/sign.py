"""Signatures: Ed25519 (RFC 8032) over canonical JSON, so that anybody can check what we issued, offline.

Canonical JSON here is RFC 8785 for documents of objects, arrays, strings, integers, booleans and null: keys sorted by
code point, no spaces, UTF-8. Floats are refused, so its number rules never matter. The signature covers the document
without its ``signature`` member.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from cdp.core.keys import KeyStore

SIGNING = "signing-ed25519"
Document = dict[str, Any]


class Verdict(StrEnum):
    """What a check of a signature found."""

    VALID = "valid"
    UNKNOWN_SIGNER = "unknown_signer"
    INVALID = "invalid"


def canonical(value: object) -> bytes:
    """Serialise to the one byte form that is signed and hashed. Raises TypeError on floats and foreign types."""
    _check(value)
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


_PLAIN = frozenset({str, int, bool, type(None)})


def _check(value: object) -> None:
    if type(value) in _PLAIN or isinstance(value, (str, int)):
        return
    if isinstance(value, list):
        for item in value:
            _check(item)
    elif isinstance(value, dict) and all(type(key) is str or isinstance(key, str) for key in value):
        for item in value.values():
            _check(item)
    else:
        raise TypeError(f"{type(value).__name__} has no canonical form")


def key_id(public: bytes) -> str:
    """Name of a public key: the first 16 hex digits of the SHA-256 over its 32 raw bytes."""
    return hashlib.sha256(public).hexdigest()[:16]


def encode(raw: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """Read base64url without padding. Raises ValueError."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("not base64url") from error


class Signer:
    """The platform's signing key, kept in the key store and made on first use; of several the newest signs."""

    def __init__(self, store: KeyStore) -> None:
        store.create(SIGNING)
        raw = store.get(store.names(SIGNING)[-1])
        self._private = Ed25519PrivateKey.from_private_bytes(raw)
        self.public = self._private.public_key().public_bytes(
            serialization.Encoding.Raw, serialization.PublicFormat.Raw
        )
        self.key_id = key_id(self.public)

    def sign(self, document: Mapping[str, Any]) -> Document:
        """Return the document with its ``signature`` member: algorithm, key id and value."""
        body = {name: value for name, value in document.items() if name != "signature"}
        value = encode(self._private.sign(canonical(body)))
        return {**body, "signature": {"algorithm": "Ed25519", "keyId": self.key_id, "value": value}}

    def sign_bytes(self, payload: bytes) -> bytes:
        """Sign raw bytes (64 bytes come back)."""
        return self._private.sign(payload)

    def keys(self) -> dict[str, str]:
        """The public keys a verifier pins: key id to base64url."""
        return {self.key_id: encode(self.public)}


def check(document: Mapping[str, Any], keys: Mapping[str, str]) -> Verdict:
    """Check a signed document against pinned keys (key id to base64url of 32 bytes). Never raises."""
    signature = document.get("signature")
    if not isinstance(signature, dict) or signature.get("algorithm") != "Ed25519":
        return Verdict.INVALID
    body = {name: value for name, value in document.items() if name != "signature"}
    public = keys.get(str(signature.get("keyId")))
    if public is None:
        return Verdict.UNKNOWN_SIGNER
    try:
        raw = decode(public)
        if key_id(raw) != signature.get("keyId"):
            return Verdict.INVALID
        Ed25519PublicKey.from_public_bytes(raw).verify(decode(str(signature.get("value"))), canonical(body))
    except (InvalidSignature, ValueError, TypeError, RecursionError):
        return Verdict.INVALID
    return Verdict.VALID
