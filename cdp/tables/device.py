"""Device authorizations: somebody at a screen without a browser shows a code, somebody signed in types it (RFC 8628).

The device code is 256 random bits and kept as SHA-256; the short user code only as a keyed hash. Whoever approves makes
the row theirs: it goes with them.
"""

from collections.abc import Mapping
from enum import StrEnum

from sqlalchemy import Column, ForeignKey, Index, Integer, LargeBinary, Table, Text, Uuid

from cdp.tables.base import enum_type, foreign_key_indexes, id_column, metadata, structural, subject_columns, timestamp


class DeviceStatus(StrEnum):
    """Life of a device authorization."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    REDEEMED = "redeemed"


D = DeviceStatus
DEVICE_TRANSITIONS: Mapping[DeviceStatus, frozenset[DeviceStatus]] = {
    D.PENDING: frozenset({D.APPROVED, D.DENIED}),
    D.APPROVED: frozenset({D.REDEEMED}),
    D.DENIED: frozenset(),
    D.REDEEMED: frozenset(),
}

oauth_device_code = Table(
    "oauth_device_code",
    metadata,
    id_column(),
    *subject_columns(nullable=True, collected=False),
    Column("client_id", Uuid, ForeignKey("oauth_client.id"), nullable=False, info=structural()),
    Column("family_id", Uuid, ForeignKey("oauth_grant.id"), info=structural()),
    Column("device_code_hash", LargeBinary(32), nullable=False, unique=True, info=structural()),
    Column("user_code_hash", LargeBinary(32), nullable=False, unique=True, info=structural()),
    Column("scope", Text, nullable=False, info=structural()),
    Column(
        "status", enum_type(DeviceStatus, "device_status"), nullable=False, server_default="pending", info=structural()
    ),
    Column("interval_s", Integer, nullable=False, info=structural()),
    timestamp("polled_at", nullable=True),
    timestamp("created_at"),
    timestamp("expires_at"),
)

Index(None, oauth_device_code.c.expires_at)
foreign_key_indexes(oauth_device_code)
