"""The memory of one customer's own export, however large: ``python -m bench.export --megabytes N``; exit 1 above it.

The worker is a process as ``cdp worker`` starts it. Somebody gets so much activity; their export is read in one
snapshot, parked, packed, sealed and stored by it. Its memory is compared with what it had when it was idle, after a
small export has been made; a second size says whether it stays flat.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

from sqlalchemy import select, text

from bench.bulk import Worker, workers
from bench.ground import Ground, ground
from bench.load import WrongAnswer
from bench.results import Target, machine
from cdp.connectors.own.rows import erase_rows
from cdp.core.db import Role
from cdp.core.platform import Platform
from cdp.operations.requests import requests
from cdp.tables.export import export
from cdp.tables.request import SETTLED, RequestStatus, privacy_request
from tests.exports.test_memory import EVENTS, ROW_BYTES
from tests.population import Person, make_person

MEMORY_MB, BATCH_MB = 64.0, 32
CUSTOMERS = 100
WITHIN_S = 3600.0


@dataclass(frozen=True)
class Made:
    """One export: its size as the customer gets it, the seconds it took, and memory above idle."""

    given_mb: int
    package_mb: float
    seconds: float
    memory_mb: float


def main() -> int:
    """Make both; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.export", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1024 if os.environ.get("BENCH_FULL") else 384)
    asked = parser.parse_args()
    with ground(CUSTOMERS, name="bench-export") as made:
        found = asyncio.run(measure(made, megabytes=asked.megabytes))
    for one in found:
        print(
            f"{one.given_mb} MB of activity, a package of {one.package_mb:.0f} MB: {one.seconds:.1f} s,"
            f" {one.memory_mb:.1f} MB above idle"
        )
    most = max(one.memory_mb for one in found)
    target = Target(f"MB above idle, {asked.megabytes} MB of one customer", most, MEMORY_MB, at_least=False)
    print(f"{target.what}: {target.found:.1f}, wanted ≤ {target.bound:g}: {'holds' if target.holds else 'missed'}")
    print(json.dumps(machine()))
    return 0 if target.holds else 1


async def measure(made: Ground, *, megabytes: int) -> list[Made]:
    """An export of a quarter, then the whole."""
    with tempfile.TemporaryDirectory(prefix="cdp-bench-") as folder:
        settings = made.settings.model_copy(update={"objects_url": Path(folder).as_uri(), "redis_url": ""})
        place = replace(made, settings=settings)
        platform = Platform.open(settings)
        try:
            with workers(place, 1) as [worker]:
                await _export(platform, worker, await make_person(platform.db), 0)  # what is loaded once, is
                sizes = [max(BATCH_MB, size // BATCH_MB * BATCH_MB) for size in (megabytes // 4, megabytes)]
                return [await _export(platform, worker, await make_person(platform.db), size) for size in sizes]
        finally:
            await platform.close()


async def _export(platform: Platform, worker: Worker, person: Person, megabytes: int) -> Made:
    for _ in range(0, megabytes, BATCH_MB):
        await _act(platform, person, BATCH_MB)
    worker.begin()
    began = time.monotonic()
    viewer = person.viewer(authenticated_at=platform.clock())
    async with platform.db.transaction(Role.CUSTOMER, subject=person.customer_id) as tx:
        asked = await requests.open_export(tx, viewer, platform)
    size = await _until_ready(platform, asked.id)
    found = Made(megabytes, size / 1e6, time.monotonic() - began, worker.grown_mb())
    async with platform.db.transaction(Role.WORKER) as tx:
        await erase_rows(tx, person.customer_id)
    return found


async def _act(platform: Platform, person: Person, megabytes: int) -> None:
    rows = megabytes * 1024 * 1024 // ROW_BYTES
    async with platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(text(EVENTS), {**person.origin, "rows": rows, "filling": ROW_BYTES - 1024})


async def _until_ready(platform: Platform, request_id: UUID) -> int:
    """Bytes of the package."""
    mine = select(privacy_request.c.status, export.c.size_bytes).join(export).where(privacy_request.c.id == request_id)
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        async with platform.db.transaction(Role.WORKER) as tx:
            row = await tx.first(mine)
        if row is not None and row.status in SETTLED:
            if row.status is not RequestStatus.COMPLETED:
                raise WrongAnswer(f"the export ended {row.status}")
            return int(row.size_bytes)
        await asyncio.sleep(0.2)
    raise WrongAnswer("the export did not end")


if __name__ == "__main__":
    sys.exit(main())
