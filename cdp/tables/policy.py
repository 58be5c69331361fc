"""Brands, purposes, versions of the privacy policy, what each customer accepted, and where values were collected."""

from enum import StrEnum

from sqlalchemy import Boolean, Column, ForeignKey, Index, LargeBinary, String, Table, Text, Uuid

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


class CollectionPoint(StrEnum):
    """Where personal data enters (promise P4); each value remembers which."""

    REGISTRATION = "registration"
    INQUIRY = "inquiry"
    SURVEY = "survey"
    ORDER = "order"
    ACCOUNT_PAGE = "account_page"
    AGENT = "agent"
    IMPORT = "import"
    INGEST = "ingest"


class LegalBasis(StrEnum):
    """GDPR art. 6(1)."""

    CONSENT = "consent"
    CONTRACT = "contract"
    LEGAL_OBLIGATION = "legal_obligation"
    LEGITIMATE_INTEREST = "legitimate_interest"


class AcceptanceDecision(StrEnum):
    """What a customer answered to a policy version; silence is no row."""

    ACCEPTED = "accepted"
    DECLINED = "declined"


brand = Table(
    "brand",
    metadata,
    id_column(),
    Column("code", String(40), nullable=False, unique=True),
    Column("name", String(200), nullable=False),
)

purpose = Table(
    "purpose",
    metadata,
    Column("code", String(60), primary_key=True),
    Column("title", String(200), nullable=False),
    Column("description", Text, nullable=False),
    Column("legal_basis", enum_type(LegalBasis, "legal_basis"), nullable=False),
    Column("needs_consent", Boolean, nullable=False),
)

policy_version = Table(
    "policy_version",
    metadata,
    id_column(),
    Column("version", String(40), nullable=False, unique=True),
    Column("title", String(200), nullable=False),
    Column("body", Text, nullable=False),
    Column("body_sha256", LargeBinary(32), nullable=False),
    timestamp("effective_from"),
)

policy_acceptance = Table(
    "policy_acceptance",
    metadata,
    id_column(),
    *subject_columns(),
    Column("policy_version_id", Uuid, ForeignKey("policy_version.id"), nullable=False, info=structural()),
    Column(
        "decision",
        enum_type(AcceptanceDecision, "acceptance_decision"),
        nullable=False,
        info=personal(Category.CONSENT),
    ),
    timestamp("decided_at", info=personal(Category.CONSENT)),
)

collection = Table(
    "collection",
    metadata,
    id_column(),
    Column("customer_id", Uuid, ForeignKey("customer.id"), nullable=False, info=structural()),
    Column(
        "origin_identity_id",
        Uuid,
        ForeignKey("identity.id", use_alter=True, deferrable=True, initially="DEFERRED"),
        info=structural(),
    ),
    Column(
        "point",
        enum_type(CollectionPoint, "collection_point"),
        nullable=False,
        info=personal(Category.CONSENT),
    ),
    Column("source", String(200), nullable=False, info=personal(Category.CONSENT)),
    timestamp("collected_at", info=personal(Category.CONSENT)),
    Column("policy_version_id", Uuid, ForeignKey("policy_version.id"), nullable=False, info=structural()),
    Column("brand_id", Uuid, ForeignKey("brand.id"), nullable=False, info=structural()),
    # Since when it is used for nothing, because its brand was sold; what the person is told is in transfer_customer.
    timestamp("stopped_at", nullable=True, info=structural()),
)

Index(
    "policy_acceptance_customer_id_decided_at_idx",
    policy_acceptance.c.customer_id,
    policy_acceptance.c.decided_at,
)
Index(None, collection.c.customer_id)
# Whether anything was sold at all.
Index("collection_stopped_idx", collection.c.customer_id, postgresql_where="stopped_at IS NOT NULL")
foreign_key_indexes(policy_acceptance)
foreign_key_indexes(collection)
