"""What may go wrong between a package and its receipt: refused or reconciled, recorded, provable."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc.jwk import ECKey
from sqlalchemy import select, update

from cdp.access.viewer import SYSTEM, Viewer
from cdp.core import age
from cdp.core.db import Role
from cdp.core.sign import Verdict, canonical
from cdp.operations.delivery import chain, checks, custody, packages, statements
from cdp.operations.delivery.receiver import PackageRefused, Receiver, SellerRefused
from cdp.operations.transfers import deals, objections
from cdp.operations.transfers.deals import TransferInvalid
from cdp.operations.transfers.states import SecondPersonNeeded, TransferRoleNeeded
from cdp.tables.customer import CustomerStatus, customer
from cdp.tables.delivery import (
    transfer_delta,
    transfer_file,
    transfer_package,
    transfer_pull,
    transfer_pull_read,
    transfer_receipt,
)
from cdp.tables.transfer import TransferStatus, transfer_customer
from tests.delivery.factory import Deal, Seller, lines, new_buyer, sold
from tests.population import Person, make_person


@pytest.fixture(scope="module")
async def people(seller: Seller) -> list[Person]:
    return [await make_person(seller.platform.db) for _ in range(7)]


async def _packed(seller: Seller) -> Deal:
    deal = await sold(seller)
    await seller.floor.drain()
    return deal


@pytest.fixture
async def packed(seller: Seller, people: list[Person]) -> Deal:
    return await _packed(seller)


@pytest.fixture(scope="module")
async def offered(seller: Seller, people: list[Person]) -> Deal:
    """A deal for those who get nothing."""
    return await _packed(seller)


@pytest.fixture
async def receiver(seller: Seller, packed: Deal, tmp_path: Path) -> AsyncIterator[Receiver]:
    async with packed.buyer.at(seller, tmp_path) as found:
        yield found


async def refused(seller: Seller, deal: Deal) -> list[str]:
    return [one for one in await seller.audited(deal.id) if one == "transfer.statement_refused"]


async def test_who_may_no_longer_go_is_left_out_and_counted(
    seller: Seller, people: list[Person], tmp_path: Path
) -> None:
    deal = await sold(seller)
    late, frozen, *others = people
    agent = await seller.member("agent")
    async with seller.platform.db.transaction(Role.WORKER) as tx:
        await objections.record(tx, agent, deal.id, late.customer_id)  # a second after the freeze
        asked = update(customer).where(customer.c.id == frozen.customer_id)
        await tx.execute(asked.values(status=CustomerStatus.FROZEN))
    await seller.floor.drain()
    async with seller.platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(asked.values(status=CustomerStatus.ACTIVE))
    async with deal.buyer.at(seller, tmp_path) as receiver:
        received = await receiver.receive(deal.reference, keep_plain=True)
        assert await receiver.follow(deal.reference) == []
    assert received.customers == len(others)
    package = checks.read_package((tmp_path / deal.reference / "bag" / "package.json").read_bytes())
    assert package is not None
    assert package["cohorts"][0]["leftOut"] == {"erasing": 1, "objected": 1}
    names = {one["contacts"]["emails"][0]["address"] for one in lines(tmp_path, "customers-*.ndjson")}
    assert names == {one.email for one in others}
    assert await seller.rows(select(transfer_delta).where(transfer_delta.c.transfer_id == deal.id)) == []
    mine = select(transfer_customer.c.customer_id).where(
        transfer_customer.c.transfer_id == deal.id, transfer_customer.c.transferred_at.is_not(None)
    )
    assert {one.customer_id for one in await seller.rows(mine)} == {one.customer_id for one in others}


async def test_a_rejected_file_is_made_again_alone(
    seller: Seller, packed: Deal, receiver: Receiver, tmp_path: Path
) -> None:
    before = {one.name: one for one in await seller.rows(_files(packed))}
    name = next(one for one in before if one.endswith(".parquet"))
    await seller.platform.blobs.put(before[name].object_key, b"damaged in the store" * 100)
    received = await receiver.receive(packed.reference)
    assert received.rejected == (name,)
    assert (await seller.row(packed.id)).status is TransferStatus.DELIVERING
    await seller.floor.drain()
    after = {one.name: one for one in await seller.rows(_files(packed))}
    mine = {one for one in before if before[one].part_id == before[name].part_id}
    assert {one for one in before if after[one].id != before[one].id} == mine
    again = await receiver.receive(packed.reference)
    assert (again.revision, again.rejected) == (2, ())
    assert (await seller.row(packed.id)).status is TransferStatus.COMPLETED
    found = checks.verify_bag(
        tmp_path / packed.reference / "bag", seller.platform.signer.keys(), identity=packed.buyer.identity
    )
    assert (found.verdict, found.problems) == (Verdict.VALID, ())


def _files(deal: Deal) -> Any:
    return select(transfer_file).where(transfer_file.c.transfer_id == deal.id, transfer_file.c.replaced_by_id.is_(None))


async def test_a_broken_download_goes_on_in_ranges_and_every_read_is_logged(
    seller: Seller, packed: Deal, receiver: Receiver, tmp_path: Path
) -> None:
    file = (await seller.rows(_files(packed)))[0]
    path = tmp_path / packed.reference / "partial" / bytes(file.sha256).hex()
    path.parent.mkdir(parents=True)
    whole = await seller.platform.blobs.get(file.object_key)
    path.write_bytes(whole[:100])
    assert (await receiver.receive(packed.reference)).rejected == ()
    reads = await seller.rows(select(transfer_pull_read).where(transfer_pull_read.c.name == f"data/{file.name}.age"))
    assert (100, len(whole)) in {(one.start_byte, one.end_byte) for one in reads}


async def test_a_package_is_pulled_once_and_in_time(seller: Seller, packed: Deal, receiver: Receiver) -> None:
    over = {"status": 410, "reason": "PULL_OVER"}
    async with seller.platform.db.transaction(Role.WORKER) as tx:
        times = await tx.first(
            update(transfer_pull)
            .where(transfer_pull.c.package_id == _package(packed).scalar_subquery())
            .values(expires_at=transfer_pull.c.offered_at)
            .returning(transfer_pull.c.id)
        )
    assert times is not None
    with pytest.raises(SellerRefused) as refusal:
        await receiver.receive(packed.reference)
    assert refusal.value.extensions == over
    async with seller.platform.db.transaction(Role.WORKER) as tx:
        await packages.offer(tx, seller.platform, (await seller.rows(_package(packed)))[0].id)
    await receiver.receive(packed.reference)
    with pytest.raises(SellerRefused) as refusal:
        await receiver.receive(packed.reference)
    assert refusal.value.extensions == over


def _package(deal: Deal) -> Any:
    return select(transfer_package.c.id).where(transfer_package.c.transfer_id == deal.id)


async def test_nobody_else_gets_at_it(seller: Seller, offered: Deal, tmp_path: Path) -> None:
    stranger = replace(await new_buyer(seller.platform), identity=offered.buyer.identity)
    async with stranger.at(seller, tmp_path) as receiver:
        for call in (receiver.receive, receiver.follow):
            with pytest.raises(SellerRefused) as refusal:
                await call(offered.reference)
            assert refusal.value.extensions == {"status": 404, "reason": "TRANSFER_NOT_FOUND"}
    async with replace(offered.buyer, key=ECKey.generate_key("P-256")).at(seller, tmp_path) as receiver:
        with pytest.raises(SellerRefused) as refusal:
            await receiver.receive(offered.reference)
        assert refusal.value.extensions["reason"] == "invalid_client"
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=seller.app), base_url=seller.platform.settings.url
    ) as http:
        answer = await http.post(f"/transfers/{offered.reference}/pull")
        assert answer.status_code == 401
    assert (await seller.row(offered.id)).status is TransferStatus.DELIVERING


async def test_a_client_without_the_scope_gets_nothing(seller: Seller, offered: Deal, tmp_path: Path) -> None:
    other = await new_buyer(seller.platform, scopes=("bulk:export",))
    async with other.at(seller, tmp_path) as receiver:
        with pytest.raises(SellerRefused) as refusal:
            await receiver.receive(offered.reference)
        assert refusal.value.extensions["status"] == 400


async def test_who_has_another_key_reads_nothing(seller: Seller, offered: Deal, tmp_path: Path) -> None:
    async with replace(offered.buyer, identity=age.new_identity()).at(seller, tmp_path) as receiver:
        with pytest.raises(PackageRefused):
            await receiver.receive(offered.reference)
    for file in await seller.rows(_files(offered)):
        raw = await seller.platform.blobs.get(file.object_key)
        assert raw.startswith(age.PREFIX)
        assert b"example.org" not in raw
        assert b"Ada" not in raw


def claims(package: dict[str, Any], sha256: str) -> dict[str, Any]:
    files = [
        {
            "name": one["name"],
            "verdict": "accepted",
            "sha256": one["encrypted"]["sha256"],
            "plainSha256": one["sha256"],
            "rows": one["rows"],
        }
        for one in package["files"]
    ]
    return {
        "kind": statements.RECEIPT,
        "reference": package["reference"],
        "revision": package["revision"],
        "package": sha256,
        "files": files,
    }


def _other_hash(said: dict[str, Any]) -> None:
    said["files"][0]["sha256"] = "0" * 64


def _other_rows(said: dict[str, Any]) -> None:
    said["files"][0]["rows"] += 1


WRONG = {
    "other hashes": _other_hash,
    "other counts": _other_rows,
    "fewer files": lambda said: said["files"].pop(),
    "a file twice": lambda said: said["files"].append(said["files"].pop(0) | {"name": said["files"][0]["name"]}),
    "another package": lambda said: said.update(package="0" * 64),
    "another transfer": lambda said: said.update(reference="TR-2222-2222"),
    "another kind": lambda said: said.update(kind=statements.DESTRUCTION),
    "no files": lambda said: said.update(files="all"),
}


async def test_a_receipt_that_does_not_fit_is_refused_and_recorded(
    seller: Seller, packed: Deal, receiver: Receiver
) -> None:
    opened = (await receiver._call("POST", f"{packed.reference}/pull")).json()
    raw = (await receiver._call("GET", f"{packed.reference}/files/package.json")).content
    package = checks.read_package(raw)
    assert package is not None
    assert opened["revision"] == 1
    sha256 = checks.bag.sha256(raw)
    texts = []
    for wrong in WRONG.values():
        said = claims(package, sha256)
        wrong(said)
        texts.append((statements.sign(said, packed.buyer.key), "RECEIPT_MISMATCH", 409))
    texts.append((statements.sign(claims(package, sha256), ECKey.generate_key("P-256")), "STATEMENT_INVALID", 400))
    texts.append(("no.jws.here", "STATEMENT_INVALID", 400))
    texts.append(("ü", "STATEMENT_INVALID", 400))
    for text, code, status in texts:
        with pytest.raises(SellerRefused) as refusal:
            await receiver._call("POST", f"{packed.reference}/receipt", content=text, media_type="application/jose")
        assert refusal.value.extensions == {"status": status, "reason": code}
    assert len(await refused(seller, packed)) == len(texts) - 1  # what is no text has no hash
    assert await seller.rows(select(transfer_receipt).where(transfer_receipt.c.transfer_id == packed.id)) == []
    assert (await seller.row(packed.id)).status is TransferStatus.DELIVERING
    good = statements.sign(claims(package, sha256), packed.buyer.key)
    for _ in range(2):  # the same receipt again is fine
        await receiver._call("POST", f"{packed.reference}/receipt", content=good, media_type="application/jose")
    assert (await seller.row(packed.id)).status is TransferStatus.COMPLETED


async def test_an_acquirer_that_lost_its_key_gets_another_program(seller: Seller, packed: Deal, tmp_path: Path) -> None:
    """Named by a second person: whoever made the deal could sign for the acquirer otherwise."""
    platform, second = seller.platform, await seller.member("supervisor")
    maker = replace(second, staff_id=(await seller.row(packed.id)).created_by_id, roles=frozenset({"privacy_officer"}))
    other, unfit = await new_buyer(platform), await new_buyer(platform, scopes=("bulk:export",))

    async def name(viewer: Viewer, client_id: str) -> None:
        async with platform.db.transaction(Role.WORKER) as tx:
            await deals.name_client(tx, viewer, platform, packed.id, client_id=client_id)

    with pytest.raises(SecondPersonNeeded):
        await name(maker, other.client_id)
    with pytest.raises(TransferRoleNeeded):
        await name(await seller.member("agent"), other.client_id)
    for wrong in (unfit.client_id, "nobody"):
        with pytest.raises(TransferInvalid):
            await name(second, wrong)
    await name(second, other.client_id)
    assert "transfer.client_named" in await seller.audited(packed.id)
    async with packed.buyer.at(seller, tmp_path / "former") as receiver:
        with pytest.raises(SellerRefused) as refusal:
            await receiver.receive(packed.reference)
        assert refusal.value.extensions["reason"] == "TRANSFER_NOT_FOUND"
    async with replace(other, identity=packed.buyer.identity).at(seller, tmp_path / "new") as receiver:
        assert (await receiver.receive(packed.reference)).rejected == ()
    assert (await seller.row(packed.id)).status is TransferStatus.COMPLETED
    written = await custody.write(platform, SYSTEM, packed.id)
    assert chain.verify(canonical(written), platform.signer.keys()).problems == ()
