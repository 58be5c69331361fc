"""A deal from its approval to its receipt: packed, pulled, checked, decrypted, signed for."""

from pathlib import Path

import pytest
from sqlalchemy import select

from cdp.core.sign import Verdict
from cdp.operations.delivery import checks
from cdp.tables.delivery import transfer_receipt
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
