"""The reference receiver before a seller that lies, breaks off, or answers what nobody asked."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
from sqlalchemy import select

from cdp.access.viewer import SYSTEM
from cdp.core.db import Role
from cdp.core.sign import canonical
from cdp.operations.delivery import bag, chain, checks, custody, forgetting
from cdp.operations.delivery.receiver import Account, DeltaRefused, PackageRefused, Receiver, SellerRefused
from cdp.operations.transfers import objections
from cdp.tables.delivery import transfer_receipt
from cdp.tables.transfer import TransferStatus
from tests.delivery.factory import Deal, Seller, lines, sold
from tests.population import Person, make_person

Answer = Callable[[bytes], bytes | None]


class Crooked(httpx.AsyncBaseTransport):
    """The seller's application, but for what somebody on its side changes: path ending -> its answer, None: cut off."""

    def __init__(self, seller: Seller) -> None:
        self._inner = httpx.ASGITransport(app=seller.app)
        self.answers: dict[str, Answer] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await self._inner.handle_async_request(request)
        raw = await answer.aread()
        for ending, change in self.answers.items():
            if request.url.path.endswith(ending):
                changed = change(raw)
                if changed is None:
                    raise httpx.ReadError("cut off", request=request)
                return httpx.Response(answer.status_code, content=changed)
        return httpx.Response(answer.status_code, headers=answer.headers, content=raw)


@asynccontextmanager
async def before(seller: Seller, deal: Deal, folder: Path) -> AsyncIterator[tuple[Receiver, dict[str, Answer]]]:
    """The acquirer's receiver, and what the seller answers it instead."""
    crooked = Crooked(seller)
    async with httpx.AsyncClient(transport=crooked, base_url=seller.platform.settings.url) as http:
        buyer = deal.buyer
        account = Account(buyer.client_id, buyer.key, buyer.identity, seller.platform.signer.keys())
        yield Receiver(http, account, folder), crooked.answers


def files(folder: Path) -> list[Path]:
    """Everything that was written."""
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture(scope="module")
async def people(seller: Seller) -> list[Person]:
    return [await make_person(seller.platform.db) for _ in range(4)]


@pytest.fixture
async def packed(seller: Seller, people: list[Person]) -> Deal:
    deal = await sold(seller)
    await seller.floor.drain()
    return deal


@pytest.fixture(scope="module")
async def offered(seller: Seller, people: list[Person]) -> Deal:
    """A deal whose package nobody signs for."""
    deal = await sold(seller)
    await seller.floor.drain()
    return deal


def _out_by_name(file: dict[str, Any]) -> None:
    file["name"] = "../../../../escaped"


def _out_by_hash(file: dict[str, Any]) -> None:
    file["encrypted"]["sha256"] = "../../../escaped"


def _other_hash(file: dict[str, Any]) -> None:
    file["encrypted"]["sha256"] = "0" * 64


def _no_size(file: dict[str, Any]) -> None:
    file["encrypted"]["bytes"] = "many"


LIES = {"a name": _out_by_name, "a hash": _out_by_hash, "another hash": _other_hash, "no size": _no_size}


@pytest.mark.parametrize("lie", LIES)
async def test_a_package_that_leads_out_of_its_folder_is_refused(
    seller: Seller, offered: Deal, tmp_path: Path, lie: str
) -> None:
    """The seller itself signs it: a signature says who wrote a path, not where it may lead."""

    def changed(raw: bytes) -> bytes:
        package = checks.read_package(raw)
        assert package is not None
        LIES[lie](package["files"][0])
        return canonical(seller.platform.signer.sign(package))

    async with before(seller, offered, tmp_path / "a" / "b") as (receiver, answers):
        answers["/package.json"] = changed
        with pytest.raises(PackageRefused):
            await receiver.receive(offered.reference, keep_plain=True)
    assert {path.name for path in files(tmp_path)} <= set(bag.TAGS)


async def test_a_file_without_an_end_is_cut_off(seller: Seller, offered: Deal, tmp_path: Path) -> None:
    async with before(seller, offered, tmp_path) as (receiver, answers):
        answers["/README.md.age"] = lambda raw: raw + b"x" * 5_000_000
        answers["/receipt"] = lambda raw: None
        with pytest.raises(httpx.ReadError):
            await receiver.receive(offered.reference)
    assert [one.name for one in files(tmp_path) if one.suffix == ".jws"] == ["receipt-0001.jws"]
    assert max(path.stat().st_size for path in files(tmp_path)) < 1_000_000


async def test_a_receipt_whose_answer_was_lost_is_sent_again(seller: Seller, packed: Deal, tmp_path: Path) -> None:
    async with before(seller, packed, tmp_path) as (receiver, answers):
        answers["/receipt"] = lambda raw: None
        with pytest.raises(httpx.ReadError):
            await receiver.receive(packed.reference)
        assert (await seller.row(packed.id)).status is TransferStatus.COMPLETED, "it had arrived"
        answers.clear()
        received = await receiver.receive(packed.reference)
        assert (received.rejected, received.customers) == ((), 4)
        with pytest.raises(SellerRefused) as refusal:
            await receiver.receive(packed.reference)
        assert refusal.value.extensions["reason"] == "PULL_OVER", "answered, and not to be had twice"
    receipts = select(transfer_receipt).where(transfer_receipt.c.transfer_id == packed.id)
    assert len(await seller.rows(receipts)) == 1
    written = await custody.write(seller.platform, SYSTEM, packed.id)
    assert chain.verify(canonical(written), seller.platform.signer.keys()).problems == ()


async def test_changes_that_were_told_can_not_be_taken_back(
    seller: Seller, packed: Deal, people: list[Person], tmp_path: Path
) -> None:
    agent = await seller.member("agent")

    async def objects(person: Person) -> None:
        async with seller.platform.db.transaction(Role.WORKER) as tx:
            await objections.record(tx, agent, packed.id, person.customer_id)
        await seller.floor.drain()

    async with before(seller, packed, tmp_path) as (receiver, answers):
        await receiver.receive(packed.reference)
        await objects(people[0])
        (first,) = await receiver.follow(packed.reference)
        await objects(people[1])
        for listed in (
            b'{"deltas": []}',
            b'{"deltas": [{"ordinal": 2, "isAcknowledged": false}]}',
            b'{"deltas": [{"ordinal": 1, "isAcknowledged": true}, {"ordinal": 1, "isAcknowledged": false}]}',
            b'{"deltas": "none"}',
            b"<html>",
        ):
            answers["/deltas"] = lambda raw, listed=listed: listed  # type: ignore[misc]  # bound now
            with pytest.raises(DeltaRefused):
                await receiver.follow(packed.reference)
        answers.clear()
        older = next(path for path in files(tmp_path) if path.name == "0001.json").read_bytes()
        for ordinal, other in (("/deltas/1", older.replace(b"objected", b"rejected")), ("/deltas/2", older)):
            answers[ordinal] = lambda raw, other=other: other  # type: ignore[misc]  # bound now
            with pytest.raises(DeltaRefused):
                await receiver.follow(packed.reference)
            answers.clear()
        (second,) = await receiver.follow(packed.reference)
    assert (first["ordinal"], second["ordinal"]) == (1, 2)
    assert {one["reason"] for one in second["entries"]} == {"objected"}


async def test_who_is_to_be_forgotten_goes_from_what_was_decrypted(
    seller: Seller, packed: Deal, people: list[Person], tmp_path: Path
) -> None:
    agent, gone = await seller.member("agent"), people[0]
    plain = tmp_path / packed.reference / "plain"
    async with before(seller, packed, tmp_path) as (receiver, _):
        await receiver.receive(packed.reference, keep_plain=True)
        assert len(held(plain)) == len(people)
        async with seller.platform.db.transaction(Role.WORKER) as tx:
            await objections.record(tx, agent, packed.id, gone.customer_id)
        await seller.floor.drain()
        (change,) = await receiver.follow(packed.reference)
    (entry,) = change["entries"]
    assert held(plain) == {one.email for one in people[1:]}
    for path in files(plain):
        assert entry["id"].encode() not in path.read_bytes()
        if path.suffix == ".parquet":
            assert entry["id"] not in pq.read_table(path)["id"].to_pylist()
    assert forgetting.forget(tmp_path / packed.reference, [entry["id"]]) == 0, "again changes nothing"


def held(plain: Path) -> set[str]:
    """Addresses of everybody in the decrypted files."""
    return {one["contacts"]["emails"][0]["address"] for one in lines(plain, "customers-*.ndjson")}


def test_what_can_not_be_destroyed_is_not_said_to_be(tmp_path: Path) -> None:
    """A file where a folder should be: the same as one that nobody may remove."""
    (tmp_path / "bag").write_text("still here")
    with pytest.raises(forgetting.NotDestroyed):
        forgetting.destroy(tmp_path, ("bag", "plain"))
    assert (tmp_path / "bag").exists()
