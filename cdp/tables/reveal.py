"""Reveals: for a minute an agent sees masked fields of one customer clear. The very statement that reads looks here.

Rows stay for the count of an agent's reveals and go a day later; what is kept is the audit event.
"""

from enum import StrEnum

from sqlalchemy import Column, ForeignKey, Index, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY

from cdp.tables.base import (
    enum_type,
    foreign_key_indexes,
    id_column,
    metadata,
    structural,
    subject_columns,
    timestamp,
)


class RevealReason(StrEnum):
    """Why an agent has to see a masked value; the customer reads it."""

    CUSTOMER_ASKED = "customer_asked"
    IDENTITY_CHECK = "identity_check"
    ORDER_PROBLEM = "order_problem"
    PRIVACY_REQUEST = "privacy_request"
    FRAUD_CHECK = "fraud_check"
    LEGAL_DUTY = "legal_duty"


reveal = Table(
    "reveal",
    metadata,
    id_column(),
    *subject_columns(collected=False),
    Column("staff_id", Uuid, ForeignKey("staff.id"), nullable=False, info=structural()),
    Column("categories", ARRAY(Text), nullable=False, info=structural()),
    Column("reason", enum_type(RevealReason, "reveal_reason"), nullable=False, info=structural()),
    timestamp("created_at", now=True),
    timestamp("expires_at"),
)
Index(None, reveal.c.staff_id, reveal.c.created_at)
foreign_key_indexes(reveal)
