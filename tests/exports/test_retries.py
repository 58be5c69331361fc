"""A system that gave nothing is asked once more, and what it gives then is a copy of its own; the package says when."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import func, select, update

from cdp.core.db import Role
from cdp.operations.packages.choices import EVERYTHING, Choices
from cdp.operations.requests import retries
from cdp.tables.export import export
from cdp.tables.request import RequestStatus, privacy_request
from tests.connectors.webhook_peer import Peer, served
from tests.engine import Engine
from tests.population import Person, make_person


@pytest.fixture
async def ada(engine: Engine) -> Person:
    return await make_person(engine.platform.db)


@pytest.fixture
async def down(engine: Engine, ada: Person) -> AsyncIterator[Peer]:
    """A connected system that answers nothing but errors."""
    with served() as peer:
        peer.people[ada.email] = {"profile": [{"email": ada.email}]}
        await engine.connect(peer)
        peer.answer = (500, {}, b"")
        yield peer


async def copied(engine: Engine, person: Person, chosen: Choices = EVERYTHING) -> str:
    opened = await engine.open_export(person, chosen)
    await engine.work()
    assert await engine.status(opened.reference) is RequestStatus.COMPLETED
    return opened.reference


async def missing(engine: Engine, person: Person, reference: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((await engine.package(person, reference)).read("missing.json"))
    return found


async def let_the_day_come(engine: Engine) -> None:
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(update(export).where(export.c.retry_at.is_not(None)).values(retry_at=func.now()))
    await engine.work()


async def references(engine: Engine, person: Person) -> list[str]:
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        mine = select(privacy_request.c.reference).where(privacy_request.c.customer_id == person.customer_id)
        return [row.reference for row in await tx.all(mine.order_by(privacy_request.c.id))]


async def test_it_is_asked_again_and_its_part_comes_by_itself(engine: Engine, ada: Person, down: Peer) -> None:
    bystander = await make_person(engine.platform.db)
    first = await copied(engine, ada)
    await engine.work()
    assert await references(engine, ada) == [first]  # not before the day
    down.answer = None
    await let_the_day_come(engine)
    _, second = await references(engine, ada)
    assert await engine.status(second) is RequestStatus.COMPLETED
    names = (await engine.package(ada, second)).namelist()
    assert "systems/newsletter/profile.json" in names
    assert not [name for name in names if name.startswith("data/")]
    assert (await engine.audited(ada)).count("request.opened") == 2
    assert await references(engine, bystander) == []
    await let_the_day_come(engine)
    assert len(await references(engine, ada)) == 2


async def test_nobody_is_asked_a_third_time_and_the_package_says_so(engine: Engine, ada: Person, down: Peer) -> None:
    await copied(engine, ada)
    await let_the_day_come(engine)
    _, second = await references(engine, ada)
    (lost,) = await missing(engine, ada, second)
    assert lost["retriedAt"] is None
    assert "ask for another copy" in lost["note"]
    await let_the_day_come(engine)
    assert len(await references(engine, ada)) == 2


async def test_who_asked_anew_or_is_leaving_is_left_alone(engine: Engine, ada: Person, down: Peer) -> None:
    await copied(engine, ada)
    await copied(engine, ada)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        newest = select(func.max(export.c.created_at)).scalar_subquery()
        await tx.execute(update(export).where(export.c.created_at == newest).values(retry_at=None))
    await let_the_day_come(engine)
    assert len(await references(engine, ada)) == 2
    other = await make_person(engine.platform.db)
    await copied(engine, other)
    await engine.open_erasure(other)
    await let_the_day_come(engine)
    assert len(await references(engine, other)) == 2


async def test_a_passphrase_we_have_forgotten_locks_no_second_copy(engine: Engine, ada: Person, down: Peer) -> None:
    chosen = Choices(passphrase="four words make one")
    opened = await engine.open_export(ada, chosen)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        assert not await retries.may(tx, opened.id, chosen)
    await engine.work()
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        row = await tx.first(select(export.c.retry_at, export.c.missing))
    assert row is not None
    assert (row.retry_at, row.missing[0]["retriedAt"]) == (None, None)
