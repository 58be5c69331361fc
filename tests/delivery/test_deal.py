"""A deal from its approval to its receipt: packed, pulled, checked, decrypted, signed for."""

from pathlib import Path

import pytest
from sqlalchemy import delete, insert, select

from cdp.core.db import Role
from cdp.core.ids import new_id
from cdp.core.sign import Verdict
from cdp.operations.delivery import bag, checks, selection
from cdp.operations.delivery.selection import FieldNotTransferable
from cdp.tables.contact import email_address
from cdp.tables.delivery import transfer_receipt
from cdp.tables.policy import brand, collection
from cdp.tables.transfer import ReceiptState, TransferStatus, transfer_customer
from tests.delivery.factory import Seller, lines, sold
from tests.population import Person, make_person


@pytest.fixture(scope="module")
async def people(seller: Seller) -> list[Person]:
    return [await make_person(seller.platform.db) for _ in range(7)]


async def test_a_package_is_made_pulled_checked_and_signed_for(
    seller: Seller, people: list[Person], tmp_path: Path
) -> None:
    deal = await sold(seller)
    await seller.floor.drain()
    assert (await seller.row(deal.id)).status is TransferStatus.DELIVERING
    async with deal.buyer.at(seller, tmp_path) as receiver:
        received = await receiver.receive(deal.reference, keep_plain=True)
    assert (received.customers, received.rejected) == (7, ())
    place = tmp_path / deal.reference
    customers = lines(place / "plain", "customers-*.ndjson")
    assert {one["contacts"]["emails"][0]["address"] for one in customers} == {one.email for one in people}
    for kind in ("choices", "provenance"):
        same = [one["id"] for one in lines(place / "plain", f"{kind}-*.ndjson")]
        assert same == [one["id"] for one in customers], "in the same order"
    found = checks.verify_bag(place / "bag", seller.platform.signer.keys(), identity=deal.buyer.identity)
    assert (found.verdict, found.problems, found.records) == (Verdict.VALID, (), 7)
    row = await seller.row(deal.id)
    assert row.status is TransferStatus.COMPLETED
    members = await seller.rows(select(transfer_customer).where(transfer_customer.c.transfer_id == deal.id))
    assert {(one.receipt, one.transferred_at is not None) for one in members} == {(ReceiptState.ACCEPTED, True)}
    assert {str(one.id) for one in members} == {one["id"] for one in customers}
    receipts = await seller.rows(select(transfer_receipt).where(transfer_receipt.c.transfer_id == deal.id))
    assert [one.rejected for one in receipts] == [0]
    audited = await seller.audited(deal.id)
    for action in ("packaging", "packaged", "delivering", "opened", "file_pulled", "receipted", "completed"):
        assert f"transfer.{action}" in audited


async def test_nobody_stands_in_for_another(seller: Seller, people: list[Person], tmp_path: Path) -> None:
    deal = await sold(seller)
    await seller.floor.drain()
    async with deal.buyer.at(seller, tmp_path) as receiver:
        await receiver.receive(deal.reference)
    folder, identity = tmp_path / deal.reference / "bag", deal.buyer.identity
    package = checks.read_package((folder / bag.PACKAGE).read_bytes())
    assert package is not None
    first, second = [one for one in package["files"] if one["kind"] == "customers"][:2]
    path = folder / first["encrypted"]["path"]
    assert checks.measure(path, identity, cohort="Everybody").people == first["people"]
    assert checks.measure(path, identity, cohort="Others").people != first["people"]
    # Whoever has the platform's key could sign that a file holds others than it does.
    first["people"], second["people"] = second["people"], first["people"]
    described = {name: (folder / name).read_text() for name in (bag.DECLARATION, bag.INFO, bag.MANIFEST)}
    for name, text in bag.tags(described, seller.platform.signer.sign(package)).items():
        (folder / name).write_text(text)
    keys = seller.platform.signer.keys()
    assert checks.verify_bag(folder, keys).problems == ()
    found = checks.verify_bag(folder, keys, identity=identity).problems
    assert [one.partition(" ")[2] for one in found] == ["holds other people than were to go."] * 2


async def test_of_shared_customers_only_what_the_sold_brand_collected_goes(
    seller: Seller, people: list[Person], tmp_path: Path
) -> None:
    person, other = people[0], new_id()
    async with seller.platform.db.transaction(Role.WORKER) as tx:
        known = await tx.first(select(collection).where(collection.c.customer_id == person.customer_id))
        assert known is not None
        brand_id, source_id = new_id(), new_id()
        await tx.execute(insert(brand).values(id=brand_id, code="elsewhere", name="Elsewhere"))
        source = {**known._mapping, "id": source_id, "brand_id": brand_id}
        await tx.execute(insert(collection).values(source))
        mail = await tx.first(select(email_address).where(email_address.c.id == person.email_id))
        assert mail is not None
        address = "elsewhere@example.org"
        row = {**mail._mapping, "id": other, "address": address, "normalized": address, "collection_id": source_id}
        await tx.execute(insert(email_address).values({**row, "is_primary": False}))
    deal = await sold(seller)
    await seller.floor.drain()
    async with deal.buyer.at(seller, tmp_path) as receiver:
        assert (await receiver.receive(deal.reference, keep_plain=True)).customers == 7
    addresses = [one["contacts"]["emails"] for one in lines(tmp_path, "customers-*.ndjson")]
    assert [len(one) for one in addresses] == [1] * 7
    assert address not in str(addresses)
    async with seller.platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(delete(email_address).where(email_address.c.id == other))


@pytest.mark.parametrize(
    "path", ["account.username", "sessions.ipAddress", "messages.subject", "exports.id", "nothing"]
)
def test_what_goes_to_nobody_is_refused(seller: Seller, path: str) -> None:
    with pytest.raises(FieldNotTransferable):
        selection.document(seller.reader.graph, ["givenName", path])
    with pytest.raises(FieldNotTransferable):
        selection.document(seller.reader.graph, ["contacts.emails"])  # an object, without saying what of it
