"""Names and constants of the files people receive, shared by who makes them and who checks them. Imports nothing heavy.

Certificate: canonical JSON of kind CERTIFICATE. Package: a ZIP whose last members are MANIFEST and SIGNATURE, and whose
comment is SEAL, key id and signature over the SHA-256 of every byte before it.
"""

import hashlib

CERTIFICATE = "cdp.erasure-certificate"
ADDENDUM = "cdp.erasure-addendum"
PACKAGE = "cdp.export"
VERSION = 1
MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"
SEAL = b"cdp-seal:1:"


def subject_hash(salt: str, identifier: str) -> str:
    """The hash by which a certificate names its subject; ``salt`` is hexadecimal, the identifier is normalised."""
    return hashlib.sha256(bytes.fromhex(salt) + identifier.encode()).hexdigest()


def file_name(collection: str) -> str:
    """A collection's name as a file's: letters, digits, dots, dashes and underscores."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in collection)
    return kept.strip(".")[:100] or "records"
