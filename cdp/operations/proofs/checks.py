"""Check signed heads and proofs from the audit log without the log, as docs/audit-log.md describes them.

Nothing here reads a database or a network, and nothing raises on what a file may hold.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from cdp.core.merkle import HASH_BYTES, is_included, leaf_hash
from cdp.core.sign import Verdict, canonical, check
from cdp.operations.proofs.formats import HEAD, HEAD_FIELDS, VERSION

Keys = Mapping[str, str]
LARGEST_SIZE = 2**60


@dataclass(frozen=True)
class SignedHead:
    """A head whose form is right: what it says, and whether somebody known signed it."""

    size: int
    root: bytes
    time: str
    previous: Mapping[str, Any] | None
    text: bytes
    verdict: Verdict
    signer: str


@dataclass(frozen=True)
class Findings:
    """What is wrong, and how far the signatures carry."""

    problems: tuple[str, ...]
    verdict: Verdict


def read_head(found: object, keys: Keys) -> SignedHead | None:
    """The head, or None unless it has exactly the form of one."""
    if not isinstance(found, dict) or set(found) != HEAD_FIELDS or found["kind"] != HEAD:
        return None
    root, signature, previous = hash_of(found["root"]), found["signature"], found["previous"]
    if root is None or not is_count(found["size"]) or not isinstance(found["time"], str):
        return None
    if found["version"] != VERSION or not _has(signature, "algorithm", "keyId", "value"):
        return None
    if previous is not None and not _has(previous, "size", "sha256"):
        return None
    try:
        text = canonical(found)
    except (TypeError, ValueError, RecursionError):
        return None
    return SignedHead(found["size"], root, found["time"], previous, text, check(found, keys), str(signature["keyId"]))


def _has(found: object, *members: str) -> bool:
    return isinstance(found, dict) and set(found) == set(members)


def check_inclusion(found: object, keys: Keys, *, details: Mapping[str, str], object_type: str) -> Findings:
    """Check that an entry about such an object, with these details, is in the log under a signed head."""
    if not isinstance(found, dict) or set(found) != {"entry", "index", "path", "head"}:
        return Findings(("There is no proof from the audit log.",), Verdict.INVALID)
    head = read_head(found["head"], keys)
    if head is None or head.verdict is Verdict.INVALID:
        return Findings(("The head of the audit log is not one that was signed.",), Verdict.INVALID)
    problems = [*_entry_problems(found["entry"], details, object_type), *_path_problems(found, head)]
    return Findings(tuple(problems), head.verdict)


def _entry_problems(entry: object, details: Mapping[str, str], object_type: str) -> Iterator[str]:
    if not isinstance(entry, dict) or not isinstance(entry.get("details"), dict):
        yield "The entry of the audit log has another form."
        return
    about = entry.get("object")
    if not isinstance(about, dict) or about.get("type") != object_type:
        yield "The entry of the audit log is about something else."
    if any(entry["details"].get(name) != value for name, value in details.items()):
        yield "The entry of the audit log does not speak of this."


def _path_problems(found: Mapping[str, Any], head: SignedHead) -> Iterator[str]:
    path = [hash_of(one) for one in found["path"]] if isinstance(found["path"], list) else [None]
    known = [one for one in path if one is not None]
    if len(known) < len(path) or not is_count(found["index"]):
        yield "The proof from the audit log has another form."
        return
    try:
        leaf = leaf_hash(canonical(found["entry"]))
    except (TypeError, ValueError, RecursionError):
        yield "The entry of the audit log has another form."
        return
    if not is_included(leaf, found["index"], head.size, known, head.root):
        yield "The proof does not lead from the entry to the head of the audit log."


def hash_of(text: object) -> bytes | None:
    """Read a hash in lower-case hexadecimal, or None."""
    if not isinstance(text, str) or len(text) != 2 * HASH_BYTES or text != text.lower():
        return None
    try:
        return bytes.fromhex(text)
    except ValueError:
        return None


def is_count(value: object) -> TypeGuard[int]:
    """Whether this is a number of entries."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_SIZE
