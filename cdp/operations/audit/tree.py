"""The tree over the log as rows: leaves, complete subtrees, and what proofs are made of.

Appending reads the right edge (one row a level at most) and writes a batch in two statements. A proof reads the
subtrees it is folded from, at most two for each level, in one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    LargeBinary,
    SmallInteger,
    Table,
    Uuid,
    bindparam,
    func,
    insert,
    literal,
    select,
    tuple_,
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


async def size(tx: Tx) -> int:
    """Number of leaves."""
    found: int = await tx.scalar(select(func.coalesce(func.max(audit_leaf.c.position) + 1, 0)))
    return found


async def root(tx: Tx, leaves: int) -> bytes:
    """Hash of the tree when it had this many leaves."""
    places = merkle.subtrees(0, leaves)
    known = await _nodes(tx, set(places))
    return merkle.fold([known[place] for place in places])


async def append(tx: Tx, leaves: Sequence[Leaf]) -> int:
    """Add leaves in this order; returns the tree's new size. Who calls this holds the sequencer's lock."""
    start = await size(tx)
    places = merkle.subtrees(0, start)
    known = await _nodes(tx, set(places))
    tree = Tree(start, [known[place] for place in places])
    completed = [node for leaf in leaves for node in tree.append(leaf.hash)]
    await _insert(
        tx,
        audit_leaf,
        position=(BigInteger(), range(start, tree.size)),
        event_id=(Uuid(), [leaf.event_id for leaf in leaves]),
        hash=(LargeBinary(), [leaf.hash for leaf in leaves]),
    )
    await _insert(
        tx,
        audit_node,
        level=(SmallInteger(), [level for (level, _), _ in completed]),
        position=(BigInteger(), [place for (_, place), _ in completed]),
        hash=(LargeBinary(), [hashed for _, hashed in completed]),
    )
    return tree.size


async def _insert(tx: Tx, table: Table, **columns: tuple[TypeEngine[Any], Sequence[object]]) -> None:
    """Write many rows as one array a column, in one statement."""
    arrays = [bindparam(name, list(values), ARRAY(kind)) for name, (kind, values) in columns.items()]
    rows = func.unnest(*arrays).table_valued(*columns).render_derived()
    await tx.execute(insert(table).from_select(list(columns), select(rows)))


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


async def _nodes(tx: Tx, places: set[Place]) -> dict[Place, bytes]:
    """Hashes of these complete subtrees. Raises KeyError where the tree has a hole."""
    if not places:
        return {}
    leaf, node = audit_leaf.c, audit_node.c
    leaves = [place for level, place in places if level == 0]
    inner = [place for place in places if place[0]]
    found = await tx.all(
        union_all(
            select(literal(0).label("level"), leaf.position, leaf.hash).where(leaf.position.in_(leaves)),
            select(node.level, node.position, node.hash).where(tuple_(node.level, node.position).in_(inner)),
        )
    )
    return {(row.level, row.position): row.hash for row in found}
