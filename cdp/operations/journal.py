"""The erasure journal: signed entries in the object store, chained, durable before our own rows go.

It lives outside the database, so that restoring an old backup can replay every erasure before anything is served: by
customer id, never by hash, so that whoever registered again is left alone. It holds ids, dates and keyed hashes. An end
of a suppression is an entry too, so that both happen again in their order.

An entry is written into the database first, under the next number and with the hash of the one before, and from there
into the object store: ``journal/000000000017.json``. The highest number in the database is the marker by which a
restored one sees how far behind it is; the key store, which no backup holds, remembers the highest number of all, so
that a journal that was cut off is seen as well.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Row, Uuid, any_, bindparam, func, insert, or_, select, update

from cdp.core.blobs import Blobs, ObjectMissing
from cdp.core.clock import iso
from cdp.core.db import Role, Tx
from cdp.core.errors import Conflict
from cdp.core.platform import Platform
from cdp.core.sign import Document, Verdict, canonical, check
from cdp.operations import lineage, signing_keys
from cdp.operations.moves import RequestRow
from cdp.operations.subjects import Person
from cdp.tables.journal import journal_entry

PREFIX = "journal/"
DIGITS = 12
KIND = "cdp.journal-entry"
ERASURE, LIFT, RESTORE = "erasure", "lift", "restore"
VERSION = 1
LOCK = 0x6A6F7572
HEAD_FILE = "journal-head.json"


class JournalBroken(Conflict):
    """The erasure journal is not whole: an entry is missing or was changed."""

    code = "JOURNAL_BROKEN"


@dataclass(frozen=True)
class Entry:
    """One entry as it stands in the object store."""

    sequence: int
    kind: str
    text: str
    read: Mapping[str, Any]

    @property
    def sha256(self) -> bytes:
        """What the next entry calls it by."""
        return hashlib.sha256(self.text.encode()).digest()


@dataclass(frozen=True)
class Head:
    """The newest entry that somebody knows of; number 0 and no hash before the first."""

    sequence: int
    sha256: str


NOTHING = Head(0, "")


def object_key(sequence: int) -> str:
    """Where an entry lies; names in order of their numbers."""
    return f"{PREFIX}{sequence:0{DIGITS}d}.json"


@dataclass(frozen=True)
class Erased:
    """What the entry of an erasure says; ``held`` are the categories that legal holds keep."""

    request: RequestRow
    person: Person
    suppressed: Sequence[Document]
    held: Sequence[str] = ()


async def append_erasures(tx: Tx, platform: Platform, erased: Sequence[Erased]) -> int:
    """Write the entry of each erasure, unless the last one of its request says the same; the highest number of them."""
    await tx.execute(_LOCK)
    last = await _last(tx, [one.request.id for one in erased])
    said = {one.request.id: last.get(one.request.id) for one in erased}
    new = [one for one in erased if (of_it := said[one.request.id]) is None or of_it["held"] != list(one.held)]
    # an older backup has those that were merged as customers of their own
    merged = await lineage.known_as_of(tx, [one.person.customer_id for one in new]) if new else {}
    written = [_unwritten(one, merged[one.person.customer_id]) for one in new]
    known = [int(document["sequence"]) for document in said.values() if document is not None]
    return max([*known, *await _append(tx, platform, written)])


def _unwritten(erased: Erased, merged: Sequence[UUID]) -> "_Unwritten":
    person = erased.person
    said: Document = {
        "requestId": str(erased.request.id),
        "reference": erased.request.reference,
        "customerId": str(person.customer_id),
        "subjectRef": str(person.subject_ref),
        "suppressed": list(erased.suppressed),
        "held": list(erased.held),
    }
    if merged:
        said["mergedIds"] = [str(one) for one in merged]
    return _Unwritten(ERASURE, said, erased.request.id, person.customer_id)


async def correct_held(tx: Tx, platform: Platform, request_id: UUID, held: Sequence[str]) -> bool:
    """Write a further entry where other holds keep something than the last one says; False where none was needed.

    For the transaction that erases our own rows: a hold may begin or end after the entry was written. The request is
    locked, so the journal is only when there is something to write: erasures would wait for each other.
    """
    last = (await _last(tx, [request_id])).get(request_id)
    if last is None or last["held"] == list(held):
        return False
    names = ("requestId", "reference", "customerId", "subjectRef", "suppressed", "mergedIds")
    said = {name: last[name] for name in names if name in last} | {"held": list(held)}
    await tx.execute(_LOCK)
    await _append(tx, platform, [_Unwritten(ERASURE, said, request_id, UUID(last["customerId"]))])
    return True


# Built once: every deletion needs them.
_LAST = (
    select(journal_entry.c.request_id, journal_entry.c.document)
    .distinct(journal_entry.c.request_id)
    .where(
        journal_entry.c.request_id == any_(bindparam("requests", type_=ARRAY(Uuid))), journal_entry.c.kind == ERASURE
    )
    .order_by(journal_entry.c.request_id, journal_entry.c.sequence.desc())
)
_HEAD = select(journal_entry.c.sequence, journal_entry.c.sha256).order_by(journal_entry.c.sequence.desc()).limit(1)
_LOCK = select(func.pg_advisory_xact_lock(LOCK))
_APPEND = insert(journal_entry)
_UP_TO = bindparam("up_to", type_=BigInteger)
_UNPUBLISHED = (
    select(journal_entry.c.sequence, journal_entry.c.document, journal_entry.c.sha256)
    .where(journal_entry.c.published_at.is_(None), or_(_UP_TO.is_(None), journal_entry.c.sequence <= _UP_TO))
    .order_by(journal_entry.c.sequence)
)
_NOTE = (
    update(journal_entry)
    .where(
        journal_entry.c.sequence == any_(bindparam("out", type_=ARRAY(BigInteger))),
        journal_entry.c.published_at.is_(None),
    )
    .values(published_at=func.now())
)


@dataclass(frozen=True)
class _Unwritten:
    """An entry before it has a number."""

    kind: str
    said: Document
    request_id: UUID | None = None
    erased_id: UUID | None = None


async def _last(tx: Tx, request_ids: Sequence[UUID]) -> dict[UUID, Document]:
    """The newest entry of each erasure that has one."""
    found = await tx.all(_LAST, {"requests": list(request_ids)})
    return {row.request_id: json.loads(row.document) for row in found}


async def append_lift(tx: Tx, platform: Platform, lifted: Sequence[Document]) -> int:
    """Write that suppressions ended."""
    await tx.execute(_LOCK)
    (sequence,) = await _append(tx, platform, [_Unwritten(LIFT, {"lifted": list(lifted)})])
    return sequence


async def append_restore(tx: Tx, platform: Platform, backup: str, replayed: int) -> int:
    """Write that the database was restored: what was exported before continues nothing."""
    await tx.execute(_LOCK)
    (sequence,) = await _append(tx, platform, [_Unwritten(RESTORE, {"backup": backup, "replayed": replayed})])
    return sequence


async def _append(tx: Tx, platform: Platform, written: Sequence[_Unwritten]) -> list[int]:
    """Number, chain and sign them; under the journal's lock. The numbers they got."""
    if not written:
        return []
    before = await head(tx)
    rows: list[dict[str, Any]] = []
    for one in written:
        document = platform.signer.sign(
            {
                "version": VERSION,
                "kind": KIND,
                "entry": one.kind,
                "sequence": before.sequence + 1,
                "previous": before.sha256 or None,
                "writtenAt": iso(platform.clock()),
                **one.said,
            }
        )
        text = canonical(document).decode()
        digest = hashlib.sha256(text.encode())
        before = Head(before.sequence + 1, digest.hexdigest())
        values = {"kind": one.kind, "request_id": one.request_id, "erased_id": one.erased_id, "document": text}
        rows.append({"sequence": before.sequence, "sha256": digest.digest(), **values})
    await tx.execute(_APPEND, rows)
    return [row["sequence"] for row in rows]


async def head(tx: Tx) -> Head:
    """The newest entry this database knows of: the marker of a restore."""
    row = await tx.first(_HEAD)
    return NOTHING if row is None else Head(row.sequence, row.sha256.hex())


async def publish(platform: Platform) -> int:
    """Make every entry durable in the object store, oldest first; returns how many. Doing it again is fine."""
    stored = await store(platform)
    if stored:
        async with platform.db.transaction(Role.WORKER) as tx:
            await note_published(tx, stored)
    return len(stored)


async def store(platform: Platform, *, up_to: int | None = None) -> list[int]:
    """Put every entry that is not out into the object store, durably, oldest first; their numbers, to be noted."""
    async with platform.db.looking(Role.WORKER) as tx:
        rows = await tx.all(_UNPUBLISHED, {"up_to": up_to})
    for row in rows:  # each is a file of its own
        await platform.blobs.put_durable(object_key(row.sequence), row.document.encode())
    if rows:
        _remember(platform.keys.folder, Head(rows[-1].sequence, rows[-1].sha256.hex()))
    return [row.sequence for row in rows]


async def note_published(tx: Tx, sequences: Sequence[int]) -> None:
    """Note that these entries are in the object store."""
    await tx.execute(_NOTE, {"out": list(sequences)})


async def newer(platform: Platform, known: Head) -> list[Entry]:
    """Entries of the object store that come after ``known``, in order and whole.

    Raises JournalBroken where one is missing, was changed, does not follow the one before it, or where the journal ends
    before the last entry that was ever written here.
    """
    keys, entries, before = signing_keys.known(platform), [], known
    for number in await _numbers(platform.blobs, after=known.sequence):
        if number != before.sequence + 1:
            raise JournalBroken(f"Entry {before.sequence + 1} of the erasure journal is missing.")
        entry = _read(await _text(platform.blobs, number), number, keys)
        if entry.read["previous"] != (before.sha256 or None):
            raise JournalBroken(f"Entry {number} of the erasure journal does not follow the one before it.")
        entries.append(entry)
        before = Head(number, entry.sha256.hex())
    written = remembered(platform.keys.folder)
    if written.sequence > before.sequence:
        raise JournalBroken(f"The erasure journal ends before entry {written.sequence}, which was written.")
    if written.sequence == before.sequence and written.sha256 != before.sha256:
        raise JournalBroken(f"Entry {before.sequence} of the erasure journal is not the one that was written.")
    return entries


async def is_behind(platform: Platform) -> bool:
    """Whether the object store or the key store knows of entries that this database does not."""
    async with platform.db.transaction(Role.WORKER) as tx:
        known = await head(tx)
    if remembered(platform.keys.folder).sequence > known.sequence:
        return True
    return bool(await _numbers(platform.blobs, after=known.sequence))


async def take(tx: Tx, entry: Entry) -> bool:
    """Note that an entry of the object store was replayed here; False if it was before."""
    known = await head(tx)
    if known.sequence >= entry.sequence:
        return False
    erased = entry.read.get("customerId")
    request = entry.read.get("requestId")
    await tx.execute(
        insert(journal_entry).values(
            sequence=entry.sequence,
            kind=entry.kind,
            request_id=UUID(request) if request else None,
            erased_id=UUID(erased) if erased else None,
            document=entry.text,
            sha256=entry.sha256,
            published_at=func.now(),
        )
    )
    return True


def entry_of(row: Row[Any]) -> Entry:
    """An entry from its row."""
    return Entry(row.sequence, row.kind, row.document, json.loads(row.document))


async def _numbers(blobs: Blobs, *, after: int) -> list[int]:
    """Numbers of the entries in the object store."""
    names = await blobs.keys(PREFIX, after=object_key(after))
    found = (name.removeprefix(PREFIX).removesuffix(".json") for name in names)
    return sorted(int(name) for name in found if len(name) == DIGITS and name.isdigit())


async def _text(blobs: Blobs, number: int) -> bytes:
    try:
        return await blobs.get(object_key(number))
    except ObjectMissing as error:
        raise JournalBroken(f"Entry {number} of the erasure journal is missing.") from error


def _read(raw: bytes, number: int, keys: Mapping[str, str]) -> Entry:
    try:
        read = json.loads(raw)
        said = (read["kind"], read["version"], read["sequence"])
        is_whole = canonical(read) == raw and said == (KIND, VERSION, number)
    except (ValueError, TypeError, KeyError, RecursionError):
        is_whole = False
    if not is_whole or check(read, keys) is not Verdict.VALID:
        raise JournalBroken(f"Entry {number} of the erasure journal was changed.")
    return Entry(number, read["entry"], raw.decode(), read)


def remembered(folder: Path) -> Head:
    """The newest entry that was ever written by who uses this key store."""
    try:
        read = json.loads((folder / HEAD_FILE).read_bytes())
        return Head(int(read["sequence"]), str(read["sha256"]))
    except FileNotFoundError:
        return NOTHING
    except (ValueError, KeyError, TypeError) as error:
        raise JournalBroken(f"{HEAD_FILE} in the key store can not be read.") from error


def _remember(folder: Path, newest: Head) -> None:
    with _locked(folder) as descriptor:
        if remembered(folder).sequence >= newest.sequence:
            return
        fresh = folder / f"{HEAD_FILE}.new"
        with fresh.open("w", encoding="ascii") as file:
            json.dump({"sequence": newest.sequence, "sha256": newest.sha256}, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(folder / HEAD_FILE)
        os.fsync(descriptor)


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """The folder, open, for one process at a time: the number only ever grows."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def lines_of(documents: Iterable[Mapping[str, Any]]) -> list[tuple[str, int, str]]:
    """Type, key version and hash of the lines an entry names."""
    return [(str(one["type"]), int(one["keyVersion"]), str(one["hash"])) for one in documents]
