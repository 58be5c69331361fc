"""OAuth clients, grants, authorization codes and refresh tokens; secrets only as SHA-256 (RFC 6749, RFC 9700).

A grant is what one authorization allowed: the family of every token that came from it, ended as a whole. A trigger
notes each grant that ends, by revocation or by deletion, in ``oauth_ended_grant``: that small table is what verifiers
of access tokens watch, and it outlives the person.
"""

from sqlalchemy import Boolean, CheckConstraint, Column, ForeignKey, Index, LargeBinary, String, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

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
    Column("backchannel_logout_uri", Text),
    Column("grant_types", ARRAY(Text), nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("first_party", Boolean, nullable=False, server_default="false"),
    # Public keys of private_key_jwt (RFC 7523); a client has these, or a secret, or nothing to prove itself with.
    Column("jwks", JSONB(none_as_null=True)),
    Column("requires_pushed", Boolean, nullable=False, server_default="false"),
    Column("requires_dpop", Boolean, nullable=False, server_default="false"),
    Column("authorization_types", ARRAY(Text), nullable=False, server_default="{}"),
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
    # How its owner had signed in: method references of RFC 8176.
    Column("amr", ARRAY(Text), nullable=False, server_default="{pwd}", info=personal(Category.ACCOUNT, export=False)),
    timestamp("created_at", now=True, info=personal(Category.ACCOUNT)),
    timestamp("revoked_at", nullable=True),
    Column("authorization_details", JSONB(none_as_null=True), info=personal(Category.ACCOUNT)),
    # Who works here and acts for the customer, why, and in which case (RFC 8693).
    Column("acting_staff_id", Uuid, ForeignKey("staff.id"), info=structural()),
    Column("reason", Text, info=personal(Category.ACCOUNT)),
    Column("case_reference", String(100), info=personal(Category.ACCOUNT)),
    CheckConstraint(
        "acting_staff_id IS NULL OR (customer_id IS NOT NULL AND reason IS NOT NULL)", name="acting_for_customer"
    ),
    # Neither: the client acts in its own name (client credentials).
    CheckConstraint("customer_id IS NULL OR staff_id IS NULL", name="one_subject"),
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
    Column("dpop_jkt", String(43), info=structural()),
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
    # The key a public client must prove at every refresh (RFC 9449 section 5).
    Column("dpop_jkt", String(43), info=structural()),
)

oauth_seen_proof = Table(
    "oauth_seen_proof",
    metadata,
    # SHA-256 of who made it, for what, and its jti.
    Column("proof_hash", LargeBinary(32), primary_key=True),
    timestamp("expires_at"),
)

oauth_pushed_request = Table(
    "oauth_pushed_request",
    metadata,
    id_column(),
    Column("reference_hash", LargeBinary(32), nullable=False, unique=True),
    Column("client_id", Uuid, ForeignKey("oauth_client.id"), nullable=False),
    Column("parameters", JSONB, nullable=False),
    timestamp("created_at", now=True),
    timestamp("expires_at"),
    timestamp("used_at", nullable=True),
)

oauth_registration_token = Table(
    "oauth_registration_token",
    metadata,
    id_column(),
    Column("token_hash", LargeBinary(32), nullable=False, unique=True),
    Column("purpose", String(200), nullable=False),
    timestamp("created_at", now=True),
    timestamp("expires_at"),
    timestamp("used_at", nullable=True),
    Column("client_id", Uuid, ForeignKey("oauth_client.id")),
)

Index(None, oauth_code.c.family_id)
Index(None, oauth_token.c.family_id)
Index(None, oauth_grant.c.session_id)
Index(None, oauth_grant.c.created_at)
Index(None, oauth_code.c.expires_at)
Index(None, oauth_token.c.expires_at)
Index(None, oauth_ended_grant.c.ended_at)
Index(None, oauth_seen_proof.c.expires_at)
Index(None, oauth_pushed_request.c.expires_at)
Index(None, oauth_registration_token.c.expires_at)
foreign_key_indexes(oauth_pushed_request)
foreign_key_indexes(oauth_registration_token)
foreign_key_indexes(oauth_grant)
foreign_key_indexes(oauth_code)
foreign_key_indexes(oauth_token)
