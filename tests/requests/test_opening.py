"""Opening a request: one transaction, the status key once, duplicates, and who may not."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import func, insert, select

from cdp.access.viewer import ANONYMOUS, MissingScope
from cdp.core.db import Role
from cdp.core.errors import PlatformError, StepUpRequired, Unauthenticated
from cdp.core.ids import new_id
from cdp.core.seal import Unsealable
from cdp.operations import subjects
from cdp.operations.collection import CustomerFrozen
from cdp.operations.requests import opening, request_views, requests
from cdp.tables.account import AccountStatus, account, session
from cdp.tables.customer import CustomerStatus, customer
from cdp.tables.oauth import oauth_client, oauth_grant
from cdp.tables.request import RequestStatus, TaskStatus, TaskStep, privacy_request, request_task
from tests.connectors.webhook_peer import served
from tests.engine import Engine
from tests.population import make_person, picture

OPENERS = (requests.open_export, requests.open_erasure)


async def test_an_erasure_is_written_whole(engine: Engine) -> None:
    ada, bystander = await make_person(engine.platform.db), await make_person(engine.platform.db)
    before = await picture(engine.platform.db, bystander)
    with served() as peer:
        await engine.connect(peer)
    opened = await engine.open_erasure(ada)

    row = await engine.request(opened.reference)
    assert (row.status, row.subject_ref, row.reason) == (RequestStatus.CHECKING, ada.audit_ref, "no longer needed")
    assert timedelta(days=27) < row.due_at - row.requested_at < timedelta(days=32)
    assert {place: task.status for place, task in (await engine.tasks(opened.reference)).items()} == {
        ("own", TaskStep.CHECK): TaskStatus.PENDING,
        ("newsletter", TaskStep.CHECK): TaskStatus.PENDING,
    }
    assert await engine.audited(ada) == ["request.opened"]
    assert await picture(engine.platform.db, bystander) == before


async def test_the_account_is_frozen_and_signed_out(engine: Engine) -> None:
    ada = await make_person(engine.platform.db)
    now = engine.platform.clock()
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        account_id = await tx.scalar(select(account.c.id).where(account.c.customer_id == ada.customer_id))
        await tx.execute(
            insert(session).values(
                customer_id=ada.customer_id,
                account_id=account_id,
                token_hash=bytes(32),
                authenticated_at=now,
                expires_at=now + timedelta(hours=1),
            )
        )
        client_id = new_id()
        await tx.execute(
            insert(oauth_client).values(
                id=client_id, client_id="app", name="An app", redirect_uris=[], grant_types=[], scopes=[]
            )
        )
        grant = {"client_id": client_id, "scope": "openid", "authenticated_at": now}
        await tx.execute(insert(oauth_grant).values(customer_id=ada.customer_id, **grant))
    opened = await engine.open_erasure(ada)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        assert await tx.scalar(select(customer.c.status)) is CustomerStatus.FROZEN
        assert await tx.scalar(select(account.c.status)) is AccountStatus.FROZEN
        assert await tx.scalar(select(session.c.revoked_at)) is not None
        later = privacy_request.update().values(cooling_off_until=func.now() + timedelta(hours=1))
        await tx.execute(later)
    await engine.work()
    assert await engine.status(opened.reference) is RequestStatus.COOLING_OFF
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        assert await tx.scalar(select(oauth_grant.c.revoked_at)) is not None


async def test_the_status_key_is_kept_only_as_its_hash(engine: Engine) -> None:
    ada = await make_person(engine.platform.db)
    opened = await engine.open_erasure(ada)
    row = await engine.request(opened.reference)
    assert opened.status_key is not None
    assert row.secret_hash == opening.digest(opened.status_key)
    view = await request_views.with_key(engine.platform, opened.reference, opened.status_key)
    assert (view.reference, view.can_undo) == (opened.reference, True)


async def test_identifiers_are_readable_only_with_the_requests_key(engine: Engine) -> None:
    ada = await make_person(engine.platform.db)
    opened = await engine.open_erasure(ada)
    row = await engine.request(opened.reference)
    assert ada.email.encode() not in row.identifiers_sealed
    sealed = subjects.unseal(engine.platform.keys, opened.id, row.identifiers_sealed)
    assert ada.email in {known.value for known in sealed.person.identifiers}
    engine.platform.keys.create(subjects.key_name(row.subject_ref))
    with pytest.raises(Unsealable):
        subjects.unseal(engine.platform.keys, row.subject_ref, row.identifiers_sealed)


async def test_a_second_export_joins_the_first(engine: Engine) -> None:
    ada = await make_person(engine.platform.db)
    first, second = await engine.open_export(ada), await engine.open_export(ada)
    assert (second.reference, second.joined, first.joined) == (first.reference, True, False)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        assert await tx.scalar(select(func.count()).select_from(request_task)) == 1


async def test_a_second_erasure_joins_the_first_and_is_noted(engine: Engine) -> None:
    ada = await make_person(engine.platform.db)
    first, second = await engine.open_erasure(ada), await engine.open_erasure(ada)
    assert (second.reference, second.joined, first.joined) == (first.reference, True, False)
    assert (await engine.request(first.reference)).joined == 1
    assert await engine.audited(ada) == ["request.opened", "request.joined"]


async def test_no_export_is_opened_while_frozen(engine: Engine) -> None:
    ada = await make_person(engine.platform.db)
    await engine.open_erasure(ada)
    with pytest.raises(CustomerFrozen):
        await engine.open_export(ada)


@pytest.mark.parametrize("open_request", OPENERS)
@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"scopes": frozenset({"profile:read"})}, MissingScope),
        ({"authenticated_at": None}, StepUpRequired),
        ({"authenticated_at": -601}, StepUpRequired),
        ({"customer_id": None}, Unauthenticated),
    ],
)
async def test_who_may_not_open(engine: Engine, open_request, change, refusal: type[PlatformError]) -> None:
    ada = await make_person(engine.platform.db)
    stale = change.get("authenticated_at")
    if isinstance(stale, int):
        change = {"authenticated_at": engine.platform.clock() + timedelta(seconds=stale)}
    viewer = replace(engine.viewer(ada), **change)
    with pytest.raises(refusal):
        async with engine.platform.db.transaction(Role.CUSTOMER, subject=ada.customer_id) as tx:
            await open_request(tx, viewer, engine.platform)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        assert await tx.scalar(select(func.count()).select_from(privacy_request)) == 0


@pytest.mark.parametrize("open_request", OPENERS)
async def test_nobody_opens_for_nobody(engine: Engine, open_request) -> None:
    with pytest.raises(Unauthenticated):
        async with engine.platform.db.transaction(Role.CUSTOMER) as tx:
            await open_request(tx, ANONYMOUS, engine.platform)


async def test_row_level_security_stops_opening_for_somebody_else(engine: Engine) -> None:
    ada, eve = await make_person(engine.platform.db), await make_person(engine.platform.db)
    with pytest.raises(PlatformError):
        async with engine.platform.db.transaction(Role.CUSTOMER, subject=eve.customer_id) as tx:
            await requests.open_erasure(tx, engine.viewer(ada), engine.platform)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        assert await tx.scalar(select(func.count()).select_from(privacy_request)) == 0
