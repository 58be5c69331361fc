"""Classify everybody in a deal's scope: ``python -m bench.transfers --customers N``; exit 1 when it takes too long.

The floor writes the same number of rows into a table of the same shape and asks nothing about anybody. Both run in one
transaction that is given up again, round by round, so that a slow minute of the machine slows both. Times are said for
a million customers, whatever the number that was measured.
"""

import argparse
import asyncio
import json
import os
import secrets
import statistics
import sys
import time
from collections.abc import Awaitable, Callable

from sqlalchemy import func, insert, select, text

from bench.ground import ground
from bench.load import WrongAnswer
from bench.results import Target, machine
from cdp.access.transfers import MANAGE_SCOPE, READ_SCOPE
from cdp.access.viewer import Actor, Viewer
from cdp.core import age
from cdp.core.db import Role, Tx
from cdp.core.ids import new_id
from cdp.core.platform import Platform
from cdp.core.settings import Settings
from cdp.operations.transfers import classifying, deals
from cdp.operations.transfers.deals import Acquirer, CohortTerms, NoticeText, Recorded, Terms
from cdp.tables.customer import customer
from cdp.tables.policy import brand, policy_version
from cdp.tables.staff import staff
from cdp.tables.transfer import CohortBasis, CohortRule, transfer_customer

MILLION = 1_000_000
CLASSIFY_S, RATIO = 30.0, 4.0
FIELDS = ("givenName", "familyName", "contacts.emails.address")
COHORTS = (
    CohortTerms("contracts", CohortBasis.CONTRACT_ASSUMPTION, CohortRule.RUNNING_CONTRACT, FIELDS),
    CohortTerms("asked", CohortBasis.OPT_IN, CohortRule.PROSPECT, FIELDS, purpose="promotions"),
    CohortTerms("ended", CohortBasis.ARCHIVE_ONLY, CohortRule.ENDED_CONTRACT, FIELDS),
    CohortTerms("others", CohortBasis.OPT_OUT, CohortRule.EVERYBODY, FIELDS),
)
FLOOR = """
INSERT INTO transfer_customer (id, customer_id, subject_ref, transfer_id, cohort_id)
SELECT gen_random_uuid(), u.id, u.audit_ref, :transfer_id, k.id
  FROM customer u CROSS JOIN (SELECT id FROM transfer_cohort WHERE transfer_id = :transfer_id LIMIT 1) k"""


def main() -> int:
    """Run everything; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.transfers", description=__doc__)
    parser.add_argument("--customers", type=int, default=MILLION if os.environ.get("BENCH_FULL") else 100_000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with ground(asked.customers) as made:
        found = asyncio.run(measure(made.settings, rounds=asked.rounds))
    for target in found:
        verdict = "holds" if target.holds else "missed"
        print(f"{target.what}: {target.found:.2f} {target.spread or ''}, wanted ≤ {target.bound:g}: {verdict}")
    print(json.dumps(machine()))
    return 0 if all(target.holds for target in found) else 1


async def measure(settings: Settings, *, rounds: int) -> list[Target]:
    """The rounds, and what they come to."""
    platform = Platform.open(settings.model_copy(update={"redis_url": ""}))
    try:
        maker, deal, customers = await _deal(platform)
        floors, ours = [], []
        for number in range(rounds):
            floors.append(await _floor(platform, deal) * MILLION / customers)
            ours.append(await _classify(platform, maker, deal, customers) * MILLION / customers)
            print(f"round {number + 1}: {ours[-1]:.1f} s a million, floor {floors[-1]:.1f} s, {customers:,} customers")
    finally:
        await platform.close()
    ratios = [mine / floor for mine, floor in zip(ours, floors, strict=True)]
    return [
        Target("s to classify a million", statistics.median(ours), CLASSIFY_S, at_least=False),
        Target(
            "classify / plain insert",
            statistics.median(ratios),
            RATIO,
            at_least=False,
            spread=(min(ratios), max(ratios)),
        ),
    ]


async def _deal(platform: Platform) -> tuple[Viewer, Recorded, int]:
    staff_id = new_id()
    maker = Viewer(
        Actor.STAFF,
        staff_id=staff_id,
        roles=frozenset({"privacy_officer"}),
        scopes=frozenset({READ_SCOPE, MANAGE_SCOPE}),
    )
    async with platform.db.transaction(Role.WORKER) as tx:
        name = f"{secrets.token_hex(6)}@example.org"
        await tx.execute(insert(staff).values(id=staff_id, username=name, name="Cy", roles=["privacy_officer"]))
        versions = [row.version for row in await tx.all(select(policy_version.c.version))]
        code = await tx.scalar(select(brand.c.code).join(customer, customer.c.brand_id == brand.c.id).limit(1))
        terms = Terms(
            name="Sale",
            seller="Seller AG",
            acquirer=Acquirer("Buyer Inc.", "US-DE", "deals@example.org", age.recipient_of(age.new_identity())),
            brand=code,
            cohorts=COHORTS,
            reviews=dict.fromkeys(versions, True),
            notice_version="1",
            notice={"en": NoticeText("Your data moves", "We sell this brand. {link}")},
            inactive_days=3650,
        )
        made = await deals.create(tx, _fresh(platform, maker), platform, terms)
        return maker, made, int(await tx.scalar(select(func.count()).select_from(customer)))


def _fresh(platform: Platform, maker: Viewer) -> Viewer:
    return Viewer(
        maker.actor,
        staff_id=maker.staff_id,
        roles=maker.roles,
        scopes=maker.scopes,
        authenticated_at=platform.clock(),
    )


async def _floor(platform: Platform, deal: Recorded) -> float:
    async def write(tx: Tx) -> None:
        await tx.execute(text(FLOOR), {"transfer_id": deal.id})

    return await _timed(platform, write)


async def _classify(platform: Platform, maker: Viewer, deal: Recorded, customers: int) -> float:
    async def judge(tx: Tx) -> None:
        found = await classifying.classify(tx, _fresh(platform, maker), platform, deal.id)
        written = await tx.scalar(
            select(func.count()).select_from(transfer_customer).where(transfer_customer.c.transfer_id == deal.id)
        )
        if not 0 < found.selected == written <= customers:
            raise WrongAnswer(f"{found.selected} selected, {written} written, {customers} customers")

    return await _timed(platform, judge)


async def _timed(platform: Platform, work: Callable[[Tx], Awaitable[None]]) -> float:
    """Seconds of one piece of work, whose rows are given up again."""
    async with platform.db.transaction(Role.WORKER) as tx:
        began = time.monotonic()
        await work(tx)
        seconds = time.monotonic() - began
        await tx.connection.rollback()
    return seconds


if __name__ == "__main__":
    sys.exit(main())
