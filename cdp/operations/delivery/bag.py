"""The package as a BagIt bag: encrypted files as payload, what describes them as tags. Imports nothing heavy.

    bagit.txt bag-info.txt manifest-sha256.txt tagmanifest-sha256.txt     as RFC 8493 has them
    package.json      signed: every file as plain text and as it lies here, counts, bases, the hash of the manifest
    data/….age        the files

Source: https://www.rfc-editor.org/rfc/rfc8493
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cdp.core.sign import Document, canonical

PACKAGE, MANIFEST, TAGMANIFEST = "package.json", "manifest-sha256.txt", "tagmanifest-sha256.txt"
DECLARATION, INFO = "bagit.txt", "bag-info.txt"
TAGS = (DECLARATION, INFO, MANIFEST, PACKAGE, TAGMANIFEST)
PAYLOAD, ENDING = "data/", ".age"
KIND, VERSION = "cdp.transfer-package", 1
BAGIT = "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"


@dataclass(frozen=True)
class Payload:
    """One encrypted file of the bag."""

    path: str
    size_bytes: int
    sha256: str


def path_of(name: str) -> str:
    """Where a file lies in the bag."""
    return f"{PAYLOAD}{name}{ENDING}"


def manifest(files: Iterable[Payload]) -> str:
    """The payload manifest (section 2.1.3)."""
    return "".join(f"{one.sha256}  {one.path}\n" for one in sorted(files, key=lambda one: one.path))


def info(files: Iterable[Payload], *, seller: str, reference: str, date: str) -> str:
    """Metadata of the bag (section 2.2.2); line breaks in a name would begin a new entry."""
    files = list(files)
    oxum = f"{sum(one.size_bytes for one in files)}.{len(files)}"
    return (
        f"Source-Organization: {' '.join(seller.split())}\nExternal-Identifier: {reference}\n"
        f"Bagging-Date: {date}\nPayload-Oxum: {oxum}\n"
    )


def tags(described: Mapping[str, str], package: Document) -> dict[str, str]:
    """All tag files by name, the last of them with the hashes of the others (section 2.2.1)."""
    found = {**described, PACKAGE: canonical(package).decode()}
    sums = "".join(f"{sha256(text.encode())}  {name}\n" for name, text in sorted(found.items()))
    return {**found, TAGMANIFEST: sums}


def sha256(raw: bytes) -> str:
    """Hexadecimal."""
    return hashlib.sha256(raw).hexdigest()


def read_manifest(text: str) -> dict[str, str]:
    """Paths and hashes of a manifest. Raises ValueError for any other form, and for paths that lead out of the bag."""
    found: dict[str, str] = {}
    if not text.endswith("\n"):
        raise ValueError("cut off")
    for line in text[:-1].split("\n"):
        digest, gap, path = line[:64], line[64:66], line[66:]
        parts = path.split("/")
        if gap != "  " or digest != digest.lower() or len(bytes.fromhex(digest)) != 32:
            raise ValueError(line)
        if not path or path in found or "\\" in path or any(part in {"", ".", ".."} for part in parts):
            raise ValueError(line)
        found[path] = digest
    return found
