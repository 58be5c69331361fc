"""Legal holds: what must not be erased or purged, of whom, since when and until when.

    proposed -> active -> releasing -> released
    proposed -> refused; proposed, active, releasing -> expired, on the day that was set

A hold keeps its records from the moment it is placed, before a second person has agreed: what was destroyed meanwhile
could not be brought back, what was kept meanwhile goes by itself. It ends only with a second person's consent, or on
the day that was set. Its row outlives the person as proof why something was kept; why exactly goes with them.
"""

from collections.abc import Mapping
from enum import StrEnum

from sqlalchemy import Boolean, Column, ForeignKey, Index, Integer, LargeBinary, String, Table, Text, Uuid

from cdp.tables.base import (
    Category,
    Erase,
    enum_type,
    foreign_key_indexes,
    id_column,
    metadata,
    personal,
    structural,
    timestamp,
)

PROOF_LAW = "Accountability: GDPR art. 5(2), art. 17(3)"
_KEPT = personal(Category.REQUEST, erase=Erase.KEEP, basis=PROOF_LAW)
_CUT = personal(Category.REQUEST, erase=Erase.NULL, export=False)


class HoldStatus(StrEnum):
    """Where a hold stands; see HOLD_TRANSITIONS."""

    PROPOSED = "proposed"
    ACTIVE = "active"
    RELEASING = "releasing"
    RELEASED = "released"
    REFUSED = "refused"
    EXPIRED = "expired"


H = HoldStatus
HOLD_TRANSITIONS: Mapping[HoldStatus, frozenset[HoldStatus]] = {
    H.PROPOSED: frozenset({H.ACTIVE, H.REFUSED, H.EXPIRED}),
    H.ACTIVE: frozenset({H.RELEASING, H.EXPIRED}),
    H.RELEASING: frozenset({H.RELEASED, H.ACTIVE, H.EXPIRED}),
    H.RELEASED: frozenset(),
    H.REFUSED: frozenset(),
    H.EXPIRED: frozenset(),
}
# While a hold is in one of these nothing that it covers is erased or purged.
EFFECTIVE = frozenset({H.PROPOSED, H.ACTIVE, H.RELEASING})

legal_hold = Table(
    "legal_hold",
    metadata,
    id_column(),
    Column("customer_id", Uuid, ForeignKey("customer.id"), info=structural()),
    Column("subject_ref", Uuid, nullable=False, info=structural()),
    Column("category", enum_type(Category, "hold_category"), nullable=False, info=_KEPT),
    Column("status", enum_type(HoldStatus, "hold_status"), nullable=False, server_default="proposed", info=_KEPT),
    Column("reason", Text, info=_CUT),
    # What the customer reads; none where the reason is secret.
    Column("notice", Text, info=personal(Category.REQUEST, erase=Erase.NULL)),
    Column("is_secret", Boolean, nullable=False, server_default="false", info=structural()),
    Column("case_ref", String(100), info=_CUT),
    Column("release_reason", Text, info=_CUT),
    Column("file_name", String(200), info=_CUT),
    Column("media_type", String(100), info=structural()),
    Column("size_bytes", Integer, info=structural()),
    Column("sha256", LargeBinary(32), info=structural()),
    Column("object_key", String(300), info=structural()),
    Column("key_id", String(60), info=structural()),
    Column("placed_by_id", Uuid, ForeignKey("staff.id"), info=structural()),
    Column("approved_by_id", Uuid, ForeignKey("staff.id"), info=structural()),
    Column("release_asked_by_id", Uuid, ForeignKey("staff.id"), info=structural()),
    Column("ended_by_id", Uuid, ForeignKey("staff.id"), info=structural()),
    timestamp("placed_at", now=True, info=_KEPT),
    timestamp("approved_at", nullable=True, info=_KEPT),
    timestamp("review_at", info=_KEPT),
    timestamp("until", nullable=True, info=_KEPT),
    timestamp("ended_at", nullable=True, info=_KEPT),
)

Index(
    "legal_hold_one_effective_key",
    legal_hold.c.subject_ref,
    legal_hold.c.category,
    unique=True,
    postgresql_where="status IN ('proposed', 'active', 'releasing')",
)
Index(
    "legal_hold_until_idx",
    legal_hold.c.until,
    postgresql_where="status IN ('proposed', 'active', 'releasing')",
)
Index(None, legal_hold.c.placed_at, legal_hold.c.id)
Index(None, legal_hold.c.subject_ref)
foreign_key_indexes(legal_hold)
