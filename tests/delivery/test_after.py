"""After a package: late objections and erasures told as deltas, a recall, and the chain of custody of all of it."""

import asyncio
import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from cdp.access.viewer import SYSTEM
from cdp.core.db import Role
from cdp.core.sign import Verdict, canonical, decode, encode
from cdp.operations.audit import sequencer
from cdp.operations.delivery import chain, custody, deltas
from cdp.operations.transfers import objections, roll, states
from cdp.tables.delivery import transfer_delta_entry
from cdp.tables.transfer import ReceiptState, TransferStatus, transfer_customer
from tests.delivery.factory import Deal, Seller, sold
from tests.population import Person, make_person


class Carried:
    """A whole deal: seven people, two late objections and an erasure, a recall; its chain of custody."""

    def __init__(self, deal: Deal, chain_: dict[str, Any], changes: list[dict[str, Any]], folder: Path) -> None:
        self.deal, self.chain, self.changes, self.folder = deal, chain_, changes, folder


async def erase(seller: Seller, person: Person) -> None:
    engine = seller.engine
    opened = await engine.open_erasure(person)
    await engine.work()
    await engine.cool_off(opened.reference)
    await engine.work()


@pytest.fixture(scope="module")
async def carried(seller: Seller, tmp_path_factory: pytest.TempPathFactory) -> Carried:
    people = [await make_person(seller.platform.db) for _ in range(7)]
    folder = tmp_path_factory.mktemp("acquirer")
    deal = await sold(seller)
    await seller.floor.drain()
    async with deal.buyer.at(seller, folder) as receiver:
        await receiver.receive(deal.reference, keep_plain=True)
        agent = await seller.member("agent")
        async with seller.platform.db.transaction(Role.WORKER) as tx:
            for person in people[:2]:
                await objections.record(tx, agent, deal.id, person.customer_id)
        await seller.floor.drain()
        changes = await receiver.follow(deal.reference)
        await erase(seller, people[2])
        await seller.floor.drain()
        changes += await receiver.follow(deal.reference)
        async with seller.platform.db.transaction(Role.WORKER) as tx:
            await deltas.recall(tx, SYSTEM, seller.platform, deal.id, reason="The deal broke.")
        changes += await receiver.follow(deal.reference)
        assert await receiver.follow(deal.reference) == []
    return Carried(deal, await custody.write(seller.platform, SYSTEM, deal.id), changes, folder)


async def test_changes_are_told_once_and_acknowledged(seller: Seller, carried: Carried) -> None:
    assert [(one["change"], one["byReason"]) for one in carried.changes] == [
        ("changes", {"objected": 2}),
        ("changes", {"erased": 1}),
        ("recall", {}),
    ]
    told = await seller.rows(select(transfer_delta_entry))
    assert {str(one.record_id) for one in told} == {one["id"] for delta in carried.changes for one in delta["entries"]}
    audited = await seller.audited(carried.deal.id)
    assert audited.count("transfer.delta_issued") == 3
    assert audited.count("transfer.delta_acknowledged") == 2
    assert audited.count("transfer.destroyed") == 1


async def test_a_recall_destroys_what_the_acquirer_has(seller: Seller, carried: Carried) -> None:
    place = carried.folder / carried.deal.reference
    assert not (place / "bag").exists()
    assert not (place / "plain").exists()
    assert (await seller.row(carried.deal.id)).status is TransferStatus.RECALLED
    mine = transfer_customer.c.transfer_id == carried.deal.id
    members = await seller.rows(select(transfer_customer.c.receipt).where(mine))
    assert {one.receipt for one in members} == {ReceiptState.DESTROYED}


async def test_the_chain_of_custody_holds(seller: Seller, carried: Carried) -> None:
    found = chain.verify(canonical(carried.chain), seller.platform.signer.keys())
    assert (found.verdict, found.problems, found.records) == (Verdict.VALID, (), 7)
    assert chain.verify(canonical(carried.chain), {}).verdict is Verdict.UNKNOWN_SIGNER


def leaves(found: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of every value."""
    if isinstance(found, dict | list):
        for key in found if isinstance(found, dict) else range(len(found)):
            yield from leaves(found[key], (*path, key))
    else:
        yield path


def changed(value: Any) -> Any:
    match value:
        case bool() | None:
            return "x"
        case int():
            return value + 1
        case _:
            return f"{value}x" if not value or value[-1] == "0" else f"{value[:-1]}0"


def test_whatever_is_changed_in_it_is_seen(seller: Seller, carried: Carried) -> None:
    keys, count = seller.platform.signer.keys(), 0
    for path in [*leaves(carried.chain)][::31]:
        copied = copy.deepcopy(carried.chain)
        at = copied
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = changed(at[path[-1]])
        assert chain.verify(canonical(copied), keys).verdict is not Verdict.VALID, path
        count += 1
    assert count > 20


Tamper = Callable[[dict[str, Any]], object]


def entry(found: dict[str, Any], action: str) -> dict[str, Any]:
    named = [one["entry"] for one in found["ledger"] if one["entry"]["action"] == f"transfer.{action}"]
    return dict(named[0])


def without(action: str) -> Tamper:
    def drop(found: dict[str, Any]) -> None:
        found["ledger"] = [one for one in found["ledger"] if one["entry"]["action"] != f"transfer.{action}"]

    return drop


def customers(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for one in found["packages"][0]["files"] if one["kind"] == "customers"]


def _without_last(leaves: str) -> str:
    return encode(decode(leaves)[: -roll.LEAF_BYTES])


TAMPERED: dict[str, Tamper] = {
    "a count of a package": lambda found: found["packages"][0].update(delivered=6),
    "a cohort's count": lambda found: found["packages"][0]["cohorts"][0].update(delivered=8),
    "a file of a package": lambda found: found["packages"][0]["files"][0].update(rows=1),
    "a package": lambda found: found["packages"].clear(),
    "a receipt": lambda found: found["statements"].pop(0),
    "somebody else's receipt": lambda found: found["statements"][0].update(
        signer=found["statements"][0]["signer"] | {"x": "AAAA"}
    ),
    "who was frozen": lambda found: found["people"].update(frozen=_without_last(found["people"]["frozen"])),
    "somebody in place of another": lambda found: found["people"].update(
        frozen=encode(b"\0" * roll.LEAF_BYTES + decode(found["people"]["frozen"])[roll.LEAF_BYTES :])
    ),
    "who was delivered": lambda found: found["people"]["delivered"].popitem(),
    "somebody delivered": lambda found: found["people"]["delivered"].update(
        {name: _without_last(one) for name, one in found["people"]["delivered"].items()}
    ),
    "whom a file holds": lambda found: customers(found)[0].update(people="0" * 64),
    "one file's people for another's": lambda found: customers(found)[0].update(people=customers(found)[1]["people"]),
    "the terms": lambda found: found["packages"][0]["terms"].update(retainDays=1),
    "a delta": lambda found: found["deltas"].pop(1),
    "a delta's count": lambda found: found["deltas"][0].update(count=1),
    "the recall": lambda found: found["deltas"].pop(),
    "a ledger entry's code": lambda found: found["ledger"][3]["entry"].update(code="X"),
    "a ledger entry's details": lambda found: found["ledger"][-2]["entry"]["details"].update(sha256="0" * 64),
    "the order": lambda found: found["ledger"].reverse(),
    "the recording": without("created"),
    "the freeze": without("frozen"),
    "an approval": without("approval_given"),
    "the packing": without("packaged"),
    "the comparison of the key": without("key_confirmed"),
    "whose key was compared": lambda found: found["packages"][0].update(keyFingerprint="0" * 64),
    "the receipt's entry": without("receipted"),
    "the completion": without("completed"),
    "the recall's entry": without("recalled"),
    "the destruction": without("destroyed"),
    "a delta's entry": without("delta_issued"),
}


@pytest.mark.parametrize("what", [*TAMPERED])
def test_not_even_who_holds_the_key_can_change(what: str, seller: Seller, carried: Carried) -> None:
    copied = copy.deepcopy(carried.chain)
    TAMPERED[what](copied)
    copied["packages"] = [seller.platform.signer.sign(one) for one in copied["packages"]]
    copied["deltas"] = [seller.platform.signer.sign(one) for one in copied["deltas"]]
    found = chain.verify(canonical(seller.platform.signer.sign(copied)), seller.platform.signer.keys())
    assert found.problems, what
    assert found.verdict is Verdict.VALID  # its signature fits: it is the rest that does not


def test_no_entry_can_be_left_out(seller: Seller, carried: Carried) -> None:
    """Whoever signs can not leave one out either, once a file was written that counted it."""
    signer, keys = seller.platform.signer, seller.platform.signer.keys()
    for place, one in enumerate(carried.chain["ledger"]):
        copied = copy.deepcopy(carried.chain)
        del copied["ledger"][place]
        assert chain.verify(canonical(signer.sign(copied)), keys).problems, one["entry"]["action"]


async def test_what_happens_while_it_is_written_is_for_the_next_one(seller: Seller, carried: Carried) -> None:
    deal, platform, keys = carried.deal, seller.platform, seller.platform.signer.keys()

    async def look() -> None:
        async with platform.db.transaction(Role.WORKER) as tx:
            await states.note(tx, SYSTEM, "transfer.previewed", deal.id)
        await sequencer.sequence(platform)

    async def looks() -> None:
        for _ in range(20):
            await look()

    written, _ = await asyncio.gather(custody.write(platform, SYSTEM, deal.id), looks())
    again = await custody.write(platform, SYSTEM, deal.id)
    for one in (written, again):
        assert chain.verify(canonical(one), keys).problems == ()
    assert written["ledger"][-1]["entry"]["action"] == "transfer.custody_written"
    assert len(again["ledger"]) > len(carried.chain["ledger"]) + 20


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b'{"kind":"cdp.transfer-custody","version":1}', b"\xff"])
def test_garbage_is_no_chain(raw: bytes) -> None:
    found = chain.verify(raw, {})
    assert found.problems
    assert found.verdict is Verdict.INVALID


def test_it_names_nobody(carried: Carried) -> None:
    text = json.dumps(carried.chain)
    assert "@" not in text.replace("deals@example.org", "")
