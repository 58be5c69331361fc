"""Deals as people who work on them see them: lines, one deal with its counts, and a preview with masked samples."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, case, func, select

from cdp.access import masks
from cdp.access.viewer import Viewer
from cdp.core.db import Tx
from cdp.operations.transfers import classifying, states
from cdp.operations.transfers.classifying import Counts
from cdp.tables.contact import email_address
from cdp.tables.customer import customer
from cdp.tables.oauth import oauth_client
from cdp.tables.transfer import TransferStatus, transfer, transfer_approval, transfer_cohort, transfer_customer

MOST_SAMPLES = 20


@dataclass(frozen=True)
class Deal:
    """One deal: its row, its cohorts in order, who goes now, how many have approved what is frozen, who pulls it."""

    row: Row[Any]
    cohorts: list[Row[Any]]
    counts: Counts
    approvals: int
    client_id: str | None


@dataclass(frozen=True)
class Sample:
    """Somebody of a cohort, or excluded for a reason, so far masked that they are recognised and not known."""

    group: str
    goes: bool
    name: str | None = field(repr=False)
    email: str | None = field(repr=False)


async def listed(tx: Tx, viewer: Viewer, *, status: TransferStatus | None = None, limit: int = 50) -> list[Row[Any]]:
    """Deals, newest first. Raises MissingScope, TransferRoleNeeded."""
    states.require_reader(viewer)
    columns = (transfer.c.id, transfer.c.reference, transfer.c.name, transfer.c.status, transfer.c.acquirer_name)
    found = select(*columns, transfer.c.created_at, transfer.c.counts)
    if status is not None:
        found = found.where(transfer.c.status == status)
    return [*await tx.all(found.order_by(transfer.c.created_at.desc(), transfer.c.id.desc()).limit(limit))]


async def show(tx: Tx, viewer: Viewer, transfer_id: UUID) -> Deal:
    """One deal. Raises MissingScope, TransferRoleNeeded, TransferMissing."""
    states.require_reader(viewer)
    row = await states.find(tx, transfer_id)
    given = select(func.count()).where(
        transfer_approval.c.transfer_id == transfer_id, transfer_approval.c.sha256 == row.frozen_sha256
    )
    cohorts = await states.cohorts(tx, transfer_id)
    client = await tx.scalar(select(oauth_client.c.client_id).where(oauth_client.c.id == row.acquirer_client_id))
    return Deal(row, cohorts, await classifying.counts(tx, transfer_id), await tx.scalar(given), client)


async def preview(tx: Tx, viewer: Viewer, transfer_id: UUID, *, each: int = 3) -> list[Sample]:
    """A few people of each cohort and each reason, masked; that somebody looked is in the ledger.

    Raises MissingScope, TransferRoleNeeded, TransferMissing.
    """
    states.require_reader(viewer)
    await states.find(tx, transfer_id)
    member = transfer_customer.c
    group = case((member.reason.is_(None), transfer_cohort.c.name), else_=member.reason).label("group")
    ranked = (
        select(
            member.customer_id,
            group,
            member.reason.is_(None).label("goes"),
            func.row_number().over(partition_by=(member.cohort_id, member.reason), order_by=member.id).label("place"),
        )
        .select_from(transfer_customer.outerjoin(transfer_cohort, transfer_cohort.c.id == member.cohort_id))
        .where(member.transfer_id == transfer_id)
        .subquery()
    )
    rows = await tx.all(
        select(ranked.c.group, ranked.c.goes, _name().label("name"), masks.email(_address()).label("email"))
        .select_from(ranked.join(customer, customer.c.id == ranked.c.customer_id))
        .where(ranked.c.place <= max(1, min(each, MOST_SAMPLES)))
        .order_by(ranked.c.goes.desc(), ranked.c.group, ranked.c.place)
    )
    await states.note(tx, viewer, "transfer.previewed", transfer_id, details={"samples": len(rows)})
    return [Sample(row.group, row.goes, row.name, row.email) for row in rows]


def _name() -> ColumnElement[Any]:
    return func.coalesce(masks.text(customer.c.family_name), masks.text(customer.c.organisation_name))


def _address() -> ColumnElement[Any]:
    primary = (
        select(email_address.c.address)
        .where(email_address.c.customer_id == customer.c.id)
        .order_by(email_address.c.is_primary.desc(), email_address.c.created_at)
        .limit(1)
    )
    return primary.scalar_subquery()
