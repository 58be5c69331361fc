#!/usr/bin/env python3
"""Check a certificate of erasure, and the addendum that follows it, without whoever issued them.

    python verify_certificate.py certificate.json --keys keys.json
    python verify_certificate.py certificate.json --addendum addendum.json --keys keys.json

One file, Python 3.9 or newer; needs the package "cryptography" and nothing else, reads the named files and no network.
Written from docs/certificates.md. Keys: https://ISSUER/.well-known/cdp-signing-keys, best fetched by yourself.
Exit codes: 0 valid, 1 not valid, 2 usage, 3 consistent but nobody whose key was given signed it.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

VALID, NOT_VALID, USAGE, UNKNOWN_SIGNER = 0, 1, 2, 3
CERTIFICATE, ADDENDUM = "cdp.erasure-certificate", "cdp.erasure-addendum"
OBJECTS = {CERTIFICATE: "Certificate", ADDENDUM: "CertificateAddendum"}
HEAD_MEMBERS = {"kind", "version", "size", "root", "time", "previous", "signature"}
SIGNATURE_BYTES, HASH_DIGITS = 64, 64
LARGEST_BYTES = 64 * 1024 * 1024
LARGEST_COUNT = 2**60


class Check:
    """What checking one document has found."""

    def __init__(self, document: bytes, keys: dict[str, str]) -> None:
        self.document = document
        self.keys = keys
        self.problems: list[str] = []
        self.unknown: list[str] = []
        self.read: dict[str, Any] = {}

    @property
    def reference(self) -> str:
        """How the document calls itself."""
        return str(self.read.get("reference"))

    @property
    def code(self) -> int:
        """The exit code of this document alone."""
        if self.problems:
            return NOT_VALID
        return UNKNOWN_SIGNER if self.unknown else VALID

    def run(self, kind: str) -> None:
        """Check form, spelling, signature and place in the log."""
        try:
            self.read = _object(json.loads(self.document))
            text = canonical(self.read)
        except (ValueError, TypeError, RecursionError):
            self.problems.append("This is no document of ours.")
            return
        if self.read.get("kind") != kind or self.read.get("version") != 1:
            self.problems.append("This is not the kind of document that was expected, or of a newer version.")
        if text != self.document:
            self.problems.append("The bytes are not the ones that were issued.")
        self._signature(self.read, "document")
        try:
            self._logged(_object(self.read.get("log")), OBJECTS[kind])
        except (KeyError, ValueError, TypeError, RecursionError):
            self.problems.append("There is no proof from the audit log, or it has another form.")

    def _signature(self, signed: dict[str, Any], what: str) -> None:
        """Whether the signature fits, by one of the given keys."""
        try:
            name, value = _parts(signed.get("signature"))
            if name not in self.keys:
                self.unknown.append(name)
                return
            body = {member: one for member, one in signed.items() if member != "signature"}
            _public(name, self.keys[name]).verify(value, canonical(body))
        except (InvalidSignature, KeyError, ValueError, TypeError, RecursionError):
            self.problems.append(f"The signature does not fit the {what}.")

    def _logged(self, log: dict[str, Any], object_type: str) -> None:
        """Whether an entry under a signed head of the log holds the hash of what the document states."""
        if set(log) != {"entry", "index", "path", "head"}:
            raise ValueError
        entry, head = _object(log["entry"]), _object(log["head"])
        previous = head["previous"]
        if set(head) != HEAD_MEMBERS or head["kind"] != "cdp.audit-head" or head["version"] != 1:
            raise ValueError
        if not isinstance(head["time"], str) or (previous is not None and set(previous) != {"size", "sha256"}):
            raise ValueError
        self._signature(head, "head of the audit log")
        stated = {member: one for member, one in self.read.items() if member not in ("log", "signature")}
        digest = hashlib.sha256(canonical(stated)).hexdigest()
        details = _object(entry["details"])
        if (details.get("reference"), details.get("sha256")) != (self.read.get("reference"), digest):
            self.problems.append("The entry of the audit log does not speak of this.")
        if _object(entry["object"]).get("type") != object_type:
            self.problems.append("The entry of the audit log is about something else.")
        path = [hash_of(one) for one in _list(log["path"])]
        leaf = hashlib.sha256(b"\x00" + canonical(entry)).digest()
        if not leads(leaf, count_of(log["index"]), count_of(head["size"]), path, hash_of(head["root"])):
            self.problems.append("The proof does not lead from the entry to the head of the audit log.")


def canonical(value: object) -> bytes:
    """The one spelling of a document. Raises TypeError where there is none."""
    _plain(value)
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-8")


def _plain(value: object) -> None:
    """Fractions and what JSON does not know have no canonical form here."""
    if isinstance(value, dict):
        for name, one in value.items():
            if not isinstance(name, str):
                raise TypeError
            _plain(one)
    elif isinstance(value, list):
        for one in value:
            _plain(one)
    elif value is not None and not isinstance(value, (str, bool, int)):
        raise TypeError


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError("not a list")
    return value


def _parts(signature: object) -> tuple[str, bytes]:
    """Who signed, and the signature. Raises ValueError and TypeError."""
    read = _object(signature)
    if set(read) != {"algorithm", "keyId", "value"} or read["algorithm"] != "Ed25519":
        raise ValueError("a signature of another form")
    value = unpadded(read["value"])
    if not isinstance(read["keyId"], str) or len(value) != SIGNATURE_BYTES:
        raise ValueError("a signature of another form")
    return read["keyId"], value


def _public(name: str, text: str) -> Ed25519PublicKey:
    """The key of this name. Raises ValueError where it is another."""
    raw = unpadded(text)
    if hashlib.sha256(raw).hexdigest()[:16] != name:
        raise ValueError("a key of another name")
    return Ed25519PublicKey.from_public_bytes(raw)


def unpadded(text: object) -> bytes:
    """Read base64url without padding, in its one spelling. Raises ValueError and TypeError."""
    if not isinstance(text, str):
        raise TypeError("not a text")
    raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii") != text:
        raise ValueError("spelled differently")
    return raw


def hash_of(text: object) -> bytes:
    """Read a hash of 64 lower-case hexadecimal digits. Raises ValueError."""
    if not isinstance(text, str) or len(text) != HASH_DIGITS or set(text) - set("0123456789abcdef"):
        raise ValueError("not a hash")
    return bytes.fromhex(text)


def count_of(value: object) -> int:
    """Read a number of entries. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST_COUNT:
        raise ValueError("not a count")
    return value


def leads(leaf: bytes, index: int, size: int, path: list[bytes], root: bytes) -> bool:
    """Whether an inclusion proof holds (RFC 9162, section 2.1.3.2)."""
    if index >= size:
        return False
    at, last, found = index, size - 1, leaf
    for one in path:
        if last == 0:
            return False
        if at % 2 == 1 or at == last:
            found = hashlib.sha256(b"\x01" + one + found).digest()
            while at % 2 == 0 and at != 0:
                at, last = at // 2, last // 2
        else:
            found = hashlib.sha256(b"\x01" + found + one).digest()
        at, last = at // 2, last // 2
    return last == 0 and found == root


def check_certificate(document: bytes, keys: dict[str, str]) -> Check:
    """Check a certificate."""
    found = Check(document, keys)
    found.run(CERTIFICATE)
    return found


def check_addendum(document: bytes, keys: dict[str, str], certificate: bytes | None = None) -> Check:
    """Check an addendum, and that it belongs to this certificate where one is given."""
    found = Check(document, keys)
    found.run(ADDENDUM)
    if found.read.get("found") != []:
        found.problems.append("It does not say that nothing was found.")
    if certificate is not None:
        said = found.read.get("certificate")
        digest = hashlib.sha256(certificate).hexdigest()
        try:
            known = _object(json.loads(certificate)).get("reference")
        except (ValueError, TypeError, RecursionError):
            known = None
        if said != {"reference": known, "sha256": digest}:
            found.problems.append("It belongs to another certificate.")
    return found


def left_out(read: dict[str, Any]) -> list[str]:
    """Systems of which a certificate does not say that they erased and were read again, and the code that says why."""
    found: list[str] = []
    systems = read.get("systems")
    for system in systems if isinstance(systems, list) else []:
        for step in ("erased", "verified"):
            told = system.get(step) if isinstance(system, dict) else None
            told = told if isinstance(told, dict) else {}
            if told.get("state") != "done":
                why = f" ({told['code']})" if told.get("code") else ""
                title = system.get("title") if isinstance(system, dict) else None
                found.append("".join(filter(str.isprintable, f"{title}: not {step}{why}")))
                break
    return found


def read_keys(path: Path) -> dict[str, str]:
    """Read a list of public keys. Raises OSError and ValueError."""
    keys = _object(_object(json.loads(path.read_bytes())).get("keys"))
    return {str(name): str(value) for name, value in keys.items()}


def read_document(path: Path) -> bytes:
    """Read a document of bearable size. Raises OSError and ValueError."""
    if path.stat().st_size > LARGEST_BYTES:
        raise ValueError("too large")
    return path.read_bytes()


def main(arguments: list[str] | None = None) -> int:
    """Check what the command line names; answers the exit code."""
    parser = argparse.ArgumentParser(description="Check a certificate of erasure offline.")
    parser.add_argument("certificate", type=Path, help="certificate.json")
    parser.add_argument("--addendum", type=Path, help="the addendum that belongs to it")
    parser.add_argument("--keys", type=Path, help="public keys of the issuer")
    given = parser.parse_args(arguments)
    try:
        keys = read_keys(given.keys) if given.keys else {}
        certificate = read_document(given.certificate)
        checks = [("certificate", check_certificate(certificate, keys))]
        if given.addendum:
            checks.append(("addendum", check_addendum(read_document(given.addendum), keys, certificate)))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        print(f"A file can not be read: {error}", file=sys.stderr)
        return USAGE
    for name, found in checks:
        for problem in found.problems:
            print(f"not valid: {name}: {problem}", file=sys.stderr)
        if not found.problems:
            signed = f"signed by {', '.join(found.unknown)}, who is not known" if found.unknown else "signer known"
            print(f"{'consistent' if found.unknown else 'valid'}: {name} {found.reference}, {signed}")
            for line in left_out(found.read) if name == "certificate" else ():
                print(f"it leaves out {line}")
    codes = {found.code for _, found in checks}
    return NOT_VALID if NOT_VALID in codes else max(codes)


if __name__ == "__main__":
    sys.exit(main())
