"""Partners in a test's hands: three people who agree, a program with a secret, and tokens bound to a grant."""

import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import insert
from starlette.applications import Starlette

from cdp.access.scopes import STAFF_SCOPES
from cdp.access.viewer import SYSTEM, Actor, Viewer
from cdp.core.db import Role
from cdp.core.ids import new_id
from cdp.core.platform import Platform
from cdp.operations.oauth import clients
from cdp.operations.partners import grants, partners
from cdp.operations.partners.grants import Terms
from cdp.operations.partners.partners import NewPartner
from cdp.tables.partner import PartnerFunction
from cdp.tables.policy import LegalBasis
from cdp.tables.staff import staff
from tests.browser import visitor
from tests.schema.conftest import ask, execution
from tests.site import app, new_customer, new_staff, platform, signed_in

__all__ = ["app", "ask", "execution", "new_customer", "new_staff", "platform", "signed_in"]

NAMES = frozenset({"Customer.givenName", "Customer.familyName", "EmailAddress.address"})


@dataclass
class Desk:
    """Partners as staff see them, and as their programs do."""

    platform: Platform
    http: httpx.AsyncClient
    proposer: Viewer
    second: Viewer
    third: Viewer

    def terms(self, **changes: Any) -> Terms:  # fields of Terms
        now = self.platform.clock()
        usual = Terms(
            PartnerFunction.EMAIL_CONTACT,
            frozenset({"orders"}),
            NAMES,
            LegalBasis.CONTRACT,
            now - timedelta(hours=1),
            now + timedelta(days=30),
            retention_days=30,
            contract_reference="C-2026-17",
        )
        return replace(usual, **changes)

    async def partner(self) -> "Party":
        """A partner of the test's own, and its program."""
        code = f"p-{secrets.token_hex(6)}"
        async with self.platform.db.transaction(Role.WORKER) as tx:
            added = await clients.add(
                tx,
                SYSTEM,
                "Partner",
                redirect_uris=[],
                confidential=True,
                grant_types=["client_credentials"],
                scopes=["partner:read", "partner:offer"],
                authorization_types=["partner_access"],
            )
            wanted = NewPartner(code, f"Partner {code}", f"{code}@partner.example", added.client.client_id)
            partner_id = await partners.add(tx, self.proposer, self.platform, wanted)
        assert added.secret is not None
        return Party(self, partner_id, wanted.name, (added.client.client_id, added.secret))

    async def propose(self, party: "Party", **changes: Any) -> UUID:
        async with self.platform.db.transaction(Role.WORKER) as tx:
            return await grants.propose(tx, self.proposer, self.platform, party.id, self.terms(**changes))

    async def agree(self, grant_id: UUID, viewer: Viewer) -> None:
        async with self.platform.db.transaction(Role.WORKER) as tx:
            await grants.agree(tx, viewer, self.platform, grant_id)

    async def grant(self, party: "Party", **changes: Any) -> UUID:
        """A grant in force."""
        grant_id = await self.propose(party, **changes)
        await self.agree(grant_id, self.second)
        await self.agree(grant_id, self.third)
        return grant_id

    async def revoke(self, grant_id: UUID) -> None:
        async with self.platform.db.transaction(Role.WORKER) as tx:
            await grants.revoke(tx, self.third, self.platform, grant_id, reason="The contract has ended.")


@dataclass(frozen=True)
class Party:
    """A partner, as its program acts."""

    desk: Desk
    id: UUID
    name: str
    credentials: tuple[str, str]

    async def ask_token(self, grant_id: UUID | None, purpose: str = "orders", **more: str) -> httpx.Response:
        asked = {"grant_type": "client_credentials", **more}
        if grant_id is not None:
            detail = {"type": "partner_access", "purpose": purpose, "grant": str(grant_id)}
            asked["authorization_details"] = json.dumps([detail])
        return await self.desk.http.post("/oauth/token", data=asked, auth=self.credentials)

    async def token(self, grant_id: UUID | None, purpose: str = "orders") -> str:
        answer = await self.ask_token(grant_id, purpose)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    async def ask(self, token: str, query: str, **variables: object) -> dict[str, Any]:
        headers = {"authorization": f"Bearer {token}", "accept": "application/json"}
        asked = {"query": query, "variables": variables}
        return dict((await self.desk.http.post("/graphql", json=asked, headers=headers)).json())


async def colleague(platform: Platform, role: str) -> Viewer:
    """Somebody who works here and has just signed in."""
    staff_id = new_id()
    async with platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(insert(staff).values(id=staff_id, username=f"{staff_id}@x", name="Bo", roles=[role]))
    return Viewer(
        Actor.STAFF,
        staff_id=staff_id,
        roles=frozenset({role}),
        scopes=STAFF_SCOPES,
        authenticated_at=platform.clock(),
    )


@pytest.fixture
async def desk(app: Starlette, platform: Platform) -> AsyncIterator[Desk]:
    people = [await colleague(platform, role) for role in ("privacy_officer", "supervisor", "administrator")]
    async with visitor(app) as http:
        yield Desk(platform, http, *people)
