"""Lines of JSON on their way into a file: as they are, as CSV, as Parquet; packed by gzip or zstd.

Each step takes batches of whole lines and gives bytes back, so that memory stays that of a batch. They run in a thread:
what costs time here (zlib, zstd, Arrow) lets go of the interpreter.
Sources: https://github.com/ndjson/ndjson-spec, https://parquet.apache.org/docs/file-format/, RFC 4180, 1952 and 8878.
"""

import csv
import io
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.json as pa_json
import pyarrow.parquet as pq
import zstandard

from cdp.compiler.graph import Kind
from cdp.compiler.tabular import Column, flat
from cdp.operations.packages.spreadsheets import cell
from cdp.tables.bulk import BulkCompression, BulkFormat

# Arrow's own allocators keep what they freed: 30 MB more a worker for row groups of this size.
pa.set_memory_pool(pa.system_memory_pool())

ROW_GROUP_BYTES = 3 * 1024 * 1024
"""JSON bytes that become one row group: the memory of a Parquet part."""
ZSTD_LEVEL = 3
GZIP_LEVEL = 6
DECIMAL_DIGITS = 38


class Encoder(Protocol):
    """One step."""

    def feed(self, lines: bytes) -> bytes:
        """Take whole lines (or the bytes of the step before), give what is ready."""

    def finish(self) -> bytes:
        """Give the rest."""


class Plain:
    """NDJSON as Postgres wrote it."""

    def feed(self, lines: bytes) -> bytes:
        """As they are."""
        return lines

    def finish(self) -> bytes:
        """Nothing."""
        return b""


class Csv:
    """Rows of cells as Postgres wrote them, below a header with dotted names and the mark spreadsheets look for."""

    def __init__(self, columns: Sequence[Column]) -> None:
        buffer = io.StringIO()
        buffer.write("\ufeff")
        csv.writer(buffer, lineterminator="\n").writerow([cell(".".join(path)) for path, _ in flat(columns)])
        self._head = buffer.getvalue().encode()

    def feed(self, lines: bytes) -> bytes:
        """As they are."""
        head, self._head = self._head, b""
        return head + lines if head else lines

    def finish(self) -> bytes:
        """The header at least."""
        return self.feed(b"")


class Parquet:
    """Typed and nested as the selection is; a row group as soon as there is enough for one."""

    def __init__(self, columns: Sequence[Column], *, row_group_bytes: int = ROW_GROUP_BYTES) -> None:
        self._row_group_bytes = row_group_bytes
        self._read = pa.schema([_field(one, reading=True) for one in columns])
        self.schema = pa.schema([_field(one, reading=False) for one in columns])
        self._out = Out()
        self._writer = pq.ParquetWriter(pa.PythonFile(self._out, mode="w"), self.schema, compression="zstd")
        self._held = bytearray()

    def feed(self, lines: bytes) -> bytes:
        """Collect a row group, write it."""
        self._held += lines
        if len(self._held) >= self._row_group_bytes:
            self._write()
        return self._out.take()

    def _write(self) -> None:
        if not self._held:
            return
        held, self._held = self._held, bytearray()
        table = pa_json.read_json(
            pa.BufferReader(pa.py_buffer(held)),
            read_options=pa_json.ReadOptions(use_threads=False, block_size=len(held) + 1),
            parse_options=pa_json.ParseOptions(explicit_schema=self._read, unexpected_field_behavior="error"),
        )
        self._writer.write_table(table if table.schema == self.schema else table.cast(self.schema))

    def finish(self) -> bytes:
        """The last row group and the footer."""
        self._write()
        self._writer.close()
        return self._out.take()


class Out(io.RawIOBase):
    """Where a Parquet writer writes: bytes are taken away as they come."""

    def __init__(self) -> None:
        super().__init__()
        self._chunks: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, data: Any, /) -> int:  # noqa: ANN401  # a buffer
        """Keep what was written."""
        chunk = bytes(data)
        self._chunks.append(chunk)
        self._size += len(chunk)
        return len(chunk)

    def tell(self) -> int:
        """Bytes written so far."""
        return self._size

    def take(self) -> bytes:
        """What was written since the last time."""
        taken = b"".join(self._chunks)
        self._chunks.clear()
        return taken


class Gzip:
    """One gzip member."""

    def __init__(self) -> None:
        self._packer = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)

    def feed(self, lines: bytes) -> bytes:
        """Pack."""
        return self._packer.compress(lines)

    def finish(self) -> bytes:
        """The trailer."""
        return self._packer.flush()


class Zstd:
    """One zstd frame."""

    def __init__(self) -> None:
        self._packer = zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=True).compressobj()

    def feed(self, lines: bytes) -> bytes:
        """Pack."""
        return self._packer.compress(lines)

    def finish(self) -> bytes:
        """The end of the frame."""
        return self._packer.flush()


class Chain:
    """Steps one after another."""

    def __init__(self, *steps: Encoder) -> None:
        self._steps = steps

    def feed(self, lines: bytes) -> bytes:
        """Through all of them."""
        for step in self._steps:
            lines = step.feed(lines)
        return lines

    def finish(self) -> bytes:
        """The end of each goes through the ones after it."""
        out = b""
        for step in self._steps:
            out = (step.feed(out) if out else b"") + step.finish()
        return out


def encoder(format_: BulkFormat, compression: BulkCompression, columns: Sequence[Column]) -> Encoder:
    """The steps of a format."""
    match format_:
        case BulkFormat.NDJSON:
            first: Encoder = Plain()
        case BulkFormat.CSV:
            first = Csv(columns)
        case BulkFormat.PARQUET:
            return Parquet(columns)
    return Chain(first, packer(compression))


def suffix(format_: BulkFormat, compression: BulkCompression) -> str:
    """How a file's name ends."""
    packed = {BulkCompression.NONE: "", BulkCompression.GZIP: ".gz", BulkCompression.ZSTD: ".zst"}
    return f"{format_.value}{packed[compression]}"


class Opener:
    """Undoes a packing."""

    def __init__(self, opener: Any) -> None:  # noqa: ANN401  # zlib's and zstandard's have one shape and no type
        self._opener = opener

    def feed(self, lines: bytes) -> bytes:
        """Unpack."""
        opened: bytes = self._opener.decompress(lines)
        return opened

    def finish(self) -> bytes:
        """What is left."""
        rest: bytes = self._opener.flush()
        return rest


def packer(compression: BulkCompression) -> Encoder:
    """The step that packs."""
    match compression:
        case BulkCompression.NONE:
            return Plain()
        case BulkCompression.GZIP:
            return Gzip()
        case BulkCompression.ZSTD:
            return Zstd()


def unpacker(compression: BulkCompression) -> Encoder:
    """The step that undoes it."""
    match compression:
        case BulkCompression.NONE:
            return Plain()
        case BulkCompression.GZIP:
            return Opener(zlib.decompressobj(16 + zlib.MAX_WBITS))
        case BulkCompression.ZSTD:
            return Opener(zstandard.ZstdDecompressor().decompressobj())


_ARROW: Mapping[Kind, pa.DataType] = {
    Kind.ID: pa.string(),
    Kind.TEXT: pa.string(),
    Kind.ENUM: pa.string(),
    Kind.JSON: pa.string(),
    Kind.BYTES: pa.string(),
    Kind.INT: pa.int32(),
    Kind.BIGINT: pa.int64(),
    Kind.FLOAT: pa.float64(),
    Kind.BOOLEAN: pa.bool_(),
    Kind.DATETIME: pa.timestamp("us", "UTC"),
    Kind.DATE: pa.date32(),
}
# Arrow's reader takes these from JSON numbers alone; ours are strings, and are cast after reading.
_READ_AS_TEXT = frozenset({Kind.BIGINT, Kind.DATE})


def _field(one: Column, *, reading: bool) -> pa.Field:
    kind = _type(one, reading=reading)
    return pa.field(one.name, pa.list_(kind) if one.is_list else kind)


def _type(one: Column, *, reading: bool) -> pa.DataType:
    if one.kind is None:
        return pa.struct([_field(member, reading=reading) for member in one.members])
    if one.kind is Kind.DECIMAL:
        return pa.decimal128(DECIMAL_DIGITS, one.scale)
    if reading and one.kind in _READ_AS_TEXT:
        return pa.string()
    return _ARROW[one.kind]
