"""The roll of a deal: one hash a person, so that who was frozen and who was delivered can be compared by strangers.

A leaf is SHA-256 over the name by which the acquirer knows somebody and their cohort. That name is made of the deal's
secret salt, so nobody can find out from a leaf whom it stands for, and whoever holds a record can make its leaf. The
frozen hash is SHA-256 over the terms and the leaves in the order of the names. Imports nothing heavy.
"""

import hashlib
from collections.abc import Iterable, Mapping
from uuid import UUID

from cdp.core.sign import Document, canonical

LEAF_BYTES = 32


def leaf(record: UUID, cohort: str) -> bytes:
    """The hash that stands for one person in a cohort."""
    return hashlib.sha256(f"{record} {cohort}".encode()).digest()


def joined(people: Iterable[tuple[UUID, str]]) -> bytes:
    """The leaves of some people, in the order of their names."""
    return b"".join(leaf(record, cohort) for record, cohort in sorted(people))


def split(leaves: bytes) -> list[bytes]:
    """Leaves one by one. Raises ValueError when one is cut off."""
    if len(leaves) % LEAF_BYTES:
        raise ValueError("cut off")
    return [leaves[at : at + LEAF_BYTES] for at in range(0, len(leaves), LEAF_BYTES)]


class Frozen:
    """The hash of what is frozen, fed leaf by leaf."""

    def __init__(self, terms: Mapping[str, Document]) -> None:
        self._digest = hashlib.sha256(canonical(dict(terms)) + b"\n")

    def feed(self, leaves: bytes) -> None:
        """Take leaves in order."""
        self._digest.update(leaves)

    def digest(self) -> bytes:
        """The hash."""
        return self._digest.digest()
