"""OAuth clients, authorization codes and refresh tokens; secrets only as SHA-256 (RFC 6749, RFC 9700)."""

from sqlalchemy import Boolean, Column, ForeignKey, Index, LargeBinary, String, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY

from cdp.tables.base import (
    Category,
    foreign_key_indexes,
    id_column,
    metadata,
    personal,
    structural,
    subject_columns,
    timestamp,
)

oauth_client = Table(
    "oauth_client",
    metadata,
    id_column(),
    Column("client_id", String(80), nullable=False, unique=True),
    Column("name", String(200), nullable=False),
    Column("secret_hash", LargeBinary(32)),
    Column("redirect_uris", ARRAY(Text), nullable=False),
    Column("post_logout_redirect_uris", ARRAY(Text), nullable=False, server_default="{}"),
    Column("grant_types", ARRAY(Text), nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("first_party", Boolean, nullable=False, server_default="false"),
    timestamp("created_at", now=True),
    timestamp("revoked_at", nullable=True),
)

oauth_code = Table(
    "oauth_code",
    metadata,
    id_column(),
    *subject_columns(collected=False),
    Column("code_hash", LargeBinary(32), nullable=False, unique=True, info=structural()),
    Column("client_id", Uuid, ForeignKey("oauth_client.id"), nullable=False, info=structural()),
    Column("family_id", Uuid, nullable=False, info=structural()),
    Column("redirect_uri", Text, nullable=False, info=structural()),
    Column("scope", Text, nullable=False, info=structural()),
    Column("nonce", Text, info=structural()),
    Column("code_challenge", Text, nullable=False, info=structural()),
    timestamp("authenticated_at"),
    timestamp("expires_at"),
    timestamp("used_at", nullable=True),
)

oauth_token = Table(
    "oauth_token",
    metadata,
    id_column(),
    *subject_columns(collected=False),
    Column("client_id", Uuid, ForeignKey("oauth_client.id"), nullable=False, info=structural()),
    Column("family_id", Uuid, nullable=False, info=structural()),
    Column("refresh_hash", LargeBinary(32), nullable=False, unique=True, info=structural()),
    Column("scope", Text, nullable=False, info=personal(Category.ACCOUNT)),
    timestamp("authenticated_at", info=personal(Category.ACCOUNT)),
    timestamp("issued_at", now=True, info=personal(Category.ACCOUNT)),
    timestamp("expires_at"),
    timestamp("used_at", nullable=True),
    timestamp("revoked_at", nullable=True),
)

Index(None, oauth_code.c.family_id)
Index(None, oauth_token.c.family_id)
foreign_key_indexes(oauth_code)
foreign_key_indexes(oauth_token)
