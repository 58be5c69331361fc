"""External identities: people whom an outside OpenID provider signs in."""

import sqlalchemy as sa
from alembic import op

revision = "c0d1a5e0a703"
down_revision = "c0d1a5e0a702"
branch_labels = None
depends_on = None

SUBJECT = "nullif(current_setting('cdp.subject', true), '')::uuid"
TABLE = "external_identity"


def upgrade() -> None:
    """Add the table and, to sessions, the proof with which the provider's session can be ended too."""
    op.add_column("session", sa.Column("id_token_sealed", sa.LargeBinary(), nullable=True))
    op.create_table(
        TABLE,
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=True),
        sa.Column("origin_identity_id", sa.Uuid(), nullable=True),
        sa.Column("collection_id", sa.Uuid(), nullable=True),
        sa.Column("staff_id", sa.Uuid(), nullable=True),
        sa.Column("issuer", sa.String(length=500), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_sign_in_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("suspended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(customer_id IS NULL) <> (staff_id IS NULL)", name=op.f(f"{TABLE}_one_subject_check")),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=f"{TABLE}_customer_id_fkey"),
        sa.ForeignKeyConstraint(["origin_identity_id"], ["identity.id"], name=f"{TABLE}_origin_identity_id_fkey"),
        sa.ForeignKeyConstraint(["collection_id"], ["collection.id"], name=f"{TABLE}_collection_id_fkey"),
        sa.ForeignKeyConstraint(["staff_id"], ["staff.id"], name=f"{TABLE}_staff_id_fkey"),
        sa.PrimaryKeyConstraint("id", name=f"{TABLE}_pkey"),
    )
    for realm in ("customer", "staff"):
        where = f"{realm}_id IS NOT NULL"
        op.create_index(f"{TABLE}_{realm}_key", TABLE, ["issuer", "subject"], unique=True, postgresql_where=where)
    for column in ("customer_id", "origin_identity_id", "collection_id", "staff_id"):
        op.create_index(f"{TABLE}_{column}_idx", TABLE, [column])
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {TABLE} TO cdp_worker")
    op.execute(f"ALTER TABLE {TABLE} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {TABLE} FORCE ROW LEVEL SECURITY")
    op.execute(f"GRANT SELECT ON {TABLE} TO cdp_customer, cdp_staff")
    op.execute(
        f"CREATE POLICY {TABLE}_customer ON {TABLE} TO cdp_customer USING (customer_id = {SUBJECT}) "
        f"WITH CHECK (customer_id = {SUBJECT})"
    )
    op.execute(f"CREATE POLICY {TABLE}_staff ON {TABLE} TO cdp_staff USING (true) WITH CHECK (true)")
    op.execute(f"CREATE POLICY {TABLE}_worker ON {TABLE} TO cdp_worker USING (true) WITH CHECK (true)")


def downgrade() -> None:
    """Drop both; people who came from outside have no other way in."""
    op.drop_table(TABLE)
    op.drop_column("session", "id_token_sealed")
