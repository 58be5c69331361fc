"""Our own tables behind the contract of every connected system; always the last to be erased.

The engine erases us with ``rows.erase_rows`` inside the transaction that settles the request; ``Own.erase`` is the
same in a transaction of its own, for replays after a restore and for the conformance suite.
"""

from collections.abc import AsyncIterator

from sqlalchemy import select, text
from sqlalchemy.exc import SQLAlchemyError

from cdp.connectors.base import Code, Evidence, Outcome, Page, Problem, State, Subject, System, Unfinished
from cdp.connectors.failures import outcome_of
from cdp.connectors.holds import HOLD_PLACED, effective
from cdp.connectors.own.rows import Erased, erase_rows, held_holdings, holdings, kept, traces
from cdp.connectors.records import record
from cdp.core.db import Role, Tx
from cdp.core.ids import CustomerId
from cdp.core.platform import Platform
from cdp.tables.base import Personal
from cdp.tables.datamap import gaps, personal_tables, subject_column
from cdp.tables.export import export

PAGE_RECORDS = 500


class Own:
    """Our own tables; the data map is the whole configuration."""

    def __init__(self, system: System, platform: Platform) -> None:
        self._name = system.name
        self._platform = platform

    async def read(self, subject: Subject, key: str) -> AsyncIterator[Page]:  # noqa: ARG002
        """Yield every exported column of every row, table by table, from one snapshot."""
        try:
            async with self._platform.db.transaction(Role.WORKER) as tx:
                await tx.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
                async for page in _pages(tx, subject.customer_id):
                    yield page
        except (SQLAlchemyError, OSError) as error:
            raise Unfinished(outcome_of(error)) from error

    async def check(self, subject: Subject, key: str) -> Outcome:  # noqa: ARG002
        """Count what would go and what would stay."""
        try:
            async with self._platform.db.looking(Role.WORKER) as tx:
                found = await holdings(tx, subject.customer_id)
                held = await held_holdings(tx, subject.customer_id, await effective(tx, subject.customer_id))
        except (SQLAlchemyError, OSError) as error:
            return outcome_of(error)
        code = Code.FOUND if found else Code.NOTHING_FOUND
        stays = {one.table: one.rows for one in held}
        going = {one.table: one.rows - stays.get(one.table, 0) for one in found if not one.basis}
        by_law = [one for one in found if one.table not in stays]
        records = {table: rows for table, rows in going.items() if rows}
        return Outcome(State.DONE, code, retained=(*kept(by_law), *kept(held)), records=records)

    async def erase(self, subject: Subject, key: str) -> Outcome:  # noqa: ARG002
        """Destroy the customer's packages, then every row about them in one transaction."""
        try:
            await bury_exports(self._platform, subject.customer_id)
            async with self._platform.db.transaction(Role.WORKER) as tx:
                erased = await erase_rows(tx, subject.customer_id, request_id=subject.request_id)
        except (SQLAlchemyError, OSError) as error:
            return outcome_of(error)
        return erased_outcome(erased)

    async def verify(self, subject: Subject, key: str) -> Outcome:  # noqa: ARG002
        """Read every personal table by customer and every identity column by identifier."""
        try:
            async with self._platform.db.looking(Role.WORKER) as tx:
                held = await holdings(tx, subject.customer_id)
                found = await traces(tx, subject.customer_id, subject.identifiers)
        except (SQLAlchemyError, OSError) as error:
            return outcome_of(error)
        left = {one.table: one.rows for one in held} | {one.column: one.own for one in found if one.own}
        elsewhere = {one.column: one.elsewhere for one in found if one.elsewhere}
        state, code = (State.FAILED, Code.LEFT_BEHIND) if left else (State.DONE, Code.NOTHING_LEFT)
        looked = len(list(personal_tables()))
        return Outcome(state, code, {"tables_read": looked, "held_by_other_customers": dict(elsewhere)}, records=left)

    async def probe(self) -> tuple[Problem, ...]:
        """Hold the data map against itself and reach the database."""
        found = [Problem("DATA_MAP_GAP", "tables", gap) for gap in gaps()]
        try:
            async with self._platform.db.looking(Role.WORKER) as tx:
                await tx.scalar(select(1))
        except (SQLAlchemyError, OSError) as error:
            found.append(Problem(outcome_of(error).code, "database", "Our own database can not be reached"))
        return tuple(found)


def erased_outcome(erased: Erased) -> Outcome:
    """The outcome of an erasure of our own tables, for whoever ran ``erase_rows`` in a transaction of theirs."""
    touched = {**erased.deleted, **erased.cut}
    evidence: dict[str, Evidence] = {
        "tables": {
            name: {"deleted": erased.deleted.get(name, 0), "cut": erased.cut.get(name, 0)} for name in sorted(touched)
        }
    }
    state, code = State.DONE, str(Code.ERASED if touched else Code.NOTHING_FOUND)
    if erased.held:
        state, code = State.HELD, HOLD_PLACED
        evidence["held"] = [hold.category.value for hold in erased.held]
    return Outcome(
        state,
        code,
        evidence,
        retained=erased.retained,
        records=touched,
    )


async def bury_exports(platform: Platform, customer_id: CustomerId) -> int:
    """Destroy the keys, then the files, of every package of a customer; returns how many. Doing it again is fine."""
    async with platform.db.transaction(Role.WORKER) as tx:
        found = await tx.all(select(export.c.object_key, export.c.key_id).where(export.c.customer_id == customer_id))
    for row in found:
        if row.key_id:
            platform.keys.destroy(row.key_id)
        if row.object_key:
            await platform.blobs.delete(row.object_key)
    return len(found)


async def _pages(tx: Tx, customer_id: CustomerId) -> AsyncIterator[Page]:
    for table in personal_tables():
        exported = [c for c in table.columns if isinstance(d := c.info.get("datamap"), Personal) and d.export]
        if not exported:
            continue
        statement = select(*exported).where(subject_column(table) == customer_id).order_by(*table.primary_key)
        result = await tx.connection.stream(statement)
        async for rows in result.mappings().partitions(PAGE_RECORDS):
            yield Page(table.name, [record(dict(row)) for row in rows])
