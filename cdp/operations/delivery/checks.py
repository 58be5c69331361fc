"""Check a package in the form of a bag, offline: every byte, count and signature; with the key the plain text too.

A bag is consistent when its tag files agree with each other and with the payload, nothing is missing and nothing extra,
and what the signed ``package.json`` counts adds up to the person. Nothing here reads a database or a network.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from cdp.core.age import AgeUnreadable, Decryption
from cdp.core.sign import Verdict, canonical, check
from cdp.operations.delivery import bag
from cdp.operations.transfers import roll

READ_BYTES = 1024 * 1024
LARGEST_TAG_BYTES = 64 * 1024 * 1024
CUSTOMERS = "customers"
LINES = frozenset({CUSTOMERS, "choices", "provenance"})
"""Kinds of files that have a line a person."""


@dataclass(frozen=True)
class Findings:
    """What is wrong, and how far the signature carries."""

    problems: tuple[str, ...]
    verdict: Verdict
    reference: str | None = None
    signer: str | None = None
    files: int = 0
    records: int = 0


@dataclass(frozen=True)
class Measured:
    """A file as it was found: encrypted, and with the key as plain text (None where it does not open)."""

    size_bytes: int
    sha256: str
    plain_bytes: int | None = None
    plain_sha256: str | None = None
    lines: int | None = None
    people: str | None = None
    """Of a file of customers, the hash over the leaves of those it holds."""


def is_bag(folder: Path) -> bool:
    """Whether a folder holds a package."""
    return (folder / bag.PACKAGE).is_file() and (folder / bag.DECLARATION).is_file()


def read_package(raw: bytes) -> dict[str, Any] | None:
    """What a package.json says, or None unless it is one in its canonical bytes."""
    try:
        found = json.loads(raw)
        is_one = isinstance(found, dict) and found.get("kind") == bag.KIND and found.get("version") == bag.VERSION
        return found if is_one and canonical(found) == raw else None
    except (ValueError, TypeError, RecursionError):
        return None


def verify_bag(folder: Path, keys: Mapping[str, str], *, identity: str | None = None) -> Findings:
    """Check a bag against its seller's keys; with an ``identity`` also what it holds. Never raises on what it reads."""
    tags = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file() and _is_small(path)}
    package = read_package(tags.get(bag.PACKAGE, b""))
    if package is None:
        return Findings(("There is no package.json of a transfer here.",), Verdict.INVALID)
    verdict = check(package, keys)
    problems = [] if verdict is not Verdict.INVALID else ["The signature of package.json does not fit."]
    try:
        problems += _tag_problems(tags, package)
        problems += sums(package)
        problems += _payload_problems(folder, tags, package, identity)
        records = int(package["delivered"])
    except (KeyError, TypeError, ValueError, AttributeError, UnicodeDecodeError):
        problems.append("package.json or a manifest has another form.")
        records = 0
    listed = package.get("files")
    count = len(listed) if isinstance(listed, list) else 0
    signature = package.get("signature")
    signer = str(signature.get("keyId")) if isinstance(signature, dict) else None
    return Findings(tuple(problems), verdict, str(package.get("reference")), signer, count, records)


def _is_small(path: Path) -> bool:
    return path.stat().st_size <= LARGEST_TAG_BYTES


def _tag_problems(tags: Mapping[str, bytes], package: Mapping[str, Any]) -> Iterator[str]:
    wanted = bag.read_manifest(tags.get(bag.TAGMANIFEST, b"").decode())
    known = set(bag.TAGS) - {bag.TAGMANIFEST}
    if set(wanted) != known or set(tags) != {*known, bag.TAGMANIFEST}:
        yield "The tag files are not those of a package."
    for name, hashed in sorted(wanted.items()):
        if bag.sha256(tags.get(name, b"")) != hashed:
            yield f"{name} was changed."
    for name, hashed in sorted(package["bag"].items()):
        if bag.sha256(tags.get(name, b"")) != hashed:
            yield f"{name} is not the one that was signed."
    if set(package["bag"]) != known - {bag.PACKAGE}:
        yield "package.json does not vouch for every tag file."


def _payload_problems(
    folder: Path, tags: Mapping[str, bytes], package: Mapping[str, Any], identity: str | None
) -> Iterator[str]:
    manifest = bag.read_manifest(tags[bag.MANIFEST].decode())
    found = {path.relative_to(folder).as_posix() for path in (folder / "data").rglob("*") if not path.is_dir()}
    for extra in sorted(found - set(manifest)):
        yield f"{extra} does not belong here."
    if {one["encrypted"]["path"]: one["encrypted"]["sha256"] for one in package["files"]} != manifest:
        yield "The manifest lists other files than package.json."
    for one in package["files"]:
        path = one["encrypted"]["path"]
        if path not in found or path not in manifest:
            yield f"{path} is missing."
        else:
            yield from differences(one, measure(folder / path, identity, cohort=cohort_of(package, one)))


def differences(one: Mapping[str, Any], measured: Measured) -> Iterator[str]:
    """What of a file is not as the package says."""
    sealed, path = one["encrypted"], one["encrypted"]["path"]
    if (measured.size_bytes, measured.sha256) != (sealed["bytes"], sealed["sha256"]):
        yield f"{path} was changed."
    elif measured.plain_sha256 is None:
        return
    elif (measured.plain_bytes, measured.plain_sha256) != (one["bytes"], one["sha256"]):
        yield f"{path} holds something else than was packed."
    elif one["kind"] in LINES and measured.lines != one["rows"]:
        yield f"{path} has {measured.lines} records, not {one['rows']}."
    elif measured.people != one.get("people"):
        yield f"{path} holds other people than were to go."


def cohort_of(package: Mapping[str, Any], one: Mapping[str, Any]) -> str | None:
    """The cohort whose customers a file holds, None for any other file."""
    if one["kind"] != CUSTOMERS:
        return None
    folder = one["name"].partition("/")[0]
    return next((str(cohort["name"]) for cohort in package["cohorts"] if cohort["folder"] == folder), "")


class _People:
    """Whom the lines of a file name, whatever chunks they come in."""

    def __init__(self, cohort: str) -> None:
        self._cohort, self._rest = cohort, b""
        self._found: list[tuple[UUID, str]] | None = []

    def feed(self, plain: bytes) -> None:
        """Take some bytes of it."""
        *lines, self._rest = (self._rest + plain).split(b"\n")
        if self._found is None:
            return
        try:
            self._found += [(UUID(json.loads(line)["id"]), self._cohort) for line in lines]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            self._found = None

    @property
    def hashed(self) -> str:
        """The hash over their leaves; empty where a line names nobody."""
        return bag.sha256(roll.joined(self._found)) if self._found is not None else ""


def measure(
    path: Path, identity: str | None = None, *, plain: Path | None = None, cohort: str | None = None
) -> Measured:
    """Read a file once; ``plain`` is where the decrypted bytes go, if anywhere. Never raises on what it reads.

    ``cohort`` is whose customers it holds.
    """
    people = _People(cohort) if cohort is not None else None
    sealed, digest, size, plain_bytes, lines = hashlib.sha256(), hashlib.sha256(), 0, 0, 0
    stream, is_open = Decryption(identity) if identity else None, True
    sink = plain.open("wb") if plain is not None and stream is not None else None
    try:
        with path.open("rb") as file:
            while True:
                chunk = file.read(READ_BYTES)
                sealed.update(chunk)
                size += len(chunk)
                if stream is not None and is_open:
                    try:
                        out = stream.feed(chunk) if chunk else stream.finish()
                    except AgeUnreadable:
                        out, is_open = b"", False
                    digest.update(out)
                    plain_bytes, lines = plain_bytes + len(out), lines + out.count(b"\n")
                    if people is not None:
                        people.feed(out)
                    if sink is not None:
                        sink.write(out)
                if not chunk:
                    break
    finally:
        if stream is not None:
            stream.close()
        if sink is not None:
            sink.close()
    if stream is None:
        return Measured(size, sealed.hexdigest())
    if not is_open:
        return Measured(size, sealed.hexdigest(), -1, "")
    named = people.hashed if people is not None else None
    return Measured(size, sealed.hexdigest(), plain_bytes, digest.hexdigest(), lines, named)


def sums(package: Mapping[str, Any]) -> Iterator[str]:
    """Whether the counts add up: of the deal, of each cohort, and of each cohort's files."""
    counts, total = package["counts"], 0
    if counts["selected"] != sum(counts["included"].values()) + sum(counts["excluded"].values()):
        yield "Selected is not included plus excluded."
    if set(counts["included"]) - {one["name"] for one in package["cohorts"]}:
        yield "A cohort is missing."
    for one in package["cohorts"]:
        total += one["delivered"]
        if one["frozen"] != counts["included"].get(one["name"], 0):
            yield f"The cohort {one['name']} is not the one that was frozen."
        if one["frozen"] != one["delivered"] + sum(one["leftOut"].values()):
            yield f"The cohort {one['name']} does not add up."
        for kind in (*sorted(LINES), "customers_table"):
            mine = (f for f in package["files"] if f["kind"] == kind and f["name"].startswith(f"{one['folder']}/"))
            if sum(f["rows"] for f in mine) != one["delivered"]:
                yield f"The files of {one['name']} hold another number of people ({kind})."
    if total != package["delivered"]:
        yield "Delivered is not the sum of the cohorts."
