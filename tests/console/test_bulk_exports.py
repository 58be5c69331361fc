"""Pages of bulk exports: seen by who exports or approves, decided by a second person, freshly signed in."""

from uuid import UUID

import httpx
import pytest
from sqlalchemy import select, update

from cdp.access.viewer import Actor, Viewer
from cdp.compiler.bulk import BulkCompiler
from cdp.core.db import Role
from cdp.core.ids import global_id
from cdp.core.platform import Platform
from cdp.operations.bulk import kickoff
from cdp.operations.bulk.kickoff import Wanted
from cdp.schema.schema import open_reader
from cdp.tables.account import session
from cdp.tables.audit import audit_event
from cdp.tables.bulk import BulkStatus, bulk_export
from tests.browser import forms
from tests.console.conftest import Colleague

QUERY = "{ customers { nodes { id givenName } } }"


@pytest.fixture
async def analyst(colleague: Colleague) -> httpx.AsyncClient:
    return await colleague("analyst")


@pytest.fixture
async def asked(analyst: httpx.AsyncClient, platform: Platform) -> UUID:
    """A personal export that the analyst asked for, as the API would."""
    async with platform.db.transaction(Role.WORKER) as tx:
        newest = select(session.c.staff_id).where(session.c.staff_id.is_not(None)).order_by(session.c.id.desc())
        staff_id = await tx.scalar(newest.limit(1))
    reader = open_reader(platform)
    viewer = _member(platform, staff_id)
    compiler = BulkCompiler(reader.graph, reader.limits)
    made = await kickoff.run_query(platform, compiler, viewer, Wanted(QUERY, "orders", personal=True))
    await reader.close()
    return made.id


def _member(platform: Platform, staff_id: UUID) -> Viewer:
    return Viewer(
        Actor.STAFF,
        staff_id=staff_id,
        roles=frozenset({"analyst"}),
        scopes=frozenset({"bulk:export"}),
        authenticated_at=platform.clock(),
    )


def page_of(export_id: UUID) -> str:
    return f"/console/exports/{global_id('BulkExport', export_id)}"


async def send(browser: httpx.AsyncClient, export_id: UUID, what: str) -> httpx.Response:
    """As if the button were there."""
    here = page_of(export_id)
    known = forms(await browser.get("/console"))["/console"]["csrf"]
    return await browser.post(f"{here}/{what}", data={"csrf": known})


async def status_of(platform: Platform, export_id: UUID) -> BulkStatus:
    async with platform.db.transaction(Role.WORKER) as tx:
        found: BulkStatus = await tx.scalar(select(bulk_export.c.status).where(bulk_export.c.id == export_id))
    return found


async def actions(platform: Platform, export_id: UUID) -> list[str]:
    async with platform.db.transaction(Role.WORKER) as tx:
        mine = select(audit_event.c.action).where(audit_event.c.object_id == export_id).order_by(audit_event.c.id)
        return [row.action for row in await tx.all(mine)]


@pytest.mark.parametrize(
    ("what", "status", "said"),
    [("approve", BulkStatus.QUEUED, "Waits for a worker"), ("refuse", BulkStatus.CANCELLED, "APPROVAL_REFUSED")],
)
async def test_a_privacy_officer_decides(
    colleague: Colleague, platform: Platform, asked: UUID, what: str, status: BulkStatus, said: str
) -> None:
    officer = await colleague("privacy_officer")
    listed = (await officer.get("/console/exports")).text
    assert page_of(asked) in listed
    shown = await officer.get(page_of(asked))
    assert "givenName" in shown.text
    assert f"{page_of(asked)}/{what}" in forms(shown)
    answer = await send(officer, asked, what)
    assert (answer.status_code, answer.headers["location"]) == (303, page_of(asked))
    assert await status_of(platform, asked) is status
    assert said in (await officer.get(page_of(asked))).text
    assert (await actions(platform, asked))[-1] == f"bulk_export.{status.value}"


async def test_who_asked_does_not_approve_but_may_stop_it(
    analyst: httpx.AsyncClient, platform: Platform, asked: UUID
) -> None:
    shown = await analyst.get(page_of(asked))
    assert "You asked for it" in shown.text
    assert f"{page_of(asked)}/approve" not in forms(shown)
    assert (await send(analyst, asked, "approve")).status_code == 403
    assert await status_of(platform, asked) is BulkStatus.AWAITING_APPROVAL
    assert (await send(analyst, asked, "cancel")).status_code == 303
    assert await status_of(platform, asked) is BulkStatus.CANCELLED


async def test_others_see_and_do_nothing(
    agent: httpx.AsyncClient, colleague: Colleague, platform: Platform, asked: UUID
) -> None:
    listed = await agent.get("/console/exports")
    assert page_of(asked) not in listed.text
    assert (listed.status_code, (await agent.get(page_of(asked))).status_code) == (403, 403)
    for what in ("approve", "refuse", "cancel"):
        assert (await send(agent, asked, what)).status_code in {403, 404}
    bystander = await colleague("analyst")
    assert (await send(bystander, asked, "cancel")).status_code == 404
    assert await status_of(platform, asked) is BulkStatus.AWAITING_APPROVAL
    async with platform.db.transaction(Role.WORKER) as tx:
        refused = select(audit_event.c.code).where(audit_event.c.action == "bulk_export.approved")
        assert {row.code for row in await tx.all(refused)} & {"FORBIDDEN", "INSUFFICIENT_SCOPE"}


async def test_a_stale_sign_in_decides_nothing(colleague: Colleague, platform: Platform, asked: UUID) -> None:
    officer = await colleague("privacy_officer")
    async with platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(
            update(session).values(
                authenticated_at=session.c.created_at - (session.c.expires_at - session.c.created_at)
            )
        )
    answer = await send(officer, asked, "approve")
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/console/sign-in")
    assert await status_of(platform, asked) is BulkStatus.AWAITING_APPROVAL


async def test_an_unknown_export_or_action_is_not_found(colleague: Colleague, asked: UUID) -> None:
    officer = await colleague("privacy_officer")
    assert (await officer.get("/console/exports/nothing")).status_code == 404
    assert (await send(officer, asked, "bless")).status_code == 404
