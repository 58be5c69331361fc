"""One erasure by a real worker reaches everything of the person that had left our tables, and nothing of anybody else.

A partner that was told, a package that can be fetched, a bulk export that is offered, a letter that waits, a session
and an app's token that are alive: each is gone or called back, and the certificate says so.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import func, select, update
from starlette.applications import Starlette

from cdp.access.scopes import CUSTOMER_SCOPES
from cdp.access.viewer import SYSTEM
from cdp.compiler.bulk import BulkCompiler
from cdp.core.blobs import ObjectMissing
from cdp.core.db import Role
from cdp.core.ids import global_id
from cdp.core.keys import KeyGone
from cdp.core.settings import Settings
from cdp.core.sign import Verdict, check
from cdp.operations import messages
from cdp.operations.bulk import kickoff
from cdp.operations.bulk.kickoff import Wanted
from cdp.operations.oauth import clients, grants
from cdp.operations.oauth.tokens import issuer_of
from cdp.operations.requests.exports import key_name
from cdp.tables.account import session
from cdp.tables.bulk import BulkStatus, bulk_export, bulk_part
from cdp.tables.export import export
from cdp.tables.message import message
from cdp.tables.request import RequestStatus
from cdp.tables.sharing import partner_recall
from tests.browser import serving, submit, visitor
from tests.engine import QUICK, Engine, opened, until
from tests.partners.conftest import Desk, Party, colleague
from tests.partners.test_reading import PROFILE
from tests.population import Person, make_person
from tests.processes import worker
from tests.requests.test_reach import OFFER
from tests.site import PASSWORD, give_account

COHORT = "{ customers { nodes { id givenName } } }"
LIVELY = {**QUICK, "lease_s": 3.0, "sweep_s": 0.3, "task_timeout_s": 5.0, "audit_sequence_s": 0.5}


@dataclass
class Somebody:
    """A person, and what of them is outside."""

    person: Person
    browser: httpx.AsyncClient
    token: str
    package: Any

    @property
    def id(self) -> str:
        return global_id("Customer", self.person.customer_id)


@dataclass
class World:
    """A platform that serves, a worker that works, and a partner that asks."""

    engine: Engine
    app: Starlette
    desk: Desk

    async def rows(self, statement: Any) -> list[Any]:
        async with self.engine.platform.db.transaction(Role.WORKER) as tx:
            return [*await tx.all(statement)]

    async def signed_in(self) -> tuple[Person, httpx.AsyncClient, str]:
        """Somebody signed in with a browser and with an app."""
        platform = self.app.state.platform
        person = await make_person(platform.db)
        username = await give_account(platform, person)
        browser = visitor(self.app)
        answer = await submit(browser, "/account/sign-in", username=username, password=PASSWORD)
        assert answer.status_code == 303, answer.text
        async with platform.db.transaction(Role.WORKER) as tx:
            client, scope = await clients.ensure_command_line(tx), " ".join(sorted(CUSTOMER_SCOPES))
            grant = await grants.open_grant(tx, self.engine.viewer(person), client, scope, now=platform.clock())
        return person, browser, issuer_of(platform).access_token(grant, scope)

    async def is_in(self, one: Somebody) -> tuple[bool, bool]:
        """Whether browser and app still get in."""
        page = await one.browser.get("/account")
        headers = {"authorization": f"Bearer {one.token}", "accept": "application/json"}
        async with visitor(self.app) as http:
            told = await http.post("/graphql", json={"query": "{ viewer { customer { id } } }"}, headers=headers)
        return page.status_code == 200, told.status_code == 200

    async def offered(self, export_id: UUID) -> list[str]:
        """Everybody in the files of a bulk export, by id."""
        found = await self.rows(select(bulk_part.c.object_key).where(bulk_part.c.bulk_export_id == export_id))
        bodies = [await self.engine.platform.blobs.get(row.object_key) for row in found]
        return [json.loads(line)["id"] for body in bodies for line in body.splitlines()]


@asynccontextmanager
async def world(settings: Settings) -> AsyncIterator[World]:
    async for engine in opened(settings.model_copy(update=LIVELY)):
        async with serving(engine.platform.settings) as app, visitor(app) as http:
            people = [
                await colleague(engine.platform, role) for role in ("privacy_officer", "supervisor", "administrator")
            ]
            yield World(engine, app, Desk(engine.platform, http, *people))


async def told(world: World, people: list[Person]) -> Party:
    """A partner that has read all of them."""
    party = await world.desk.partner()
    token = await party.token(await world.desk.grant(party))
    for person in people:
        answer = await party.ask(token, PROFILE, id=global_id("Customer", person.customer_id))
        assert answer["data"]["customer"]["contacts"]["emails"] == [{"address": person.email}]
    return party


async def bulk_of(world: World) -> UUID:
    """A finished bulk export with everybody's names, made by the worker."""
    platform, reader = world.engine.platform, world.engine.place.reader
    wanted = Wanted(COHORT, "orders", personal=True)
    asked = await kickoff.run_query(platform, BulkCompiler(reader.graph, reader.limits), SYSTEM, wanted)
    async with platform.db.transaction(Role.WORKER) as tx:  # as if a second person had said yes
        await tx.execute(update(bulk_export).where(bulk_export.c.id == asked.id).values(status=BulkStatus.QUEUED))

    async def is_made() -> bool:
        (row,) = await world.rows(select(bulk_export.c.status).where(bulk_export.c.id == asked.id))
        return row.status is BulkStatus.COMPLETED

    await until(is_made)
    return asked.id


async def settle_in(world: World) -> list[Somebody]:
    """Two people with everything outside that may be outside of anybody."""
    found = []
    for _ in range(2):
        person, browser, token = await world.signed_in()
        asked = await world.engine.open_export(person)
        await world.engine.closed(asked.reference)
        (package,) = await world.rows(select(export).where(export.c.customer_id == person.customer_id))
        assert await world.engine.platform.blobs.size(package.object_key) > 0
        async with world.engine.platform.db.transaction(Role.WORKER) as tx:
            message_id = await messages.queue(tx, person.customer_id, person.email, OFFER)
            later = update(message).where(message.c.id == message_id)
            await tx.execute(later.values(next_run_at=func.now() + timedelta(hours=1)))
        found.append(Somebody(person, browser, token, package))
    return found


@pytest.mark.faults
async def test_everything_that_left_is_gone_or_called_back(fresh_settings: Settings, tmp_path: Path) -> None:
    async with world(fresh_settings) as here:
        with worker(here.engine.platform.settings, tmp_path / "log") as process:
            ada, bystander = await settle_in(here)
            party = await told(here, [ada.person, bystander.person])
            bulk_id = await bulk_of(here)
            before = await here.offered(bulk_id)
            assert {ada.id, bystander.id} <= set(before)
            assert [await here.is_in(one) for one in (ada, bystander)] == [(True, True)] * 2
            erased = await here.engine.open_erasure(ada.person)
            await here.engine.closed(erased.reference)
            assert await here.engine.status(erased.reference) is RequestStatus.COMPLETED
            await files_are_gone(here, ada, bystander)
            assert sorted(await here.offered(bulk_id)) == sorted(set(before) - {ada.id})
            await partner_is_asked(here, party, ada)
            await nobody_gets_in(here, ada, bystander)
            assert not [letter for letter in here.engine.letters(ada.person) if OFFER.subject in letter]
            assert [
                one.customer_id for one in await here.rows(select(message).where(message.c.template == "offer"))
            ] == [bystander.person.customer_id]
            await certificate_says_so(here, erased.reference)
            assert process.stop() == 0


async def files_are_gone(world: World, ada: Somebody, bystander: Somebody) -> None:
    platform = world.engine.platform
    with pytest.raises(KeyGone):
        platform.keys.get(key_name(ada.package.id))
    with pytest.raises(ObjectMissing):
        await platform.blobs.size(ada.package.object_key)
    assert platform.keys.get(key_name(bystander.package.id))
    assert await platform.blobs.size(bystander.package.object_key) > 0


async def partner_is_asked(world: World, party: Party, ada: Somebody) -> None:
    (recall,) = await world.rows(select(partner_recall).where(partner_recall.c.partner_id == party.id))
    assert (recall.subject_id, recall.reason) == (ada.person.customer_id, "erasure")

    async def is_told() -> bool:
        to = f"{party.name.removeprefix('Partner ')}@partner.example"
        return any(global_id("Customer", ada.person.customer_id) in letter for letter in world.engine.letters_to(to))

    await until(is_told)


async def nobody_gets_in(world: World, ada: Somebody, bystander: Somebody) -> None:
    async def is_out() -> bool:  # every process reads again which grants have ended, every two seconds
        return await world.is_in(ada) == (False, False)

    await until(is_out)
    assert await world.is_in(bystander) == (True, True)
    assert await world.rows(select(session.c.id).where(session.c.customer_id == ada.person.customer_id)) == []


async def certificate_says_so(world: World, reference: str) -> None:
    document = world.engine.document(await world.engine.certificate(reference))
    assert check(document, world.engine.platform.signer.keys()) is Verdict.VALID
    (own,) = [one for one in document["systems"] if one["kind"] == "own"]
    assert own["erased"]["evidence"]["reached"] == {
        "packagesDestroyed": 1,
        "lettersStopped": 1,
        "partnersAsked": 1,
        "bulkExportsWithout": 1,
    }
