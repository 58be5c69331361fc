"""The tree over the log as rows: leaves, complete subtrees, and what proofs are made of.

Appending reads the right edge (one row a level at most) and writes a batch in two statements. A proof reads the
subtrees it is folded from, at most two for each level, in one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CompoundSelect,
    Insert,
    LargeBinary,
    SmallInteger,
    Table,
    Uuid,
    any_,
    bindparam,
    column,
    func,
    insert,
    literal,
    select,
    union_all,
)
from sqlalchemy.types import TypeEngine

from cdp.core import merkle
from cdp.core.db import Tx
from cdp.core.errors import InvalidInput, NotFound
from cdp.core.merkle import Place, Range, Tree
from cdp.tables.audit import audit_leaf, audit_node


class NotThatLarge(InvalidInput):
    """The log has no tree of this size."""

    code = "NO_SUCH_TREE"


class NotInTheLog(NotFound):
    """No entry of the log has this hash."""

    code = "NOT_IN_THE_LOG"


@dataclass(frozen=True)
class Leaf:
    """One entry to be appended."""

    event_id: UUID
    hash: bytes


_SIZE = select(func.coalesce(func.max(audit_leaf.c.position) + 1, 0))


@dataclass(frozen=True)
class Grown:
    """A tree that leaves were just added to; ``known`` are the complete subtrees that were read or made for it."""

    size: int
    known: Mapping[Place, bytes]

    @property
    def root(self) -> bytes:
        """Hash of the whole tree."""
        return merkle.fold([self.known[place] for place in merkle.subtrees(0, self.size)])

    def inclusion(self, position: int) -> list[bytes]:
        """The path that proves a leaf that was just added to be in it.

        Whatever stands left of the new leaves is folded from the right edge of the tree before them.
        """
        return merkle.proof(merkle.inclusion(position, self.size), self.known)


async def size(tx: Tx) -> int:
    """Number of leaves."""
    found: int = await tx.scalar(_SIZE)
    return found


async def root(tx: Tx, leaves: int) -> bytes:
    """Hash of the tree when it had this many leaves."""
    places = merkle.subtrees(0, leaves)
    known = await _nodes(tx, set(places))
    return merkle.fold([known[place] for place in places])


async def append(tx: Tx, leaves: Sequence[Leaf]) -> Grown:
    """Add leaves in this order. Who calls this holds the sequencer's lock."""
    start = await size(tx)
    places = merkle.subtrees(0, start)
    known = await _nodes(tx, set(places))
    tree = Tree(start, [known[place] for place in places])
    completed = [node for leaf in leaves for node in tree.append(leaf.hash)]
    await _insert(
        tx,
        audit_leaf,
        position=(BigInteger, range(start, tree.size)),
        event_id=(Uuid, [leaf.event_id for leaf in leaves]),
        hash=(LargeBinary, [leaf.hash for leaf in leaves]),
    )
    await _insert(
        tx,
        audit_node,
        level=(SmallInteger, [level for (level, _), _ in completed]),
        position=(BigInteger, [place for (_, place), _ in completed]),
        hash=(LargeBinary, [hashed for _, hashed in completed]),
    )
    new = {(0, start + number): leaf.hash for number, leaf in enumerate(leaves)}
    return Grown(tree.size, known | new | dict(completed))


@cache
def _insertion(table: Table, columns: tuple[tuple[str, type[TypeEngine[Any]]], ...]) -> Insert:
    arrays = [bindparam(name, type_=ARRAY(kind())) for name, kind in columns]
    names = [name for name, _ in columns]
    return insert(table).from_select(names, select(func.unnest(*arrays).table_valued(*names).render_derived()))


async def _insert(tx: Tx, table: Table, **columns: tuple[type[TypeEngine[Any]], Sequence[object]]) -> None:
    """Write many rows as one array a column, in one statement."""
    statement = _insertion(table, tuple((name, kind) for name, (kind, _) in columns.items()))
    await tx.execute(statement, {name: list(values) for name, (_, values) in columns.items()})


async def inclusion(tx: Tx, position: int, leaves: int) -> list[bytes]:
    """The path that proves a leaf to be in the tree of this many leaves. Raises NotThatLarge."""
    if not 0 <= position < leaves <= await size(tx):
        raise NotThatLarge
    return await _proof(tx, merkle.inclusion(position, leaves))


async def consistency(tx: Tx, first: int, second: int) -> list[bytes]:
    """The path that proves the tree of ``second`` leaves to begin with that of ``first``. Raises NotThatLarge."""
    if not 0 <= first <= second <= await size(tx):
        raise NotThatLarge
    return await _proof(tx, merkle.consistency(first, second))


async def position_of(tx: Tx, leaf_hash: bytes) -> int:
    """Where the leaf with this hash stands. Raises NotInTheLog."""
    found: int | None = await tx.scalar(select(audit_leaf.c.position).where(audit_leaf.c.hash == leaf_hash))
    if found is None:
        raise NotInTheLog
    return found


async def _proof(tx: Tx, ranges: Sequence[Range]) -> list[bytes]:
    return merkle.proof(ranges, await _nodes(tx, merkle.places(ranges)))


def _of_places() -> CompoundSelect[Any]:
    leaf, node = audit_leaf.c, audit_node.c
    inner = (
        func.unnest(bindparam("levels", type_=ARRAY(SmallInteger)), bindparam("places", type_=ARRAY(BigInteger)))
        .table_valued(column("level", SmallInteger), column("position", BigInteger), name="wanted")
        .render_derived()
    )
    there = (node.level == inner.c.level) & (node.position == inner.c.position)
    return union_all(
        select(literal(0).label("level"), leaf.position, leaf.hash).where(
            leaf.position == any_(bindparam("leaves", type_=ARRAY(BigInteger)))
        ),
        select(node.level, node.position, node.hash).select_from(inner.join(audit_node, there)),
    )


_NODES = _of_places()


async def _nodes(tx: Tx, places: set[Place]) -> dict[Place, bytes]:
    """Hashes of these complete subtrees. Raises KeyError where the tree has a hole."""
    if not places:
        return {}
    leaves = [place for level, place in places if level == 0]
    inner = [place for place in places if place[0]]
    given = {"leaves": leaves, "levels": [level for level, _ in inner], "places": [place for _, place in inner]}
    found = await tx.all(_NODES, given)
    return {(row.level, row.position): row.hash for row in found}
