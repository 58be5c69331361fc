"""What remains of an erased person: signed certificates and the suppression list of keyed hashes. No personal data."""

from sqlalchemy import Column, ForeignKey, Index, Integer, LargeBinary, String, Table, Text, Uuid

from cdp.tables.base import id_column, metadata, timestamp

certificate = Table(
    "certificate",
    metadata,
    id_column(),
    Column("request_id", Uuid, ForeignKey("privacy_request.id"), nullable=False, unique=True),
    Column("reference", String(20), nullable=False, unique=True),
    Column("document", Text, nullable=False),
    Column("key_id", String(60), nullable=False),
    timestamp("issued_at"),
)

suppression = Table(
    "suppression",
    metadata,
    id_column(),
    Column("identity_type", String(40), nullable=False),
    Column("value_hash", LargeBinary(32), nullable=False),
    Column("key_version", Integer, nullable=False),
    Column("request_id", Uuid, ForeignKey("privacy_request.id"), nullable=False, index=True),
    timestamp("created_at", now=True),
    timestamp("lifted_at", nullable=True),
)

Index("suppression_value_hash_idx", suppression.c.value_hash)
