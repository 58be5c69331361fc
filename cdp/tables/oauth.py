"""OAuth clients, grants, authorization codes and refresh tokens; secrets only as SHA-256 (RFC 6749, RFC 9700).

A grant is what one authorization allowed: the family of every token that came from it, ended as a whole. A trigger
notes each grant that ends, by revocation or by deletion, in ``oauth_ended_grant``: that small table is what verifiers
of access tokens watch, and it outlives the person.
"""

from sqlalchemy import Boolean, CheckConstraint, Column, ForeignKey, Index, LargeBinary, String, Table, Text, Uuid
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

oauth_grant = Table(
    "oauth_grant",
    metadata,
    id_column(),
    *subject_columns(nullable=True, collected=False),
    Column("staff_id", Uuid, ForeignKey("staff.id"), info=structural()),
    Column("client_id", Uuid, ForeignKey("oauth_client.id"), nullable=False, info=structural()),
    # No foreign key: a session is purged long before the grant it started.
    Column("session_id", Uuid, info=structural()),
    Column("scope", Text, nullable=False, info=personal(Category.ACCOUNT)),
    timestamp("authenticated_at", info=personal(Category.ACCOUNT)),
    timestamp("created_at", now=True, info=personal(Category.ACCOUNT)),
    timestamp("revoked_at", nullable=True),
    CheckConstraint("(customer_id IS NULL) <> (staff_id IS NULL)", name="one_subject"),
)

oauth_ended_grant = Table(
    "oauth_ended_grant",
    metadata,
    Column("grant_id", Uuid, primary_key=True),
    timestamp("ended_at", now=True),
)

oauth_code = Table(
    "oauth_code",
    metadata,
    id_column(),
    *subject_columns(nullable=True, collected=False),
    Column("code_hash", LargeBinary(32), nullable=False, unique=True, info=structural()),
    Column("client_id", Uuid, ForeignKey("oauth_client.id"), nullable=False, info=structural()),
    Column("family_id", Uuid, ForeignKey("oauth_grant.id"), nullable=False, info=structural()),
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
    *subject_columns(nullable=True, collected=False),
    Column("client_id", Uuid, ForeignKey("oauth_client.id"), nullable=False, info=structural()),
    Column("family_id", Uuid, ForeignKey("oauth_grant.id"), nullable=False, info=structural()),
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
Index(None, oauth_grant.c.session_id)
Index(None, oauth_grant.c.created_at)
Index(None, oauth_code.c.expires_at)
Index(None, oauth_token.c.expires_at)
Index(None, oauth_ended_grant.c.ended_at)
foreign_key_indexes(oauth_grant)
foreign_key_indexes(oauth_code)
foreign_key_indexes(oauth_token)
