"""One scan of everything: canaries planted, every table read once in one snapshot, everything rolled back."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from cdp.core.db import Database, Role
from cdp.core.errors import Unavailable
from cdp.operations.residual.canaries import Canaries
from cdp.operations.residual.catalogue import hidden, query, targets
from cdp.operations.residual.haystack import Haystack, Place, Source, Stream
from cdp.operations.residual.needles import Needle

LOCK = 0x72657369
# So that no character of a text is doubled or wrapped for the sake of the format.
DELIMITER, QUOTE = "\x1d", "\x02"


class ScanRefused(Unavailable):
    """The pass could not see everything, so it says nothing."""

    code = "RESIDUAL_SCAN_REFUSED"


class TableHidden(ScanRefused):
    """A table holds rows that the pass may not see."""

    code = "RESIDUAL_TABLE_HIDDEN"


class CanaryMissing(ScanRefused):
    """Something planted was not found."""

    code = "RESIDUAL_CANARY_MISSING"


@dataclass(frozen=True)
class Seen:
    """What a scan saw: in how many rows of which place each needle stood, and how much was read."""

    found: Counter[tuple[Needle, Place]]
    tables: int
    columns: int
    rows: int
    canaries: int


@asynccontextmanager
async def alone(db: Database) -> AsyncIterator[asyncpg.Connection | None]:
    """A connection of which there is one at a time in the whole platform; None while somebody else has it."""
    connection = await db.connect_raw(Role.WORKER)
    try:
        is_ours = await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK)
        yield connection if is_ours else None
    finally:
        await connection.close()


async def scan(connection: asyncpg.Connection, needles: Sequence[Needle]) -> Seen:
    """Look for all needles in every table. Raises TableHidden, CanaryMissing."""
    transaction = connection.transaction(isolation="repeatable_read")
    await transaction.start()
    try:
        return await _scan(connection, needles)
    finally:
        await transaction.rollback()


async def _scan(connection: asyncpg.Connection, needles: Sequence[Needle]) -> Seen:
    canaries = Canaries()
    every = await targets(connection)
    unseen = hidden(every) or canaries.uncovered(every)
    if unseen:
        raise TableHidden(f"Not every row can be seen of: {', '.join(unseen)}")
    await canaries.plant(connection)
    texts = [target for target in every if target.columns]
    sources = [Source(target.name, tuple(column.name for column in target.columns)) for target in texts]
    planted = canaries.needles()
    haystack = Haystack([*needles, *planted], sources)
    await _read(connection, query(texts), haystack)
    missing = canaries.missing(needle for needle, _ in haystack.found)
    if missing:
        raise CanaryMissing(f"Planted and not found: {', '.join(missing)}")
    found = Counter({hit: rows for hit, rows in haystack.found.items() if hit[0].request_id is not None})
    columns = sum(len(target.columns) for target in texts)
    return Seen(found, len(every), columns, haystack.rows, len(planted))


async def _read(connection: asyncpg.Connection, statement: str, haystack: Haystack) -> None:
    """Stream the rows through; looking happens beside the loop, a chunk at a time."""
    stream = Stream()

    async def take(data: bytes) -> None:
        chunk = stream.feed(data)
        if chunk is not None:
            await asyncio.to_thread(haystack.look, chunk)

    await connection.copy_from_query(
        statement, output=take, format="csv", delimiter=DELIMITER, quote=QUOTE, escape=QUOTE
    )
    rest = stream.rest()
    if rest is not None:
        await asyncio.to_thread(haystack.look, rest)
