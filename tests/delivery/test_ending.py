"""After delivery: what was sold is used for nothing here, for a while it is kept, then it goes; a recall undoes it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import Table, func, insert, select, update

from cdp.access.viewer import SYSTEM
from cdp.compiler.bulk import BulkCompiler
from cdp.core.db import Role
from cdp.core.ids import global_id, new_id
from cdp.jobs.purge import purge
from cdp.jobs.sweep import tidy
from cdp.operations.bulk.floor import Floor
from cdp.operations.delivery import deltas, selection
from cdp.operations.partners import offers
from cdp.operations.retention import purges
from cdp.operations.transfers import objections, removal
from cdp.tables.base import Category
from cdp.tables.consent import consent, preference
from cdp.tables.contact import email_address
from cdp.tables.customer import customer, identity
from cdp.tables.delivery import transfer_delta_entry
from cdp.tables.message import message
from cdp.tables.order import sales_order
from cdp.tables.partner import GrantAction, PartnerFunction
from cdp.tables.policy import LegalBasis, brand, collection
from cdp.tables.request import privacy_request
from cdp.tables.transfer import transfer, transfer_customer
from tests.bulk.factory import Bulk
from tests.delivery.factory import Deal, Seller, sold
from tests.holds.desk import staffed
from tests.partners.conftest import Desk, colleague
from tests.population import Person, audited, make_person, picture

PEOPLE = "{ customers(first: 50) { nodes { id contacts { emails { address } } preferences { key } } } }"
QUERY = "{ customers { nodes { id orders { nodes { currency } } preferences { key } } } }"


@dataclass
class Town:
    """Whom the sold brand knew alone, whom another brand knows too, who objects late, who was never in the deal."""

    alone: Person
    shared: Person
    late: Person
    bystander: Person
    elsewhere: UUID


@pytest.fixture(scope="module")
async def partners(seller: Seller) -> AsyncIterator[Desk]:
    roles = ("privacy_officer", "supervisor", "administrator")
    people = [await colleague(seller.platform, role) for role in roles]
    transport = httpx.ASGITransport(app=seller.app)
    async with httpx.AsyncClient(transport=transport, base_url=seller.platform.settings.url) as http:
        yield Desk(seller.platform, http, *people)


@pytest.fixture(scope="module")
async def bulk(seller: Seller) -> AsyncIterator[Bulk]:
    floor = Floor(seller.platform, seller.reader, "bulk")
    yield Bulk(seller.platform, seller.reader, floor, BulkCompiler(seller.reader.graph, seller.reader.limits))
    await floor.close()


@pytest.fixture(scope="module")
async def town(seller: Seller) -> Town:
    db, elsewhere = seller.platform.db, new_id()
    people = [await make_person(db) for _ in range(4)]
    alone, shared, late, bystander = people
    async with db.transaction(Role.WORKER) as tx:
        await tx.execute(insert(brand).values(id=elsewhere, code="elsewhere", name="Elsewhere"))
        theirs = collection.c.customer_id == bystander.customer_id
        await tx.execute(update(collection).where(theirs).values(brand_id=elsewhere))
        await tx.execute(update(customer).where(customer.c.id == bystander.customer_id).values(brand_id=elsewhere))
    await also_of(seller, shared, elsewhere)
    return Town(alone, shared, late, bystander, elsewhere)


async def also_of(seller: Seller, person: Person, brand_id: UUID) -> None:
    """Let another brand have collected an address and a preference of somebody."""
    source_id = new_id()
    async with seller.platform.db.transaction(Role.WORKER) as tx:
        known = await tx.first(select(collection).where(collection.c.customer_id == person.customer_id))
        assert known is not None
        await tx.execute(insert(collection).values({**known._mapping, "id": source_id, "brand_id": brand_id}))
        owned = {"customer_id": person.customer_id, "collection_id": source_id}
        address = f"kept-{person.email}"
        await tx.execute(insert(email_address).values(**owned, address=address, normalized=address))
        await tx.execute(insert(preference).values(**owned, key="kept", value="yes"))


async def delivered(seller: Seller, folder: Path) -> Deal:
    deal = await sold(seller)
    await seller.floor.drain()
    async with deal.buyer.at(seller, folder) as receiver:
        await receiver.receive(deal.reference)
    return deal


async def members(seller: Seller, deal: Deal) -> dict[UUID, Any]:
    rows = await seller.rows(select(transfer_customer).where(transfer_customer.c.transfer_id == deal.id))
    return {row.subject_ref: row for row in rows}


async def seen(desk: Desk) -> tuple[dict[str, list[str]], int]:
    """Addresses a partner is shown, by customer, and how many it is kept from."""
    party = await desk.partner()
    more = frozenset({"EmailAddress.address", "Preference.key"})
    token = await party.token(await desk.grant(party, function=PartnerFunction.PROMOTIONS, fields=more))
    answer = await party.ask(token, PEOPLE)
    found = answer["data"]["customers"]["nodes"]
    shown = {one["id"]: [mail["address"] for mail in one["contacts"]["emails"]] for one in found}
    return shown, answer.get("extensions", {}).get("withheld", {}).get("customers", 0)


async def offered(seller: Seller, desk: Desk) -> set[UUID]:
    """Whom an offer reaches."""
    grant_id = await desk.grant(
        party := await desk.partner(),
        function=PartnerFunction.PROMOTIONS,
        purposes=frozenset({"promotions"}),
        fields=frozenset(),
        actions=frozenset({GrantAction.OFFER}),
        legal_basis=LegalBasis.CONSENT,
    )
    token = await party.token(grant_id, "promotions")
    subject = f"Offer {grant_id}"
    asked = "mutation($input: ProposePartnerOfferInput!) { proposePartnerOffer(input: $input) { offerId } }"
    answer = await party.ask(token, asked, input={"subject": subject, "body": "Come."})
    async with seller.platform.db.transaction(Role.WORKER) as tx:
        offer_id = await tx.scalar(select(offers.partner_offer.c.id).where(offers.partner_offer.c.subject == subject))
        assert offer_id is not None, answer
        await offers.approve(tx, desk.third, seller.platform, offer_id)
        while await offers.send_due(tx, seller.platform):
            pass
        return {row.customer_id for row in await tx.all(select(message).where(message.c.subject == subject))}


def ids(*people: Person) -> set[str]:
    return {global_id("Customer", one.customer_id) for one in people}


async def test_use_stops_where_the_acquirer_has_signed_and_begins_again_after_a_recall(
    seller: Seller, town: Town, partners: Desk, bulk: Bulk, tmp_path: Path
) -> None:
    before, (shown, _) = await bulk.export(query=QUERY, purpose="orders"), await seen(partners)
    analyst = bulk_viewer = await bulk.member("analyst")
    first = await bulk.export(bulk_viewer, QUERY, purpose="orders")
    assert len(before.ids) == len(first.ids) == len(shown) == 4
    whole = ids(town.alone, town.shared, town.late, town.bystander)
    assert set(shown) == whole
    deal = await delivered(seller, tmp_path)
    marked = await members(seller, deal)
    assert {ref for ref, row in marked.items() if row.stopped_at} == {
        town.alone.audit_ref,
        town.shared.audit_ref,
        town.late.audit_ref,
    }
    agent = await seller.member("agent")
    async with seller.platform.db.transaction(Role.WORKER) as tx:
        await objections.record(tx, agent, deal.id, town.late.customer_id)
    assert (await members(seller, deal))[town.late.audit_ref].stopped_at is None

    shown, withheld = await seen(partners)
    assert (set(shown), withheld) == (ids(town.shared, town.late, town.bystander), 1)
    assert shown[next(iter(ids(town.shared)))] == [f"kept-{town.shared.email}"]
    assert shown[next(iter(ids(town.late)))] == [town.late.email]
    assert await offered(seller, partners) == {town.late.customer_id, town.bystander.customer_id}

    then = await bulk.export(analyst, QUERY, purpose="orders", since=first.manifest["watermark"])
    assert then.excluded == {"transferred": 1}
    assert then.tombstones == {await bulk.shown(then.row, town.alone.customer_id): "suppressed"}
    (rows,) = [one for one in then.rows if one["id"] == await bulk.shown(then.row, town.shared.customer_id)]
    assert (rows["orders"]["nodes"], rows["preferences"]) == ([], [{"key": "kept"}])

    async with seller.platform.db.transaction(Role.WORKER) as tx:
        await deltas.recall(tx, SYSTEM, seller.platform, deal.id, reason="The deal broke.")
    assert not any(row.stopped_at for row in (await members(seller, deal)).values())
    assert (await seen(partners)) == (
        {**shown, next(iter(ids(town.alone))): [town.alone.email], **(await addresses(seller, town.shared))},
        0,
    )
    again = await bulk.export(analyst, QUERY, purpose="orders", since=then.manifest["watermark"])
    assert (again.excluded, again.tombstones) == ({}, {})
    assert await bulk.shown(again.row, town.alone.customer_id) in again.ids


async def addresses(seller: Seller, person: Person) -> dict[str, list[str]]:
    mine = select(email_address).where(email_address.c.customer_id == person.customer_id)
    rows = await seller.rows(mine.order_by(email_address.c.is_primary.desc(), email_address.c.created_at))
    return {next(iter(ids(person))): [row.address for row in rows]}


async def purged(seller: Seller) -> dict[str, int]:
    async with seller.platform.db.transaction(Role.WORKER) as tx:
        announced = (await purges.preview(tx))["transferred"]
        run_id = await purges.ask(tx, SYSTEM)
    await purge({"workplace": seller.engine.place}, str(run_id))
    async with seller.platform.db.transaction(Role.WORKER) as tx:
        found: dict[str, int] = await tx.scalar(
            select(purges.retention_run.c.removed).where(purges.retention_run.c.id == run_id)
        )
    assert found.get("transferred", 0) == announced
    return found


async def over(seller: Seller, deal: Deal) -> None:
    """Let the seller's time to keep what went be over."""
    async with seller.platform.db.transaction(Role.WORKER) as tx:
        gone = update(transfer).where(transfer.c.id == deal.id)
        await tx.execute(gone.values(completed_at=func.now() - timedelta(days=181)))


@pytest.fixture(scope="module")
async def ended(seller: Seller, town: Town, tmp_path_factory: pytest.TempPathFactory) -> Deal:
    """A second deal, whose time is over; one of its people is under a hold."""
    desk = await staffed(seller.engine)
    deal = await delivered(seller, tmp_path_factory.mktemp("second"))
    agent = await seller.member("agent")
    async with seller.platform.db.transaction(Role.WORKER) as tx:
        await objections.record(tx, agent, deal.id, town.late.customer_id)
    assert await purged(seller) == {}
    await over(seller, deal)
    hold = await desk.hold(town.alone, Category.ORDER)
    untouched = await picture(seller.platform.db, town.bystander)
    late = await picture(seller.platform.db, town.late)
    held = await picture(seller.platform.db, town.alone)
    assert await purged(seller) == {"transferred": 1}
    assert await picture(seller.platform.db, town.alone) == held
    assert await picture(seller.platform.db, town.bystander) == untouched
    assert await picture(seller.platform.db, town.late) == late
    await desk.release(hold)
    return deal


async def test_of_shared_customers_the_rows_of_the_sold_brand_go(seller: Seller, town: Town, ended: Deal) -> None:
    left = await picture(seller.platform.db, town.shared)
    counts = {name: len(left[name]) for name in ("email_address", "preference", "consent", "sales_order", "event")}
    assert counts == {"email_address": 1, "preference": 1, "consent": 0, "sales_order": 0, "event": 0}
    assert len(left["account"]) == 1
    (kept,) = await seller.rows(select(sales_order).where(sales_order.c.id == town.shared.order_id))
    assert (kept.billing_name, kept.retained_until is not None) == (None, True)
    (row,) = await seller.rows(select(customer).where(customer.c.id == town.shared.customer_id))
    assert row.brand_id == town.elsewhere
    member = (await members(seller, ended))[town.shared.audit_ref]
    assert (member.removed_at is not None, member.removal_id) == (True, None)
    assert "customer.brand_removed" in await audited(seller.platform.db, town.shared)
    assert "transfer.rows_ended" in await seller.audited(ended.id)


async def test_who_was_the_sold_brands_alone_is_erased_and_the_acquirer_is_told_nothing(
    seller: Seller, town: Town, ended: Deal
) -> None:
    assert await purged(seller) == {"transferred": 1}
    member = (await members(seller, ended))[town.alone.audit_ref]
    (request,) = await seller.rows(select(privacy_request).where(privacy_request.c.id == member.removal_id))
    assert (request.channel, ended.reference in request.reason) == ("asset transfer", True)
    assert await purged(seller) == {}
    engine = seller.engine
    await engine.work()
    await engine.cool_off(request.reference)
    await engine.work()
    assert await seller.rows(select(customer).where(customer.c.id == town.alone.customer_id)) == []
    await seller.floor.drain()
    told = await seller.rows(select(transfer_delta_entry).where(transfer_delta_entry.c.record_id == member.id))
    assert told == []


async def test_what_somebody_asks_for_themselves_is_told(seller: Seller, tmp_path: Path) -> None:
    person = await make_person(seller.platform.db)
    deal = await delivered(seller, tmp_path)
    await over(seller, deal)
    await purged(seller)
    member = (await members(seller, deal))[person.audit_ref]
    engine = seller.engine
    asked = await engine.open_erasure(person)
    assert asked.joined
    await engine.work()
    await engine.cool_off(asked.reference)
    await engine.work()
    await seller.floor.drain()
    told = await seller.rows(select(transfer_delta_entry).where(transfer_delta_entry.c.record_id == member.id))
    assert [one.reason for one in told] == ["erased"]


@pytest.mark.parametrize("undone_by", ["a recall", "an objection"])
async def test_an_erasure_that_waits_is_undone(seller: Seller, undone_by: str, tmp_path: Path) -> None:
    person = await make_person(seller.platform.db)
    deal = await delivered(seller, tmp_path)
    await over(seller, deal)
    await purged(seller)
    member = (await members(seller, deal))[person.audit_ref]
    async with seller.platform.db.transaction(Role.WORKER) as tx:
        if undone_by == "a recall":
            await deltas.recall(tx, SYSTEM, seller.platform, deal.id, reason="The deal broke.")
        else:
            await objections.record(tx, await seller.member("agent"), deal.id, person.customer_id)
    await tidy(seller.engine.place)
    (request,) = await seller.rows(select(privacy_request).where(privacy_request.c.id == member.removal_id))
    assert request.status == "cancelled"
    row = (await members(seller, deal))[person.audit_ref]
    assert (row.stopped_at, row.removed_at, row.removal_id) == (None, None, None)
    assert "transfer.rows_kept" in await seller.audited(deal.id)


def test_whatever_an_acquirer_can_get_goes(seller: Seller) -> None:
    types = seller.reader.graph.types
    going: set[Table] = {table for name in selection.GOES if name in types and (table := types[name].table) is not None}
    theirs = {table for table in going if "collection_id" in table.c} - {customer, identity}
    assert theirs == set(removal.SOLD)
    assert consent in theirs
