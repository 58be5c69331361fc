"""The residual pass: look through everything for everybody erased since the last one, and say what came of it.

One pass at a time in the whole platform, one scan a table for all people. A pass that dies leaves everybody waiting for
the next. A result of something found is no failure: it is kept for an operator and looked for again by every later
pass. Another customer who holds the same identifier (a family's phone, somebody who registered again) is no residue.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg
import structlog
from sqlalchemy import func, insert, select

from cdp.access.viewer import SYSTEM
from cdp.core.db import Role, Tx
from cdp.core.errors import PlatformError
from cdp.core.ids import CustomerId, new_id
from cdp.core.keys import KeyGone
from cdp.core.platform import Platform
from cdp.core.seal import Unsealable
from cdp.operations import audit, moves, subjects
from cdp.operations.residual import addenda, checks
from cdp.operations.residual.addenda import Result
from cdp.operations.residual.checks import Check, Finding
from cdp.operations.residual.haystack import Place
from cdp.operations.residual.needles import ADDRESS, Needle, Sought, sought
from cdp.operations.residual.scan import Seen, alone, scan
from cdp.tables.residual import PassStatus, ResidualStatus, residual_pass

# Who works here may be a customer too; their staff account is no trace of that.
STAFF = "staff"
INTERNAL = "INTERNAL"
# Indexed equality, one statement for everybody.
_HOLDERS = """
SELECT normalized AS value, customer_id FROM email_address WHERE normalized = ANY($1)
UNION SELECT ltrim(e164, '+'), customer_id FROM phone_number WHERE e164 = ANY($2)
UNION SELECT username, customer_id FROM account WHERE username = ANY($1)
UNION SELECT lower(ltrim(value, '+')), customer_id FROM identity WHERE value = ANY($3)
"""

log = structlog.get_logger()


@dataclass(frozen=True)
class _Person:
    """One person a pass looks for, and who else holds an identifier of theirs."""

    check: Check
    customer_id: CustomerId
    sought: Sought
    values: frozenset[str]


@dataclass(frozen=True)
class _Pass:
    """A pass that saw everything."""

    id: UUID
    started_at: datetime
    seen: Seen


async def run_due(platform: Platform) -> bool:
    """Make a pass if one is due and nobody else makes one; whether it was made."""
    async with platform.db.transaction(Role.WORKER) as tx:
        due = await checks.due(tx, platform.settings.residual_every)
    return due is not None and await run(platform)


async def run(platform: Platform) -> bool:
    """Make a pass now for everybody who waits, unless one is under way; whether it was made."""
    async with alone(platform.db) as connection:
        if connection is None:
            return False
        async with platform.db.transaction(Role.WORKER) as tx:
            started_at = await tx.scalar(select(func.clock_timestamp()))
            waiting = await checks.open_(tx)
        people = [one for check in waiting if (one := await _unsealed(platform, check)) is not None]
        if not people:
            return bool(waiting)
        try:
            seen = await scan(connection, [needle for one in people for needle in one.sought.needles])
            holders = await _holders(connection, people)
        except (PlatformError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            await _failed(platform, error, started_at, people=len(people))
            return True
        made = _Pass(new_id(), started_at, seen)
        places = _by_request(seen.found)
        left = {one.check.id: _left(one, places.get(one.check.request_id, {}), holders) for one in people}
        await _note(platform, made, people=len(people), is_clean=not any(found for found, _ in left.values()))
        for one in people:  # each with a document and a place in the audit log of its own
            found, elsewhere = left[one.check.id]
            await _settle(platform, made, one, found, elsewhere)
        return True


async def _unsealed(platform: Platform, check: Check) -> _Person | None:
    """Whom to look for; None for somebody whose identifiers can not be opened any more, which ends their check."""
    try:
        person = subjects.unseal(platform.keys, check.request_id, check.identifiers_sealed or b"").person
    except (KeyGone, Unsealable) as error:
        async with platform.db.transaction(Role.WORKER) as tx:
            if await checks.settle(tx, check, ResidualStatus.IMPOSSIBLE, None):
                await _record(tx, check, "residual.impossible", code=error.code)
                tx.ring(moves.CLOSE, check.request_id)
        return None
    values = frozenset(known.value for known in person.identifiers)
    return _Person(check, person.customer_id, sought(check.request_id, person), values)


async def _holders(connection: asyncpg.Connection, people: Iterable[_Person]) -> dict[str, set[UUID]]:
    """Who holds these identifiers now, by their normalised value."""
    values = frozenset().union(*(one.values for one in people))
    lower = [value.casefold() for value in values]
    found: dict[str, set[UUID]] = {}
    for row in await connection.fetch(_HOLDERS, lower, list(values), [*values, *lower]):
        found.setdefault(row["value"], set()).add(row["customer_id"])
    return found


def _by_request(found: Counter[tuple[Needle, Place]]) -> dict[UUID, Counter[tuple[Needle, Place]]]:
    parted: dict[UUID, Counter[tuple[Needle, Place]]] = {}
    for (needle, place), rows in found.items():
        if needle.request_id is not None:
            parted.setdefault(needle.request_id, Counter())[needle, place] += rows
    return parted


def _left(
    person: _Person, places: dict[tuple[Needle, Place], int], holders: dict[str, set[UUID]]
) -> tuple[list[Finding], list[Finding]]:
    """What is left of a person, and what others hold of their own by the same identifier."""
    others: set[UUID] = set().union(*(holders.get(value.casefold().lstrip("+"), ()) for value in person.values))
    others.discard(person.customer_id)
    found: Counter[tuple[str, str, str]] = Counter()
    elsewhere: Counter[tuple[str, str, str]] = Counter()
    for (needle, place), rows in places.items():
        is_theirs = place.customer_id in others
        if needle.type == ADDRESS:  # who lives with them is another customer
            is_theirs = place.customer_id not in (None, person.customer_id)
        counted = elsewhere if is_theirs or place.table == STAFF else found
        counted[place.table, place.column, needle.type] += rows
    return _findings(found), _findings(elsewhere)


def _findings(counted: Counter[tuple[str, str, str]]) -> list[Finding]:
    return [Finding(table, column, kind, rows) for (table, column, kind), rows in sorted(counted.items())]


async def _note(platform: Platform, made: _Pass, *, people: int, is_clean: bool) -> None:
    seen = made.seen
    async with platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(
            insert(residual_pass).values(
                id=made.id,
                status=PassStatus.CLEAN if is_clean else PassStatus.FOUND,
                people=people,
                tables_read=seen.tables,
                columns_read=seen.columns,
                rows_read=seen.rows,
                canaries=seen.canaries,
                started_at=made.started_at,
                finished_at=func.clock_timestamp(),
            )
        )


async def _failed(platform: Platform, error: Exception, started_at: datetime, *, people: int) -> None:
    """Note that a pass could not say anything, so that operators see it; everybody goes on waiting."""
    code = error.code if isinstance(error, PlatformError) else INTERNAL
    log.error(
        "residual.failed", code=code, reason=str(error) if isinstance(error, PlatformError) else type(error).__name__
    )
    async with platform.db.transaction(Role.WORKER) as tx:
        pass_id = new_id()
        await tx.execute(
            insert(residual_pass).values(
                id=pass_id,
                status=PassStatus.FAILED,
                code=code,
                people=people,
                started_at=started_at,
                finished_at=func.clock_timestamp(),
            )
        )
        await audit.record(
            tx,
            SYSTEM,
            "residual.failed",
            subject_ref=None,
            object_type="ResidualPass",
            object_id=pass_id,
            outcome="failed",
            code=code,
        )


async def _settle(
    platform: Platform, made: _Pass, person: _Person, found: Sequence[Finding], elsewhere: Sequence[Finding]
) -> None:
    """Settle one person's check: with the addendum where nothing is left, else with where something is."""
    check = person.check
    async with platform.db.transaction(Role.WORKER) as tx:
        new = ResidualStatus.FOUND if found else ResidualStatus.CLEAN
        if not await checks.settle(tx, check, new, made.id):
            return
        await _record(tx, check, f"residual.{new.value}", details={"places": len(found)} if found else {})
        if found:
            await checks.note(tx, check, made.id, found)
            return
        await addenda.issue(tx, platform, check, Result(made.id, made.started_at, made.seen, person.sought, elsewhere))
        tx.ring(moves.CLOSE, check.request_id)


async def _record(
    tx: Tx, check: Check, action: str, *, code: str | None = None, details: dict[str, object] | None = None
) -> None:
    await audit.record(
        tx,
        SYSTEM,
        action,
        subject_ref=check.subject_ref,
        object_type="ResidualCheck",
        object_id=check.id,
        code=code,
        details=details,
    )
