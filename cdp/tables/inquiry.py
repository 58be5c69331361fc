"""What customers ask and answer: inquiries, quotations with response and lead times, survey responses."""

from enum import StrEnum

from sqlalchemy import Column, ForeignKey, Index, Integer, Numeric, String, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

from cdp.tables.base import (
    Category,
    enum_type,
    foreign_key_indexes,
    id_column,
    metadata,
    personal,
    structural,
    subject_columns,
    timestamp,
)


class InquiryKind(StrEnum):
    """What was asked for."""

    PRODUCT = "product"
    SERVICE = "service"
    INFORMATION = "information"
    CONTACT = "contact"


class InquiryStatus(StrEnum):
    """Whether somebody has answered."""

    OPEN = "open"
    ANSWERED = "answered"
    CLOSED = "closed"


class QuotationStatus(StrEnum):
    """Where a quotation stands."""

    REQUESTED = "requested"
    SENT = "sent"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    EXPIRED = "expired"


inquiry = Table(
    "inquiry",
    metadata,
    id_column(),
    *subject_columns(),
    Column("kind", enum_type(InquiryKind, "inquiry_kind"), nullable=False, info=personal(Category.SUPPORT)),
    Column(
        "status",
        enum_type(InquiryStatus, "inquiry_status"),
        nullable=False,
        server_default="open",
        info=personal(Category.SUPPORT),
    ),
    Column("subject", String(300), nullable=False, info=personal(Category.SUPPORT)),
    Column("body", Text, nullable=False, info=personal(Category.SUPPORT)),
    timestamp("received_at", info=personal(Category.SUPPORT)),
    timestamp("answered_at", nullable=True, info=personal(Category.SUPPORT)),
)

quotation = Table(
    "quotation",
    metadata,
    id_column(),
    *subject_columns(),
    Column("inquiry_id", Uuid, ForeignKey("inquiry.id"), info=structural()),
    Column("number", String(60), nullable=False, unique=True, info=personal(Category.SUPPORT)),
    Column(
        "status",
        enum_type(QuotationStatus, "quotation_status"),
        nullable=False,
        info=personal(Category.SUPPORT),
    ),
    Column("currency", String(3), nullable=False, info=personal(Category.SUPPORT)),
    Column("total", Numeric(18, 2), nullable=False, info=personal(Category.SUPPORT)),
    Column("lead_time_days", Integer, info=personal(Category.SUPPORT)),
    timestamp("requested_at", info=personal(Category.SUPPORT)),
    timestamp("respond_by", info=personal(Category.SUPPORT)),
    timestamp("valid_until", nullable=True, info=personal(Category.SUPPORT)),
)

survey_response = Table(
    "survey_response",
    metadata,
    id_column(),
    *subject_columns(),
    Column("survey", String(100), nullable=False, info=personal(Category.SURVEY)),
    Column("answers", JSONB, nullable=False, info=personal(Category.SURVEY)),
    timestamp("submitted_at", info=personal(Category.SURVEY)),
)

Index(None, inquiry.c.customer_id, inquiry.c.received_at.desc(), inquiry.c.id.desc())
Index(None, quotation.c.customer_id, quotation.c.requested_at.desc(), quotation.c.id.desc())
Index(None, survey_response.c.customer_id, survey_response.c.submitted_at.desc(), survey_response.c.id.desc())
for _table in (inquiry, quotation, survey_response):
    foreign_key_indexes(_table)
