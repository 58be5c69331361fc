"""What customers ask and answer: inquiries, quotations, survey responses."""

from datetime import datetime
from decimal import Decimal

import strawberry
from strawberry.scalars import JSON

from cdp.schema.fields import column, mapped, one
from cdp.schema.types.policy import COLLECTED, Collection
from cdp.schema.types.relay import Node
from cdp.tables import inquiry
from cdp.tables.inquiry import InquiryKind, InquiryStatus, QuotationStatus

strawberry.enum(InquiryKind, description="What was asked for.")
strawberry.enum(InquiryStatus, description="Whether somebody has answered.")
strawberry.enum(QuotationStatus, description="Where a quotation stands.")


@mapped(inquiry.inquiry, subject="customer_id", description="A question of a customer.")
class Inquiry(Node):
    """An inquiry."""

    kind: InquiryKind = column(description="What was asked for.")
    status: InquiryStatus = column(description="Whether somebody has answered.")
    subject: str = column(description="Its subject.")
    body: str = column(description="Its text.")
    received_at: datetime = column(description="When it came.")
    answered_at: datetime | None = column(description="When it was answered.")
    collection: Collection | None = one({"collection_id": "id"}, description=COLLECTED)


@mapped(inquiry.quotation, subject="customer_id", description="A quotation with its response and lead times.")
class Quotation(Node):
    """A quotation."""

    number: str = column(description="Its number.")
    status: QuotationStatus = column(description="Where it stands.")
    currency: str = column(description="Currency, ISO 4217.")
    total: Decimal = column(description="Sum offered.")
    lead_time_days: int | None = column(description="Days from order to delivery.")
    requested_at: datetime = column(description="When it was asked for.")
    respond_by: datetime = column(description="When we answer at the latest.")
    valid_until: datetime | None = column(description="Until when it holds.")
    inquiry: Inquiry | None = one({"inquiry_id": "id"}, description="The question it answers.")
    collection: Collection | None = one({"collection_id": "id"}, description=COLLECTED)


@mapped(inquiry.survey_response, subject="customer_id", description="Answers to a survey.")
class SurveyResponse(Node):
    """A survey response."""

    survey: str = column(description="Which survey.")
    answers: JSON | None = column(description="Questions and answers.")
    submitted_at: datetime = column(description="When.")
    collection: Collection | None = one({"collection_id": "id"}, description=COLLECTED)
