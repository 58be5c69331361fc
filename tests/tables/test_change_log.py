"""The log of changes: what a transaction has noted already is asked for by key, however much that is."""

from sqlalchemy import insert, text

from cdp.core.db import Database, Role, Tx
from cdp.core.ids import new_id
from cdp.operations import reference
from cdp.tables.customer import CustomerKind, customer
from cdp.tables.policy import CollectionPoint, collection
from tests.population import NOW

READ = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'customer_change'"
NOTED = "SELECT count(*), count(*) FILTER (WHERE area = 'customer') FROM customer_change WHERE customer_key = ANY(:ids)"


async def _read(tx: Tx) -> int:
    return int(await tx.scalar(text(READ)))


async def test_the_last_row_of_a_long_transaction_costs_what_its_first_did(fresh_database: Database) -> None:
    async with fresh_database.transaction(Role.WORKER) as tx:
        await reference.ensure_reference(tx)
        known = await reference.current(tx, NOW)
    people = [new_id() for _ in range(3000)]
    who = {"kind": CustomerKind.PERSON, "brand_id": known.brand_id, "locale": "en"}
    what = {"point": CollectionPoint.REGISTRATION, "source": "tests", "collected_at": NOW, "brand_id": known.brand_id}
    what["policy_version_id"] = known.policy_version_id
    costs = []
    async with fresh_database.transaction(Role.WORKER) as tx:
        for start in range(0, len(people), 300):
            some = people[start : start + 300]
            await tx.execute(insert(customer).values([{"id": i, "audit_ref": new_id(), **who} for i in some]))
            before = await _read(tx)
            rows = [{"id": new_id(), "customer_id": i, **what} for i in some]
            await tx.execute(insert(collection).values(rows))
            costs.append(await _read(tx) - before)
        noted = await tx.first(text(NOTED), {"ids": people})
    assert noted is not None
    assert tuple(noted) == (len(people), len(people))  # one line each: that of the customer
    assert set(costs) == {costs[0]}, costs
