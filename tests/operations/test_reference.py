"""Reference rows: written twice they are the same, and a collection always finds its policy version."""

from datetime import UTC, datetime

from sqlalchemy import func, select

from cdp.core.db import Database, Role
from cdp.operations.reference import FIRST_POLICY, PURPOSES, current, ensure_reference
from cdp.tables.policy import brand, policy_version, purpose


async def test_writing_twice_changes_nothing(fresh_database: Database):
    for _ in range(2):
        async with fresh_database.transaction(Role.WORKER) as tx:
            await ensure_reference(tx)
    async with fresh_database.transaction(Role.WORKER) as tx:
        counts = [
            await tx.scalar(select(func.count()).select_from(table)) for table in (brand, purpose, policy_version)
        ]
        assert counts == [1, len(PURPOSES), 1]
        found = await current(tx, datetime(2026, 5, 1, tzinfo=UTC))
    assert found.policy_version == FIRST_POLICY


async def test_a_later_version_counts_from_its_day_on(fresh_database: Database):
    async with fresh_database.transaction(Role.WORKER) as tx:
        await ensure_reference(tx)
        body = b"\0" * 32
        later = {"version": "2027-01", "title": "Privacy policy", "body": "New.", "body_sha256": body}
        await tx.execute(policy_version.insert().values(**later, effective_from=datetime(2027, 1, 1, tzinfo=UTC)))
        before = await current(tx, datetime(2026, 12, 31, tzinfo=UTC))
        after = await current(tx, datetime(2027, 1, 1, tzinfo=UTC))
    assert (before.policy_version, after.policy_version) == (FIRST_POLICY, "2027-01")
