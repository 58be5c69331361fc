"""A deal's package against the plain bulk export of the same fields: ``python -m bench.handover --customers N``.

The worker is a process as ``cdp worker`` starts it. The package has more in it than the export: every file encrypted to
the acquirer, the same rows as lines and as a table, consents and preferences with their history, provenance, opt-outs.
Each round measures both once, so that a slow minute of the machine slows both.
"""

import argparse
import asyncio
import json
import os
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

from sqlalchemy import func, insert, select, update

from bench.bulk import QUERY, Worker, workers
from bench.ground import Ground, ground
from bench.load import WrongAnswer
from bench.results import Target, machine
from cdp.access.transfers import MANAGE_SCOPE, READ_SCOPE
from cdp.access.viewer import SYSTEM, Actor, Viewer
from cdp.compiler.bulk import BulkCompiler
from cdp.core import age
from cdp.core.db import Role
from cdp.core.ids import new_id
from cdp.core.platform import Platform
from cdp.operations.bulk import kickoff
from cdp.operations.bulk.kickoff import Wanted
from cdp.operations.transfers import classifying, deals, freezing, states
from cdp.operations.transfers.deals import Acquirer, CohortTerms, NoticeText, Terms
from cdp.schema.schema import open_reader
from cdp.tables.bulk import BULK_SETTLED, BulkStatus, bulk_export
from cdp.tables.customer import customer
from cdp.tables.delivery import transfer_file
from cdp.tables.policy import brand, policy_version
from cdp.tables.staff import staff
from cdp.tables.transfer import CohortBasis, CohortRule, TransferStatus, transfer

RATIO, MEMORY_MB = 2.0, 64.0
WITHIN_S = 1800.0
FIELDS = (
    "country",
    "locale",
    "createdAt",
    "preferences.key",
    "preferences.value",
    "currentConsents.purposeCode",
    "currentConsents.action",
    "orders.status",
    "orders.placedAt",
    "orders.currency",
    "orders.total",
    "orders.items.sku",
    "orders.items.title",
    "orders.items.quantity",
    "orders.items.unitPrice",
)


@dataclass(frozen=True)
class Run:
    """Seconds from the start to the signed list, and the most memory the worker took above what it had idle."""

    seconds: float
    size_bytes: int
    memory_mb: float


def main() -> int:
    """Run everything; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.handover", description=__doc__)
    parser.add_argument("--customers", type=int, default=200_000 if os.environ.get("BENCH_FULL") else 50_000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with ground(asked.customers) as made:
        found = asyncio.run(measure(made, rounds=asked.rounds))
    for target in found:
        verdict = "holds" if target.holds else "missed"
        print(f"{target.what}: {target.found:.2f} {target.spread or ''}, wanted ≤ {target.bound:g}: {verdict}")
    print(json.dumps(machine()))
    return 0 if all(target.holds for target in found) else 1


async def measure(made: Ground, *, rounds: int) -> list[Target]:
    """The rounds, and what they come to."""
    exports: list[Run] = []
    packages: list[Run] = []
    with tempfile.TemporaryDirectory(prefix="cdp-bench-") as folder:
        settings = made.settings.model_copy(update={"objects_url": Path(folder).as_uri(), "redis_url": ""})
        place = replace(made, settings=settings)
        platform = Platform.open(settings)
        reader = open_reader(platform)
        compiler = BulkCompiler(reader.graph, reader.limits)
        try:
            for number in range(rounds):
                deal_id = await _approvable(platform)
                with workers(place, 1) as [worker]:
                    exports.append(await _export(platform, compiler, worker))
                    packages.append(await _package(platform, deal_id, worker))
                    await _call_off(platform, deal_id)
                one, other = exports[-1], packages[-1]
                print(
                    f"round {number + 1}: export {one.seconds:.1f} s ({one.size_bytes / 1e6:.0f} MB),"
                    f" package {other.seconds:.1f} s ({other.size_bytes / 1e6:.0f} MB), {other.memory_mb:.0f} MB more"
                )
        finally:
            await reader.close()
            await platform.close()
    return _targets(exports, packages)


def _targets(exports: Sequence[Run], packages: Sequence[Run]) -> list[Target]:
    ratios = [ours.seconds / theirs.seconds for ours, theirs in zip(packages, exports, strict=True)]
    spread = (min(ratios), max(ratios))
    most = max(run.memory_mb for run in packages)
    return [
        Target("package / plain export", statistics.median(ratios), RATIO, at_least=False, spread=spread),
        Target("MB above idle", most, MEMORY_MB, at_least=False),
    ]


async def _export(platform: Platform, compiler: BulkCompiler, worker: Worker) -> Run:
    worker.begin()
    began = time.monotonic()
    asked = await kickoff.run_query(platform, compiler, SYSTEM, Wanted(QUERY, "orders"))
    while time.monotonic() - began < WITHIN_S:
        async with platform.db.transaction(Role.WORKER) as tx:
            row = await tx.first(select(bulk_export).where(bulk_export.c.id == asked.id))
        if row is not None and row.status in BULK_SETTLED:
            if row.status is not BulkStatus.COMPLETED:
                raise WrongAnswer(f"the export ended {row.status} ({row.code})")
            return Run(time.monotonic() - began, row.size_bytes, worker.grown_mb())
        await asyncio.sleep(0.05)
    raise WrongAnswer("the export did not end")


async def _package(platform: Platform, deal_id: UUID, worker: Worker) -> Run:
    worker.begin()
    began = time.monotonic()
    async with platform.db.transaction(Role.WORKER) as tx:
        approved = update(transfer).where(transfer.c.id == deal_id)
        await tx.execute(approved.values(status=TransferStatus.APPROVED, approved_at=func.now()))
        await tx.tell(states.MOVED)
    while time.monotonic() - began < WITHIN_S:
        async with platform.db.transaction(Role.WORKER) as tx:
            row = await tx.first(select(transfer.c.status, transfer.c.code).where(transfer.c.id == deal_id))
            size = select(func.sum(transfer_file.c.size_bytes)).where(transfer_file.c.transfer_id == deal_id)
            if row is not None and row.status is TransferStatus.DELIVERING:
                return Run(time.monotonic() - began, int(await tx.scalar(size)), worker.grown_mb())
        if row is None or row.code is not None:
            raise WrongAnswer(f"the package was not made ({row and row.code})")
        await asyncio.sleep(0.05)
    raise WrongAnswer("the package was not made")


async def _call_off(platform: Platform, deal_id: UUID) -> None:
    """Let the same people go again in the next round, and wait until the files of this one are gone."""
    recalled = update(transfer).where(transfer.c.id == deal_id).values(status=TransferStatus.RECALLED)
    files = select(func.count()).select_from(transfer_file).where(transfer_file.c.transfer_id == deal_id)
    left = 1
    async with platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(recalled)
        await tx.tell(states.MOVED)
    while left:
        async with platform.db.transaction(Role.WORKER) as tx:
            left = int(await tx.scalar(files))
        await asyncio.sleep(0.05)


async def _approvable(platform: Platform) -> UUID:
    """A deal over everybody whose freeze holds: what people do before it (notices, approvals) is no part of this."""
    staff_id = new_id()
    maker = Viewer(
        Actor.STAFF,
        staff_id=staff_id,
        roles=frozenset({"privacy_officer"}),
        scopes=frozenset({READ_SCOPE, MANAGE_SCOPE}),
        authenticated_at=platform.clock(),
        purpose="customer_service",
    )
    async with platform.db.transaction(Role.WORKER) as tx:
        name = f"{secrets.token_hex(6)}@example.org"
        await tx.execute(insert(staff).values(id=staff_id, username=name, name="Cy", roles=["privacy_officer"]))
        versions = [row.version for row in await tx.all(select(policy_version.c.version))]
        code = await tx.scalar(select(brand.c.code).join(customer, customer.c.brand_id == brand.c.id).limit(1))
        made = await deals.create(tx, maker, platform, _terms(code, versions))
        await classifying.classify(tx, maker, platform, made.id)
        frozen = update(transfer).where(transfer.c.id == made.id)
        await tx.execute(frozen.values(status=TransferStatus.FROZEN, frozen_at=func.now()))
        counts = (await classifying.counts(tx, made.id)).document
        hashed = await freezing.hash_of(tx, made.id)
        await tx.execute(frozen.values(frozen_sha256=hashed, counts=counts))
    return made.id


def _terms(code: str, versions: Sequence[str]) -> Terms:
    key = age.recipient_of(age.new_identity())
    return Terms(
        name="Sale",
        seller="Seller AG",
        acquirer=Acquirer("Buyer Inc.", "US-DE", "deals@example.org", key),
        brand=code,
        cohorts=[CohortTerms("Everybody", CohortBasis.OPT_OUT, CohortRule.EVERYBODY, FIELDS)],
        reviews=dict.fromkeys(versions, True),
        notice_version="1",
        notice={"en": NoticeText("Your data moves", "We sell this brand. {link}")},
        window_days=0,
    )


if __name__ == "__main__":
    sys.exit(main())
