"""What an acquirer forgets: people who objected or were erased since, in the files it has decrypted; or everything.

Whom it was told to forget is kept by the names they have in the transfer, which say nothing about them, so that a file
that is decrypted once more loses them again. Files are replaced whole: a break leaves the old one or the new one.
Sources: GDPR art. 17(2), 19.
"""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cdp.core.errors import PlatformError

LIST = "forgotten.json"
PLAIN = "plain"
NAME = "id"


class NotDestroyed(PlatformError):
    """Something could not be removed; nothing was signed."""

    code = "NOT_DESTROYED"


def forget(place: Path, names: Iterable[str]) -> int:
    """Forget these people in what was decrypted of a transfer, and whoever was to be before; how many lines went."""
    known = place / LIST
    wanted = {*(json.loads(known.read_text()) if known.exists() else ()), *names}
    if not wanted:
        return 0
    _replace(known, json.dumps(sorted(wanted)).encode())
    files = [path for path in (place / PLAIN).rglob("*") if path.is_file()]
    return sum(_from_lines(path, wanted) if path.suffix == ".ndjson" else _from_table(path, wanted) for path in files)


def destroy(place: Path, folders: Iterable[str]) -> None:
    """Remove these folders of a transfer with all that is in them. Raises NotDestroyed unless they are gone."""
    for folder in folders:
        shutil.rmtree(place / folder, ignore_errors=True)
        if (place / folder).exists():
            raise NotDestroyed(folder=folder)


def _from_lines(path: Path, names: set[str]) -> int:
    lines = path.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line).get(NAME) not in names]
    if len(kept) < len(lines):
        _replace(path, b"".join(kept))
    return len(lines) - len(kept)


def _from_table(path: Path, names: set[str]) -> int:
    if path.suffix != ".parquet":
        return 0
    table = pq.read_table(path)
    kept = table.filter(pc.invert(pc.is_in(table[NAME], value_set=pa.array(sorted(names)))))
    if len(kept) < len(table):
        beside = path.with_suffix(".new")
        pq.write_table(kept, beside)
        beside.replace(path)
    return len(table) - len(kept)


def _replace(path: Path, raw: bytes) -> None:
    beside = path.with_suffix(".new")
    beside.write_bytes(raw)
    beside.replace(path)
