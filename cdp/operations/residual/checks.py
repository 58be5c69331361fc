"""Checks: one per erased person, waiting for the pass that looks for what is left of them.

    waiting -> clean            nothing was found: the addendum is issued, then the sealed identifiers' key dies
            -> found -> clean   somebody looks at where, and it is looked for again with every later pass
            -> impossible       the identifiers can not be opened any more: nothing can be looked for

A pass is due when the time has come since somebody began to wait: every night by default.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    DateTime,
    Row,
    Uuid,
    any_,
    bindparam,
    cast,
    exists,
    func,
    insert,
    literal,
    select,
    update,
)

from cdp.access.viewer import Actor, Viewer
from cdp.core.db import Tx
from cdp.core.errors import Conflict, Forbidden, NotFound
from cdp.core.ids import RequestId, new_id
from cdp.operations import audit
from cdp.tables.certificate import certificate
from cdp.tables.request import privacy_request
from cdp.tables.residual import (
    RESIDUAL_TRANSITIONS,
    PassStatus,
    ResidualStatus,
    residual_check,
    residual_finding,
    residual_pass,
)

# Passes that are made once a day are made at this hour (UTC).
NIGHT = "2000-01-01 02:00:00+00"
MOST_PEOPLE = 10_000
# A pass that failed is not made again at once.
REST = timedelta(minutes=1)
OPEN = (ResidualStatus.WAITING, ResidualStatus.FOUND)


class NothingFound(Conflict):
    """Nothing was found of this person, so nothing is to be looked for again."""

    code = "NOTHING_FOUND"


@dataclass(frozen=True)
class Check:
    """One person to look for: the request, its certificate, and what was sealed for it."""

    id: UUID
    request_id: RequestId
    reference: str
    subject_ref: UUID
    status: ResidualStatus
    identifiers_sealed: bytes | None
    certificate_id: UUID
    certificate_reference: str
    certificate_document: str


@dataclass(frozen=True)
class Finding:
    """Where something of a person is: a column, and how many rows. ``text`` never is part of it."""

    table: str
    column: str
    type: str
    rows: int


@dataclass(frozen=True)
class Found:
    """A request of which something was found, for who has to look at it."""

    reference: str
    status: ResidualStatus
    checked_at: datetime | None
    findings: tuple[Finding, ...]


# Built once: every deletion needs them.
_WAIT = insert(residual_check)
_PUBLISHED = (
    update(residual_check)
    .where(
        residual_check.c.request_id == any_(bindparam("requests", type_=ARRAY(Uuid))),
        residual_check.c.status.in_(OPEN),
    )
    .values(published_at=func.coalesce(residual_check.c.published_at, func.now()))
    .returning(residual_check.c.request_id)
)


async def wait(tx: Tx, request_ids: Sequence[UUID]) -> None:
    """Let the next pass look for the people of requests whose certificates were just issued."""
    await tx.execute(_WAIT, [{"id": new_id(), "request_id": request_id} for request_id in request_ids])


async def due(tx: Tx, every: timedelta) -> UUID | None:
    """The check that has waited longest, once a pass is due; ``every`` of zero means at once."""
    began: ColumnElement[Any] = func.now()
    if every:
        began = func.date_bin(every, func.now(), cast(literal(NIGHT), DateTime(timezone=True)))
    failed = exists().where(
        residual_pass.c.status == PassStatus.FAILED, residual_pass.c.finished_at > func.now() - REST
    )
    waits = select(residual_check.c.id).where(
        residual_check.c.status == ResidualStatus.WAITING, residual_check.c.created_at <= began, ~failed
    )
    found: UUID | None = await tx.scalar(waits.order_by(residual_check.c.created_at).limit(1))
    return found


async def open_(tx: Tx) -> list[Check]:
    """Everybody to be looked for: who waits, and of whom something was found before."""
    rows = await tx.all(
        select(
            residual_check.c.id,
            residual_check.c.request_id,
            privacy_request.c.reference,
            privacy_request.c.subject_ref,
            residual_check.c.status,
            privacy_request.c.identifiers_sealed,
            certificate.c.id.label("certificate_id"),
            certificate.c.reference.label("certificate_reference"),
            certificate.c.document.label("certificate_document"),
        )
        .join(privacy_request, privacy_request.c.id == residual_check.c.request_id)
        .join(certificate, certificate.c.request_id == residual_check.c.request_id)
        .where(residual_check.c.status.in_(OPEN))
        .order_by(residual_check.c.created_at)
        .limit(MOST_PEOPLE)
    )
    return [Check(**row._mapping) for row in rows]  # noqa: SLF001 - the columns are the fields


async def settle(tx: Tx, check: Check, new: ResidualStatus, pass_id: UUID | None) -> bool:
    """Move a check on; False when somebody else did."""
    if new is not check.status and new not in RESIDUAL_TRANSITIONS[check.status]:
        raise ValueError(f"a check never goes from {check.status} to {new}")
    moved = await tx.execute(
        update(residual_check)
        .where(residual_check.c.id == check.id, residual_check.c.status == check.status)
        .values(status=new, pass_id=pass_id, checked_at=func.now())
    )
    return moved.rowcount == 1


async def note(tx: Tx, check: Check, pass_id: UUID, findings: Sequence[Finding]) -> None:
    """Keep where something was found by this pass."""
    rows = [
        {
            "id": new_id(),
            "request_id": check.request_id,
            "pass_id": pass_id,
            "table_name": one.table,
            "column_name": one.column,
            "identifier_type": one.type,
            "rows": one.rows,
        }
        for one in findings
    ]
    await tx.execute(insert(residual_finding), rows)


async def again(tx: Tx, viewer: Viewer, reference: str) -> None:
    """Look for somebody again at once, after what was found of them is gone; for operators.

    Raises MissingScope, NotFound, NothingFound.
    """
    if viewer.actor is not Actor.SYSTEM:
        raise Forbidden
    row = await tx.first(
        update(residual_check)
        .where(
            residual_check.c.request_id == privacy_request.c.id,
            privacy_request.c.reference == reference,
            residual_check.c.status == ResidualStatus.FOUND,
        )
        .values(status=ResidualStatus.WAITING)
        .returning(residual_check.c.id, privacy_request.c.subject_ref)
    )
    if row is None:
        known = select(privacy_request.c.id).where(privacy_request.c.reference == reference)
        raise NotFound if await tx.scalar(known) is None else NothingFound
    await audit.record(
        tx,
        viewer,
        "residual.again",
        subject_ref=row.subject_ref,
        object_type="ResidualCheck",
        object_id=row.id,
    )


async def found(tx: Tx) -> list[Found]:
    """Every request of which something is left, with where it was found last."""
    rows = await tx.all(
        select(
            privacy_request.c.reference,
            residual_check.c.status,
            residual_check.c.checked_at,
            residual_finding.c.table_name,
            residual_finding.c.column_name,
            residual_finding.c.identifier_type,
            residual_finding.c.rows,
        )
        .join(privacy_request, privacy_request.c.id == residual_check.c.request_id)
        .join(
            residual_finding,
            (residual_finding.c.request_id == residual_check.c.request_id)
            & (residual_finding.c.pass_id == residual_check.c.pass_id),
        )
        .where(residual_check.c.status.in_(OPEN))
        .order_by(privacy_request.c.reference, residual_finding.c.table_name, residual_finding.c.column_name)
    )
    return _grouped(rows)


def _grouped(rows: Sequence[Row[Any]]) -> list[Found]:
    by_request: dict[tuple[str, ResidualStatus, datetime | None], list[Finding]] = {}
    for row in rows:
        finding = Finding(row.table_name, row.column_name, row.identifier_type, row.rows)
        by_request.setdefault((row.reference, row.status, row.checked_at), []).append(finding)
    return [Found(*known, tuple(findings)) for known, findings in by_request.items()]


def is_waiting(request_id: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether all that can be done about a request before its pass is done: its certificate is published."""
    waits = residual_check.c.status.in_(OPEN) & residual_check.c.published_at.is_not(None)
    return exists().where(residual_check.c.request_id == request_id, waits)


async def published(tx: Tx, request_ids: Sequence[UUID]) -> set[UUID]:
    """Note that the certificates of requests are out; those whose sealed identifiers are still needed."""
    return {row.request_id for row in await tx.all(_PUBLISHED, {"requests": list(request_ids)})}
