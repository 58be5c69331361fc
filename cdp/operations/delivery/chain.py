"""Check the chain of custody of a deal, offline: every entry proven, every document named by one, every count kept.

What holds: the entries are in the log under a signed head; the statuses follow each other without a gap; two people who
did not make the deal approved the hash that was frozen; who was delivered is who was frozen, but for those who are
counted as left out; each package, delta and statement is named by an entry by its
hash, and each entry's document is here; statements are signed by the key their entry names and speak of the files that
were packed. Whoever holds the platform's key can not change any of it without the heads that others keep.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cdp.core.sign import Verdict, canonical, check, decode
from cdp.operations.delivery import bag, checks, statements
from cdp.operations.delivery.checks import Findings
from cdp.operations.delivery.statements import StatementInvalid
from cdp.operations.proofs.checks import check_inclusion
from cdp.operations.transfers import roll
from cdp.tables.transfer import TRANSFER_TRANSITIONS, TransferStatus

KIND, VERSION = "cdp.transfer-custody", 1
OBJECT = "Transfer"
APPROVALS_NEEDED = 2
DELTA = "cdp.transfer-delta"
CUSTOMERS = "customers"
NAMED = {
    "transfer.receipted": statements.RECEIPT,
    "transfer.delta_acknowledged": statements.ACKNOWLEDGEMENT,
    "transfer.destroyed": statements.DESTRUCTION,
}
Document = Mapping[str, Any]
_FORM = "The chain of custody has another form."


def read(raw: bytes) -> dict[str, Any] | None:
    """What a file says, or None unless it is a chain of custody in its canonical bytes."""
    try:
        found = json.loads(raw)
        is_one = isinstance(found, dict) and found.get("kind") == KIND and found.get("version") == VERSION
        return found if is_one and canonical(found) == raw else None
    except (ValueError, TypeError, RecursionError):
        return None


def verify(raw: bytes, keys: Mapping[str, str]) -> Findings:
    """Check a chain of custody against pinned keys. Never raises on what a file may hold."""
    found = read(raw)
    if found is None:
        return Findings((_FORM,), Verdict.INVALID)
    verdicts = [check(found, keys)]
    problems: list[str] = [] if verdicts[0] is not Verdict.INVALID else ["The signature does not fit."]
    try:
        for one in found["ledger"]:
            proven = check_inclusion({**one, "head": found["head"]}, keys, details={}, object_type=OBJECT)
            problems += proven.problems
            verdicts.append(proven.verdict)
        entries = [one["entry"] for one in found["ledger"]]
        problems += _ledger_problems(found, entries)
        problems += _approval_problems(found["packages"], entries)
        problems += _package_problems(found, entries, keys)
        problems += _people_problems(found["people"], found["packages"])
        problems += _delta_problems(found, entries, keys)
        problems += _statement_problems(found, entries)
        records = int(found["packages"][-1]["delivered"]) if found["packages"] else 0
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError):
        problems.append(_FORM)
        records = 0
    signature = found.get("signature")
    signer = str(signature.get("keyId")) if isinstance(signature, dict) else None
    return Findings(tuple(problems), _worst(verdicts), str(found.get("reference")), signer, len(found), records)


def _worst(verdicts: Sequence[Verdict]) -> Verdict:
    for one in (Verdict.INVALID, Verdict.UNKNOWN_SIGNER):
        if one in verdicts:
            return one
    return Verdict.VALID


def _of(entries: Sequence[Document], action: str) -> list[Document]:
    return [one for one in entries if one["action"] == action and one["outcome"] == "ok"]


def ledger_hash(entries: Sequence[Document]) -> str:
    """The hash over entries in their order: SHA-256 over the SHA-256 of each."""
    return bag.sha256("".join(bag.sha256(canonical(one)) for one in entries).encode())


def _ledger_problems(found: Document, entries: Sequence[Document]) -> Iterator[str]:
    """One deal, in the order of the log, through every status."""
    places = [one["index"] for one in found["ledger"]]
    if places != sorted(set(places)):
        yield "The entries are out of order."
    if any(one["object"]["id"] != found["id"] for one in entries):
        yield "An entry is about another transfer."
    if not entries or entries[0]["action"] != "transfer.created":
        yield "The chain does not begin with the recording of the transfer."
    elif entries[0]["details"].get("reference") != found["reference"]:
        yield "The chain is of a transfer with another reference."
    if not entries or entries[-1]["action"] != "transfer.custody_written":
        yield "The chain does not end with its own writing."
    yield from _gaps(entries)
    at = TransferStatus.DRAFT
    for one in entries:
        status = one["action"].removeprefix("transfer.")
        if status not in set(TransferStatus) or status == TransferStatus.DRAFT or one["outcome"] != "ok":
            continue
        before, new = one["details"].get("from"), TransferStatus(status)
        if before != at or new not in TRANSFER_TRANSITIONS[at]:
            yield f"An entry is missing between {at.value} and {status}."
        at = new


def _gaps(entries: Sequence[Document]) -> Iterator[str]:
    """Each writing of a chain has counted what came before it."""
    for place, one in enumerate(entries):
        if one["action"] != "transfer.custody_written" or one["outcome"] != "ok":
            continue
        count = one["details"]["entries"]
        if not 0 <= count <= place or ledger_hash(entries[:count]) != one["details"]["sha256"]:
            yield f"Entries before the writing of {one['occurredAt']} are not all here."


def _approval_problems(packages: Sequence[Document], entries: Sequence[Document]) -> Iterator[str]:
    """What was packed is what was frozen, and two others than its makers approved just that."""
    if not packages:
        return
    frozen = _of(entries, "transfer.frozen")[-1]
    makers = {one["actor"]["ref"] for one in (*_of(entries, "transfer.created"), frozen)}
    hashed = frozen["details"]["sha256"]
    since = entries[entries.index(frozen) :]  # what was approved before it was given up counts no more
    given = [one for one in _of(since, "transfer.approval_given") if one["details"]["sha256"] == hashed]
    people = {one["actor"]["ref"] for one in given}
    if len(people) < APPROVALS_NEEDED or people & makers:
        yield "Two approvals by others than its makers are missing."
    creator = entries[0]["actor"]["ref"]
    compared = [one for one in _of(entries, "transfer.key_confirmed") if one["actor"]["ref"] != creator]
    keys = {one["details"]["keyFingerprint"] for one in compared if entries.index(one) < entries.index(frozen)}
    for one in packages:
        key = bag.sha256(str(one["terms"]["acquirer"]["key"]).encode())
        if key != one["keyFingerprint"] or key not in keys:
            yield f"Nobody but its maker has compared the key of revision {one['revision']}."
        if one["frozen"]["sha256"] != hashed:
            yield f"Revision {one['revision']} is not of what was frozen and approved."
        if {said["staff"] for said in one["frozen"]["approvals"]} != people:
            yield f"Revision {one['revision']} names other approvals."
        if frozen["details"]["included"] != one["counts"]["included"]:
            yield f"Revision {one['revision']} counts other people than were frozen."


def _package_problems(found: Document, entries: Sequence[Document], keys: Mapping[str, str]) -> Iterator[str]:
    packages, noted = found["packages"], _of(entries, "transfer.packaged")
    said = [(one["details"]["revision"], one["details"]["sha256"]) for one in noted]
    here = [(one["revision"], bag.sha256(canonical(one))) for one in packages]
    if said != here:
        yield "The packages are not those of the ledger."
    for one, entry in zip(packages, noted, strict=False):
        if check(one, keys) is Verdict.INVALID:
            yield f"The signature of revision {one['revision']} does not fit."
        if one["reference"] != found["reference"]:
            yield f"Revision {one['revision']} is of another transfer."
        if entry["details"]["delivered"] != one["delivered"]:
            yield f"Revision {one['revision']} counts other people than its entry."
        yield from checks.sums(one)
    served = {file["encrypted"]["sha256"] for one in packages for file in one["files"]}
    served |= {hashed for one in packages for hashed in one["bag"].values()}
    served |= {bag.sha256(canonical(one)) for one in packages}
    for entry in _of(entries, "transfer.file_pulled"):
        if entry["details"]["file"] != bag.TAGMANIFEST and entry["details"]["sha256"] not in served:
            yield f"{entry['details']['file']} was served, but never packed."


def _people_problems(people: Document, packages: Sequence[Document]) -> Iterator[str]:
    """Who was delivered was frozen, each once; who was not is counted. All of it by hashes."""
    leaves = decode(people["frozen"])
    frozen = set(roll.split(leaves))
    if len(frozen) * roll.LEAF_BYTES != len(leaves):
        yield "Somebody was frozen twice."
    for package in packages:
        number, known = package["revision"], roll.Frozen(package["terms"])
        known.feed(leaves)
        if known.digest().hex() != package["frozen"]["sha256"]:
            yield f"Those who are listed are not those who were frozen for revision {number}."
        if len(frozen) != sum(package["counts"]["included"].values()):
            yield f"Revision {number} counts other people than are listed."
        yield from _delivered_problems(people["delivered"], package, frozen)


def _delivered_problems(rolls: Document, package: Document, frozen: set[bytes]) -> Iterator[str]:
    delivered: set[bytes] = set()
    for file in (one for one in package["files"] if one["kind"] == CUSTOMERS):
        leaves = decode(rolls[file["people"]]) if file["people"] in rolls else None
        if leaves is None or bag.sha256(leaves) != file["people"]:
            yield f"It is not said whom {file['name']} holds."
            continue
        here = set(roll.split(leaves))
        if len(leaves) != file["rows"] * roll.LEAF_BYTES or len(here) != file["rows"] or here & delivered:
            yield f"{file['name']} holds somebody twice, or other people than it counts."
        if here - frozen:
            yield f"{file['name']} holds somebody who was not frozen."
        delivered |= here
    if len(delivered) != package["delivered"]:
        yield f"Revision {package['revision']} says of other people that they were delivered."


def _delta_problems(found: Document, entries: Sequence[Document], keys: Mapping[str, str]) -> Iterator[str]:
    deltas, noted = found["deltas"], _of(entries, "transfer.delta_issued")
    said = [(one["details"]["ordinal"], one["details"]["sha256"], one["details"]["count"]) for one in noted]
    if said != [(one["ordinal"], bag.sha256(canonical(one)), one["count"]) for one in deltas]:
        yield "The deltas are not those of the ledger."
    previous = None
    for ordinal, one in enumerate(deltas, 1):
        if check(one, keys) is Verdict.INVALID:
            yield f"The signature of delta {ordinal} does not fit."
        if (one["kind"], one["ordinal"], one["previous"], one["reference"]) != (
            DELTA,
            ordinal,
            previous,
            found["reference"],
        ):
            yield f"Delta {ordinal} does not follow the one before it."
        if one["count"] != sum(one["byReason"].values()):
            yield f"Delta {ordinal} does not add up."
        previous = bag.sha256(canonical(one))
    was_recalled = bool(_of(entries, "transfer.recalled"))
    if was_recalled != any(one["change"] == "recall" for one in deltas):
        yield "A recall and its notice do not go together."


def _statement_problems(found: Document, entries: Sequence[Document]) -> Iterator[str]:
    """Every statement has its entry and every entry its statement; each is signed, and fits what it speaks of."""
    noted = {one["details"]["sha256"]: one for one in entries if one["action"] in NAMED and one["outcome"] == "ok"}
    here = {bag.sha256(one["statement"].encode()): one for one in found["statements"]}
    for missing in sorted(set(noted) - set(here)):
        yield f"The statement {missing[:12]} of the acquirer is missing."
    for strange in sorted(set(here) - set(noted)):
        yield f"The statement {strange[:12]} is in no entry."
    for hashed in sorted(set(here) & set(noted)):
        yield from _said(found, noted[hashed], here[hashed])
    if _of(entries, "transfer.completed"):
        taken = _of(entries, "transfer.receipted")
        if not taken or taken[-1]["details"]["rejected"] != 0:
            yield "It was completed without a receipt for everything."
    for entry in _of(entries, "transfer.completed"):
        if entry["details"]["customers"] != found["packages"][-1]["delivered"]:
            yield "Other people were marked as transferred than were delivered."


def _said(found: Document, entry: Document, one: Document) -> Iterator[str]:
    details, name = entry["details"], entry["details"]["sha256"][:12]
    try:
        said, signer = statements.read(one["statement"], {"keys": [one["signer"]]})
    except StatementInvalid:
        yield f"The signature of the statement {name} does not fit."
        return
    if statements.thumbprint(signer) != details["signer"]:
        yield f"The statement {name} is signed by another key than the ledger says."
    if said["kind"] != NAMED[entry["action"]] or said["reference"] != found["reference"]:
        yield f"The statement {name} is about something else."
    elif said["kind"] == statements.RECEIPT:
        yield from _receipt(found, details, said)
    elif (said["ordinal"], said["delta"]) != (details["ordinal"], details["delta"]):
        yield f"The statement {name} is about something else."
    elif details["delta"] not in {bag.sha256(canonical(delta)) for delta in found["deltas"]}:
        yield f"The statement {name} is about a delta that is not here."


def _receipt(found: Document, details: Document, said: Document) -> Iterator[str]:
    named = [one for one in found["packages"] if one["revision"] == details["revision"]]
    if len(named) != 1 or bag.sha256(canonical(named[0])) != said["package"]:
        yield f"The receipt of revision {details['revision']} is of another package."
        return
    packed = {one["name"]: (one["encrypted"]["sha256"], one["sha256"], one["rows"]) for one in named[0]["files"]}
    accepted = {one["name"]: one for one in said["files"] if one["verdict"] == "accepted"}
    for name, one in accepted.items():
        if packed.get(name) != (one["sha256"], one["plainSha256"], one["rows"]):
            yield f"The receipt speaks of another {name}."
    rejected = len(said["files"]) - len(accepted)
    if (len(accepted), rejected) != (details["accepted"], details["rejected"]) or len(said["files"]) != len(packed):
        yield f"The receipt of revision {details['revision']} counts other files than its entry."
