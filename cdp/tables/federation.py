"""External identities: who an outside OpenID provider says somebody is, linked to a customer or a member of staff.

The link is the provider's issuer and its subject, never an e-mail address: only that pair is promised to be unique and
never given to somebody else (OpenID Connect Core section 5.7).
"""

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, String, Table, Uuid

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

external_identity = Table(
    "external_identity",
    metadata,
    id_column(),
    *subject_columns(nullable=True, collected=False),
    Column("staff_id", Uuid, ForeignKey("staff.id"), info=structural()),
    Column("issuer", String(500), nullable=False, info=personal(Category.ACCOUNT)),
    Column("subject", String(255), nullable=False, info=personal(Category.ACCOUNT)),
    timestamp("created_at", info=personal(Category.ACCOUNT)),
    timestamp("last_sign_in_at", info=personal(Category.ACCOUNT)),
    # When the provider's claims lost every role; only then does a claim that comes back let somebody in again.
    timestamp("suspended_at", nullable=True),
    CheckConstraint("(customer_id IS NULL) <> (staff_id IS NULL)", name="one_subject"),
)

# One person may be a customer and work here: one link a realm.
Index(
    "external_identity_customer_key",
    external_identity.c.issuer,
    external_identity.c.subject,
    unique=True,
    postgresql_where="customer_id IS NOT NULL",
)
Index(
    "external_identity_staff_key",
    external_identity.c.issuer,
    external_identity.c.subject,
    unique=True,
    postgresql_where="staff_id IS NOT NULL",
)
foreign_key_indexes(external_identity)
