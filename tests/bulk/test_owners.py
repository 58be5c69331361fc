"""Whoever asked for an export and may no longer export gets nothing of it, whatever their token says."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update
from starlette.applications import Starlette

from cdp.access.bulk import EXPORT_SCOPE
from cdp.access.viewer import SYSTEM, Actor, Viewer
from cdp.core.db import Role
from cdp.core.errors import PlatformError
from cdp.operations.bulk import control, folders
from cdp.operations.oauth import clients, grants
from cdp.operations.oauth.tokens import issuer_of
from cdp.tables.audit import audit_event
from cdp.tables.bulk import BulkStatus
from cdp.tables.oauth import oauth_client
from cdp.tables.staff import staff
from tests.browser import BASE, serving
from tests.bulk.factory import Bulk
from tests.population import Person, make_person

PERSONAL = "{ customers { nodes { id givenName } } }"
CHANGES: dict[str, tuple[Actor, dict[str, Any]]] = {
    "left": (Actor.STAFF, {"active": False}),
    "changed roles": (Actor.STAFF, {"roles": ["agent"]}),
    "revoked": (Actor.CLIENT, {"revoked_at": "now"}),
    "narrowed": (Actor.CLIENT, {"scopes": ["privacy:read"]}),
}


@pytest.fixture(scope="module")
async def ada(bulk: Bulk) -> Person:
    return await make_person(bulk.platform.db)


@pytest.fixture(scope="module")
async def app(bulk: Bulk, ada: Person) -> AsyncIterator[Starlette]:
    async with serving(bulk.platform.settings) as found:
        yield found


async def owner_of(bulk: Bulk, actor: Actor) -> Viewer:
    return await (bulk.member("analyst") if actor is Actor.STAFF else bulk.program())


async def change(bulk: Bulk, viewer: Viewer, values: dict[str, Any]) -> None:
    values = {name: bulk.platform.clock() if value == "now" else value for name, value in values.items()}
    if viewer.actor is Actor.STAFF:
        statement = update(staff).where(staff.c.id == viewer.staff_id)
    else:
        statement = update(oauth_client).where(oauth_client.c.client_id == viewer.client_id)
    async with bulk.platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(statement.values(values))


async def approved(bulk: Bulk, viewer: Viewer) -> Any:
    """A personal export a second person said yes to."""
    asked = await bulk.ask(viewer, PERSONAL, personal=True)
    await control.approve(bulk.platform, await bulk.member("privacy_officer"), asked.id)
    return asked.id


async def fetched(bulk: Bulk, viewer: Viewer, export_id: Any) -> bytes:
    file = await control.fetch(bulk.platform, viewer, export_id, "output-00001.ndjson")
    return b"".join([chunk async for chunk in file.chunks])


@pytest.mark.parametrize("name", CHANGES)
async def test_what_was_approved_is_not_made(bulk: Bulk, ada: Person, name: str) -> None:
    actor, values = CHANGES[name]
    viewer, bystander = await owner_of(bulk, actor), await owner_of(bulk, actor)
    asked, other = await approved(bulk, viewer), await approved(bulk, bystander)
    await change(bulk, viewer, values)
    await bulk.floor.drain()
    row = await bulk.row(asked)
    assert (row.status, row.code, row.manifest) == (BulkStatus.FAILED, "OWNER_GONE", None)
    assert await bulk.platform.blobs.all_keys(f"bulk/{asked}/") == []
    assert await bulk.status(other) is BulkStatus.COMPLETED


@pytest.mark.parametrize("name", CHANGES)
async def test_what_was_released_is_withheld(bulk: Bulk, ada: Person, tmp_path: Path, name: str) -> None:
    actor, values = CHANGES[name]
    viewer, bystander = await owner_of(bulk, actor), await owner_of(bulk, actor)
    asked, other = await approved(bulk, viewer), await approved(bulk, bystander)
    await bulk.floor.drain()
    assert await fetched(bulk, viewer, asked)
    await change(bulk, viewer, values)
    for who in (viewer, SYSTEM):
        with pytest.raises(PlatformError) as refused:
            await control.fetch(bulk.platform, who, asked, "output-00001.ndjson")
        assert refused.value.code == "BULK_EXPORT_WITHHELD"
        with pytest.raises(PlatformError) as refused:
            await folders.download(bulk.platform, who, asked, tmp_path / "out", lambda _: None)
        assert refused.value.code == "BULK_EXPORT_WITHHELD"
    assert not (tmp_path / "out").exists()
    assert await fetched(bulk, bystander, other)
    async with bulk.platform.db.transaction(Role.WORKER) as tx:  # they may still clear up after themselves
        await control.cancel(tx, viewer, asked)
    assert await bulk.status(asked) is BulkStatus.DESTROYED


async def test_a_token_from_before_opens_nothing(app: Starlette, bulk: Bulk) -> None:
    program = await bulk.program()
    asked = await approved(bulk, program)
    await bulk.floor.drain()
    auth = await token_of(app, program)
    place = f"/bulk/export/{asked}"
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url=BASE) as door:
        for path in (place, f"{place}/output-00001.ndjson"):
            assert (await door.get(path, headers=auth)).status_code == 200
        await change(bulk, program, {"scopes": ["privacy:read"]})
        for path in (place, f"{place}/output-00001.ndjson"):
            answer = await door.get(path, headers=auth)
            assert (answer.status_code, answer.json()["code"]) == (403, "BULK_EXPORT_WITHHELD")
    async with bulk.platform.db.transaction(Role.WORKER) as tx:
        said = select(audit_event.c.action, audit_event.c.outcome, audit_event.c.code)
        rows = await tx.all(
            said.where(audit_event.c.code == "BULK_EXPORT_WITHHELD", audit_event.c.client == program.client_id)
        )
    assert {row.action for row in rows} == {"bulk_export.shown", "bulk_export.fetched"}
    assert {str(row.outcome) for row in rows} == {"refused"}


async def token_of(app: Starlette, program: Viewer) -> dict[str, str]:
    platform = app.state.platform
    async with platform.db.transaction(Role.WORKER) as tx:
        client = await clients.find(tx, program.client_id)
        grant = await grants.open_grant(tx, program, client, EXPORT_SCOPE, now=platform.clock())
    return {"Authorization": f"Bearer {issuer_of(platform).access_token(grant, grant.scope)}"}
