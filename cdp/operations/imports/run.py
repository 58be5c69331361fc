"""The import of a source: read whole, then written batch by batch; a customer is taken with all its rows or not at all.

Running it twice changes nothing the second time. ``is_strict`` and ``is_dry_run`` do everything in one transaction,
which the first bad row, or the end, rolls back.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError, IntegrityError

from cdp.access.viewer import Viewer
from cdp.core.db import Database, Role, Tx
from cdp.core.errors import Conflict, InvalidInput
from cdp.core.ids import new_id
from cdp.core.seal import Pepper
from cdp.operations import audit, reference
from cdp.operations.imports.changes import Changes, Origin, Outcome
from cdp.operations.imports.mapping import MappingFile
from cdp.operations.imports.matching import Matches, match
from cdp.operations.imports.records import CustomerDraft, IdentityKey, Reader
from cdp.operations.imports.report import Report
from cdp.operations.imports.sources import open_source
from cdp.operations.imports.staging import Read, Reject, Staged, Staging
from cdp.tables.policy import brand

BATCH_CUSTOMERS = 500
TRIES = 3
CROSSED = frozenset({"40001", "40P01"})  # SQLSTATE of a serialization failure and of a deadlock
LOCK = 0x6364705F696D70  # "cdp_imp": batches of two imports wait for each other, so that neither makes a twin


class ImportRefused(InvalidInput):
    """The source has rows that are not valid, and the import was asked to be strict; nothing was written."""

    code = "IMPORT_REFUSED"

    def __init__(self, report: Report) -> None:
        super().__init__(rejected=dict(report.rejected_by_code))
        self.report = report


class ImportClash(Conflict):
    """Somebody else kept changing the same customers; run the import again."""

    code = "IMPORT_CLASH"


class BrandUnknown(InvalidInput):
    """The mapping names a brand that does not exist."""

    code = "BRAND_UNKNOWN"


@dataclass(frozen=True)
class Progress:
    """How far a run is: rows read of a section, or customers written of all."""

    section: str
    done: int
    total: int | None = None


@dataclass(frozen=True)
class Order:
    """What to import and how."""

    location: str
    file: MappingFile
    is_strict: bool = False
    is_dry_run: bool = False


class _RolledBackError(Exception):
    """Ends a transaction that must not commit."""


async def run(
    db: Database,
    pepper: Pepper,
    viewer: Viewer,
    order: Order,
    *,
    now: datetime,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Report:
    """Import a source.

    Raises MappingInvalid's kin before anything is written (TableMissing, ColumnMissing, SourceUnreadable,
    BrandUnknown), ImportRefused for a strict one, and ImportClash, after which all earlier batches stay.
    """
    mapping = order.file.mapping
    staging = Staging(mapping)
    try:
        found = await asyncio.to_thread(_fill, staging, order, progress)
        report = Report(new_id(), mapping.name, order.is_dry_run)
        report.start(found)
        if order.is_strict and not report.is_clean:
            raise ImportRefused(report)
        work = _Run(db, pepper, viewer, order, Reader(mapping), staging, now, report, progress)
        await work.all()
        return report
    finally:
        staging.close()


def _fill(staging: Staging, order: Order, progress: Callable[[Progress], None]) -> Read:
    with open_source(order.location, order.file.mapping.files) as source:
        return staging.fill(source, lambda section, done: progress(Progress(section, done)))


@dataclass(frozen=True)
class _Drafted:
    drafts: list[CustomerDraft]
    rejects: list[Reject]


@dataclass
class _Run:
    db: Database
    pepper: Pepper
    viewer: Viewer
    order: Order
    reader: Reader
    staging: Staging
    now: datetime
    report: Report
    progress: Callable[[Progress], None]

    async def all(self) -> None:
        if self.order.is_strict or self.order.is_dry_run:
            try:
                await self._in_one_transaction()
            except _RolledBackError:
                if self.order.is_strict and not self.report.is_clean:
                    raise ImportRefused(self.report) from None
            return
        async with self._transaction() as tx:
            origin = await self._origin(tx)
            await self._record(tx, "import.started")
        await self._batches(origin, None)
        async with self._transaction() as tx:
            await self._record(tx, "import.finished", counts=True)

    async def _in_one_transaction(self) -> None:
        async with self._transaction() as tx:
            origin = await self._origin(tx)
            await self._record(tx, "import.started")
            await self._batches(origin, tx)
            await self._record(tx, "import.finished", counts=True)
            if self.order.is_dry_run or not self.report.is_clean:
                raise _RolledBackError

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Tx]:
        try:
            async with self.db.transaction(Role.WORKER) as tx:
                yield tx
        except DBAPIError as error:
            if isinstance(error, IntegrityError) or getattr(error.orig, "sqlstate", None) in CROSSED:
                raise ImportClash from None
            raise

    async def _origin(self, tx: Tx) -> Origin:
        mapping = self.order.file.mapping
        await reference.ensure_reference(tx)
        if await tx.scalar(select(brand.c.id).where(brand.c.code == mapping.brand)) is None:
            raise BrandUnknown(brand=mapping.brand)
        in_force = await reference.current(tx, self.now, brand_code=mapping.brand)
        return Origin(mapping.name, self.now, in_force, has_items=mapping.items is not None)

    async def _record(self, tx: Tx, action: str, *, counts: bool = False) -> None:
        details: dict[str, object] = {"source": self.report.source, "mapping_sha256": self.order.file.sha256}
        if counts:
            details["sections"] = {section: self.report.counts(section) for section in self.report.outcomes}
            details["rejected"] = dict(self.report.rejected_by_code)
        await audit.record(
            tx,
            self.viewer,
            action,
            subject_ref=None,
            object_type="Import",
            object_id=self.report.run_id,
            details=details,
        )

    async def _batches(self, origin: Origin, tx: Tx | None) -> None:
        total, done = self.report.read["customers"], 0
        batches = self.staging.batches(BATCH_CUSTOMERS)
        while (drafted := await asyncio.to_thread(self._next, batches)) is not None:
            self.report.reject(drafted.rejects)
            await self._write(drafted.drafts, origin, tx)
            done += BATCH_CUSTOMERS
            self.progress(Progress("writing", min(done, total), total))

    def _next(self, batches: Iterator[list[Staged]]) -> _Drafted | None:
        staged = next(batches, None)
        if staged is None:
            return None
        found = _Drafted([], [])
        for entry in staged:
            draft = self.reader.read(entry)
            if isinstance(draft, list):
                found.rejects.extend(draft)
            elif refusal := self._claim(draft):
                found.rejects.append(refusal)
            else:
                found.drafts.append(draft)
        return found

    def _claim(self, draft: CustomerDraft) -> Reject | None:
        """Two customers of one source can not be the same person or hold the same order."""
        identities = [(f"{key.type}:{key.issuer}", key.value) for key in draft.identities]
        if not self.staging.claim(identities, draft.place):
            return Reject("customers", draft.row, "DUPLICATE_IDENTITY", "identities")
        for entry in draft.orders:
            if not self.staging.claim([("order", entry.number)], draft.place):
                return Reject("orders", entry.row, "DUPLICATE_ORDER_NUMBER", "fields.number")
        return None

    async def _write(self, drafts: list[CustomerDraft], origin: Origin, tx: Tx | None) -> None:
        if not drafts:
            return
        for attempt in range(1, TRIES + 1):
            try:
                async with nullcontext(tx) if tx is not None else self._transaction() as open_tx:
                    await open_tx.execute(select(func.pg_advisory_xact_lock(LOCK)))
                    matches = await match(open_tx, self.pepper, drafts, source=origin.source)
                    changes = Changes(origin)
                    settled = [self._settle(changes, draft, index, matches) for index, draft in enumerate(drafts)]
                    await changes.write(open_tx)
            except ImportClash:
                if attempt == TRIES:
                    raise
                continue
            for count in settled:
                count(self.report)
            return

    def _settle(self, changes: Changes, draft: CustomerDraft, index: int, matches: Matches) -> Callable[[Report], None]:
        """Plan one customer's rows; answers how to count it once they are written."""
        known = matches.known.get(index)
        if index in matches.suppressed:
            return lambda report: report.skip(draft, Outcome.SUPPRESSED)
        if refusal := self._refusal(draft, index, matches):
            return lambda report: report.reject([refusal])
        if known is not None and known.is_frozen:
            return lambda report: report.skip(draft, Outcome.FROZEN)
        proven = replace(draft, identities=_proven(draft, matches))
        settled = changes.create(proven) if known is None else changes.change(proven, known, matches.orders)
        return lambda report: report.settle(draft, settled)

    def _refusal(self, draft: CustomerDraft, index: int, matches: Matches) -> Reject | None:
        if index in matches.moved:
            return Reject("customers", draft.row, "CUSTOMER_MOVED", "identities")
        known = matches.known.get(index)
        is_twin = known is not None and not self.staging.claim([("customer", str(known.id))], draft.place)
        if is_twin or index in matches.conflicting:
            return Reject("customers", draft.row, "IDENTITY_CONFLICT", "identities")
        if not _proven(draft, matches):
            return Reject("customers", draft.row, "IDENTITY_UNPROVEN", "identities")
        for order in draft.orders:
            taken = matches.orders.get(order.number)
            mine = known is not None and taken is not None and taken.is_ours and taken.row["customer_id"] == known.id
            if taken is not None and not mine:
                return Reject("orders", order.row, "ORDER_NUMBER_TAKEN", "fields.number")
        return None


def _proven(draft: CustomerDraft, matches: Matches) -> tuple[IdentityKey, ...]:
    return tuple(key for key in draft.identities if key not in matches.unproven)
