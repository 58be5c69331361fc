"""What is over is deleted; what still proves something, or still works, stays."""

from datetime import timedelta

from sqlalchemy import func, select, update

from cdp.core.db import Role
from cdp.operations import expired
from cdp.operations.oauth.tokens import viewer_from_bearer
from cdp.tables.account import session, sign_in_brake
from cdp.tables.oauth import oauth_code, oauth_ended_grant, oauth_grant, oauth_token

TABLES = (oauth_code, oauth_token, oauth_grant, session)


async def _counts(platform, customer_id) -> list[int]:
    async with platform.db.transaction(Role.WORKER) as tx:
        return [
            await tx.scalar(select(func.count()).select_from(table).where(table.c.customer_id == customer_id))
            for table in TABLES
        ]


async def _forget(platform) -> None:
    async with platform.db.transaction(Role.WORKER) as tx:
        await expired.forget(tx, limit=1000)


async def _age(platform, customer_id, by: timedelta) -> None:
    """Let time pass for everything of one person."""
    async with platform.db.transaction(Role.WORKER) as tx:
        for table, columns in (
            (oauth_code, ("expires_at",)),
            (oauth_token, ("expires_at",)),
            (oauth_grant, ("created_at",)),
            (session, ("expires_at",)),
        ):
            aged = {name: table.c[name] - by for name in columns}
            await tx.execute(update(table).where(table.c.customer_id == customer_id).values(aged))


async def test_only_what_is_over_goes(platform, new_program, new_customer, signed_in):
    program = await new_program()
    mine = await program.sign_in(await signed_in(await new_customer()))
    theirs = await program.sign_in(await signed_in(await new_customer()))
    used = (await program.refresh(mine["refresh_token"])).json()
    owner = (await viewer_from_bearer(platform, used["access_token"])).customer_id
    bystander = (await viewer_from_bearer(platform, theirs["access_token"])).customer_id

    await _forget(platform)
    assert await _counts(platform, owner) == [1, 2, 1, 1]
    await _age(platform, owner, timedelta(days=2))
    await _forget(platform)
    assert await _counts(platform, owner) == [0, 2, 1, 1], "a used token must still be recognised"
    assert (await program.refresh(mine["refresh_token"])).status_code == 400
    await _age(platform, owner, timedelta(days=60))
    async with platform.db.transaction(Role.WORKER) as tx:
        past = oauth_grant.c.created_at
        await tx.execute(update(oauth_grant).where(oauth_grant.c.customer_id == owner).values(revoked_at=past))
    await _forget(platform)
    assert await _counts(platform, owner) == [0, 0, 0, 0]
    assert await _counts(platform, bystander) == [1, 1, 1, 1]
    assert (await program.refresh(theirs["refresh_token"])).status_code == 200


async def test_counts_and_notes_go_after_a_day(platform):
    now = platform.clock()
    async with platform.db.transaction(Role.WORKER) as tx:
        for age, key in ((timedelta(days=2), b"o" * 32), (timedelta(hours=2), b"y" * 32)):
            row = {"key_hash": key, "failures": 3, "first_failure_at": now - age, "blocked_until": now - age}
            await tx.execute(sign_in_brake.insert().values(row))
        await expired.forget(tx, limit=1000)
        left = select(sign_in_brake.c.key_hash).where(sign_in_brake.c.key_hash.in_([b"o" * 32, b"y" * 32]))
        assert [bytes(row[0]) for row in await tx.all(left)] == [b"y" * 32]
        old = select(func.count()).where(oauth_ended_grant.c.ended_at < now - timedelta(days=1))
        assert await tx.scalar(old) == 0
