"""However much there is of one person, the package is made in flat memory. CDP_EXPORT_MB asks for more of it."""

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import text

from cdp.core.db import Role
from cdp.tables.request import RequestStatus
from tests.engine import Engine
from tests.population import Person, make_person

SIZE_MB = int(os.environ.get("CDP_EXPORT_MB", "48"))
# Above idle, however large the package is.
ALLOWED_BYTES = 64 * 1024 * 1024
ROW_BYTES = 16 * 1024
EVENTS = """
INSERT INTO event (id, customer_id, origin_identity_id, collection_id, type, name, page, properties, occurred_at)
SELECT gen_random_uuid(), :customer_id, :origin_identity_id, :collection_id, 'track', 'note', '/' || n,
       jsonb_build_object('text', (SELECT string_agg(md5(n::text || ':' || m), '') FROM generate_series(1, 32) m)
                                  || repeat('x', :filling)),
       now() - make_interval(secs => n)
  FROM generate_series(1, :rows) n
"""


def resident_bytes() -> int:
    """Memory of this process that is in use now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Peak:
    """The most memory that was in use while looking."""

    def __init__(self) -> None:
        self.idle = self.most = resident_bytes()

    @property
    def growth(self) -> int:
        return self.most - self.idle


@contextmanager
def watched() -> Iterator[Peak]:
    """Look at the memory of this process often."""
    gc.collect()
    peak, over = Peak(), threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            peak.most = max(peak.most, resident_bytes())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()


async def write_activity(engine: Engine, person: Person, size_mb: int) -> int:
    """Give somebody so much activity; returns the number of events."""
    rows = size_mb * 1024 * 1024 // ROW_BYTES
    values = {**person.origin, "rows": rows, "filling": ROW_BYTES - 1024}
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(text(EVENTS), values)
    return rows


async def test_memory_stays_flat_however_much_there_is(engine: Engine) -> None:
    ada = await make_person(engine.platform.db)
    first = await engine.open_export(ada)
    await engine.work()
    assert await engine.status(first.reference) is RequestStatus.COMPLETED
    rows = await write_activity(engine, ada, SIZE_MB)
    with watched() as peak:
        opened = await engine.open_export(ada)
        await engine.work()
    assert await engine.status(opened.reference) is RequestStatus.COMPLETED
    tasks = await engine.tasks(opened.reference)
    assert any(rows + 1 in (task.evidence or {}).get("records", {}).values() for task in tasks.values())
    print(f"{SIZE_MB} MB exported, {peak.growth / 1024 / 1024:.0f} MB above idle")
    assert peak.growth < ALLOWED_BYTES, f"{peak.growth} bytes above idle"
