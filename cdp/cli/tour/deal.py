"""A whole asset transfer in front of you: from the deal to the recall, with a worker, an acquirer and proofs.

The seller's people act through the operations, the worker sends the notices and packs, the acquirer speaks HTTP with
its own keys. After each step what both sides have is verified offline by ``cdp transfer verify``, in another process.
"""

import asyncio
import json
import secrets
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from joserfc.jwk import ECKey
from rich.console import Console
from sqlalchemy import func, insert, select

from cdp.access.scopes import CUSTOMER_SCOPES
from cdp.access.transfers import MANAGE_SCOPE, READ_SCOPE, RECEIVE_SCOPE
from cdp.access.viewer import SYSTEM, Actor, Viewer
from cdp.cli.tour.visitor import TourFailed
from cdp.core import age
from cdp.core.db import Role
from cdp.core.ids import CustomerId, new_id
from cdp.core.platform import Platform
from cdp.core.sign import canonical
from cdp.operations.delivery import custody, deltas
from cdp.operations.delivery.receiver import Account, Receiver
from cdp.operations.oauth import clients
from cdp.operations.population.seed import seed
from cdp.operations.requests import requests
from cdp.operations.transfers import classifying, deals, freezing, notices, objections, states
from cdp.operations.transfers.deals import Acquirer, CohortTerms, NoticeText, Terms
from cdp.tables.customer import customer
from cdp.tables.delivery import transfer_delta
from cdp.tables.policy import brand, policy_version
from cdp.tables.staff import staff
from cdp.tables.transfer import CohortBasis, CohortRule, TransferStatus, transfer, transfer_customer

POLL_S = 0.5
WITHIN_S = 900.0
CONTACT = ("givenName", "familyName", "contacts.emails.address", "contacts.phones.e164")
ORDERS = ("orders.number", "orders.status", "orders.placedAt", "orders.total", "orders.currency", "orders.items.sku")
NOTICE = "We sell this brand to Buyer Inc. Your records go with it unless you object: {link}"


@dataclass(frozen=True)
class Play:
    """What the deal is played on: the platform, its address, and the folder of the acquirer and of the proofs."""

    platform: Platform
    url: str
    out: Path
    console: Console

    def say(self, text: str) -> None:
        """One line of the tour."""
        self.console.print(f"  {text}")

    async def first(self, statement: Any) -> Any:  # noqa: ANN401  # a row
        """The first row of a statement."""
        async with self.platform.db.transaction(Role.WORKER) as tx:
            return await tx.first(statement)

    async def until(self, what: str, holds: Callable[[], Awaitable[bool]]) -> None:
        """Wait for the worker. Raises TourFailed when it takes too long."""
        began = time.monotonic()
        while not await holds():
            if time.monotonic() - began > WITHIN_S:
                raise TourFailed(f"{what} took longer than {WITHIN_S:.0f} s")
            await asyncio.sleep(POLL_S)

    async def reaches(self, deal_id: UUID, *wanted: TransferStatus) -> None:
        """Wait for a status. Raises TourFailed."""

        async def is_there() -> bool:
            row = await self.first(select(transfer.c.status).where(transfer.c.id == deal_id))
            return row.status in wanted

        await self.until(wanted[0].value, is_there)

    async def member(self, *roles: str) -> Viewer:
        """Somebody who works at the seller, freshly signed in."""
        staff_id = new_id()
        row = {"id": staff_id, "username": f"{secrets.token_hex(6)}@seller.example", "name": "Sol", "roles": [*roles]}
        async with self.platform.db.transaction(Role.WORKER) as tx:
            await tx.execute(insert(staff).values(row))
        return Viewer(
            Actor.STAFF,
            staff_id=staff_id,
            roles=frozenset(roles),
            scopes=frozenset({READ_SCOPE, MANAGE_SCOPE}),
            authenticated_at=self.platform.clock(),
            purpose="customer_service",
        )

    async def verified(self, path: Path, *, expected: int = 0, identity: Path | None = None) -> None:
        """Verify offline in a process of its own. Raises TourFailed unless it ends as expected."""
        more = ["--identity", str(identity)] if identity else []
        command = [sys.executable, "-m", "cdp", "transfer", "verify", str(path), "--keys", str(self.out / "keys.json")]
        done = await asyncio.to_thread(subprocess.run, [*command, *more], capture_output=True, check=False)
        if done.returncode != expected:
            raise TourFailed(f"verifying {path.name} ended with {done.returncode}: {done.stderr.decode().strip()}")
        self.say(f"verified offline: {(done.stdout or done.stderr).decode().splitlines()[0]}")


async def play_deal(platform: Platform, url: str, out: Path, console: Console, *, customers: int) -> None:
    """Play it. Raises TourFailed when anything in it does not hold."""
    play = Play(platform, url, out, console)
    (out / "keys.json").write_text(json.dumps({"keys": platform.signer.keys()}))
    console.rule(f"A population of {customers:,} customers")
    seeded = await seed(
        platform.settings, platform.db, SYSTEM, customers=customers, seed_number=7, now=platform.clock()
    )
    play.say(f"{seeded.rows['customer']:,} customers of one brand")
    identity, key = age.new_identity(), ECKey.generate_key("P-256")
    (out / "identity.txt").write_text(identity + "\n")
    deal_id, reference, client_id = await _agreed(play, key, age.recipient_of(identity))
    account = Account(client_id, key, identity, platform.signer.keys())
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        receiver = Receiver(http, account, out)
        await _handed_over(play, receiver, deal_id, reference)
        await _afterwards(play, receiver, deal_id, reference)
        await _recalled(play, receiver, deal_id, reference)
    await _tampered(play, reference)


async def _agreed(play: Play, key: ECKey, recipient: str) -> tuple[UUID, str, str]:
    """Record, classify, tell, freeze, approve."""
    play.console.rule("The deal: recorded, classified, told, frozen, approved by two others")
    platform = play.platform
    maker, second, third = [await play.member("privacy_officer") for _ in range(3)]
    async with platform.db.transaction(Role.WORKER) as tx:
        client = await clients.add(
            tx,
            SYSTEM,
            "Buyer Inc.",
            redirect_uris=[],
            grant_types=[clients.CLIENT_CREDENTIALS],
            scopes=[RECEIVE_SCOPE],
            jwks={"keys": [key.as_dict(private=False)]},
        )
        versions = [row.version for row in await tx.all(select(policy_version.c.version))]
        code = await tx.scalar(select(brand.c.code).join(customer, customer.c.brand_id == brand.c.id).limit(1))
        terms = _terms(code, recipient, client.client.client_id, versions)
        made = await deals.create(tx, maker, platform, terms)
    async with platform.db.transaction(Role.WORKER) as tx:
        await deals.confirm_key(tx, second, platform, made.id, given=made.fingerprint)
    play.say(f"{made.reference}: key {made.fingerprint[:17]}… confirmed by a second person")
    async with platform.db.transaction(Role.WORKER) as tx:
        found = await classifying.classify(tx, maker, platform, made.id)
    counts = found.document
    included, excluded = sum(counts["included"].values()), sum(counts["excluded"].values())
    play.say(f"selected {counts['selected']:,} = included {included:,} + excluded {excluded:,}")
    for name, number in (counts["included"] | counts["excluded"]).items():
        play.say(f"    {name:<24}{number:>8,}")
    if counts["selected"] != included + excluded:
        raise TourFailed("the counts do not add up")
    async with platform.db.transaction(Role.WORKER) as tx:
        letters = await notices.notify(tx, maker, platform, made.id)
    play.say(f"{letters:,} notices on their way")
    await play.until("the notices", lambda: _is_told(play, made.id))
    async with platform.db.transaction(Role.WORKER) as tx:
        hashed = await freezing.freeze(tx, maker, platform, made.id)
    for approver in (second, third):
        async with platform.db.transaction(Role.WORKER) as tx:
            await freezing.approve(tx, approver, platform, made.id, sha256=hashed)
    play.say(f"frozen and approved twice: {hashed[:16]}…")
    return made.id, made.reference, client.client.client_id


async def _is_told(play: Play, deal_id: UUID) -> bool:
    """Note which notices arrived, as the worker does every minute; whether that is settled for all."""
    async with play.platform.db.transaction(Role.WORKER) as tx:
        await notices.settle(tx, deal_id)
        return (await states.find(tx, deal_id)).status is TransferStatus.WINDOW


def _terms(code: str, recipient: str, client_id: str, versions: list[str]) -> Terms:
    every = CohortBasis
    return Terms(
        name="Sale of the brand",
        seller="Seller AG",
        acquirer=Acquirer("Buyer Inc.", "US-DE", "deals@buyer.example", recipient, client_id),
        brand=code,
        cohorts=[
            CohortTerms("Running contracts", every.CONTRACT_ASSUMPTION, CohortRule.RUNNING_CONTRACT, CONTACT + ORDERS),
            CohortTerms("Prospects", every.OPT_OUT, CohortRule.PROSPECT, CONTACT),
            CohortTerms("Ended contracts", every.ARCHIVE_ONLY, CohortRule.ENDED_CONTRACT, ORDERS),
        ],
        reviews=dict.fromkeys(versions, True),
        notice_version="2026-1",
        notice={"en": NoticeText("Your data and the sale of our brand", NOTICE)},
        window_days=0,
    )


async def _handed_over(play: Play, receiver: Receiver, deal_id: UUID, reference: str) -> None:
    """Packed by the worker, pulled and signed for by the acquirer."""
    play.console.rule("The package: encrypted to the acquirer, pulled once, checked, signed for")
    await play.reaches(deal_id, TransferStatus.DELIVERING)
    received = await receiver.receive(reference, keep_plain=True)
    play.say(f"{received.files} files, {received.customers:,} customers, {len(received.rejected)} rejected")
    counted = sum(
        path.read_bytes().count(b"\n") for path in (receiver.place(reference) / "plain").rglob("customers-*.ndjson")
    )
    row = await play.first(select(transfer.c.status, transfer.c.counts).where(transfer.c.id == deal_id))
    if row.status is not TransferStatus.COMPLETED or counted != received.customers:
        raise TourFailed("the receipt does not fit what was sent")
    if received.customers != sum(row.counts["included"].values()):
        raise TourFailed("not everybody who was frozen has arrived")
    await play.verified(receiver.place(reference) / "bag", identity=play.out / "identity.txt")
    await _chain(play, deal_id, reference)


async def _afterwards(play: Play, receiver: Receiver, deal_id: UUID, reference: str) -> None:
    """Two late objections and an erasure reach the acquirer."""
    play.console.rule("Afterwards: two late objections and an erasure")
    mine = (transfer_customer.c.transfer_id == deal_id, transfer_customer.c.transferred_at.is_not(None))
    wanted = select(transfer_customer.c.customer_id, transfer_customer.c.id).where(*mine)
    async with play.platform.db.transaction(Role.WORKER) as tx:
        first, second, third = await tx.all(wanted.order_by(transfer_customer.c.id).limit(3))
    agent = await play.member("agent")
    async with play.platform.db.transaction(Role.WORKER) as tx:
        for one in (first, second):
            await objections.record(tx, agent, deal_id, CustomerId(one.customer_id))
    await _told(play, deal_id, 2)
    await _erase(play, CustomerId(third.customer_id))
    await _told(play, deal_id, 3)
    changes = await receiver.follow(reference)
    named = {one["id"] for change in changes for one in change["entries"]}
    if named != {str(one.id) for one in (first, second, third)}:
        raise TourFailed("the deltas name other people")
    for change in changes:
        play.say(f"delta {change['ordinal']}: {json.dumps(change['byReason'])}, acknowledged")
    await _chain(play, deal_id, reference)


async def _erase(play: Play, customer_id: CustomerId) -> None:
    now = play.platform.clock()
    me = Viewer(Actor.CUSTOMER, customer_id=customer_id, scopes=CUSTOMER_SCOPES, authenticated_at=now, client_id="demo")
    async with play.platform.db.transaction(Role.CUSTOMER, subject=customer_id) as tx:
        opened = await requests.open_erasure(tx, me, play.platform)
    play.say(f"erasure {opened.reference} asked for")


async def _told(play: Play, deal_id: UUID, people: int) -> None:
    """Wait until the worker has told of so many people."""
    said = select(func.coalesce(func.sum(transfer_delta.c.entries), 0).label("said"))

    async def is_told() -> bool:
        return bool((await play.first(said.where(transfer_delta.c.transfer_id == deal_id))).said >= people)

    await play.until("a delta", is_told)


async def _recalled(play: Play, receiver: Receiver, deal_id: UUID, reference: str) -> None:
    """The deal breaks: everything is called back and destroyed."""
    play.console.rule("The deal breaks: recalled, destroyed, and said so")
    async with play.platform.db.transaction(Role.WORKER) as tx:
        await deltas.recall(tx, SYSTEM, play.platform, deal_id, reason="The merger control authority refused.")
    await receiver.follow(reference)
    if (receiver.place(reference) / "bag").exists():
        raise TourFailed("the acquirer still has the files")
    async with play.platform.db.transaction(Role.WORKER) as tx:
        states.require_state(await states.find(tx, deal_id), TransferStatus.RECALLED)
    play.say("destroyed, with the acquirer's signature")
    await _chain(play, deal_id, reference)


async def _chain(play: Play, deal_id: UUID, reference: str) -> None:
    """Write the chain of custody and verify it offline."""
    path = play.out / f"{reference}.custody.json"
    path.write_bytes(canonical(await custody.write(play.platform, SYSTEM, deal_id)))
    await play.verified(path)


async def _tampered(play: Play, reference: str) -> None:
    """A changed count is seen."""
    play.console.rule("One count changed")
    raw = (play.out / f"{reference}.custody.json").read_bytes()
    changed = play.out / f"{reference}.tampered.json"
    changed.write_bytes(raw.replace(b'"delivered":', b'"delivered":1', 1))
    await play.verified(changed, expected=1)
    changed.unlink()
