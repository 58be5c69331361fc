"""The database: one commit, rings after it, and no row without a subject."""

from collections.abc import Sequence

import asyncpg
import pytest
from sqlalchemy import func, select, text

from cdp.core.db import Database, Ring, Role, SilentDoorbell, asyncpg_arguments, owner_transaction, sqlalchemy_url
from cdp.core.ids import new_id
from cdp.core.settings import Settings
from cdp.tables.policy import brand


class Ear:
    """A doorbell that remembers, and looks whether the row was there when it rang."""

    def __init__(self, db: Database) -> None:
        self.heard: list[tuple[Ring, bool]] = []
        self._db = db

    async def ring(self, rings: Sequence[Ring]) -> None:
        async with self._db.transaction(Role.WORKER) as tx:
            for ring in rings:
                there = await tx.scalar(select(brand.c.id).where(brand.c.id == ring.row_id))
                self.heard.append((ring, there is not None))


@pytest.fixture
def ear(fresh_database: Database) -> Ear:
    fresh_database.doorbell = Ear(fresh_database)
    return fresh_database.doorbell


async def test_the_bell_rings_after_the_commit(fresh_database: Database, ear: Ear):
    row_id = new_id()
    async with fresh_database.transaction(Role.WORKER) as tx:
        tx.ring("run_task", row_id, defer_s=2)
        await tx.execute(brand.insert().values(id=row_id, code="b", name="B"))
        assert ear.heard == []
    assert ear.heard == [(Ring("run_task", row_id, 2), True)]


async def test_a_rollback_leaves_no_row_and_no_ring(fresh_database: Database, ear: Ear):
    async def break_off() -> None:
        async with fresh_database.transaction(Role.WORKER) as tx:
            await tx.execute(brand.insert().values(id=new_id(), code="b", name="B"))
            tx.ring("run_task", new_id())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await break_off()
    assert ear.heard == []
    async with fresh_database.transaction(Role.WORKER) as tx:
        assert await tx.scalar(select(func.count()).select_from(brand)) == 0


async def test_the_subject_ends_with_its_transaction(fresh_database: Database):
    question = text("SELECT coalesce(nullif(current_setting('cdp.subject', true), ''), 'nobody'), current_user")
    subject = new_id()
    async with fresh_database.transaction(Role.CUSTOMER, subject=subject) as tx:
        assert tuple((await tx.first(question)) or ()) == (str(subject), "cdp_customer")
    for _ in range(5):
        async with fresh_database.transaction(Role.CUSTOMER) as tx:
            assert tuple((await tx.first(question)) or ()) == ("nobody", "cdp_customer")


async def test_the_owner_loads_whole_or_not_at_all(fresh_settings: Settings, fresh_database: Database):
    async def load() -> None:
        async with owner_transaction(fresh_settings.database_owner_url) as connection:
            for _ in range(2):
                await connection.execute("INSERT INTO brand VALUES (gen_random_uuid(), 'twice', 'B')")

    with pytest.raises(asyncpg.UniqueViolationError):
        await load()
    async with fresh_database.transaction(Role.WORKER) as tx:
        assert await tx.scalar(select(func.count()).select_from(brand)) == 0


async def test_nobody_hears_a_silent_bell():
    await SilentDoorbell().ring([Ring("run_task", new_id())])


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgres://u:p%40@h:1/d", {"host": "h", "port": 1, "user": "u", "password": "p@", "database": "d"}),
        ("postgresql://u@/d?host=/run/pg", {"host": "/run/pg", "port": 5432, "user": "u", "database": "d"}),
        ("postgresql://u@h/d?sslmode=require", {"host": "h", "ssl": "require"}),
    ],
)
def test_urls(url: str, expected: dict[str, object]):
    found = asyncpg_arguments(url)
    assert {name: found[name] for name in expected} == expected
    assert sqlalchemy_url(url).drivername == "postgresql+asyncpg"
