"""What leaves in other ways than by a grant: recalls, offers of partners, legal orders, links of customers.

    recall   open -> acknowledged
    offer    proposed -> approved -> sent | proposed -> refused
    order    proposed -> endorsed -> approved -> disclosed | proposed, endorsed, approved -> refused

Sources: GDPR art. 6(1)(c), 19 and 28(3)(g); promises P9 and P10 of the privacy policy.
"""

from collections.abc import Mapping
from enum import StrEnum

from sqlalchemy import Column, ForeignKey, Index, Integer, LargeBinary, String, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY

from cdp.tables.base import (
    Category,
    Erase,
    enum_type,
    foreign_key_indexes,
    id_column,
    metadata,
    personal,
    structural,
    subject_columns,
    timestamp,
)

PROOF_LAW = "Accountability: GDPR art. 5(2), art. 6(1)(c)"
_KEPT = personal(Category.REQUEST, erase=Erase.KEEP, basis=PROOF_LAW, export=False)
_CUT = personal(Category.REQUEST, erase=Erase.NULL, export=False)
_LINK = personal(Category.ACCOUNT)


class RecallReason(StrEnum):
    """Why a partner has to give back or destroy what it holds."""

    GRANT_ENDED = "grant_ended"
    ERASURE = "erasure"


class RecallStatus(StrEnum):
    """A recall waits until the partner says that it is done."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"


class OfferStatus(StrEnum):
    """Where an offer stands; see OFFER_TRANSITIONS."""

    PROPOSED = "proposed"
    APPROVED = "approved"
    SENT = "sent"
    STOPPED = "stopped"  # its grant ended before everybody was written to
    REFUSED = "refused"


class OrderStatus(StrEnum):
    """Where a legal order stands; see ORDER_TRANSITIONS."""

    PROPOSED = "proposed"
    ENDORSED = "endorsed"
    APPROVED = "approved"
    DISCLOSED = "disclosed"
    REFUSED = "refused"


OFFER_TRANSITIONS: Mapping[OfferStatus, frozenset[OfferStatus]] = {
    OfferStatus.PROPOSED: frozenset({OfferStatus.APPROVED, OfferStatus.REFUSED}),
    OfferStatus.APPROVED: frozenset({OfferStatus.SENT, OfferStatus.STOPPED}),
    OfferStatus.SENT: frozenset(),
    OfferStatus.STOPPED: frozenset(),
    OfferStatus.REFUSED: frozenset(),
}
O = OrderStatus  # noqa: E741  # as the other tables of transitions do
ORDER_TRANSITIONS: Mapping[OrderStatus, frozenset[OrderStatus]] = {
    O.PROPOSED: frozenset({O.ENDORSED, O.REFUSED}),
    O.ENDORSED: frozenset({O.APPROVED, O.REFUSED}),
    O.APPROVED: frozenset({O.DISCLOSED, O.REFUSED}),
    O.DISCLOSED: frozenset(),
    O.REFUSED: frozenset(),
}

partner_recall = Table(
    "partner_recall",
    metadata,
    id_column(),
    Column("partner_id", Uuid, ForeignKey("partner.id"), nullable=False),
    Column("grant_id", Uuid, ForeignKey("partner_grant.id")),
    Column("reason", enum_type(RecallReason, "recall_reason"), nullable=False),
    # The id the partner knows an erased person by; it outlives them until the partner has answered.
    Column("subject_id", Uuid),
    Column("status", enum_type(RecallStatus, "recall_status"), nullable=False, server_default="open"),
    timestamp("created_at", now=True),
    timestamp("due_at"),
    timestamp("acknowledged_at", nullable=True),
    Column("note", String(500)),
)

partner_offer = Table(
    "partner_offer",
    metadata,
    id_column(),
    Column("grant_id", Uuid, ForeignKey("partner_grant.id"), nullable=False),
    Column("purpose", String(60), ForeignKey("purpose.code"), nullable=False),
    Column("subject", String(200), nullable=False),
    Column("body", Text, nullable=False),
    Column("status", enum_type(OfferStatus, "offer_status"), nullable=False, server_default="proposed"),
    Column("decided_by_id", Uuid, ForeignKey("staff.id")),
    # Everybody up to here was written to or left out.
    Column("position", Uuid),
    Column("sent_count", Integer, nullable=False, server_default="0"),
    Column("withheld_count", Integer, nullable=False, server_default="0"),
    timestamp("created_at", now=True),
    timestamp("decided_at", nullable=True),
    timestamp("completed_at", nullable=True),
)

legal_order = Table(
    "legal_order",
    metadata,
    id_column(),
    Column("customer_id", Uuid, ForeignKey("customer.id"), info=structural()),
    Column("subject_ref", Uuid, nullable=False, info=structural()),
    Column("authority", String(200), nullable=False, info=_KEPT),
    Column("case_ref", String(100), nullable=False, info=_KEPT),
    Column("law", String(200), nullable=False, info=_KEPT),
    Column("fields", ARRAY(Text), nullable=False, info=_KEPT),
    Column("status", enum_type(OrderStatus, "order_status"), nullable=False, server_default="proposed", info=_KEPT),
    # Until when the customer may not be told, where the order says so.
    timestamp("silent_until", nullable=True, info=_KEPT),
    Column("reason", Text, info=_CUT),
    Column("file_name", String(200), info=_CUT),
    Column("media_type", String(100), info=structural()),
    Column("size_bytes", Integer, info=structural()),
    Column("sha256", LargeBinary(32), info=structural()),
    Column("object_key", String(300), info=structural()),
    Column("key_id", String(60), info=structural()),
    Column("proposed_by_id", Uuid, ForeignKey("staff.id"), info=structural()),
    Column("endorsed_by_id", Uuid, ForeignKey("staff.id"), info=structural()),
    Column("approved_by_id", Uuid, ForeignKey("staff.id"), info=structural()),
    Column("disclosed_by_id", Uuid, ForeignKey("staff.id"), info=structural()),
    timestamp("proposed_at", now=True, info=_KEPT),
    timestamp("approved_at", nullable=True, info=_KEPT),
    timestamp("disclosed_at", nullable=True, info=_KEPT),
    timestamp("told_at", nullable=True, info=_KEPT),
)

shared_link = Table(
    "shared_link",
    metadata,
    id_column(),
    *subject_columns(collected=False),
    Column("token_hash", LargeBinary(32), nullable=False, unique=True, info=structural()),
    Column("recipient", String(200), nullable=False, info=_LINK),
    Column("purpose", String(200), nullable=False, info=_LINK),
    Column("areas", ARRAY(Text), nullable=False, info=_LINK),
    timestamp("created_at", now=True, info=_LINK),
    timestamp("expires_at", info=_LINK),
    timestamp("last_used_at", nullable=True, info=_LINK),
    Column("use_count", Integer, nullable=False, server_default="0", info=_LINK),
    timestamp("revoked_at", nullable=True, info=_LINK),
)

Index(None, partner_recall.c.status, partner_recall.c.due_at)
Index("partner_offer_approved_idx", partner_offer.c.id, postgresql_where="status = 'approved'")
Index("legal_order_silent_until_idx", legal_order.c.silent_until, postgresql_where="told_at IS NULL")
Index(None, legal_order.c.subject_ref)
Index(None, shared_link.c.expires_at)
foreign_key_indexes(partner_recall)
foreign_key_indexes(partner_offer)
foreign_key_indexes(legal_order)
foreign_key_indexes(shared_link)
