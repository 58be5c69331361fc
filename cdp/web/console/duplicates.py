"""Who else may be the customer on a page: the same proven address or number, shown masked."""

from dataclasses import dataclass

from cdp.access.writes import MERGE_SCOPE, MERGERS
from cdp.core.db import Role
from cdp.core.ids import CustomerId, global_id
from cdp.operations import lineage
from cdp.operations.merging import duplicates
from cdp.web.console.search import Hit, hit_of
from cdp.web.visit import Visit
from cdp.web.words import with_times


@dataclass(frozen=True)
class Likeness:
    """Somebody who looks the same, and by what."""

    hit: Hit
    by: str


def may_merge(visit: Visit) -> bool:
    """Whether this colleague may propose merges at all."""
    return MERGE_SCOPE in visit.viewer.scopes and bool(visit.viewer.roles & MERGERS)


async def of_customer(visit: Visit, customer_id: CustomerId) -> list[Likeness]:
    """The customers to compare with; none for who may not merge."""
    if not may_merge(visit):
        return []
    async with visit.platform.db.transaction(Role.WORKER) as tx:
        found = await duplicates.of_customer(tx, customer_id)
    if not found:
        return []
    ids = [global_id("Customer", one.customer_id) for one in found]
    shown = with_times(await visit.read("console/duplicates.graphql", ids=ids))["nodes"]
    return [
        Likeness(hit_of(row), _words(one.same_email, one.same_phone))
        for row, one in zip(shown, found, strict=True)
        if row is not None
    ]


def _words(same_email: bool, same_phone: bool) -> str:  # two facts, both named
    same = ("e-mail address", "phone number")
    named = [name for name, is_so in zip(same, (same_email, same_phone), strict=True) if is_so]
    return f"Same proven {' and '.join(named)}"


async def moved_to(visit: Visit, customer_id: CustomerId) -> str | None:
    """The page of the customer that a record went into."""
    async with visit.platform.db.transaction(Role.WORKER) as tx:
        kept = await lineage.now_known_as(tx, customer_id)
    return None if kept is None else f"/console/customers/{global_id('Customer', kept)}?done=merged"
