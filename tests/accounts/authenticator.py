"""An authenticator made of software: it answers as a phone does, or as a forger would.

device = Authenticator(origin)
device.make(options)      the form field of a registration
device.sign(options)      the form field of a sign-in; ``verified``, ``count``, ``origin``, ``handle`` may be forged
"""

import hashlib
import json
import secrets
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from webauthn import base64url_to_bytes
from webauthn.helpers import bytes_to_base64url, encode_cbor

PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40


@dataclass
class Authenticator:
    origin: str
    count: int = 0
    handle: bytes = b""
    id: bytes = field(default_factory=lambda: secrets.token_bytes(16))
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def make(self, options: str, *, verified: bool = True, origin: str | None = None) -> str:
        asked = json.loads(options)
        self.handle = base64url_to_bytes(asked["user"]["id"])
        numbers = self.key.public_key().public_numbers()
        public = encode_cbor({1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")})
        attested = bytes(16) + len(self.id).to_bytes(2, "big") + self.id + public
        signed = self._signed(asked["rp"]["id"], ATTESTED | (VERIFIED if verified else 0)) + attested
        said = self._said("webauthn.create", asked["challenge"], origin)
        attestation = encode_cbor({"fmt": "none", "attStmt": {}, "authData": signed})
        return self._field({"clientDataJSON": said, "attestationObject": attestation})

    def sign(self, options: str, *, verified: bool = True, count: int | None = None, origin: str | None = None) -> str:
        asked = json.loads(options)
        self.count = self.count + 1 if count is None else count
        signed = self._signed(asked["rpId"], VERIFIED if verified else 0)
        said = self._said("webauthn.get", asked["challenge"], origin)
        signature = self.key.sign(signed + hashlib.sha256(said).digest(), ec.ECDSA(hashes.SHA256()))
        answer = {"clientDataJSON": said, "authenticatorData": signed, "signature": signature}
        return self._field(answer | ({"userHandle": self.handle} if self.handle else {}))

    def _signed(self, party: str, flags: int) -> bytes:
        return hashlib.sha256(party.encode()).digest() + bytes([PRESENT | flags]) + self.count.to_bytes(4, "big")

    def _said(self, kind: str, challenge: str, origin: str | None) -> bytes:
        return json.dumps({"type": kind, "challenge": challenge, "origin": origin or self.origin}).encode()

    def _field(self, response: dict[str, bytes]) -> str:
        named = {"id": bytes_to_base64url(self.id), "rawId": bytes_to_base64url(self.id), "type": "public-key"}
        coded = {name: bytes_to_base64url(value) for name, value in response.items()}
        return json.dumps({**named, "response": coded, "clientExtensionResults": {}})


def elsewhere(url: str) -> str:
    """Another origin that looks alike."""
    return f"{urlsplit(url).scheme}://evil.{urlsplit(url).netloc}"
