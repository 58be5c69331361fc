"""Check what we issued, offline and without trusting us: certificates, export packages, the audit log, byte for byte.

A certificate, like the addendum that follows it, is canonical JSON under an Ed25519 signature: its bytes must be the
canonical form of what they say, so that no second spelling of a signed document passes. A package is checked twice: its
seal covers every byte of the archive, and its signed manifest covers the size and SHA-256 of every file, with nothing
missing and nothing extra.
Nothing here reads a database or a network.
"""

import hashlib
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from cdp.core.sign import Verdict, canonical, check, decode, encode, key_id
from cdp.operations.bulk import manifests
from cdp.operations.bulk.finishing import MANIFEST as BULK_MANIFEST
from cdp.operations.bulk.folders import verify_folder
from cdp.operations.delivery import bag, chain
from cdp.operations.delivery.checks import verify_bag
from cdp.operations.packages.formats import (
    ADDENDUM,
    CERTIFICATE,
    MANIFEST,
    PACKAGE,
    SEAL,
    SIGNATURE,
    VERSION,
    subject_hash,
)
from cdp.operations.proofs.checks import Findings, SignedHead, check_inclusion, read_head
from cdp.operations.proofs.log import LogCheck, is_log, witnessed
from cdp.operations.proofs.verify_certificate import left_out

READ_BYTES = 1024 * 1024
LARGEST_DOCUMENT_BYTES = 64 * 1024 * 1024
# signature of the end-of-central-directory record, https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT 4.3.16
END_OF_DIRECTORY = b"PK\x05\x06"
END_BYTES = 22

Keys = Mapping[str, str]


class Kind(StrEnum):
    """What a file turned out to be."""

    CERTIFICATE = "certificate"
    ADDENDUM = "addendum"
    PACKAGE = "package"
    BULK = "bulk export"
    LOG = "audit log"
    HEAD = "head of the audit log"
    CUSTODY = "chain of custody of a transfer"
    TRANSFER = "transfer package"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Report:
    """What a check found. Valid means: unchanged, and signed by a key that was given."""

    kind: Kind
    verdict: Verdict
    problems: tuple[str, ...] = ()
    reference: str | None = None
    signer: str | None = None
    files: int = 0
    entries: int = 0
    left_out: tuple[str, ...] = ()
    """What a certificate does not say was erased and read again, in words."""

    @property
    def is_valid(self) -> bool:
        """Whether everything holds and the signer is known."""
        return self.verdict is Verdict.VALID and not self.problems

    @property
    def is_consistent(self) -> bool:
        """Whether nothing contradicts itself, but nobody we know vouches for it."""
        return self.verdict is Verdict.UNKNOWN_SIGNER and not self.problems


def verify_file(path: Path, keys: Keys, *, identity: str | None = None) -> Report:
    """Check a file, whatever it is; or the folder of a transfer's package, with an age ``identity`` what it holds."""
    if path.is_dir():
        return _transfer(path, keys, identity)
    with path.open("rb") as file:
        start = file.read(4)
    if start.startswith(b"PK"):
        return verify_package(path, keys)
    if is_log(path):
        return verify_log(path, keys)
    if path.stat().st_size > LARGEST_DOCUMENT_BYTES:
        return Report(Kind.UNKNOWN, Verdict.INVALID, ("This is neither a certificate nor a package.",))
    return _document(path, path.read_bytes(), keys, identity)


def _document(path: Path, document: bytes, keys: Keys, identity: str | None) -> Report:
    """A document by the kind it says it is."""
    read = _json_object(document)
    match (read or {}).get("kind"):
        case manifests.KIND:
            return _bulk(path, keys)
        case bag.KIND:
            return _transfer(path.parent, keys, identity)
        case chain.KIND:
            found = chain.verify(document, keys)
            return Report(Kind.CUSTODY, found.verdict, found.problems, found.reference, found.signer, 1, found.records)
    head = read_head(read, keys)
    return verify_statement(document, keys) if head is None else _head(head, document)


def verify_statement(document: bytes, keys: Keys) -> Report:
    """Check a certificate or an addendum, whichever it says it is."""
    is_addendum = (_json_object(document) or {}).get("kind") == ADDENDUM
    return (verify_addendum if is_addendum else verify_certificate)(document, keys)


def _bulk(path: Path, keys: Keys) -> Report:
    """A bulk export by its manifest, with the files that were downloaded beside it."""
    if path.name != BULK_MANIFEST:
        return Report(Kind.BULK, Verdict.INVALID, (f"A manifest is checked beside its files, as {BULK_MANIFEST}.",))
    found = verify_folder(path.parent, keys)
    return Report(Kind.BULK, found.verdict, found.problems, found.reference, found.signer, found.files, found.records)


def _transfer(folder: Path, keys: Keys, identity: str | None) -> Report:
    """A package as its acquirer has it."""
    found = verify_bag(folder, keys, identity=identity)
    return Report(
        Kind.TRANSFER, found.verdict, found.problems, found.reference, found.signer, found.files, found.records
    )


def verify_log(path: Path, keys: Keys, *, witnesses: Sequence[Path] = ()) -> Report:
    """Check an exported audit log, and that it agrees with heads kept outside. Raises ValueError, see ``witnessed``."""
    found = LogCheck(keys, witnessed(witnesses, keys))
    with path.open("rb") as file:
        found.run(file)
    last = found.heads[-1] if found.heads else None
    reference = f"up to {last.time}" if last else None
    signer = last.signer if last else None
    return Report(Kind.LOG, found.verdict, tuple(found.problems), reference, signer, entries=found.entries)


def _head(head: SignedHead, document: bytes) -> Report:
    problems = [] if head.text == document.rstrip(b"\n") else ["The bytes are not the ones that were issued."]
    if head.verdict is Verdict.INVALID:
        problems.append("The signature does not fit the head.")
    return Report(Kind.HEAD, head.verdict, tuple(problems), f"of {head.time}", head.signer, entries=head.size)


def verify_certificate(document: bytes, keys: Keys) -> Report:
    """Check an erasure certificate as it was issued, byte for byte."""
    read = _json_object(document)
    if read is None or read.get("kind") != CERTIFICATE:
        return Report(Kind.UNKNOWN, Verdict.INVALID, ("This is not an erasure certificate.",))
    report = _statement(document, read, Kind.CERTIFICATE, "Certificate", keys)
    return replace(report, left_out=tuple(left_out(read)))


def verify_addendum(document: bytes, keys: Keys, *, certificate: bytes | None = None) -> Report:
    """Check an addendum byte for byte, and that it belongs to this very certificate, where one is given."""
    read = _json_object(document)
    if read is None or read.get("kind") != ADDENDUM:
        return Report(Kind.UNKNOWN, Verdict.INVALID, ("This is not an addendum to an erasure certificate.",))
    report = _statement(document, read, Kind.ADDENDUM, "CertificateAddendum", keys)
    more = []
    if certificate is not None and not _belongs(read, certificate):
        more.append("It belongs to another certificate.")
    if read.get("found") != []:
        more.append("It does not say that nothing was found.")
    return replace(report, problems=(*report.problems, *more))


def certificate_of(document: bytes) -> str:
    """Reference of the certificate that an addendum says it belongs to."""
    named = (_json_object(document) or {}).get("certificate")
    return str(named.get("reference")) if isinstance(named, dict) else ""


def _belongs(read: dict[str, Any], certificate: bytes) -> bool:
    known = _json_object(certificate) or {}
    said = {"reference": known.get("reference"), "sha256": hashlib.sha256(certificate).hexdigest()}
    return read.get("certificate") == said


def _statement(document: bytes, read: dict[str, Any], kind: Kind, object_type: str, keys: Keys) -> Report:
    """Check one spelling, the signature, and the place in the audit log."""
    logged = _logged(read, keys, object_type)
    problems = [*_canonical_problems(document, read), *_version_problems(read), *logged.problems]
    verdict = check(read, keys)
    if verdict is Verdict.INVALID:
        problems.append(f"The signature does not fit the {kind.value}.")
    elif logged.verdict is not Verdict.VALID:
        verdict = logged.verdict
    signature = read.get("signature")
    signer = str(signature.get("keyId")) if isinstance(signature, dict) else None
    return Report(kind, verdict, tuple(problems), str(read.get("reference")), signer)


def _logged(read: dict[str, Any], keys: Keys, object_type: str) -> Findings:
    """Whether an entry of the audit log holds the hash of what the document states."""
    stated = {name: value for name, value in read.items() if name not in {"log", "signature"}}
    try:
        details = {"sha256": hashlib.sha256(canonical(stated)).hexdigest(), "reference": str(read.get("reference"))}
    except (TypeError, ValueError, RecursionError):
        return Findings(("The document has no canonical form.",), Verdict.INVALID)
    return check_inclusion(read.get("log"), keys, details=details, object_type=object_type)


def names_subject(document: bytes, identifier: str, salt: str) -> bool:
    """Whether a certificate is about who has this normalised identifier; only that person has the salt."""
    read = _json_object(document) or {}
    subject = read.get("subject")
    try:
        return isinstance(subject, dict) and subject.get("hash") == subject_hash(salt, identifier)
    except ValueError:
        return False


def _json_object(document: bytes) -> dict[str, Any] | None:
    try:
        read = json.loads(document)
    except (ValueError, RecursionError):
        return None
    return read if isinstance(read, dict) else None


def _is_canonical(document: bytes, read: dict[str, Any]) -> bool:
    """Whether these are the one bytes of what they say."""
    try:
        return canonical(read) == document
    except (TypeError, ValueError):
        return False


def _canonical_problems(document: bytes, read: dict[str, Any]) -> list[str]:
    problems = [] if _is_canonical(document, read) else ["The bytes are not the ones that were issued."]
    signature = read.get("signature")
    if not isinstance(signature, dict) or set(signature) != {"algorithm", "keyId", "value"}:
        return [*problems, "The signature has another form."]
    return problems + ([] if _is_exact(str(signature["value"])) else ["The signature is spelled differently."])


def _is_exact(value: str) -> bool:
    """Whether base64url is the one spelling of its bytes: its last letter has bits that mean nothing."""
    try:
        return encode(decode(value)) == value
    except ValueError:
        return False


def _version_problems(read: dict[str, Any]) -> list[str]:
    return [] if read.get("version") == VERSION else ["This version is not known here; use a newer verifier."]


def verify_package(path: Path, keys: Keys) -> Report:
    """Check an export package: its seal, its manifest's signature, and every file against the manifest."""
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            return _package(archive, file, keys)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, OSError, EOFError, NotImplementedError, ValueError, zlib.error):
        return Report(Kind.PACKAGE, Verdict.INVALID, ("The archive is damaged.",))
    except RuntimeError:
        return Report(Kind.PACKAGE, Verdict.INVALID, ("The archive is encrypted or damaged.",))


def _package(archive: zipfile.ZipFile, file: IO[bytes], keys: Keys) -> Report:
    manifest, signature = _small(archive, MANIFEST), _small(archive, SIGNATURE)
    read = _json_object(manifest)
    if read is None or read.get("kind") != PACKAGE:
        return Report(Kind.PACKAGE, Verdict.INVALID, ("There is no manifest of an export.",))
    problems = [*_version_problems(read), *_file_problems(archive, read)]
    if not _is_canonical(manifest, read):
        problems.append("The manifest's bytes are not the ones that were issued.")
    signer, verdict = _detached(manifest, signature, keys)
    if verdict is Verdict.INVALID:
        problems.append("The signature does not fit the manifest.")
    sealed = _seal_verdict(file, archive.comment, keys, signer=signer)
    if sealed is Verdict.INVALID:
        problems.append("The archive is not the one that was issued: its seal does not fit its bytes.")
    return Report(
        Kind.PACKAGE,
        verdict if verdict is not Verdict.VALID else sealed,
        tuple(problems),
        str(read.get("request")),
        signer,
        len(archive.namelist()),
    )


def _small(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        with archive.open(name) as member:
            return member.read(LARGEST_DOCUMENT_BYTES)
    except (KeyError, zipfile.BadZipFile, EOFError, zlib.error):
        return b""


def _detached(manifest: bytes, signature: bytes, keys: Keys) -> tuple[str | None, Verdict]:
    read = _json_object(signature)
    if read is None or set(read) != {"algorithm", "keyId", "value"} or not _is_canonical(signature, read):
        return None, Verdict.INVALID
    if read["algorithm"] != "Ed25519" or not _is_exact(str(read["value"])):
        return None, Verdict.INVALID
    signer = str(read["keyId"])
    return signer, _signed(manifest, str(read["value"]), signer, keys)


def _signed(payload: bytes, value: str, signer: str, keys: Keys) -> Verdict:
    public = keys.get(signer)
    if public is None:
        return Verdict.UNKNOWN_SIGNER
    try:
        raw = decode(public)
        if key_id(raw) != signer:
            return Verdict.INVALID
        Ed25519PublicKey.from_public_bytes(raw).verify(decode(value), payload)
    except (InvalidSignature, ValueError):
        return Verdict.INVALID
    return Verdict.VALID


def _seal_verdict(file: IO[bytes], comment: bytes, keys: Keys, *, signer: str | None) -> Verdict:
    """Check the signature in the archive's comment over every byte before it, by who signed the manifest."""
    sealer, _, value = comment.removeprefix(SEAL).decode("ascii", "replace").partition(":")
    if not comment.startswith(SEAL) or sealer != signer or not _is_exact(value):
        return Verdict.INVALID
    size = file.seek(0, 2) - len(comment)
    file.seek(size - END_BYTES)
    if file.read(len(END_OF_DIRECTORY)) != END_OF_DIRECTORY:
        return Verdict.INVALID
    digest, left = hashlib.sha256(), size
    file.seek(0)
    while left and (chunk := file.read(min(READ_BYTES, left))):
        digest.update(chunk)
        left -= len(chunk)
    return _signed(SEAL + digest.digest(), value, sealer, keys)


def _file_problems(archive: zipfile.ZipFile, manifest: dict[str, Any]) -> list[str]:
    """Nothing missing, nothing extra, nothing twice, every file as long and as it was hashed."""
    listed = {str(one.get("path")): one for one in manifest.get("files", []) if isinstance(one, dict)}
    names = archive.namelist()
    there = set(names) - {MANIFEST, SIGNATURE}
    problems = [f"{name} is missing." for name in sorted(listed.keys() - there)]
    problems += [f"{name} is not in the manifest." for name in sorted(there - listed.keys())]
    problems += [f"{name} is there twice." for name in sorted({name for name in names if names.count(name) > 1})]
    for name in sorted(there & listed.keys()):
        size, digest = _measure(archive, name)
        if (size, digest) != (listed[name].get("bytes"), listed[name].get("sha256")):
            problems.append(f"{name} was changed.")
    return problems


def _measure(archive: zipfile.ZipFile, name: str) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    try:
        with archive.open(name) as member:
            while chunk := member.read(READ_BYTES):
                digest.update(chunk)
                size += len(chunk)
    except (zipfile.BadZipFile, EOFError, zlib.error):
        return -1, ""
    return size, digest.hexdigest()
