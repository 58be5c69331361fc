"""Undo: while nothing can have been erased, by whoever has the right, and then everything works as before."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from cdp.access.viewer import MissingScope
from cdp.core.db import Role
from cdp.core.errors import NotFound
from cdp.operations.requests import request_views, requests
from cdp.operations.requests.requests import DeletionAskedTooOften, TooLateToUndo
from cdp.tables.account import AccountStatus, account
from cdp.tables.customer import CustomerStatus, customer
from cdp.tables.export import ExportStatus, export
from cdp.tables.request import RequestStatus, TaskStatus, privacy_request, request_task
from tests.connectors.webhook_peer import served
from tests.engine import Engine
from tests.population import make_person, picture


async def test_undo_leaves_everything_as_it_was(engine: Engine) -> None:
    ada, bystander = await make_person(engine.platform.db), await make_person(engine.platform.db)
    tables = ("customer", "account", "email_address", "sales_order", "consent", "identity")
    before = {name: rows for name, rows in (await picture(engine.platform.db, ada)).items() if name in tables}
    untouched = await picture(engine.platform.db, bystander)
    opened = await engine.open_erasure(ada)
    await engine.cancel(ada, opened.reference)
    await engine.work()
    assert await engine.status(opened.reference) is RequestStatus.CANCELLED
    after = await picture(engine.platform.db, ada)
    assert {name: rows for name, rows in after.items() if name in tables} == before
    assert await picture(engine.platform.db, bystander) == untouched
    assert engine.keys("request-") == []
    assert "request.cancelled" in await engine.audited(ada)
    assert "was undone" in engine.letters(ada)[-1]


async def test_asking_and_undoing_again_and_again_has_an_end(engine: Engine) -> None:
    ada, bystander = await make_person(engine.platform.db), await make_person(engine.platform.db)
    for _ in range(5):
        opened = await engine.open_erasure(ada)
        await engine.cancel(ada, opened.reference)
    with pytest.raises(DeletionAskedTooOften) as refused:
        await engine.open_erasure(ada)
    assert 3500 < refused.value.extensions["retryAfterS"] <= 3600
    await engine.open_erasure(bystander)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        past = privacy_request.c.requested_at - timedelta(hours=1)
        await tx.execute(privacy_request.update().values(requested_at=past))
    assert not (await engine.open_erasure(ada)).joined


async def test_undo_works_until_the_cooling_off_time_is_over(engine: Engine) -> None:
    ada = await make_person(engine.platform.db)
    opened = await engine.open_erasure(ada)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        later = func.now() + timedelta(days=1)
        await tx.execute(privacy_request.update().values(cooling_off_until=later))
    await engine.work()
    assert await engine.status(opened.reference) is RequestStatus.COOLING_OFF
    await engine.cancel(ada, opened.reference)
    await engine.cool_off(opened.reference)
    await engine.work()
    assert await engine.status(opened.reference) is RequestStatus.CANCELLED
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        assert await tx.scalar(select(customer.c.status)) is CustomerStatus.ACTIVE
        assert await tx.scalar(select(account.c.status)) is AccountStatus.ACTIVE


async def test_undo_is_too_late_once_erasing_began(engine: Engine) -> None:
    ada = await make_person(engine.platform.db)
    with served() as peer:
        await engine.connect(peer)
        peer.mode = "deletes_nothing"
        peer.people[ada.email] = {"profile": [{"email": ada.email}]}
        opened = await engine.open_erasure(ada)
        await engine.work()
    assert await engine.status(opened.reference) is RequestStatus.NEEDS_ATTENTION
    with pytest.raises(TooLateToUndo):
        await engine.cancel(ada, opened.reference)


async def test_undo_is_possible_while_a_check_needs_attention(engine: Engine) -> None:
    ada = await make_person(engine.platform.db)
    with served() as peer:
        await engine.connect(peer)
        opened = await engine.open_erasure(ada)
        peer.answer = (500, {}, b"")
        await engine.work()
    assert await engine.status(opened.reference) is RequestStatus.NEEDS_ATTENTION
    await engine.cancel(ada, opened.reference)
    assert await engine.status(opened.reference) is RequestStatus.CANCELLED


async def test_nobody_undoes_somebody_elses(engine: Engine) -> None:
    ada, eve = await make_person(engine.platform.db), await make_person(engine.platform.db)
    opened = await engine.open_erasure(ada)
    with pytest.raises(NotFound):
        await engine.cancel(eve, opened.reference)
    with pytest.raises(NotFound):
        await request_views.with_key(engine.platform, opened.reference, "another key")
    assert await engine.status(opened.reference) is RequestStatus.CHECKING


async def test_undo_needs_the_scope(engine: Engine) -> None:
    ada = await make_person(engine.platform.db)
    opened = await engine.open_erasure(ada)
    with pytest.raises(MissingScope):
        async with engine.platform.db.transaction(Role.CUSTOMER, subject=ada.customer_id) as tx:
            await requests.cancel(tx, engine.viewer(ada, "privacy:export"), opened.reference)


async def test_the_status_key_undoes_without_an_account(engine: Engine) -> None:
    ada = await make_person(engine.platform.db)
    opened = await engine.open_erasure(ada)
    assert opened.status_key is not None
    view = await request_views.with_key(engine.platform, opened.reference, opened.status_key)
    await request_views.undo(engine.platform, engine.viewer(ada), view)
    assert await engine.status(opened.reference) is RequestStatus.CANCELLED


async def test_open_checks_of_an_undone_request_are_forgotten(engine: Engine) -> None:
    ada = await make_person(engine.platform.db)
    opened = await engine.open_erasure(ada)
    await engine.cancel(ada, opened.reference)
    await engine.work()
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        pending = select(func.count()).where(request_task.c.status == TaskStatus.PENDING)
        assert await tx.scalar(pending) == 0


async def test_stopping_an_export_withdraws_its_package(engine: Engine) -> None:
    ada = await make_person(engine.platform.db)
    opened = await engine.open_export(ada)
    await engine.cancel(ada, opened.reference)
    await engine.work()
    assert await engine.status(opened.reference) is RequestStatus.CANCELLED
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        row = await tx.first(select(export.c.status, export.c.key_id))
    assert row is not None
    assert (row.status, row.key_id) == (ExportStatus.REVOKED, None)
    assert await engine.objects("requests/") == []
