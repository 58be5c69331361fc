"""Load a population: generated in other processes, sent by COPY, in one transaction that commits at the end or never.

Row-level security forbids COPY, so the owner lifts its own share of it inside the transaction and puts it back before
anybody can see the tables. They are locked meanwhile: for about a second per 2,000 customers, nobody reads them.
Source: https://www.postgresql.org/docs/18/populate.html
"""

import asyncio
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from multiprocessing.connection import wait
from uuid import UUID

import asyncpg
from sqlalchemy import select

from cdp.access.viewer import Viewer
from cdp.core.db import Database, Role, owner_transaction
from cdp.core.errors import Conflict, Forbidden, Unavailable
from cdp.core.ids import new_id
from cdp.core.platform import open_keys
from cdp.core.seal import Pepper
from cdp.core.settings import Environment, Settings
from cdp.operations import audit, reference
from cdp.operations.population.refusal import Refusal
from cdp.operations.population.rows import COLUMNS, START, Spec, first_customer_id, generate
from cdp.tables.customer import customer

INLINE_CHUNKS = 2  # below this a process takes longer to start than to work
LARGE_CUSTOMERS = 5_000  # from here on checking keys and building indexes once, at the end, is cheaper than row by row
FOREIGN_KEYS = """
SELECT conrelid::regclass::text AS table, quote_ident(conname) AS name, pg_get_constraintdef(oid) AS definition
  FROM pg_constraint WHERE contype = 'f' AND conrelid = ANY ($1::text[]::regclass[]) ORDER BY conrelid, conname
"""
INDEXES = """
SELECT i.indexrelid::regclass::text AS name, pg_get_indexdef(i.indexrelid) AS definition
  FROM pg_index i WHERE i.indrelid = ANY ($1::text[]::regclass[])
   AND NOT EXISTS (SELECT 1 FROM pg_constraint c WHERE c.conindid = i.indexrelid AND c.contype <> 'f')
 ORDER BY i.indrelid, i.indexrelid
"""
IN_FLIGHT = 4  # chunks that are generated ahead of the COPY; bounds the memory


class SeedRefused(Forbidden):
    """A made-up population does not belong into production."""

    code = "SEED_REFUSED"


class SeedPresent(Conflict):
    """The population of this seed is there already; choose another seed."""

    code = "SEED_PRESENT"


class DatabaseBusy(Unavailable):
    """Others hold the tables; nothing was loaded."""

    code = "DATABASE_BUSY"


@dataclass(frozen=True)
class Seeded:
    """What was loaded: rows by table; ``refused`` are people whose identifiers are suppressed."""

    rows: dict[str, int]
    refused: int = 0


async def seed(
    settings: Settings,
    db: Database,
    viewer: Viewer,
    *,
    customers: int,
    seed_number: int,
    now: datetime,
    progress: Callable[[int], None] = lambda _: None,
) -> Seeded:
    """Load ``customers`` made-up customers, always the same ones for a seed; ``progress`` hears how many are sent.

    Raises SeedRefused in production, SeedPresent and DatabaseBusy. Interrupted, it leaves nothing.
    """
    if settings.env is Environment.PRODUCTION:
        raise SeedRefused
    async with db.transaction(Role.WORKER) as tx:
        await reference.ensure_reference(tx)
        in_force = await reference.current(tx, max(now, START))
        spec = Spec(seed_number, customers, str(in_force.brand_id), str(in_force.policy_version_id))
        if await tx.scalar(select(customer.c.id).where(customer.c.id == UUID(first_customer_id(spec)))) is not None:
            raise SeedPresent(seed=seed_number)
        refusal = await Refusal.read(tx, Pepper(open_keys(settings)[0]))
    seeded = await _load_whole(settings.database_owner_url or settings.database_url, spec, refusal, progress)
    async with db.transaction(Role.WORKER) as tx:
        await audit.record(
            tx,
            viewer,
            "population.seeded",
            subject_ref=None,
            object_type="Population",
            object_id=new_id(),
            details={"seed": seed_number, "customers": customers, "refused": seeded.refused},
        )
    return seeded


async def _load_whole(owner_url: str, spec: Spec, refusal: Refusal, progress: Callable[[int], None]) -> Seeded:
    try:
        async with owner_transaction(owner_url) as connection:
            restore = await _prepare(connection, spec)
            seeded = await _load(connection, spec, refusal, progress)
            for statement in restore:
                await connection.execute(statement)
            await connection.execute(f"ANALYZE {', '.join(COLUMNS)}")
            return seeded
    except asyncpg.UniqueViolationError:  # another process loads the same seed
        raise SeedPresent(seed=spec.seed) from None
    except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
        raise DatabaseBusy from error


async def _prepare(connection: asyncpg.Connection, spec: Spec) -> list[str]:
    """Make room for COPY; answers the statements that put everything back."""
    await connection.execute("SET LOCAL maintenance_work_mem = '256MB'")
    await connection.execute("SET LOCAL lock_timeout = '30s'")
    restore = ["SET CONSTRAINTS ALL IMMEDIATE"]
    if spec.customers >= LARGE_CUSTOMERS:
        for row in await connection.fetch(FOREIGN_KEYS, list(COLUMNS)):
            await connection.execute(f"ALTER TABLE {row['table']} DROP CONSTRAINT {row['name']}")
            restore.append(f"ALTER TABLE {row['table']} ADD CONSTRAINT {row['name']} {row['definition']}")
        indexes = await connection.fetch(INDEXES, list(COLUMNS))
        for row in indexes:
            await connection.execute(f"DROP INDEX {row['name']}")
        restore[1:1] = [row["definition"] for row in indexes]
    for table in COLUMNS:
        await connection.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
        restore.append(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    return restore


async def _load(
    connection: asyncpg.Connection, spec: Spec, refusal: Refusal, progress: Callable[[int], None]
) -> Seeded:
    rows = dict.fromkeys(COLUMNS, 0)
    async for generated in _chunks(spec):
        chunk = refusal.without(generated)
        for table, columns in COLUMNS.items():
            lines = chunk.get(table)
            if lines:
                status = await connection.copy_to_table(table, source=_once(lines), columns=columns, format="text")
                rows[table] += int(status.rpartition(" ")[2])
        progress(rows["customer"])
    return Seeded(rows, refusal.count)


async def _once(lines: bytes) -> AsyncIterator[bytes]:
    """Lines as a stream: for a file asyncpg makes a class each time, which keeps it until rubbish is collected."""
    yield lines


async def _chunks(spec: Spec) -> AsyncIterator[dict[str, bytes]]:
    """The chunks in order, a few generated ahead of who sends them."""
    loop = asyncio.get_running_loop()
    with _workers(spec) as executor:
        ahead: deque[asyncio.Future[dict[str, bytes]]] = deque()
        for chunk in range(spec.chunks):
            ahead.append(loop.run_in_executor(executor, generate, spec, chunk))
            if len(ahead) >= IN_FLIGHT:
                yield await ahead.popleft()
        while ahead:
            yield await ahead.popleft()


def _workers(spec: Spec) -> Executor:
    if spec.chunks <= INLINE_CHUNKS:
        return ThreadPoolExecutor(1)
    count = max(1, min(3, (os.cpu_count() or 2) - 1))  # one processor is the server's
    return ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _end_with_parent)


def _end_with_parent() -> None:
    """A pool's process does not notice that its parent was killed, and would wait for work for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends us
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_watch, args=(parent.sentinel,), daemon=True).start()


def _watch(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
