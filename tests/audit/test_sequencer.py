"""The sequencer: every committed event becomes one leaf, however late it commits and however many append at once."""

import asyncio
import json

import psycopg
import pytest
from sqlalchemy import func, select

from cdp.access.viewer import ANONYMOUS, SYSTEM
from cdp.core import merkle
from cdp.core.db import Role
from cdp.core.platform import Platform
from cdp.core.sign import Verdict, check
from cdp.operations import audit
from cdp.operations.audit import entries, heads, sequencer, tree
from cdp.operations.audit.tree import NotThatLarge
from cdp.tables.audit import audit_event, audit_head, audit_leaf, audit_node, audit_pending
from tests.audit.conftest import Exported, happen


async def leaves(platform: Platform) -> list[bytes]:
    """Entries in the order of the log, made again from their rows."""
    async with platform.db.transaction(Role.WORKER) as tx:
        joined = entries.events().join(audit_leaf, audit_leaf.c.event_id == audit_event.c.id)
        rows = await tx.all(joined.order_by(audit_leaf.c.position))
        assert await tx.scalar(select(func.count()).select_from(audit_pending)) == 0
    return [entries.entry(row) for row in rows]


async def whole(platform: Platform) -> list[bytes]:
    """The log, after checking it against every head and every stored hash."""
    found = await leaves(platform)
    grown, roots, known = merkle.Tree(), [merkle.EMPTY], {}
    for number, entry in enumerate(found):
        known[0, number] = merkle.leaf_hash(entry)
        known.update(dict(grown.append(merkle.leaf_hash(entry))))
        roots.append(grown.root())
    async with platform.db.transaction(Role.WORKER) as tx:
        stored = {(row.level, row.position): row.hash for row in await tx.all(select(audit_node))}
        signed = [json.loads(row.document) for row in await tx.all(select(audit_head).order_by(audit_head.c.size))]
    assert stored == {place: hashed for place, hashed in known.items() if place[0]}
    for head in signed:
        assert head["root"] == roots[head["size"]].hex()
        assert check(head, platform.signer.keys()) is Verdict.VALID
    return found


async def test_events_become_leaves_once(fresh_platform: Platform) -> None:
    assert await sequencer.sequence(fresh_platform) == 0
    for count in (1, 3, 7):
        await happen(fresh_platform, count)
        assert await sequencer.sequence(fresh_platform) == count
        assert await sequencer.sequence(fresh_platform) == 0
    found = await whole(fresh_platform)
    assert len(found) == len(set(found)) == 11
    assert json.loads(found[0])["details"] == {"number": 0, "part": "0.5"}
    async with fresh_platform.db.transaction(Role.WORKER) as tx:
        signed = await tx.all(select(audit_head.c.size).order_by(audit_head.c.size))
        head = await heads.latest(tx)
    assert [row.size for row in signed] == [1, 4, 11]
    assert head is not None
    assert head.document["previous"]["size"] == 4


async def test_a_late_commit_is_never_passed_over(fresh_platform: Platform) -> None:
    """Its event is older than others that are in the tree already, by clock and by id."""
    started, go_on = asyncio.Event(), asyncio.Event()

    async def slow(number: int) -> None:
        async with fresh_platform.db.transaction(Role.WORKER) as tx:
            await audit.record(tx, SYSTEM, "test.slow", subject_ref=None, details={"number": number})
            started.set()
            await go_on.wait()

    slow_ones = [asyncio.create_task(slow(number)) for number in range(3)]
    await started.wait()
    await happen(fresh_platform, 5)
    assert await sequencer.sequence(fresh_platform) == 5
    go_on.set()
    await asyncio.gather(*slow_ones)
    assert await sequencer.sequence(fresh_platform) == 3
    assert [json.loads(one)["action"] for one in await whole(fresh_platform)] == ["test.made"] * 5 + ["test.slow"] * 3


async def test_what_rolls_back_leaves_nothing(fresh_platform: Platform) -> None:
    async def lose() -> None:
        async with fresh_platform.db.transaction(Role.WORKER) as tx:
            lost = await audit.record(tx, SYSTEM, "test.lost", subject_ref=None)
            await sequencer.include(tx, fresh_platform, [lost])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await lose()
    await happen(fresh_platform)
    assert await sequencer.sequence(fresh_platform) == 1
    assert [json.loads(one)["action"] for one in await whole(fresh_platform)] == ["test.made"]


async def test_many_writers_many_sequencers_one_log(fresh_platform: Platform) -> None:
    async def include() -> None:
        async with fresh_platform.db.transaction(Role.WORKER) as tx:
            event_id = await audit.record(tx, ANONYMOUS, "test.proven", subject_ref=None)
            (proof,) = await sequencer.include(tx, fresh_platform, [event_id])
        head = proof.head.document
        leaf = merkle.leaf_hash(await _entry(fresh_platform, event_id))
        root = bytes.fromhex(head["root"])
        assert merkle.is_included(leaf, proof.position, head["size"], proof.path, root)

    async def sequence() -> None:
        for _ in range(4):
            await sequencer.sequence(fresh_platform, is_patient=True)

    await asyncio.gather(*(happen(fresh_platform, 8) for _ in range(4)), *(include() for _ in range(4)), sequence())
    await sequencer.sequence(fresh_platform)
    assert len(await whole(fresh_platform)) == 36


async def _entry(platform: Platform, event_id: object) -> bytes:
    async with platform.db.transaction(Role.WORKER) as tx:
        row = await tx.first(entries.events().where(audit_event.c.id == event_id))
    assert row is not None
    return entries.entry(row)


async def test_another_sequencers_turn_is_left_to_it(fresh_platform: Platform) -> None:
    await happen(fresh_platform)
    async with fresh_platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(select(func.pg_advisory_xact_lock(sequencer.LOCK)))
        assert await sequencer.sequence(fresh_platform) == 0
    assert await sequencer.sequence(fresh_platform) == 1


async def test_proofs_come_from_stored_hashes(fresh_platform: Platform) -> None:
    await happen(fresh_platform, 13)
    await sequencer.sequence(fresh_platform)
    found = await whole(fresh_platform)
    async with fresh_platform.db.transaction(Role.WORKER) as tx:
        roots = [await tree.root(tx, size) for size in range(14)]
        for size in range(1, 14):
            for index in range(size):
                path = await tree.inclusion(tx, index, size)
                assert merkle.is_included(merkle.leaf_hash(found[index]), index, size, path, roots[size])
            path = await tree.consistency(tx, size, 13)
            assert merkle.is_consistent(size, 13, (roots[size], roots[13]), path)
        for wrong in ((3, 14), (13, 13), (-1, 5)):
            with pytest.raises(NotThatLarge):
                await tree.inclusion(tx, *wrong)
        for wrong in ((14, 14), (5, 4), (-1, 2)):
            with pytest.raises(NotThatLarge):
                await tree.consistency(tx, *wrong)


@pytest.mark.parametrize("role", ["cdp_worker", "cdp_staff", "cdp_customer"])
@pytest.mark.parametrize("table", ["audit_event", "audit_leaf", "audit_node", "audit_head", "certificate"])
async def test_no_role_may_change_what_is_there(exported: Exported, role: str, table: str) -> None:
    with psycopg.connect(exported.platform.settings.database_url, autocommit=True) as connection:
        connection.execute(f"SET ROLE {role}")
        for statement in (f"UPDATE {table} SET ctid = ctid", f"DELETE FROM {table}", f"TRUNCATE {table}"):
            with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.FeatureNotSupported)):
                connection.execute(statement)


async def test_only_the_sequencers_role_appends(exported: Exported) -> None:
    with psycopg.connect(exported.platform.settings.database_url, autocommit=True) as connection:
        for role in ("cdp_staff", "cdp_customer"):
            connection.execute(f"SET ROLE {role}")
            for table in ("audit_leaf", "audit_node", "audit_head", "audit_pending", "audit_witness"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(f"INSERT INTO {table} DEFAULT VALUES")


async def test_not_even_the_owner_by_an_ordinary_statement(exported: Exported) -> None:
    with psycopg.connect(exported.platform.settings.database_owner_url, autocommit=True) as connection:
        for table in ("audit_event", "audit_leaf", "audit_node", "audit_head"):
            with pytest.raises(psycopg.errors.RestrictViolation):
                connection.execute(f"DELETE FROM {table}")
