"""Take people out of the files of an export: parts of their ranges are read, filtered and written anew.

The new file has a name of its own and takes the old one's place in one statement; then the old one goes. One rewriter
at a time works on a part (``spares``). Memory stays that of a chunk, or of a row group.
"""

import asyncio
import csv
import hashlib
import io
import json
import tempfile
from collections.abc import AsyncIterator, Collection, Iterator
from pathlib import PurePosixPath
from typing import IO, Any, Protocol
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from obstore.exceptions import BaseError as StoreError
from sqlalchemy import Row, func, select

from cdp.access.bulk import Reason
from cdp.access.viewer import SYSTEM
from cdp.compiler.bulk import TYPE
from cdp.core.blobs import ObjectMissing
from cdp.core.db import Role
from cdp.core.ids import global_id, new_id
from cdp.core.platform import Platform
from cdp.operations.bulk import pseudonyms, spares
from cdp.operations.bulk.formats import Chain, Out, packer, unpacker
from cdp.operations.bulk.leases import LeaseLost, beat_s, kept
from cdp.operations.bulk.states import note
from cdp.tables.bulk import BulkFormat, PartKind, PartStatus, bulk_part

ID = "id"


class Filter(Protocol):
    """A step that leaves rows out and counts them."""

    gone: int

    def feed(self, lines: bytes) -> bytes:
        """Take bytes, give those that stay."""

    def finish(self) -> bytes:
        """Give the rest."""


async def take_out(
    platform: Platform, row: Row[Any], people: Collection[UUID], *, along: Collection[UUID] = ()
) -> bool:
    """Remove these customers from every finished part of an export; ``along`` are taken out of the same parts.

    False while somebody else rewrites one of those parts: call it again. Doing it again finds nobody. The manifest is
    the caller's.
    """
    if not people:
        return True
    async with platform.db.transaction(Role.WORKER) as tx:
        key = await pseudonyms.key_of(tx, platform.sealer, row.recipient_id)
        done = select(bulk_part).where(
            bulk_part.c.bulk_export_id == row.id,
            bulk_part.c.epoch == row.epoch,
            bulk_part.c.kind == PartKind.OUTPUT,
            bulk_part.c.status == PartStatus.DONE,
        )
        made = await tx.all(done)
    is_clean = True
    for part in made:  # each is a file of its own
        if not any(_covers(part, one) for one in people):
            continue
        inside = [one for one in {*people, *along} if _covers(part, one)]
        shown = {global_id(TYPE, one) if row.personal else pseudonyms.pseudonym(key, one) for one in inside}
        is_clean = await _clean(platform, row, part, shown) and is_clean
    return is_clean


def _covers(part: Row[Any], customer_id: UUID) -> bool:
    return (part.lower_id is None or part.lower_id <= customer_id) and (
        part.upper_id is None or customer_id < part.upper_id
    )


async def _clean(platform: Platform, row: Row[Any], part: Row[Any], shown: set[str]) -> bool:
    """Write a part anew without them, under a lease; False when somebody else is at it, or was meanwhile."""
    if not await spares.remove(platform, part.id):
        return False
    if not part.record_count or part.object_key is None:
        return True
    key, lease_s = _fresh(part), platform.settings.lease_s
    async with platform.db.transaction(Role.WORKER) as tx:
        if not await spares.claim(tx, part.id, part.object_key, key, lease_s=lease_s):
            return False

    async def extend() -> bool:
        async with platform.db.transaction(Role.WORKER) as tx:
            return await spares.extend(tx, part.id, key, lease_s=lease_s)

    try:
        async with kept(extend, every_s=beat_s(platform.settings)):
            is_clean = await _rewrite(platform, row, part, key, shown)
    except LeaseLost:
        is_clean = False
    except (StoreError, OSError):  # who dies here leaves the rest to the end of the lease
        await spares.give_up(platform, part.id, key)
        raise
    if is_clean:
        return await spares.remove(platform, part.id)
    await spares.give_up(platform, part.id, key)
    return False


def _fresh(part: Row[Any]) -> str:
    """A name nobody has used for a file of this part."""
    old = PurePosixPath(part.object_key)
    stem, _, ending = old.name.partition(".")
    kind, ordinal, _ = stem.split("-", 2)
    return str(old.with_name(f"{kind}-{ordinal}-{new_id().hex}.{ending}"))


async def _rewrite(platform: Platform, row: Row[Any], part: Row[Any], key: str, shown: set[str]) -> bool:
    """Write the file under its new name and put it in the old one's place; whether they are in it no more."""
    filtering = _Parquet(shown) if row.format is BulkFormat.PARQUET else _Packed(row, shown)
    digest = hashlib.sha256()

    async def hashed() -> AsyncIterator[bytes]:
        async for chunk in filtering.of(platform.blobs.stream(part.object_key)):
            digest.update(chunk)
            yield chunk

    try:
        size = await platform.blobs.put_stream(key, hashed())
    except ObjectMissing:  # the file was replaced a moment ago
        return False
    if not filtering.gone:
        await spares.give_up(platform, part.id, key)
        return True
    excluded = dict(part.excluded or {})
    excluded[Reason.ERASING.value] = excluded.get(Reason.ERASING.value, 0) + filtering.gone
    values = {
        "size_bytes": size,
        "sha256": digest.digest(),
        "record_count": bulk_part.c.record_count - filtering.gone,
        "excluded": excluded,
        "settled_at": func.now(),
    }
    async with platform.db.transaction(Role.WORKER) as tx:
        if not await spares.swap(tx, part.id, part.object_key, key, values):
            return False
        details = {"ordinal": part.ordinal, "removed": filtering.gone}
        await note(tx, SYSTEM, "bulk_part.rewritten", row.id, details=details)
    return True


class _Packed:
    """A file of lines or of CSV rows: unpacked, filtered and packed chunk by chunk."""

    def __init__(self, row: Row[Any], shown: set[str]) -> None:
        self._filter: Filter = _CsvRows(shown) if row.format is BulkFormat.CSV else _Lines(shown)
        self._chain = Chain(unpacker(row.compression), self._filter, packer(row.compression))

    @property
    def gone(self) -> int:
        """Rows left out."""
        return self._filter.gone

    async def of(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The bytes of the new file."""
        async for chunk in chunks:
            yield await asyncio.to_thread(self._chain.feed, chunk)
        yield await asyncio.to_thread(self._chain.finish)


class _Lines:
    """NDJSON."""

    def __init__(self, shown: set[str]) -> None:
        self.gone = 0
        self._shown = shown
        self._marks = [one.encode() for one in shown]
        self._held = b""

    def feed(self, lines: bytes) -> bytes:
        """Whole lines but those of the shown."""
        held = self._held + lines
        end = held.rfind(b"\n") + 1
        whole, self._held = held[:end], held[end:]
        if not any(mark in whole for mark in self._marks):
            return whole
        return b"".join(line for line in whole.splitlines(keepends=True) if not self._is_theirs(line))

    def _is_theirs(self, line: bytes) -> bool:
        theirs = any(mark in line for mark in self._marks) and json.loads(line)[ID] in self._shown
        self.gone += theirs
        return theirs

    def finish(self) -> bytes:
        """What had no end."""
        return self._held


class _CsvRows:
    """CSV, whose cells may hold line breaks: a row ends where every quote is closed."""

    def __init__(self, shown: set[str]) -> None:
        self.gone = 0
        self._shown = shown
        self._held = b""
        self._column = -1

    def feed(self, lines: bytes) -> bytes:
        """Whole rows but those of the shown."""
        held = self._held + lines
        end = held.rfind(b"\n") + 1
        while end and held.count(b'"', 0, end) % 2:
            end = held.rfind(b"\n", 0, end - 1) + 1
        if not end:
            self._held = held
            return b""
        whole, self._held = held[:end], held[end:]
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        for cells in csv.reader(io.StringIO(whole.decode(), newline="")):
            if self._column < 0:
                self._column = [name.lstrip("\ufeff") for name in cells].index(ID)
            elif cells[self._column] in self._shown:
                self.gone += 1
                continue
            writer.writerow(cells)
        return out.getvalue().encode()

    def finish(self) -> bytes:
        """What had no end."""
        return self._held


class _Parquet:
    """Parquet, which is read from its end: a file of our own first, then row group by row group."""

    def __init__(self, shown: set[str]) -> None:
        self.gone = 0
        self._shown = pa.array(sorted(shown))

    async def of(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The bytes of the new file."""
        with tempfile.TemporaryFile() as file:
            async for chunk in chunks:
                await asyncio.to_thread(file.write, chunk)
            groups = self._groups(file)
            while (made := await asyncio.to_thread(next, groups, None)) is not None:
                yield made

    def _groups(self, file: IO[bytes]) -> Iterator[bytes]:
        file.seek(0)
        given, out = pq.ParquetFile(file), Out()
        writer = pq.ParquetWriter(pa.PythonFile(out, mode="w"), given.schema_arrow, compression="zstd")
        for number in range(given.num_row_groups):
            table = given.read_row_group(number)
            kept = table.filter(pc.invert(pc.is_in(table.column(ID), value_set=self._shown)))
            self.gone += table.num_rows - kept.num_rows
            writer.write_table(kept)
            yield out.take()
        writer.close()
        yield out.take()
