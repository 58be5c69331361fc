"""Partners: who they are, what each grant lets them read and do, and every disclosure to anybody outside.

    proposed -> endorsed -> active -> revoked | expired
    proposed, endorsed -> refused

A grant is immutable from the day it was proposed: whoever needs more asks for another one, and two people agree again.
Promises P8 and P10 of the privacy policy; source: GDPR art. 13(1)(e), 15(1)(c), 19 and 28,
https://eur-lex.europa.eu/eli/reg/2016/679/oj
"""

from collections.abc import Mapping
from enum import StrEnum

from sqlalchemy import Column, ForeignKey, Index, Integer, String, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY

from cdp.tables.base import (
    Category,
    enum_type,
    foreign_key_indexes,
    id_column,
    metadata,
    personal,
    structural,
    timestamp,
)
from cdp.tables.policy import LegalBasis

_SHOWN = personal(Category.ACTIVITY)


class PartnerFunction(StrEnum):
    """What a partner does for us (promise P8); each bounds the fields a grant may name."""

    PROMOTIONS = "promotions"
    EMAIL_CONTACT = "email_contact"
    DATA_MANAGEMENT = "data_management"
    PAYMENT_PROCESSING = "payment_processing"
    CUSTOMER_SERVICE = "customer_service"


class GrantAction(StrEnum):
    """What a grant lets a partner do: read profiles, or have offers sent through us."""

    READ = "read"
    OFFER = "offer"


class GrantStatus(StrEnum):
    """Where a grant stands; see GRANT_TRANSITIONS."""

    PROPOSED = "proposed"
    ENDORSED = "endorsed"
    ACTIVE = "active"
    REFUSED = "refused"
    REVOKED = "revoked"
    EXPIRED = "expired"


G = GrantStatus
GRANT_TRANSITIONS: Mapping[GrantStatus, frozenset[GrantStatus]] = {
    G.PROPOSED: frozenset({G.ENDORSED, G.REFUSED, G.EXPIRED}),
    G.ENDORSED: frozenset({G.ACTIVE, G.REFUSED, G.EXPIRED}),
    G.ACTIVE: frozenset({G.REVOKED, G.EXPIRED}),
    G.REFUSED: frozenset(),
    G.REVOKED: frozenset(),
    G.EXPIRED: frozenset(),
}

partner = Table(
    "partner",
    metadata,
    id_column(),
    Column("code", String(40), nullable=False, unique=True),
    Column("name", String(200), nullable=False),
    Column("contact", String(320), nullable=False),
    # The program that reads for it, in its own name; one program serves one partner.
    Column("client_id", Uuid, ForeignKey("oauth_client.id"), unique=True),
    timestamp("created_at", now=True),
)

partner_grant = Table(
    "partner_grant",
    metadata,
    id_column(),
    Column("partner_id", Uuid, ForeignKey("partner.id"), nullable=False),
    Column("function", enum_type(PartnerFunction, "partner_function"), nullable=False),
    Column("purposes", ARRAY(Text), nullable=False),
    # Coordinates of the API, "Type.field"; what is not here is denied, new fields too.
    Column("fields", ARRAY(Text), nullable=False),
    Column("actions", ARRAY(Text), nullable=False),
    Column("legal_basis", enum_type(LegalBasis, "grant_basis"), nullable=False),
    # Whom it covers: customers of these brands, in these countries; an empty list does not narrow.
    Column("brands", ARRAY(Uuid), nullable=False, server_default="{}"),
    Column("countries", ARRAY(Text), nullable=False, server_default="{}"),
    Column("retention_days", Integer, nullable=False),
    Column("contract_reference", String(100), nullable=False),
    Column("status", enum_type(GrantStatus, "grant_status"), nullable=False, server_default="proposed"),
    timestamp("valid_from"),
    timestamp("valid_until"),
    timestamp("proposed_at", now=True),
    Column("proposed_by_id", Uuid, ForeignKey("staff.id")),
    Column("endorsed_by_id", Uuid, ForeignKey("staff.id")),
    timestamp("endorsed_at", nullable=True),
    Column("approved_by_id", Uuid, ForeignKey("staff.id")),
    timestamp("approved_at", nullable=True),
    Column("ended_by_id", Uuid, ForeignKey("staff.id")),
    timestamp("ended_at", nullable=True),
    Column("end_reason", Text),
)

disclosure = Table(
    "disclosure",
    metadata,
    id_column(),
    Column("customer_id", Uuid, ForeignKey("customer.id"), nullable=False, info=structural()),
    # No foreign keys: every read would lock the row of its grant.
    Column("partner_id", Uuid, info=structural()),
    Column("grant_id", Uuid, info=structural()),
    Column("order_id", Uuid, info=structural()),
    Column("link_id", Uuid, info=structural()),
    Column("recipient", String(200), nullable=False, info=_SHOWN),
    Column("purpose", String(60), nullable=False, info=_SHOWN),
    Column("legal_basis", String(40), nullable=False, info=_SHOWN),
    Column("fields", ARRAY(Text), nullable=False, info=_SHOWN),
    Column("request", String(40), info=structural()),
    timestamp("disclosed_at", now=True, info=_SHOWN),
    # Until then the customer is not told, where an order says so.
    timestamp("hidden_until", nullable=True, info=structural()),
)

Index(None, partner_grant.c.status, partner_grant.c.valid_until)
foreign_key_indexes(partner)
foreign_key_indexes(partner_grant)
Index(None, disclosure.c.customer_id, disclosure.c.disclosed_at.desc(), disclosure.c.id.desc())
Index(None, disclosure.c.partner_id, disclosure.c.disclosed_at.desc(), disclosure.c.id.desc())
