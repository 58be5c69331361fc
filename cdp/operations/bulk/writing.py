"""Make one part: its statement runs in the export's snapshot, COPY hands out lines, the object store takes them.

No Python object is built for a row. Lines are counted, encoded, packed and hashed by the batch, in a thread beside the
loop, while Postgres writes the next batch. A part with another number of lines than its snapshot counts is no part.
Source: docs/benchmarks.md; https://www.postgresql.org/docs/18/sql-copy.html
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg

from cdp.compiler.bulk import INNER_KEY, OUTER_KEY, BulkPlan
from cdp.core.db import Role
from cdp.core.errors import Unavailable
from cdp.core.platform import Platform
from cdp.core.seal import Pepper
from cdp.operations.bulk import pseudonyms
from cdp.operations.bulk.formats import Encoder, Plain, encoder, suffix
from cdp.operations.bulk.parts import PartWork, Written
from cdp.operations.bulk.queries import Plans
from cdp.tables.bulk import BulkCompression, BulkFormat, PartKind
from cdp.tables.customer import IdentityType

BATCH_BYTES = 1024 * 1024
BATCHES = 2
GATHERED_BYTES, GATHER_S = 64 * 1024, 0.002
"""Postgres sends 8 KB at a time, and taking each as it comes costs both sides a fifth of their time. What is less waits
a moment, in which the socket holds what comes after it."""
_STRONG = {
    IdentityType.EMAIL: "SELECT customer_id, normalized FROM email_address",
    IdentityType.PHONE: "SELECT customer_id, e164 FROM phone_number",
}


class PartInconsistent(Unavailable):
    """A part does not hold as many records as were counted; it is made again."""

    code = "PART_INCONSISTENT"


def folder(export_id: UUID) -> str:
    """Where the files of an export lie."""
    return f"bulk/{export_id}/"


async def write(
    platform: Platform, plans: Plans, work: PartWork, place: AbstractAsyncContextManager[object]
) -> Written:
    """Write a part under a name of its own claim, so that nobody else can touch it.

    Rows are taken from Postgres within ``place`` alone: what comes before and after may go on beside another part.
    """
    row = work.export
    plan = plans.of(row)
    ending = suffix(row.format, row.compression)
    if work.kind is PartKind.DELETED:
        ending = suffix(row.format.NDJSON, BulkCompression.NONE)
    key = f"{folder(row.id)}{work.epoch}/{work.kind.value}-{work.ordinal:05d}-{work.fence}.{ending}"
    async with _snapshot(platform, work) as connection:
        bounds: dict[str, object] = {
            "lower": work.lower,
            "upper": work.upper,
            "purpose": row.purpose,
            "since": row.since_xid,
            "areas": list(plan.areas),
            "suppressed": await suppressed(connection, platform.pepper, work.lower, work.upper),
        }
        file = _File(_encoder(work, plan), max_bytes_per_s=platform.settings.bulk_max_bytes_per_s)
        query = plan.deleted if work.kind is PartKind.DELETED else plan.output
        copy = Copy(connection, query.sql, query.bind(plan.call, bounds), is_table=ending.startswith(BulkFormat.CSV))
        async with place, aclosing(copy.batches()) as lines, aclosing(file.made_of(lines)) as chunks:
            size = await platform.blobs.put_stream(key, chunks)
        if file.lines != copy.rows and not copy.is_table:
            raise PartInconsistent
        excluded = {}
        if work.kind is PartKind.OUTPUT:
            excluded = await _counted(connection, plan, bounds, exported=copy.rows)
    return Written(key, copy.rows, size, file.digest.digest(), excluded)


def _encoder(work: PartWork, plan: BulkPlan) -> Encoder:
    if work.kind is PartKind.DELETED:
        return Plain()
    return encoder(work.export.format, work.export.compression, plan.columns)


@asynccontextmanager
async def _snapshot(platform: Platform, work: PartWork) -> AsyncIterator[asyncpg.Connection]:
    """A connection inside the export's snapshot, with the recipient's key as settings of its transaction."""
    async with platform.db.transaction(Role.WORKER) as tx:
        key = await pseudonyms.key_of(tx, platform.sealer, work.export.recipient_id)
    connection = await platform.db.connect_raw(Role.WORKER)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            name = str(work.export.snapshot_name)
            await connection.execute(f"SET TRANSACTION SNAPSHOT {_literal(name)}")
            inner, outer = pseudonyms.padded(key)
            await connection.execute(
                "SELECT set_config($1, $2, true), set_config($3, $4, true), set_config('statement_timeout', '0', true)",
                *(INNER_KEY, inner, OUTER_KEY, outer),
            )
            yield connection
    finally:
        connection.terminate()  # whatever still runs there is nobody's any more


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


async def _counted(
    connection: asyncpg.Connection, plan: BulkPlan, bounds: dict[str, object], *, exported: int
) -> dict[str, int]:
    """People left out by reason. Raises PartInconsistent unless selected = exported + excluded."""
    rows = await connection.fetch(plan.counts.sql, *plan.counts.bind(plan.call, bounds))
    counts = {row[0]: int(row[1]) for row in rows}
    if counts.pop(None, 0) != exported:
        raise PartInconsistent
    return counts


async def suppressed(
    connection: asyncpg.Connection, pepper: Pepper, lower: UUID | None, upper: UUID | None
) -> list[UUID]:
    """Customers of this range with an identifier on the suppression list; only we can make its hashes."""
    rows = await connection.fetch("SELECT value_hash FROM suppression WHERE lifted_at IS NULL")
    listed = {bytes(row[0]) for row in rows}
    if not listed:
        return []
    found: set[UUID] = set()
    for kind, statement in _STRONG.items():
        ranged = f"{statement} WHERE ($1::uuid IS NULL OR customer_id >= $1) AND ($2::uuid IS NULL OR customer_id < $2)"
        async for chunk in _chunks(connection, ranged, (lower, upper)):
            found |= await asyncio.to_thread(_on_the_list, pepper, kind, chunk, listed)
    return sorted(found)


async def _chunks(
    connection: asyncpg.Connection, statement: str, arguments: Sequence[object]
) -> AsyncIterator[list[asyncpg.Record]]:
    cursor = await connection.cursor(statement, *arguments)
    while rows := await cursor.fetch(5_000):
        yield rows


def _on_the_list(pepper: Pepper, kind: str, rows: Sequence[asyncpg.Record], listed: set[bytes]) -> set[UUID]:
    return {
        UUID(str(row[0]))
        for row in rows
        if row[1] is not None and any(known.value in listed for known in pepper.hashes(kind, row[1]))
    }


class Copy:
    """A COPY under way. ``rows`` once it is through, as the server counted them.

    Lines of JSON come as they are: no byte of theirs is a quote, a delimiter or a line break here. Tables are CSV.
    """

    def __init__(
        self,
        connection: asyncpg.Connection,
        sql: str,
        arguments: Sequence[Any],
        *,
        is_table: bool,
        batch_bytes: int = BATCH_BYTES,
    ) -> None:
        self.rows = 0
        self.is_table = is_table
        self._connection = connection
        self._sql = sql
        self._arguments = arguments
        self._batch_bytes = batch_bytes
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(BATCHES)
        self._held = bytearray()

    async def batches(self) -> AsyncGenerator[bytes, None]:
        """Batches of whole lines, or of bytes of a table."""
        copying = asyncio.create_task(self._run())
        try:
            while True:
                getting = asyncio.create_task(self._queue.get())
                await asyncio.wait({copying, getting}, return_when=asyncio.FIRST_COMPLETED)
                if not getting.done() and copying.done() and self._queue.empty():
                    getting.cancel()
                    await copying  # raises what broke it
                    return
                batch = await getting
                if batch is None:
                    await copying
                    return
                yield batch
        finally:
            copying.cancel()
            await asyncio.gather(copying, return_exceptions=True)

    async def _run(self) -> None:
        quote, delimiter = ('"', ",") if self.is_table else ("\x01", "\x02")
        tag = await self._connection.copy_from_query(
            self._sql,
            *self._arguments,
            output=self._take,
            format="csv",
            quote=quote,
            delimiter=delimiter,
            encoding="utf8",
        )
        self.rows = int(tag.removeprefix("COPY "))
        if self._held:
            await self._queue.put(bytes(self._held))
        await self._queue.put(None)

    async def _take(self, received: bytes) -> None:
        self._held += received
        if len(self._held) >= self._batch_bytes:
            end = len(self._held) if self.is_table else self._held.rfind(b"\n") + 1
            await self._queue.put(bytes(self._held[:end]))
            del self._held[:end]
        elif len(received) < GATHERED_BYTES:
            await asyncio.sleep(GATHER_S)


class _File:
    """The bytes of a file on their way into the store, counted and hashed.

    One thread does all of it: each thread that ever encoded keeps memory of its own (malloc's arenas).
    """

    def __init__(self, encoding: Encoder, *, max_bytes_per_s: int) -> None:
        self.lines = 0
        self.digest = hashlib.sha256()
        self._encoding = encoding
        self._max_bytes_per_s = max_bytes_per_s

    async def made_of(self, batches: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        """Encode batch by batch."""
        run = asyncio.get_running_loop().run_in_executor
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="bulk") as thread:
            async for batch in batches:
                began = time.monotonic()
                made = await run(thread, self._take, batch)
                if made:
                    yield made
                await self._wait(len(batch), began)
            made = await run(thread, self._end)
            if made:
                yield made

    async def _wait(self, size: int, began: float) -> None:
        if self._max_bytes_per_s:
            await asyncio.sleep(max(0.0, size / self._max_bytes_per_s - (time.monotonic() - began)))

    def _take(self, batch: bytes) -> bytes:
        self.lines += batch.count(b"\n")
        return self._hashed(self._encoding.feed(batch))

    def _end(self) -> bytes:
        return self._hashed(self._encoding.finish())

    def _hashed(self, made: bytes) -> bytes:
        self.digest.update(made)
        return made
