"""Merkle trees as certificate transparency uses them: hashes, which subtrees a proof is made of, and how it is checked.

Leaves and inner nodes are hashed under different prefixes, so that neither can pass for the other. A node is named by
its level (leaves are level 0) and its place in that level; only complete subtrees have a node that never changes again,
everything else is folded from them. Sources: RFC 6962 section 2, https://www.rfc-editor.org/rfc/rfc6962#section-2, and
for the checks RFC 9162 section 2.1, https://www.rfc-editor.org/rfc/rfc9162#section-2.1
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

Place: TypeAlias = tuple[int, int]
"""Level and place within it of a complete subtree."""
Range: TypeAlias = tuple[int, int]
"""First leaf, and the one after the last."""

EMPTY = hashlib.sha256().digest()
HASH_BYTES = 32


def leaf_hash(entry: bytes) -> bytes:
    """Hash of a leaf."""
    return hashlib.sha256(b"\0" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node."""
    return hashlib.sha256(b"\1" + left + right).digest()


def subtrees(start: int, end: int) -> list[Place]:
    """Complete subtrees, left to right, that cover a range whose left edge the tree itself would choose."""
    found: list[Place] = []
    while start < end:
        level = (end - start).bit_length() - 1
        found.append((level, start >> level))
        start += 1 << level
    return found


def fold(hashes: Sequence[bytes]) -> bytes:
    """Hash of a range from the hashes of its complete subtrees, left to right."""
    if not hashes:
        return EMPTY
    *rest, folded = hashes
    for one in reversed(rest):
        folded = node_hash(one, folded)
    return folded


class Tree:
    """A growing tree that remembers only its right edge: at most one hash for each level."""

    def __init__(self, size: int = 0, edge: Sequence[bytes] = ()) -> None:
        self.size = size
        self._edge = list(edge)

    def append(self, leaf: bytes) -> Iterator[tuple[Place, bytes]]:
        """Add a leaf hash; yields the inner nodes it completes, from the bottom up. Must be exhausted."""
        level, place, hashed = 0, self.size, leaf
        while place & 1:
            hashed = node_hash(self._edge.pop(), hashed)
            level, place = level + 1, place >> 1
            yield (level, place), hashed
        self._edge.append(hashed)
        self.size += 1

    def root(self) -> bytes:
        """Hash of the whole tree."""
        return fold(self._edge)


def inclusion(index: int, size: int) -> list[Range]:
    """Ranges whose hashes prove that a leaf is in a tree of this size, in the order of the proof."""
    start, end = 0, size
    path: list[Range] = []
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append((middle, end))
            end = middle
        else:
            path.append((start, middle))
            start = middle
    return path[::-1]


def consistency(first: int, second: int) -> list[Range]:
    """Ranges whose hashes prove that a tree of ``second`` leaves begins with one of ``first``, in proof order."""
    if first in {0, second}:
        return []
    start, end = 0, second
    path: list[Range] = []
    while first != end:
        middle = start + _split(end - start)
        if first <= middle:
            path.append((middle, end))
            end = middle
        else:
            path.append((start, middle))
            start = middle
    if start:
        path.append((start, end))
    return path[::-1]


def _split(leaves: int) -> int:
    """The largest power of two smaller than this number of leaves."""
    return 1 << ((leaves - 1).bit_length() - 1)


def places(ranges: Sequence[Range]) -> set[Place]:
    """Every complete subtree these ranges are folded from."""
    return {place for start, end in ranges for place in subtrees(start, end)}


def proof(ranges: Sequence[Range], known: Mapping[Place, bytes]) -> list[bytes]:
    """The hashes of these ranges. Raises KeyError when a subtree is not known."""
    return [fold([known[place] for place in subtrees(start, end)]) for start, end in ranges]


def is_included(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether this proof puts a leaf hash at this index of the tree with this root (RFC 9162 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    place, last, hashed = index, size - 1, leaf
    for one in path:
        if last == 0:
            return False
        if place & 1 or place == last:
            hashed = node_hash(one, hashed)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            hashed = node_hash(hashed, one)
        place, last = place >> 1, last >> 1
    return last == 0 and hashed == root


def is_consistent(first: int, second: int, roots: tuple[bytes, bytes], path: Sequence[bytes]) -> bool:
    """Whether this proof shows that the tree with the second root begins with the first (RFC 9162 2.1.4.2)."""
    before, after = roots
    if first > second or first < 0:
        return False
    if first in {0, second}:
        return not path and (before == after if first == second else before == EMPTY)
    known = [before, *path] if first & (first - 1) == 0 else list(path)
    if not known:
        return False
    place, last = first - 1, second - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    old = new = known[0]
    for one in known[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            old, new = node_hash(one, old), node_hash(one, new)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            new = node_hash(new, one)
        place, last = place >> 1, last >> 1
    return last == 0 and old == before and new == after
