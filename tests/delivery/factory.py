"""A deal in a test's hands: people, an acquirer with keys of its own, a seller that packs only when told to.

deal = await sold(seller, acquirer, people)     recorded, classified, told, frozen, approved: ready to be packed
await seller.floor.drain()                      what a worker would do
received = await acquirer.receiver(…).receive(deal.reference)
"""

import json
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from joserfc.jwk import ECKey
from sqlalchemy import Row, insert, select, update
from starlette.applications import Starlette

from cdp.access.transfers import MANAGE_SCOPE, READ_SCOPE
from cdp.access.viewer import SYSTEM, Actor, Viewer
from cdp.compiler.reader import Reader
from cdp.core import age
from cdp.core.db import Role
from cdp.core.ids import new_id
from cdp.core.platform import Platform
from cdp.jobs.sweep import sweep
from cdp.jobs.workplace import Workplace
from cdp.operations.delivery.floor import Floor
from cdp.operations.delivery.receiver import Account, Receiver
from cdp.operations.oauth import clients
from cdp.operations.transfers import classifying, deals, freezing, notices
from cdp.operations.transfers.deals import Acquirer, CohortTerms, NoticeText, Terms
from cdp.tables.audit import audit_event
from cdp.tables.policy import brand, policy_version
from cdp.tables.staff import staff
from cdp.tables.transfer import CohortBasis, CohortRule, TransferStatus, transfer
from tests.browser import serving
from tests.engine import Engine

FIELDS = (
    "givenName",
    "familyName",
    "contacts.emails.address",
    "orders.number",
    "orders.total",
    "orders.items.sku",
    "collection.source",
)
EVERYBODY = CohortTerms("Everybody", CohortBasis.OPT_OUT, CohortRule.EVERYBODY, FIELDS)


@dataclass
class Seller:
    """The platform that sells, and its worker's floor."""

    app: Starlette
    platform: Platform
    reader: Reader

    @property
    def engine(self) -> Engine:
        return Engine(self.platform, Workplace(self.platform, self.reader, "tests"))

    @property
    def floor(self) -> Floor:
        return Floor(self.platform, self.reader, "tests")

    async def member(self, *roles: str) -> Viewer:
        """Somebody who works here, freshly signed in."""
        staff_id = new_id()
        name = f"{secrets.token_hex(6)}@example.org"
        async with self.platform.db.transaction(Role.WORKER) as tx:
            await tx.execute(insert(staff).values(id=staff_id, username=name, name="Cy", roles=list(roles)))
        return Viewer(
            Actor.STAFF,
            staff_id=staff_id,
            roles=frozenset(roles),
            scopes=frozenset({READ_SCOPE, MANAGE_SCOPE}),
            authenticated_at=self.platform.clock(),
            purpose="customer_service",
        )

    async def row(self, deal_id: UUID) -> Row[Any]:
        async with self.platform.db.transaction(Role.WORKER) as tx:
            found = await tx.first(select(transfer).where(transfer.c.id == deal_id))
        assert found is not None
        return found

    async def rows(self, statement: Any) -> list[Row[Any]]:
        async with self.platform.db.transaction(Role.WORKER) as tx:
            return [*await tx.all(statement)]

    async def audited(self, deal_id: UUID) -> list[str]:
        mine = select(audit_event.c.action).where(audit_event.c.object_id == deal_id).order_by(audit_event.c.id)
        return [row.action for row in await self.rows(mine)]


@dataclass
class Buyer:
    """An acquirer: its OAuth client, its signing key, its age identity."""

    client_id: str
    key: ECKey = field(repr=False)
    identity: str = field(repr=False)

    @asynccontextmanager
    async def at(self, seller: Seller, folder: Path) -> AsyncIterator[Receiver]:
        """Its receiver, talking to the seller's application."""
        transport = httpx.ASGITransport(app=seller.app)
        async with httpx.AsyncClient(transport=transport, base_url=seller.platform.settings.url) as http:
            account = Account(self.client_id, self.key, self.identity, seller.platform.signer.keys())
            yield Receiver(http, account, folder)


@dataclass(frozen=True)
class Deal:
    """A deal of a test."""

    id: UUID
    reference: str
    buyer: Buyer


async def new_buyer(platform: Platform, *, scopes: Sequence[str] = ("transfers:receive",)) -> Buyer:
    key = ECKey.generate_key("P-256")
    async with platform.db.transaction(Role.WORKER) as tx:
        made = await clients.add(
            tx,
            SYSTEM,
            name="Acquirer",
            redirect_uris=[],
            grant_types=[clients.CLIENT_CREDENTIALS],
            scopes=scopes,
            jwks={"keys": [key.as_dict(private=False)]},
        )
    return Buyer(made.client.client_id, key, age.new_identity())


def terms(buyer: Buyer, brand_code: str, versions: Sequence[str], cohort: CohortTerms) -> Terms:
    return Terms(
        name="Sale of a brand",
        seller="Seller AG",
        acquirer=Acquirer(
            "Buyer Inc.", "US-DE", "deals@example.org", age.recipient_of(buyer.identity), buyer.client_id
        ),
        brand=brand_code,
        cohorts=[cohort],
        reviews=dict.fromkeys(versions, True),
        notice_version="1",
        notice={"en": NoticeText("Your data moves", "We sell this brand. {link}")},
        window_days=0,
    )


async def sold(seller: Seller, *, cohort: CohortTerms = EVERYBODY) -> Deal:
    """A deal that was recorded, classified, told to everybody, frozen and approved; nobody has time to object.

    It calls off the deals before it, so that the same people can go again.
    """
    platform = seller.platform
    buyer = await new_buyer(platform)
    maker, second, third = [await seller.member("privacy_officer") for _ in range(3)]
    versions = [row.version for row in await seller.rows(select(policy_version.c.version))]
    code = (await seller.rows(select(brand.c.code).order_by(brand.c.id)))[0].code
    async with platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(update(transfer).values(status=TransferStatus.RECALLED))
        made = await deals.create(tx, maker, platform, terms(buyer, code, versions, cohort))
        await deals.confirm_key(tx, second, platform, made.id, given=made.fingerprint)
        await classifying.classify(tx, maker, platform, made.id)
        await notices.notify(tx, maker, platform, made.id)
    await sweep(Workplace(platform, seller.reader, "tests"), concurrency=8)
    async with platform.db.transaction(Role.WORKER) as tx:
        await notices.settle(tx, made.id)
    async with platform.db.transaction(Role.WORKER) as tx:
        hashed = await freezing.freeze(tx, maker, platform, made.id)
        for approver in (second, third):
            await freezing.approve(tx, approver, platform, made.id, sha256=hashed)
    return Deal(made.id, made.reference, buyer)


@asynccontextmanager
async def seller_of(settings: Any) -> AsyncIterator[Seller]:
    async with serving(settings) as app:
        yield Seller(app, app.state.platform, app.state.reader)


def lines(folder: Path, pattern: str) -> list[dict[str, Any]]:
    """Records of decrypted files."""
    found = sorted(folder.rglob(pattern))
    assert found, pattern
    return [json.loads(line) for path in found for line in path.read_text().splitlines()]
