"""The tree against its definition in RFC 6962 section 2.1, written here once more as it stands there."""

import hashlib
import random

import pytest

from cdp.core import merkle

SIZES = 70


def naive_root(entries: list[bytes]) -> bytes:
    """MTH of RFC 6962 2.1."""
    if not entries:
        return hashlib.sha256(b"").digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\x00" + entries[0]).digest()
    k = 1
    while k * 2 < len(entries):
        k *= 2
    return hashlib.sha256(b"\x01" + naive_root(entries[:k]) + naive_root(entries[k:])).digest()


def naive_path(m: int, entries: list[bytes]) -> list[bytes]:
    """PATH of RFC 6962 2.1.1."""
    if len(entries) == 1:
        return []
    k = 1
    while k * 2 < len(entries):
        k *= 2
    if m < k:
        return [*naive_path(m, entries[:k]), naive_root(entries[k:])]
    return [*naive_path(m - k, entries[k:]), naive_root(entries[:k])]


def naive_proof(m: int, entries: list[bytes], *, whole: bool = True) -> list[bytes]:
    """PROOF of RFC 6962 2.1.2."""
    if m == len(entries):
        return [] if whole else [naive_root(entries)]
    k = 1
    while k * 2 < len(entries):
        k *= 2
    if m <= k:
        return [*naive_proof(m, entries[:k], whole=whole), naive_root(entries[k:])]
    return [*naive_proof(m - k, entries[k:], whole=False), naive_root(entries[:k])]


ENTRIES = [f"entry {number}".encode() for number in range(SIZES)]


@pytest.fixture(scope="module")
def stored() -> tuple[dict[merkle.Place, bytes], list[bytes]]:
    """Every complete subtree of the largest tree, and the root at each size."""
    tree, known, roots = merkle.Tree(), {}, [merkle.EMPTY]
    for number, entry in enumerate(ENTRIES):
        hashed = merkle.leaf_hash(entry)
        known[0, number] = hashed
        known.update(dict(tree.append(hashed)))
        roots.append(tree.root())
    return known, roots


Stored = tuple[dict[merkle.Place, bytes], list[bytes]]


def test_roots(stored: Stored) -> None:
    _, roots = stored
    assert roots == [naive_root(ENTRIES[:size]) for size in range(SIZES + 1)]


def test_it_goes_on_from_its_right_edge(stored: Stored) -> None:
    known, roots = stored
    for size in range(SIZES):
        tree = merkle.Tree(size, [known[place] for place in merkle.subtrees(0, size)])
        assert tree.root() == roots[size]
        list(tree.append(merkle.leaf_hash(ENTRIES[size])))
        assert tree.root() == roots[size + 1]


def test_inclusion(stored: Stored) -> None:
    known, roots = stored
    for size in range(1, SIZES + 1):
        for index in range(size):
            path = merkle.proof(merkle.inclusion(index, size), known)
            assert path == naive_path(index, ENTRIES[:size])
            leaf = merkle.leaf_hash(ENTRIES[index])
            assert merkle.is_included(leaf, index, size, path, roots[size])
            assert not merkle.is_included(leaf, index, size, path, roots[size - 1])
            assert not merkle.is_included(leaf, index + 1, size, path, roots[size])
            assert not merkle.is_included(leaf, index, size, [*path, leaf], roots[size])
            assert not path or not merkle.is_included(leaf, index, size, path[:-1], roots[size])


def test_consistency(stored: Stored) -> None:
    known, roots = stored
    for second in range(1, SIZES + 1):
        for first in range(1, second + 1):
            path = merkle.proof(merkle.consistency(first, second), known)
            assert path == naive_proof(first, ENTRIES[:second])
            assert merkle.is_consistent(first, second, (roots[first], roots[second]), path)
            assert not merkle.is_consistent(first, second, (roots[first - 1], roots[second]), path)
            assert not merkle.is_consistent(first, second, (roots[first], roots[second - 1]), path)
            assert not merkle.is_consistent(first, second, (roots[first], roots[second]), [*path, roots[1]])
            assert not path or not merkle.is_consistent(first, second, (roots[first], roots[second]), path[1:])


def test_every_tree_begins_with_the_empty_one(stored: Stored) -> None:
    _, roots = stored
    assert merkle.is_consistent(0, 5, (merkle.EMPTY, roots[5]), [])
    assert not merkle.is_consistent(0, 5, (roots[1], roots[5]), [])
    assert not merkle.is_consistent(6, 5, (roots[6], roots[5]), [])


def test_proofs_stay_short() -> None:
    size, chance = 10**9 + 7, random.Random(5)
    for _ in range(50):
        one, other = sorted(chance.sample(range(1, size), 2))
        assert len(merkle.inclusion(one, size)) <= 30
        assert len(merkle.places(merkle.inclusion(one, size))) <= 60
        assert len(merkle.places(merkle.consistency(one, other))) <= 60
