"""Bulk exports in a test's hands: ask for one, let a worker make it, read what came of it.

bulk = await factory(…)           a platform of its own with a floor; ``bulk.analyst()`` asks
made = await bulk.export(QUERY)   the finished export: its manifest, its files, its rows
"""

import csv
import gzip
import io
import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import pyarrow.parquet as pq
import zstandard
from sqlalchemy import Row, delete, func, insert, select, update

from cdp.access.bulk import APPROVE_SCOPE, EXPORT_SCOPE
from cdp.access.viewer import SYSTEM, Actor, Viewer
from cdp.compiler.bulk import BulkCompiler
from cdp.compiler.reader import Reader
from cdp.core import log
from cdp.core.db import Role
from cdp.core.ids import new_id
from cdp.core.platform import Platform
from cdp.core.settings import Settings
from cdp.operations.bulk import kickoff, pseudonyms
from cdp.operations.bulk.floor import Floor
from cdp.operations.bulk.kickoff import KickedOff, Wanted
from cdp.operations.bulk.queries import Plans
from cdp.operations.oauth import clients
from cdp.operations.oauth.clients import CLIENT_CREDENTIALS
from cdp.operations.reference import ensure_reference
from cdp.schema.schema import open_reader
from cdp.tables.audit import audit_event
from cdp.tables.bulk import BulkFormat, BulkStatus, bulk_export, bulk_part
from cdp.tables.staff import staff
from tests.engine import until

QUERY = """{ customers { nodes { id country createdAt
  orders { nodes { total placedAt items { sku quantity } } } currentConsents { purposeCode action } } } }"""
QUICK: dict[str, Any] = {
    "bulk_part_rows": 3,
    "bulk_slots": 2,
    "lease_s": 6.0,  # a busy machine lets shorter ones go
    "sweep_s": 0.2,
    "retry_base_s": 0.0,
    "max_attempts": 4,
    "redis_url": "",
}


@dataclass
class Made:
    """An export and its manifest."""

    row: Row[Any]
    manifest: dict[str, Any]
    files: dict[str, bytes] = field(repr=False)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Every customer of the output."""
        return [one for name, body in self.files.items() if name.startswith("output") for one in read(name, body)]

    @property
    def ids(self) -> list[str]:
        return [row["id"] for row in self.rows]

    @property
    def tombstones(self) -> dict[str, str]:
        found = [one for name, body in self.files.items() if name.startswith("deleted") for one in read(name, body)]
        return {one["id"]: one["reason"] for one in found}

    @property
    def excluded(self) -> dict[str, int]:
        return {one["reason"]: one["count"] for one in self.manifest["excluded"]}


def read(name: str, body: bytes) -> list[dict[str, Any]]:
    """Rows of a file, whatever its format."""
    if name.endswith(".gz"):
        body = gzip.decompress(body)
    if name.endswith(".zst"):
        body = zstandard.ZstdDecompressor().decompressobj().decompress(body)
    if ".csv" in name:
        return list(csv.DictReader(io.StringIO(body.decode("utf-8-sig"), newline="")))
    if name.endswith(".parquet"):
        return pq.read_table(io.BytesIO(body)).to_pylist()
    return [json.loads(line) for line in body.splitlines()]


@dataclass
class Bulk:
    """One platform and one floor on it."""

    platform: Platform
    reader: Reader
    floor: Floor
    compiler: BulkCompiler

    @property
    def plans(self) -> Plans:
        return Plans(self.compiler)

    def with_settings(self, **changes: Any) -> "Bulk":
        """The same platform under other settings, with a floor of its own."""
        platform = replace(self.platform, settings=self.platform.settings.model_copy(update=changes))
        return self.on(platform)

    def on(self, platform: Platform, owner: str = "other") -> "Bulk":
        return Bulk(platform, self.reader, Floor(platform, self.reader, owner), self.compiler)

    async def member(self, *roles: str, scopes: tuple[str, ...] = (EXPORT_SCOPE, APPROVE_SCOPE)) -> Viewer:
        """Somebody who works here."""
        staff_id = new_id()
        name = f"{secrets.token_hex(6)}@example.org"
        async with self.platform.db.transaction(Role.WORKER) as tx:
            await tx.execute(insert(staff).values(id=staff_id, username=name, name="Cy", roles=list(roles)))
        now = self.platform.clock()
        return Viewer(
            Actor.STAFF,
            staff_id=staff_id,
            roles=frozenset(roles),
            scopes=frozenset(scopes),
            authenticated_at=now,
            purpose="customer_service",
        )

    async def program(self) -> Viewer:
        """A program that may export in its own name."""
        async with self.platform.db.transaction(Role.WORKER) as tx:
            asked = {"confidential": True, "grant_types": [CLIENT_CREDENTIALS], "scopes": [EXPORT_SCOPE]}
            made = await clients.add(tx, SYSTEM, "Warehouse", redirect_uris=[], **asked)
        return Viewer(Actor.CLIENT, client_id=made.client.client_id, scopes=frozenset({EXPORT_SCOPE}))

    async def ask(
        self, viewer: Viewer, query: str = QUERY, *, purpose: str | None = "orders", **more: Any
    ) -> KickedOff:
        return await kickoff.run_query(self.platform, self.compiler, viewer, Wanted(query, purpose, **more))

    async def row(self, export_id: UUID) -> Row[Any]:
        async with self.platform.db.transaction(Role.WORKER) as tx:
            found = await tx.first(select(bulk_export).where(bulk_export.c.id == export_id))
        assert found is not None
        return found

    async def status(self, export_id: UUID) -> BulkStatus:
        return (await self.row(export_id)).status

    async def snapshot(self, export_id: UUID) -> None:
        """Wait until somebody holds its snapshot."""

        async def is_held() -> bool:
            return (await self.row(export_id)).snapshot_name is not None

        await until(is_held)

    async def parts(self, export_id: UUID) -> list[Row[Any]]:
        async with self.platform.db.transaction(Role.WORKER) as tx:
            mine = select(bulk_part).where(bulk_part.c.bulk_export_id == export_id)
            return [*await tx.all(mine.order_by(bulk_part.c.kind, bulk_part.c.ordinal))]

    async def made(self, export_id: UUID) -> Made:
        """A finished export, read from the store as its parts say."""
        row, manifest, keys = await self.offered(export_id)
        return Made(row, manifest, {name: await self.platform.blobs.get(key) for name, key in keys.items()})

    async def offered(self, export_id: UUID) -> tuple[Row[Any], dict[str, Any], dict[str, str]]:
        """A finished export, its manifest, and where the store has the files it names."""
        row = await self.row(export_id)
        assert row.status is BulkStatus.COMPLETED, (row.status, row.code)
        manifest = json.loads(row.manifest)
        pairs = zip(_by_name(manifest), await self.parts(export_id), strict=True)
        return row, manifest, {said["url"].rpartition("/")[2]: part.object_key for said, part in pairs}

    async def export(self, viewer: Viewer | None = None, query: str = QUERY, **more: Any) -> Made:
        """Ask, work, read."""
        asked = await self.ask(viewer or await self.member("analyst"), query, **more)
        await self.floor.drain()
        return await self.made(asked.id)

    async def shown(self, row: Row[Any], customer_id: UUID) -> str:
        """The id under which a recipient knows somebody."""
        async with self.platform.db.transaction(Role.WORKER) as tx:
            key = await pseudonyms.key_of(tx, self.platform.sealer, row.recipient_id)
        return pseudonyms.pseudonym(key, customer_id)

    async def audited(self, export_id: UUID) -> list[str]:
        async with self.platform.db.transaction(Role.WORKER) as tx:
            mine = select(audit_event.c.action).where(audit_event.c.object_id == export_id)
            return [row.action for row in await tx.all(mine.order_by(audit_event.c.id))]

    async def expire_leases(self) -> None:
        """Let every lease run out, as if its worker had died long ago."""
        async with self.platform.db.transaction(Role.WORKER) as tx:
            await tx.execute(update(bulk_part).values(next_run_at=func.coalesce(bulk_part.c.started_at, func.now())))
            open_ = update(bulk_export).where(bulk_export.c.status == BulkStatus.RUNNING)
            await tx.execute(open_.values(next_run_at=bulk_export.c.created_at))

    async def forget(self) -> None:
        """Remove every export: the next test begins with none."""
        async with self.platform.db.transaction(Role.WORKER) as tx:
            await tx.execute(delete(bulk_part))
            await tx.execute(delete(bulk_export))


def _by_name(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """Files as ``Bulk.parts`` orders them."""
    return [*manifest["deleted"], *manifest["output"]]


async def opened(settings: Settings) -> AsyncIterator[Bulk]:
    """A platform without a doorbell, and a floor that works only when told to."""
    log.configure("json", "error")
    platform = Platform.open(settings.model_copy(update=QUICK))
    async with platform.db.transaction(Role.WORKER) as tx:
        await ensure_reference(tx)
    reader = open_reader(platform)
    floor = Floor(platform, reader, "tests")
    yield Bulk(platform, reader, floor, BulkCompiler(reader.graph, reader.limits))
    await floor.close()
    await reader.close()
    await platform.close()


FORMATS = (BulkFormat.NDJSON, BulkFormat.CSV, BulkFormat.PARQUET)
