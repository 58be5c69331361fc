"""The fixtures themselves: a migrated database for each worker, and fresh ones that share nothing."""

from uuid import UUID

import asyncpg
import redis
from sqlalchemy import text

from cdp.core.db import Database, Role, asyncpg_arguments
from cdp.core.ids import new_id
from cdp.core.settings import Settings


async def _add_brand(database: Database, brand_id: UUID) -> None:
    statement = text("INSERT INTO brand (id, code, name) VALUES (:id, :code, 'Brand')")
    async with database.transaction(Role.WORKER) as tx:
        await tx.execute(statement, {"id": brand_id, "code": str(brand_id)})


async def _count(database: Database, brand_id: UUID) -> int:
    async with database.transaction(Role.WORKER) as tx:
        return await tx.scalar(text("SELECT count(*) FROM brand WHERE id = :id"), {"id": brand_id})


async def test_a_fresh_database_sees_nothing_of_the_shared_one(db: Database, fresh_database: Database):
    brand_id = new_id()
    await _add_brand(db, brand_id)
    assert await _count(db, brand_id) == 1
    assert await _count(fresh_database, brand_id) == 0


def test_a_fresh_platform_has_its_own_queue_and_folder(settings: Settings, fresh_settings: Settings):
    with redis.Redis.from_url(settings.redis_url) as ours, redis.Redis.from_url(fresh_settings.redis_url) as fresh:
        ours.set("fixture", "1")
        assert fresh.get("fixture") is None
        ours.delete("fixture")
    assert settings.state_dir != fresh_settings.state_dir


async def test_the_login_role_sees_nothing_until_it_becomes_an_app_role(settings: Settings):

    connection = await asyncpg.connect(**asyncpg_arguments(settings.database_url))
    try:
        assert not await connection.fetchval("SELECT has_table_privilege('customer', 'SELECT')")
        await connection.execute("SET ROLE cdp_worker")
        assert await connection.fetchval("SELECT has_table_privilege('customer', 'SELECT')")
    finally:
        await connection.close()
