"""Asset transfers: deals as staff see them, and what customers are told about the ones that concern them."""

from datetime import datetime
from typing import Any

import strawberry
from sqlalchemy import ColumnElement, Text, func, or_, select
from sqlalchemy import cast as sql_cast
from strawberry.scalars import JSON

from cdp.compiler.graph import Row
from cdp.compiler.render import quoted
from cdp.schema.fields import OrderingSource, column, filtered, many, mapped, one
from cdp.schema.types.comparison import Choice, ExactFilter
from cdp.schema.types.policy import Brand
from cdp.schema.types.relay import Node
from cdp.tables import transfer
from cdp.tables.transfer import (
    TOLD,
    BouncePolicy,
    CohortBasis,
    CohortRule,
    NoticeState,
    ObjectionChannel,
    ReceiptState,
    TransferStatus,
)

strawberry.enum(TransferStatus, description="Where an asset transfer stands.")
strawberry.enum(CohortBasis, description="On what ground a cohort's customers go to the acquirer.")
strawberry.enum(CohortRule, description="Which customers a cohort is for; the first cohort that fits takes them.")
strawberry.enum(BouncePolicy, name="NoticeBouncePolicy", description="What a notice that bounces means for a customer.")
strawberry.enum(NoticeState, description="What is known of a notice.")
strawberry.enum(ObjectionChannel, description="How somebody objected.")
strawberry.enum(ReceiptState, description="What the acquirer said about somebody's records.")


def is_told(row: Row) -> ColumnElement[bool]:
    """Whether a customer is told: the deal is past its preparation, and they go, have objected, or had its letter."""
    told = select(transfer.transfer.c.id).where(
        transfer.transfer.c.status.in_([quoted(status.value) for status in sorted(TOLD)])
    )
    written = row["notice"].in_([quoted(state.value) for state in (NoticeState.QUEUED, NoticeState.DELIVERED)])
    return row["transfer_id"].in_(told) & or_(row["cohort_id"].is_not(None), row["objected_at"].is_not(None), written)


def _text(name: str) -> Any:  # noqa: ANN401  # an expression, as column takes it
    def read(row: Row) -> ColumnElement[Any]:
        return sql_cast(row[name], Text)

    return read


def _hex(name: str) -> Any:  # noqa: ANN401  # an expression, as column takes it
    def read(row: Row) -> ColumnElement[Any]:
        return func.encode(row[name], quoted("hex"), type_=Text)

    return read


def _purpose(row: Row) -> ColumnElement[Any]:
    return row["purpose"]


@mapped(transfer.transfer_cohort, description="Customers who go on the same ground with the same fields.")
class TransferCohort(Node):
    """A cohort."""

    name: str | None = column(description="Its name.")
    basis: CohortBasis | None = column(description="On what ground they go.")
    rule: CohortRule | None = column(description="Which customers it is for.")
    purpose_code: str | None = column(_purpose, description="What those of an opt-in cohort have consented to.")
    fields: list[str] | None = column(description="The only fields that go, as paths below Customer.")
    window_days: int | None = column(description="How long they can object after the notice reached them, days.")


@mapped(transfer.transfer_approval, description="One approval of what is frozen.")
class TransferApproval(Node):
    """An approval; it counts for its hash alone."""

    staff_id: str | None = column(_text("staff_id"), description="Who approved.")
    sha256: str | None = column(_hex("sha256"), description="What was approved, hexadecimal.")
    approved_at: datetime | None = column(description="When.")


@mapped(transfer.transfer, description="A sale of part of the business, and of customer data with it.")
class Transfer(Node):
    """An asset transfer."""

    reference: str | None = column(description="Reference to quote.")
    name: str | None = column(description="What it is called.")
    status: TransferStatus | None = column(description="Where it stands.")
    seller: str | None = column(description="Who sells.")
    acquirer_name: str | None = column(description="Who buys: legal name.")
    acquirer_jurisdiction: str | None = column(description="Where the buyer is at home.")
    acquirer_contact: str | None = column(description="Where to ask the buyer.")
    acquirer_key: str | None = column(description="The key to which every file is encrypted (age).")
    key_fingerprint: str | None = column(_hex("key_fingerprint"), description="SHA-256 of that key, hexadecimal.")
    key_confirmed_at: datetime | None = column(description="When a second person confirmed the key.")
    brand: Brand | None = one({"brand_id": "id"}, description="The brand that is sold.")
    sources: list[str] | None = column(description="Collection sources in scope; empty: all.")
    partner_sources: list[str] | None = column(description="Sources whose customers belong to a partner.")
    reviews: JSON | None = column(description="Policy version to whether it permits this transfer.")
    documents: JSON | None = column(description="Documents behind it, with their hashes.")
    inactive_days: int | None = column(description="Who was inactive for longer does not go, days.")
    bounce: BouncePolicy | None = column(description="What a notice that bounces means.")
    retain_days: int | None = column(
        description="How long the seller keeps what it may no longer use, days from completedAt."
    )
    notice_version: str | None = column(description="Version of the notice.")
    counts: JSON | None = column(description="Selected, included by cohort, excluded by reason, as last counted.")
    frozen_sha256: str | None = column(_hex("frozen_sha256"), description="Hash of what is frozen, hexadecimal.")
    created_by_id: str | None = column(_text("created_by_id"), description="Who made it.")
    reason: str | None = column(description="Why it was called off or recalled.")
    error_code: str | None = column("code", description="Machine code of what went wrong last.")
    version: int | None = column(description="Number of the last change.")
    created_at: datetime | None = column(description="When it was recorded.")
    classified_at: datetime | None = column(description="When customers were last classified.")
    notified_at: datetime | None = column(description="When customers were told.")
    frozen_at: datetime | None = column(description="When who goes was fixed.")
    approved_at: datetime | None = column(description="When the second approval was given.")
    completed_at: datetime | None = column(description="When the acquirer had acknowledged everything.")
    ended_at: datetime | None = column(description="When it was called off or recalled.")
    cohorts: list[TransferCohort] | None = many(
        {"id": "transfer_id"}, order=("ordinal",), description="Its cohorts, in the order in which they take people."
    )
    approvals: list[TransferApproval] | None = many(
        {"id": "transfer_id"}, order=("approved_at", "id"), description="Approvals, oldest first."
    )


@mapped(
    transfer.transfer_customer, subject="customer_id", description="What a transfer means for one customer who is told."
)
class CustomerTransfer(Node):
    """Somebody's part in a transfer."""

    transfer: Transfer | None = one({"transfer_id": "id"}, description="The transfer: to whom, and where it stands.")
    cohort: TransferCohort | None = one({"cohort_id": "id"}, description="Which fields go on what ground; null: none.")
    notice: NoticeState | None = column(description="Whether the notice arrived.")
    notified_at: datetime | None = column(description="When the notice arrived.")
    deadline: datetime | None = column(description="Until when an objection keeps everything here.")
    objected_at: datetime | None = column(description="When the customer objected.")
    objection_channel: ObjectionChannel | None = column(description="How the customer objected.")
    transferred_at: datetime | None = column(description="When the data went.")
    receipt: ReceiptState | None = column(description="What the acquirer said about the records.")
    received_at: datetime | None = column(description="When the acquirer acknowledged them.")
    stopped_at: datetime | None = column(
        description="Since when what the sold brand collected is used for nothing here; null: it is in use."
    )
    removed_at: datetime | None = column(description="When that was deleted here, or the deletion of all of it began.")


@strawberry.input(description="Which transfers to list.")
class TransferFilter:
    """Conditions on transfers."""

    reference: ExactFilter | None = filtered(description="Reference.")
    status: Choice[TransferStatus] | None = filtered(description="Where they stand.")


TRANSFER_ORDERINGS = {"CREATED_AT": OrderingSource()}
