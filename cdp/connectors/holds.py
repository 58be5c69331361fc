"""What legal holds keep of one person: looked up by whoever erases or purges, in the transaction that does.

A hold is a fact about a person, not about a request, so that no path to an erasure passes it by: a deletion, a replay
after a restore, a purge, paper in an office.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Date, Uuid, any_, bindparam, cast, select

from cdp.connectors.base import Retained
from cdp.core.db import Tx
from cdp.tables.base import Category
from cdp.tables.hold import EFFECTIVE, legal_hold

HOLD_PLACED = "HOLD_PLACED"
# Of a step that a hold kept back until it ended: it runs again when its turn comes.
HOLD_RELEASED = "HOLD_RELEASED"
BASIS = "Legal hold since"


@dataclass(frozen=True)
class Hold:
    """One category of one person's records that has to stay."""

    category: Category
    since: date

    @property
    def basis(self) -> str:
        """What people and certificates are told; never the reason."""
        return f"{BASIS} {self.since.isoformat()}"


def is_effective() -> ColumnElement[bool]:
    """Whether a row of ``legal_hold`` keeps anything now."""
    return legal_hold.c.status.in_(EFFECTIVE)


# Built once: every deletion asks some times.
_EFFECTIVE = (
    select(legal_hold.c.customer_id, legal_hold.c.category, cast(legal_hold.c.placed_at, Date).label("since"))
    .where(legal_hold.c.customer_id == any_(bindparam("customers", type_=ARRAY(Uuid))), is_effective())
    .order_by(legal_hold.c.category)
)


async def effective(tx: Tx, customer_id: UUID) -> tuple[Hold, ...]:
    """The holds on a customer, by category.

    An erasure locks the customer row first, and whoever places a hold needs that row: none is placed meanwhile.
    """
    return (await effective_of(tx, [customer_id]))[customer_id]


async def effective_of(tx: Tx, customer_ids: Sequence[UUID]) -> dict[UUID, tuple[Hold, ...]]:
    """The holds on each of some customers."""
    found: dict[UUID, tuple[Hold, ...]] = dict.fromkeys(customer_ids, ())
    for row in await tx.all(_EFFECTIVE, {"customers": list(customer_ids)}):
        found[row.customer_id] += (Hold(row.category, row.since),)
    return found


def covering(holds: Iterable[Hold], categories: Iterable[str]) -> tuple[Hold, ...]:
    """Those of the holds that are on one of the categories."""
    named = set(categories)
    return tuple(hold for hold in holds if hold.category.value in named)


def is_of_a_hold(kept: Retained) -> bool:
    """Whether records stay for a hold, which ends, and not under a law's term."""
    return kept.basis.startswith(BASIS)
