"""People who merge customers, in a test's hands."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Row, func, select, update

from cdp.access.viewer import Viewer
from cdp.core.db import Role
from cdp.operations.merging import merges, splitting
from cdp.operations.merging.merges import Wanted
from cdp.tables.account import account
from cdp.tables.contact import email_address
from cdp.tables.customer import customer
from cdp.tables.merge import customer_merge
from tests.engine import Engine
from tests.population import Person, make_person
from tests.requests.test_casework import hire

# A merge changes what says that the record that stays has changed.
COUNTERS = {"version", "updated_at"}
LOGS = {"audit_event", "audit_note", "customer_merge", "customer_merge_row"}


@dataclass(frozen=True)
class Desk:
    """An agent who proposes and two supervisors."""

    engine: Engine
    agent: Viewer
    first: Viewer
    second: Viewer

    async def merge(self, keep: Person, drop: Person, viewer: Viewer | None = None, /, **changes: Any) -> UUID:
        wanted = replace(Wanted(keep.customer_id, drop.customer_id, "Ada wrote twice."), **changes)
        async with self.engine.platform.db.transaction(Role.WORKER) as tx:
            return await merges.merge(tx, viewer or self.first, self.engine.platform, wanted)

    async def merged(self, keep: Person, drop: Person) -> UUID:
        """Merge two who can both sign in: proposed, and carried out by a second person."""
        await self.merge(keep, drop, self.agent)
        return await self.merge(keep, drop, self.second)

    async def unmerge(self, merge_id: UUID, viewer: Viewer | None = None, **changes: Any) -> UUID:
        async with self.engine.platform.db.transaction(Role.WORKER) as tx:
            given = {"reason": "They are two.", **changes}
            return await splitting.unmerge(tx, viewer or self.first, self.engine.platform, merge_id, **given)

    async def row(self, merge_id: UUID) -> Row[Any]:
        async with self.engine.platform.db.transaction(Role.WORKER) as tx:
            found = await tx.first(select(customer_merge).where(customer_merge.c.id == merge_id))
        assert found is not None
        return found

    async def is_there(self, person: Person) -> bool:
        async with self.engine.platform.db.transaction(Role.WORKER) as tx:
            found = await tx.scalar(select(customer.c.id).where(customer.c.id == person.customer_id))
        return found is not None

    async def same_email(self, one: Person, other: Person) -> None:
        """Let both have proven the address of one of them."""
        async with self.engine.platform.db.transaction(Role.WORKER) as tx:
            for person in (one, other):
                mine = email_address.c.customer_id == person.customer_id
                values = {"address": one.email, "normalized": one.email, "verified_at": func.now()}
                await tx.execute(update(email_address).where(mine).values(values))

    async def without_account(self, person: Person) -> Person:
        async with self.engine.platform.db.transaction(Role.WORKER) as tx:
            await tx.execute(account.delete().where(account.c.customer_id == person.customer_id))
        return person


@pytest.fixture
async def desk(engine: Engine) -> Desk:
    return Desk(engine, await hire(engine, "agent"), await hire(engine, "supervisor"), await hire(engine, "supervisor"))


@pytest.fixture
def person(engine: Engine) -> Callable[..., Awaitable[Person]]:
    async def make(**changes: Any) -> Person:
        return await make_person(engine.platform.db, **changes)

    return make


def rows(found: dict[str, list[tuple[Any, ...]]]) -> dict[str, list[tuple[Any, ...]]]:
    """A picture without what a merge is to leave behind: the log, its ledger, and that the customer changed."""
    kept = {name: value for name, value in found.items() if name not in LOGS and value}
    names = [column.name for column in customer.columns]
    kept["customer"] = [
        tuple(value for name, value in zip(names, row, strict=True) if name not in COUNTERS)
        for row in kept.get("customer", [])
    ]
    return kept
