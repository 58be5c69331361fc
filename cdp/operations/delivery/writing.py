"""Make the files of one part from one snapshot: two from each line that Postgres writes, all encrypted as they come."""

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import asyncpg

from cdp.compiler.bulk import INNER_KEY, OUTER_KEY, BulkPlan, BulkQuery
from cdp.compiler.tabular import Column
from cdp.core.db import Role
from cdp.core.platform import Platform
from cdp.operations.bulk import pseudonyms
from cdp.operations.bulk.formats import Encoder, Parquet, Plain
from cdp.operations.bulk.writing import Copy, PartInconsistent, suppressed
from cdp.operations.delivery import optouts
from cdp.operations.delivery.outgoing import Outgoing
from cdp.operations.delivery.parts import MadeFile, MadePart, PartWork
from cdp.operations.delivery.readme import README
from cdp.operations.delivery.selection import Plans
from cdp.operations.transfers.roll import LEAF_BYTES
from cdp.tables.delivery import FileKind
from cdp.tables.transfer import BouncePolicy, CohortBasis

PURPOSE = "asset_transfer"
ROW_GROUP_BYTES = 1024 * 1024
BATCH_BYTES = 256 * 1024
"""Both smaller than an export's: three files are made at once."""
COUNT = """
SELECT count(*) FROM transfer_customer
 WHERE cohort_id = $1 AND customer_id IS NOT NULL
   AND ($2::uuid IS NULL OR customer_id >= $2) AND ($3::uuid IS NULL OR customer_id < $3)
"""
MIXED = """
SELECT EXISTS (SELECT 1 FROM collection k WHERE k.brand_id <> $4 AND k.customer_id IN (
    SELECT customer_id FROM transfer_customer
     WHERE cohort_id = $1 AND ($2::uuid IS NULL OR customer_id >= $2) AND ($3::uuid IS NULL OR customer_id < $3)))
"""
LEAVES = """
SELECT coalesce(string_agg(sha256(convert_to(id || ' ' || $5, 'UTF8')), ''::bytea ORDER BY id), ''::bytea)
  FROM transfer_customer
 WHERE cohort_id = $1 AND customer_id IS NOT NULL
   AND ($2::uuid IS NULL OR customer_id >= $2) AND ($3::uuid IS NULL OR customer_id < $3)
   AND NOT id = ANY($4::uuid[])
"""
PROVENANCE = """
SELECT json_build_object(
    'id', t.id,
    'collection', CASE WHEN k.id IS NULL THEN NULL ELSE json_build_object(
        'point', k.point, 'source', k.source, 'collectedAt', k.collected_at, 'policyVersion', p.version) END,
    'notice', json_build_object('version', d.notice_version, 'sha256', encode(d.notice_sha256, 'hex'),
        'state', t.notice, 'notifiedAt', t.notified_at, 'deadline', t.deadline))
  FROM transfer_customer t
  JOIN transfer d ON d.id = t.transfer_id
  JOIN customer c ON c.id = t.customer_id
  LEFT JOIN collection k ON k.id = c.collection_id AND k.brand_id = $5
  LEFT JOIN policy_version p ON p.id = k.policy_version_id
 WHERE t.cohort_id = $1 AND ($2::uuid IS NULL OR t.customer_id >= $2) AND ($3::uuid IS NULL OR t.customer_id < $3)
   AND NOT t.id = ANY($4::uuid[])
 ORDER BY t.customer_id
"""

A = TypeVar("A")
B = TypeVar("B")


def folder(deal_id: UUID) -> str:
    """Where the files of a deal lie."""
    return f"transfers/{deal_id}/"


def cohort_folder(cohort: Any) -> str:  # noqa: ANN401  # a row
    """The folder of a cohort in the package."""
    return f"{cohort.ordinal:02d}-{re.sub(r'[^a-z0-9]+', '-', cohort.name.lower()).strip('-') or 'cohort'}"


@dataclass(frozen=True)
class _Seen:
    """Two connections that see one moment: customers by the first, what goes along with them by the second."""

    first: asyncpg.Connection
    second: asyncpg.Connection
    at: datetime


class Place:
    """Where one part after the other takes rows from Postgres, and the one thread that makes files of them.

    Each thread that ever encoded keeps memory of its own (malloc's arenas).
    """

    def __init__(self) -> None:
        self.turn = asyncio.Semaphore(1)
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="delivery")


@dataclass(frozen=True)
class Places:
    """A worker's: two statements at once, each of another part where need be."""

    customers: Place = field(default_factory=Place)
    along: Place = field(default_factory=Place)


async def write(platform: Platform, plans: Plans, work: PartWork, places: Places) -> MadePart:
    """Write a part under names of its own claim, so that nobody else can touch them.

    Rows are taken from Postgres within ``places`` alone: what comes before may go on beside another part. Raises
    PartInconsistent unless everybody of the cohort's range is in it or left out for a reason.
    """
    async with _snapshot(platform, work) as seen, AsyncExitStack() as stack:
        files = _Files(platform, work, stack, places.along)
        if work.cohort is None:
            async with places.along.turn:
                return MadePart(await _deal(seen.first, files, plans), 0, {}, seen.at)
        customers, bounds = plans.of(work.cohort.fields), await _bounds(platform, seen.first, work)
        omissions = await _omissions(seen.first, customers, bounds)
        selected = await seen.first.fetchval(COUNT, work.cohort.id, work.lower, work.upper)
        both = _Files(platform, work, stack, places.customers)
        (rows, made), (more, leaves) = await _both(
            _customers(seen.first, both, customers, bounds), _along(seen.second, files, plans, bounds, omissions)
        )
        if rows + len(omissions) != selected or any(one.rows != rows for one in [*made, *more]):
            raise PartInconsistent
        if len(leaves) != rows * LEAF_BYTES:
            raise PartInconsistent
        return MadePart([*made, *more], rows, omissions, seen.at, leaves)


async def _both(one: Coroutine[Any, Any, A], other: Coroutine[Any, Any, B]) -> tuple[A, B]:
    """Do two things at once; what breaks one of them stops the other."""
    doing = (asyncio.create_task(one), asyncio.create_task(other))
    try:
        return await asyncio.gather(*doing)
    finally:
        for task in doing:
            task.cancel()
        await asyncio.gather(*doing, return_exceptions=True)


@asynccontextmanager
async def _snapshot(platform: Platform, work: PartWork) -> AsyncIterator[_Seen]:
    """Connections that see one moment, with the deal's key as settings of their transactions."""
    async with AsyncExitStack() as stack:
        first = await _reading(platform, work, stack)
        moment = await first.fetchrow("SELECT pg_export_snapshot() AS name, now() AS at")
        assert moment is not None, "it asks no table"
        yield _Seen(first, await _reading(platform, work, stack, snapshot=moment["name"]), moment["at"])


async def _reading(
    platform: Platform, work: PartWork, stack: AsyncExitStack, *, snapshot: str | None = None
) -> asyncpg.Connection:
    connection = await platform.db.connect_raw(Role.WORKER)
    stack.callback(connection.terminate)  # whatever still runs there is nobody's any more
    await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    if snapshot is not None:
        await connection.execute(f"SET TRANSACTION SNAPSHOT '{snapshot}'")
    inner, outer = pseudonyms.padded(hashlib.sha256(b"transfer-names" + bytes(work.deal.salt)).digest())
    await connection.execute(
        "SELECT set_config($1, $2, true), set_config($3, $4, true), set_config('statement_timeout', '0', true)",
        *(INNER_KEY, inner, OUTER_KEY, outer),
    )
    return connection


async def _bounds(platform: Platform, connection: asyncpg.Connection, work: PartWork) -> dict[str, object]:
    assert work.cohort is not None, "asked before"
    return {
        "lower": work.lower,
        "upper": work.upper,
        "cohort": work.cohort.id,
        "brand": work.deal.brand_id,
        "mixed": await connection.fetchval(MIXED, work.cohort.id, work.lower, work.upper, work.deal.brand_id),
        "purpose": PURPOSE,
        "since": None,
        "areas": [],
        "agreed_to": work.cohort.purpose if work.cohort.basis is CohortBasis.OPT_IN else None,
        "bounced_stay": work.deal.bounce is BouncePolicy.EXCLUDE,
        "suppressed": await suppressed(connection, platform.pepper, work.lower, work.upper),
    }


def _bound(plan: BulkPlan, bounds: Mapping[str, object], query: BulkQuery | None = None) -> list[Any]:
    return (query or plan.output).bind(plan.call, bounds)


async def _omissions(connection: asyncpg.Connection, plan: BulkPlan, bounds: Mapping[str, object]) -> dict[UUID, str]:
    """Who of the cohort is not to go any more, and why."""
    assert plan.left_out is not None, "it was compiled for a transfer"
    rows = await connection.fetch(plan.left_out.sql, *_bound(plan, bounds, plan.left_out))
    return {UUID(row[0]): row[1] for row in rows}


class _Files:
    """Files of a part, opened under its claim's names and made in one place."""

    def __init__(self, platform: Platform, work: PartWork, stack: AsyncExitStack, place: Place) -> None:
        self._platform, self._stack = platform, stack
        self.work, self.place = work, place

    async def open(self, kind: FileKind, encoder: Encoder | None = None) -> Outgoing:
        """Begin a file."""
        name, work = self._name(kind), self.work
        key = f"{folder(work.deal.id)}{work.ordinal:05d}-{work.fence}/{name}.age"
        file = Outgoing(
            self._platform.blobs,
            work.deal.acquirer_key,
            kind=kind,
            name=name,
            key=key,
            encoder=encoder or Plain(),
            thread=self.place.thread,
        )
        return await self._stack.enter_async_context(file)

    def _name(self, kind: FileKind) -> str:
        fixed = {FileKind.OPT_OUT: "opt-out.ndjson", FileKind.SCHEMA: "schema.json", FileKind.README: "README.md"}
        if kind in fixed:
            return fixed[kind]
        stem, ending = ("customers", "parquet") if kind is FileKind.CUSTOMERS_TABLE else (kind.value, "ndjson")
        return f"{cohort_folder(self.work.cohort)}/{stem}-{self.work.ordinal:05d}.{ending}"


async def _customers(
    connection: asyncpg.Connection, files: _Files, plan: BulkPlan, bounds: Mapping[str, object]
) -> tuple[int, list[MadeFile]]:
    """The customers, as lines and as a table of the same rows."""
    async with files.place.turn:
        lines = await files.open(FileKind.CUSTOMERS)
        table = await files.open(FileKind.CUSTOMERS_TABLE, Parquet(plan.columns, row_group_bytes=ROW_GROUP_BYTES))
        return await _copied(connection, [lines, table], plan.output.sql, _bound(plan, bounds))


async def _along(
    connection: asyncpg.Connection,
    files: _Files,
    plans: Plans,
    bounds: Mapping[str, object],
    omissions: Mapping[UUID, str],
) -> tuple[list[MadeFile], bytes]:
    """What goes along with the customers: their choices, where they came from; and the leaves of who is in the part."""
    work, plan = files.work, plans.choices()
    assert work.cohort is not None, "asked before"
    arguments = [work.cohort.id, work.lower, work.upper, list(omissions)]
    async with files.place.turn:
        choices = await files.open(FileKind.CHOICES)
        _, [said] = await _copied(connection, [choices], plan.output.sql, _bound(plan, bounds))
        origins = await files.open(FileKind.PROVENANCE)
        _, [origin] = await _copied(connection, [origins], PROVENANCE, [*arguments, work.deal.brand_id])
        return [said, origin], await connection.fetchval(LEAVES, *arguments, work.cohort.name)


async def _copied(
    connection: asyncpg.Connection, files: Sequence[Outgoing], sql: str, arguments: Sequence[object]
) -> tuple[int, list[MadeFile]]:
    """The lines of a statement in each of these files, and how many there are."""
    copy = Copy(connection, sql, arguments, is_table=False, batch_bytes=BATCH_BYTES)
    async with aclosing(copy.batches()) as batches:
        async for batch in batches:
            for file in files:  # one after the other: a thread each would hold memory of its own
                await file.put(batch)
    made = [await file.end() for file in files]
    return copy.rows, made


async def _deal(connection: asyncpg.Connection, files: _Files, plans: Plans) -> list[MadeFile]:
    """What belongs to no cohort: the opt-outs, the shape of every cohort's records, how to read it all."""
    deal, key = files.work.deal, optouts.fresh_key()
    listed = await files.open(FileKind.OPT_OUT)
    await listed.put(optouts.header(key))
    _, made = await _copied(connection, [listed], optouts.QUERY, [deal.id, deal.brand_id, *optouts.halves(key)])
    cohorts = await connection.fetch(
        "SELECT ordinal, name, fields FROM transfer_cohort WHERE transfer_id = $1 ORDER BY ordinal", deal.id
    )
    shape = {}
    for cohort in cohorts:
        shape[cohort["name"]] = [_shape(one) for one in plans.of(cohort["fields"]).columns]
    schema = {
        "customers": shape,
        "choices": [_shape(one) for one in plans.choices().columns],
    }
    return [
        *made,
        await _whole(files, FileKind.SCHEMA, json.dumps(schema, indent=2).encode()),
        await _whole(files, FileKind.README, README.encode()),
    ]


async def _whole(files: _Files, kind: FileKind, text: bytes) -> MadeFile:
    file = await files.open(kind)
    await file.put(text)
    return await file.end()


def _shape(one: Column) -> dict[str, object]:
    found: dict[str, object] = {"name": one.name, "type": one.kind.value if one.kind else "object"}
    if one.is_list:
        found["list"] = True
    if one.members:
        found["members"] = [_shape(member) for member in one.members]
    return found
