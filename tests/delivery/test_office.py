"""Dealing with what was handed over, by mutation and in the console: look, offer again, make parts again, call back."""

import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select, update

from cdp.access.viewer import SYSTEM, Viewer
from cdp.core.db import Role
from cdp.core.ids import global_id
from cdp.operations.accounts.passwords import hash_password
from cdp.operations.delivery import packages, progress
from cdp.operations.requests.watch import RequestWatch
from cdp.operations.transfers import objections
from cdp.operations.transfers.states import TransferRoleNeeded
from cdp.schema.execution import Execution
from cdp.schema.request import GraphQLRequest
from cdp.tables.bulk import PartStatus
from cdp.tables.delivery import transfer_part, transfer_pull
from cdp.tables.staff import staff
from cdp.tables.transfer import TransferStatus, transfer_customer
from tests.browser import submit, visitor
from tests.delivery.factory import Deal, Seller, sold
from tests.population import Person, make_person, picture
from tests.site import PASSWORD, give_account

SignIn = Callable[[str], Awaitable[httpx.AsyncClient]]
MOVE = "mutation M($input: {kind}!) {{ {name}(input: $input) {{ transfer {{ status }} {more} }} }}"


@pytest.fixture(scope="module")
async def people(seller: Seller) -> list[Person]:
    return [await make_person(seller.platform.db) for _ in range(4)]


@pytest.fixture
async def desk_of(seller: Seller) -> AsyncIterator[SignIn]:
    """Browsers in which somebody of a role is signed in."""
    async with AsyncExitStack() as stack:

        async def sign_in(role: str) -> httpx.AsyncClient:
            name = f"{role}.{secrets.token_hex(6)}@example.org"
            known = {"password_hash": await hash_password(seller.platform.settings, PASSWORD), "roles": [role]}
            async with seller.platform.db.transaction(Role.WORKER) as tx:
                await tx.execute(staff.insert().values(username=name, name="Bo", **known))
            browser = await stack.enter_async_context(visitor(seller.app))
            answer = await submit(browser, "/console/sign-in", username=name, password=PASSWORD)
            assert answer.status_code == 303, answer.text
            return browser

        yield sign_in


async def run(seller: Seller, viewer: Viewer, name: str, more: str = "", **given: Any) -> dict[str, Any]:
    """Run a mutation; answers its payload, or its error's code as a KeyError."""
    execution = Execution(seller.platform, seller.reader, RequestWatch(seller.platform))
    document = MOVE.format(kind=f"{name[0].upper()}{name[1:]}Input", name=name, more=more)
    answer = json.loads((await execution.execute(GraphQLRequest(document, {"input": given}), viewer)).body)
    if answer.get("errors"):
        raise KeyError(answer["errors"][0]["extensions"]["code"])
    found: dict[str, Any] = answer["data"][name]
    return found


def place(deal: Deal) -> str:
    return f"/console/transfers/{global_id('Transfer', deal.id)}"


async def pulls(seller: Seller) -> list[Any]:
    return await seller.rows(select(transfer_pull))


async def break_parts(seller: Seller, deal: Deal) -> None:
    """Let every part of a deal have failed for good."""
    async with seller.platform.db.transaction(Role.WORKER) as tx:
        await packages.lay_out(tx, deal.id, seller.platform)
        mine = update(transfer_part).where(transfer_part.c.transfer_id == deal.id)
        await tx.execute(mine.values(status=PartStatus.FAILED, code="STORE_FAILED"))


async def test_by_mutation(seller: Seller, people: list[Person], tmp_path: Path) -> None:
    deal = await sold(seller)
    maker, supervisor, analyst = [await seller.member(role) for role in ("privacy_officer", "supervisor", "analyst")]
    this = {"transferId": global_id("Transfer", deal.id)}
    shown = await run(seller, supervisor, "previewTransfer", "samples { group goes name email }", **this, each=2)
    assert [(one["group"], one["goes"]) for one in shown["samples"]] == [("Everybody", True)] * 2
    assert not any(one.email in str(shown) for one in people)
    assert (await seller.audited(deal.id)).count("transfer.previewed") == 1
    with pytest.raises(KeyError, match="TRANSFER_MOVED"):
        await run(seller, maker, "offerTransferAgain", **this)
    await break_parts(seller, deal)
    assert await run(seller, maker, "retryTransferParts", "parts", **this) == {
        "transfer": {"status": "PACKAGING"},
        "parts": 3,
    }
    with pytest.raises(KeyError, match="PART_NOT_FAILED"):
        await run(seller, maker, "retryTransferParts", **this)
    await seller.floor.drain()
    assert (await run(seller, maker, "offerTransferAgain", **this))["transfer"]["status"] == "DELIVERING"
    async with deal.buyer.at(seller, tmp_path) as receiver:
        await receiver.receive(deal.reference)
    for name, more in (("offerTransferAgain", {}), ("retryTransferParts", {}), ("recallTransfer", {"reason": "No."})):
        with pytest.raises(KeyError, match="TRANSFER_ROLE_NEEDED"):
            await run(seller, supervisor, name, **this, **more)
    with pytest.raises(KeyError, match="TRANSFER_ROLE_NEEDED"):
        await run(seller, analyst, "previewTransfer", **this)
    assert (await seller.row(deal.id)).status is TransferStatus.COMPLETED
    before = [await picture(seller.platform.db, one) for one in people]
    found = await run(seller, maker, "recallTransfer", **this, reason="The deal broke.")
    assert found["transfer"]["status"] == "RECALLED"
    for action in ("offered", "parts_retried", "recalled", "delta_issued"):
        assert f"transfer.{action}" in await seller.audited(deal.id)
    after = [await picture(seller.platform.db, one) for one in people]
    for old, new in zip(before, after, strict=True):
        assert {name for name in old if old[name] != new[name]} == {"collection", "transfer_customer"}


async def test_in_the_console(seller: Seller, people: list[Person], desk_of: SignIn, tmp_path: Path) -> None:
    deal = await sold(seller)
    here, maker, agent = place(deal), await desk_of("privacy_officer"), await desk_of("agent")
    looked = await submit(agent, here, action=f"{here}/preview")
    assert (looked.status_code, "Everybody" in looked.text, people[0].email in looked.text) == (200, True, False)
    await break_parts(seller, deal)
    assert (await submit(maker, here, action=f"{here}/retry")).status_code == 303
    await seller.floor.drain()
    assert (await submit(maker, here, action=f"{here}/offer")).status_code == 303
    nothing = await submit(maker, here, action=f"{here}/retry")
    assert (nothing.status_code, "No part of this package has failed" in nothing.text) == (409, True)
    async with deal.buyer.at(seller, tmp_path) as receiver:
        await receiver.receive(deal.reference)
    page = unescape((await maker.get(here)).text)
    assert "180 days" in page
    assert "Call everything back" in page
    theirs = await agent.get(f"/console/customers/{global_id('Customer', people[0].customer_id)}")
    assert "is used for nothing since" in unescape(theirs.text)
    refused = await submit(agent, here, action=f"{here}/recall", reason="Mine.")
    assert (refused.status_code, (await seller.row(deal.id)).status) == (403, TransferStatus.COMPLETED)
    empty = await submit(maker, here, action=f"{here}/recall", reason=" ")
    assert empty.status_code == 400

    name = await give_account(seller.platform, people[0])
    async with visitor(seller.app) as browser:
        await submit(browser, "/account/sign-in", username=name, password=PASSWORD)
        told = unescape((await browser.get(f"/account/transfers/{deal.reference}")).text)
        assert "no offers, no partners, no analyses" in told
        assert "Deleted here from" in told
        done = await submit(maker, here, action=f"{here}/recall", reason="The deal broke.")
        assert done.status_code == 303
        assert "no offers" not in unescape((await browser.get(f"/account/transfers/{deal.reference}")).text)
    members = await seller.rows(select(transfer_customer).where(transfer_customer.c.transfer_id == deal.id))
    assert not any(one.stopped_at for one in members)


async def test_it_is_seen_how_far_the_handing_over_is(
    seller: Seller, people: list[Person], desk_of: SignIn, tmp_path: Path
) -> None:
    deal, maker = await sold(seller), await desk_of("privacy_officer")

    async def page() -> str:
        return unescape((await maker.get(place(deal))).text)

    assert "The handing over" not in await page()
    await seller.floor.drain()
    assert "nobody has come for it" in await page()
    async with deal.buyer.at(seller, tmp_path) as receiver:
        received = await receiver.receive(deal.reference)
        assert f"{received.files} files accepted, 0 rejected" in await page()
        agent = await seller.member("agent")
        async with seller.platform.db.transaction(Role.WORKER) as tx:
            await objections.record(tx, agent, deal.id, people[0].customer_id)
        await seller.floor.drain()
        assert "1 not acknowledged" in await page()
        await receiver.follow(deal.reference)
        assert "all acknowledged" in await page()
    async with seller.platform.db.transaction(Role.WORKER) as tx:
        found = await progress.of(tx, SYSTEM, deal.id)
        with pytest.raises(TransferRoleNeeded):
            await progress.of(tx, await seller.member("analyst"), deal.id)
    assert (found.parts, found.parts_done, found.parts_failed) == (3, 3, 0)
    assert (found.changes, found.unacknowledged, found.unacknowledged_since) == (1, 0, None)


async def test_a_package_of_which_a_file_is_made_again_is_not_offered(seller: Seller, people: list[Person]) -> None:
    deal, maker = await sold(seller), await seller.member("privacy_officer")
    await seller.floor.drain()
    async with seller.platform.db.transaction(Role.WORKER) as tx:
        mine = update(transfer_part).where(transfer_part.c.transfer_id == deal.id)
        await tx.execute(mine.values(status=PartStatus.PENDING, next_run_at=func.now()))
    with pytest.raises(KeyError, match="PACKAGE_NOT_READY"):
        await run(seller, maker, "offerTransferAgain", transferId=global_id("Transfer", deal.id))
    await seller.floor.drain()
    await run(seller, maker, "offerTransferAgain", transferId=global_id("Transfer", deal.id))
