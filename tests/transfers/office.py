"""A deal in a test's hands: who makes it, two who approve it, its terms, and the people in its scope."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from sqlalchemy import Row, insert, select, update

from cdp.access.viewer import Viewer
from cdp.core import age
from cdp.core.db import Role, Tx
from cdp.core.ids import CustomerId, new_id
from cdp.operations.transfers import classifying, deals, freezing, notices, objections, states
from cdp.operations.transfers.classifying import Counts
from cdp.operations.transfers.deals import Acquirer, CohortTerms, NoticeText, Recorded, Terms
from cdp.tables.audit import audit_event
from cdp.tables.customer import customer
from cdp.tables.message import message
from cdp.tables.policy import brand, collection
from cdp.tables.transfer import CohortBasis, CohortRule, transfer, transfer_customer
from tests.engine import Engine
from tests.population import Person, make_person
from tests.requests.test_casework import hire

NOTICE = {
    "en": NoticeText("Your data may go to Acme", "Within {days} days you can object: {link}"),
    "de": NoticeText("Ihre Daten gehen vielleicht an Acme", "Innerhalb von {days} Tagen: {link}"),
}
TERMS: dict[str, Any] = {
    "name": "Sale of a brand",
    "seller": "Shop Ltd",
    "acquirer": {
        "name": "Acme GmbH",
        "jurisdiction": "Germany",
        "contact": "privacy@acme.example",
        "key": age.recipient_of(age.new_identity()),
    },
    "brand": "terminal",
    "cohorts": [
        {"name": "all", "basis": "opt_out", "rule": "everybody", "fields": ["givenName", "contacts.emails.address"]}
    ],
    "reviews": [{"version": "2026-01", "permits": True}],
    "noticeVersion": "1",
    "notice": [{"language": "en", "subject": "About your data", "body": "Object within {days} days: {link}"}],
    "windowDays": 0,
}
FIELDS = ("givenName", "familyName", "contacts.emails.address")


@dataclass(frozen=True)
class Office:
    """One maker, two approvers, one agent, and the acquirer's key."""

    engine: Engine
    maker: Viewer
    first: Viewer
    second: Viewer
    agent: Viewer
    identity: str

    def terms(self, **changes: Any) -> Terms:
        """Everybody goes unless they object, with a window that is over at once."""
        terms = Terms(
            name="Sale of the main brand",
            seller="Shop Ltd",
            acquirer=Acquirer("Acme GmbH", "Germany", "privacy@acme.example", age.recipient_of(self.identity)),
            brand="main",
            cohorts=(CohortTerms("everybody", CohortBasis.OPT_OUT, CohortRule.EVERYBODY, FIELDS),),
            reviews={"2026-01": True},
            notice_version="1",
            notice=NOTICE,
            window_days=0,
        )
        return replace(terms, **changes)

    async def brand(self, code: str) -> UUID:
        """A brand of the test's own, so that a deal's scope is the people it makes."""
        brand_id = new_id()
        async with self.engine.platform.db.transaction(Role.WORKER) as tx:
            await tx.execute(insert(brand).values(id=brand_id, code=code, name=code.title()))
        return brand_id

    async def person(self, brand_id: UUID, **changes: Any) -> Person:
        """A customer whose every row this brand has collected."""
        person = await make_person(self.engine.platform.db, **changes)
        await self.collected(person, brand_id=brand_id)
        return person

    async def collected(self, person: Person, **values: Any) -> None:
        """Change where a person's rows were collected, and whose customer they are."""
        async with self.engine.platform.db.transaction(Role.WORKER) as tx:
            mine = collection.c.customer_id == person.customer_id
            await tx.execute(update(collection).where(mine).values(**values))
            if "brand_id" in values:
                await set_customer(tx, person.customer_id, brand_id=values["brand_id"])

    async def create(self, **changes: Any) -> Recorded:
        async with self.tx() as tx:
            return await deals.create(tx, self.maker, self.engine.platform, self.terms(**changes))

    async def classify(self, deal: Recorded) -> Counts:
        async with self.tx() as tx:
            return await classifying.classify(tx, self.maker, self.engine.platform, deal.id)

    async def confirm(self, deal: Recorded, viewer: Viewer | None = None, *, given: str | None = None) -> None:
        async with self.tx() as tx:
            shown = given or deal.fingerprint
            await deals.confirm_key(tx, viewer or self.first, self.engine.platform, deal.id, given=shown)

    async def notify(self, deal: Recorded) -> int:
        async with self.tx() as tx:
            return await notices.notify(tx, self.maker, self.engine.platform, deal.id)

    async def freeze(self, deal: Recorded) -> str:
        async with self.tx() as tx:
            return await freezing.freeze(tx, self.maker, self.engine.platform, deal.id)

    async def approve(self, deal: Recorded, viewer: Viewer, sha256: str) -> bool:
        async with self.tx() as tx:
            done = await freezing.approve(tx, viewer, self.engine.platform, deal.id, sha256=sha256)
        return done.is_complete

    async def object_to(self, deal: Recorded, person: Person) -> None:
        db = self.engine.platform.db
        async with db.transaction(Role.CUSTOMER, subject=person.customer_id) as tx:
            await objections.object_to(tx, self.engine.viewer(person), deal.reference)

    async def told(self, deal: Recorded) -> None:
        """Classify, confirm, notify, and let the letters leave."""
        await self.classify(deal)
        await self.confirm(deal)
        await self.notify(deal)
        await self.engine.work()

    async def approved(self, deal: Recorded) -> str:
        """All the way to two approvals; returns the hash."""
        await self.told(deal)
        sha256 = await self.freeze(deal)
        assert not await self.approve(deal, self.first, sha256)
        assert await self.approve(deal, self.second, sha256)
        return sha256

    async def row(self, deal: Recorded) -> Row[Any]:
        async with self.tx() as tx:
            return await states.find(tx, deal.id)

    async def member(self, deal: Recorded, person: Person) -> Row[Any]:
        """What became of somebody in a deal."""
        known = select(transfer_customer).where(
            transfer_customer.c.transfer_id == deal.id, transfer_customer.c.subject_ref == person.audit_ref
        )
        async with self.tx() as tx:
            found = await tx.first(known)
        assert found is not None
        return found

    async def letters(self, person: Person) -> list[Row[Any]]:
        async with self.tx() as tx:
            mine = select(message).where(message.c.customer_id == person.customer_id)
            return [*await tx.all(mine.order_by(message.c.created_at))]

    async def ledger(self, deal: Recorded) -> list[str]:
        """The custody ledger of a deal: what was done, in order."""
        async with self.tx() as tx:
            mine = select(audit_event.c.action).where(audit_event.c.object_id == deal.id)
            return [row.action for row in await tx.all(mine.order_by(audit_event.c.occurred_at, audit_event.c.id))]

    async def change(self, deal: Recorded, **values: Any) -> None:
        async with self.tx() as tx:
            await tx.execute(update(transfer).where(transfer.c.id == deal.id).values(**values))

    @property
    def tx(self) -> Callable[..., Any]:
        return lambda: self.engine.platform.db.transaction(Role.WORKER)


async def set_customer(tx: Tx, customer_id: CustomerId, **values: Any) -> None:
    """Write columns of a customer row."""
    await tx.execute(update(customer).where(customer.c.id == customer_id).values(**values))


async def opened_office(engine: Engine) -> Office:
    """Hire everybody a deal needs."""
    roles = ("privacy_officer", "supervisor", "administrator", "agent")
    maker, first, second, agent = [await hire(engine, role) for role in roles]
    return Office(engine, maker, first, second, agent, age.new_identity())
