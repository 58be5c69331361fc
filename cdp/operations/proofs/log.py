"""Check an exported audit log: every entry, every signed head, their chain, and heads that were witnessed outside.

The file is read once, line by line, however long it is. A tampered, dropped, reordered or added entry changes the root
of every later head; a truncated log is shorter than its last head says; a log that was rewritten and signed again (by
whoever holds the key) disagrees with a head somebody outside has kept. Form: docs/audit-log.md.
"""

import email
import email.policy
import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from cdp.core.merkle import Tree, leaf_hash
from cdp.core.sign import Verdict, canonical
from cdp.operations.proofs.checks import Keys, SignedHead, is_count, read_head
from cdp.operations.proofs.formats import HEAD, LOG, VERSION

LONGEST_LINE_BYTES = 1024 * 1024
NOT_A_LOG = "This is not an audit log."


@dataclass
class LogCheck:
    """What checking a log has found so far."""

    keys: Keys
    witnesses: Sequence[SignedHead] = ()
    problems: list[str] = field(default_factory=list)
    heads: list[SignedHead] = field(default_factory=list)
    entries: int = 0

    @property
    def verdict(self) -> Verdict:
        """How far the signatures carry: valid only if every head's signer is known."""
        found = {head.verdict for head in (*self.heads, *self.witnesses)}
        if Verdict.INVALID in found or not self.heads:
            return Verdict.INVALID
        return Verdict.UNKNOWN_SIGNER if Verdict.UNKNOWN_SIGNER in found else Verdict.VALID

    def run(self, file: IO[bytes]) -> None:
        """Read the log from its start and note what is wrong."""
        lines = _lines(file)
        header = _object(next(lines, b""))
        if header is None or header.get("kind") != LOG or header.get("version") != VERSION:
            self.problems.append(NOT_A_LOG)
            return
        announced, heads = header.get("entries"), header.get("heads")
        if not is_count(announced) or not is_count(heads):
            self.problems.append(NOT_A_LOG)
            return
        for line in itertools.islice(lines, heads):
            self._head(line)
        if len(self.heads) != heads:
            self.problems.append(f"The log announces {heads} heads and holds {len(self.heads)}.")
        roots = self._grow(lines)
        if self.entries != announced:
            self.problems.append(f"The log announces {announced} entries and holds {self.entries}.")
        self._chain()
        self._compare(roots)
        self._witnessed(roots)

    def _head(self, line: bytes) -> None:
        head = read_head(_object(line), self.keys)
        if head is None:
            self.problems.append(f"Head {len(self.heads) + 1} has another form.")
            return
        if head.verdict is Verdict.INVALID:
            self.problems.append(f"The signature of the head of {head.size} entries does not fit.")
        self.heads.append(head)

    def _grow(self, lines: Iterator[bytes]) -> dict[int, bytes]:
        """Roots at every size that a head speaks of."""
        wanted = {head.size for head in (*self.heads, *self.witnesses)}
        tree = Tree()
        roots = {0: tree.root()}
        for line in lines:
            if not _is_entry(line):
                self.problems.append(f"Entry {tree.size + 1} has another form.")
            for _ in tree.append(leaf_hash(line)):
                pass
            if tree.size in wanted:
                roots[tree.size] = tree.root()
        self.entries = tree.size
        return roots

    def _chain(self) -> None:
        """Each head names the one before it, grows, and is not older."""
        before: SignedHead | None = None
        for head in self.heads:
            named = {"size": before.size, "sha256": _sha256(before.text)} if before else None
            if head.previous != named:
                self.problems.append(f"The head of {head.size} entries does not follow the one before it.")
            if before is not None and (head.size <= before.size or head.time < before.time):
                self.problems.append(f"The head of {head.size} entries is out of order.")
            before = head

    def _compare(self, roots: dict[int, bytes]) -> None:
        if not self.heads:
            self.problems.append("No head is signed.")
        last = self.heads[-1].size if self.heads else 0
        if self.entries < last:
            self.problems.append(f"Entries are missing: the last head counts {last}, the log holds {self.entries}.")
        if self.entries > last:
            self.problems.append(f"No head covers the entries after {last}.")
        good = 0
        for head in self.heads:
            if head.size in roots and roots[head.size] != head.root:
                self.problems.append(f"Entries {good + 1} to {head.size} are not the ones that were signed.")
                return
            good = head.size

    def _witnessed(self, roots: dict[int, bytes]) -> None:
        for head in self.witnesses:
            if head.verdict is Verdict.INVALID:
                self.problems.append(f"The signature of the witnessed head of {head.size} entries does not fit.")
            elif head.size > self.entries:
                self.problems.append(
                    f"The log was cut back: a witness saw {head.size} entries on {head.time}, it holds {self.entries}."
                )
            elif roots[head.size] != head.root:
                self.problems.append(
                    f"The log was rewritten: its first {head.size} entries are not those a witness saw on {head.time}."
                )


def is_log(path: Path) -> bool:
    """Whether a file begins as an exported log does."""
    with path.open("rb") as file:
        header = _object(next(_lines(file), b""))
    return header is not None and header.get("kind") == LOG


def witnessed(paths: Iterable[Path], keys: Keys) -> list[SignedHead]:
    """Heads that were kept outside: JSON files, mails, other exports of the log, or folders of these.

    Raises ValueError where a file holds no head.
    """
    found: list[SignedHead] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(one for one in path.rglob("*") if one.is_file())
            found += witnessed(inside, keys)
        else:
            found += _heads_of(path, keys)
    return found


def _heads_of(path: Path, keys: Keys) -> list[SignedHead]:
    with path.open("rb") as file:
        lines = list(_lines(file)) if file.peek(1)[:1] == b"{" else _mailed(file.read())
    read = [_object(line) for line in lines if HEAD.encode() in line]
    heads = [read_head(one, keys) for one in read if one is not None and one.get("kind") == HEAD]
    known = [head for head in heads if head is not None]
    if not known or len(known) < len(heads):
        raise ValueError("no signed head")
    return known


def _mailed(raw: bytes) -> list[bytes]:
    body = email.message_from_bytes(raw, policy=email.policy.default).get_body(("plain",))
    return [line.strip().encode() for line in body.get_content().splitlines()] if body is not None else []


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """Lines without their ends; one that is too long comes in pieces, none of which is an entry."""
    while line := file.readline(LONGEST_LINE_BYTES):
        yield line.removesuffix(b"\n")


def _object(line: bytes) -> dict[str, Any] | None:
    """What a line of canonical JSON says, or None where it is anything else."""
    try:
        read = json.loads(line)
        return read if isinstance(read, dict) and canonical(read) == line else None
    except (ValueError, TypeError, RecursionError):
        return None


def _is_entry(line: bytes) -> bool:
    read = _object(line)
    return read is not None and read.get("version") == VERSION and isinstance(read.get("action"), str)


def _sha256(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()
