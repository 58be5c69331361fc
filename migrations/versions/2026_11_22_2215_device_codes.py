"""Device authorizations: codes shown on one screen and typed on another (RFC 8628)."""

import sqlalchemy as sa
from alembic import op

revision = "c0d1a5e0a701"
down_revision = "c0d1a5e0d401"
branch_labels = None
depends_on = None

SUBJECT = "nullif(current_setting('cdp.subject', true), '')::uuid"
TABLE = "oauth_device_code"
STATUSES = ("pending", "approved", "denied", "redeemed")


def upgrade() -> None:
    """Add the table; only the worker's role has rights on it."""
    op.create_table(
        TABLE,
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=True),
        sa.Column("origin_identity_id", sa.Uuid(), nullable=True),
        sa.Column("collection_id", sa.Uuid(), nullable=True),
        sa.Column("client_id", sa.Uuid(), nullable=False),
        sa.Column("family_id", sa.Uuid(), nullable=True),
        sa.Column("device_code_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("user_code_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column(
            "status",
            sa.Enum(*STATUSES, name="device_status", native_enum=False, create_constraint=True, length=40),
            server_default="pending",
            nullable=False,
        ),
        sa.Column("interval_s", sa.Integer(), nullable=False),
        sa.Column("polled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=f"{TABLE}_customer_id_fkey"),
        sa.ForeignKeyConstraint(["origin_identity_id"], ["identity.id"], name=f"{TABLE}_origin_identity_id_fkey"),
        sa.ForeignKeyConstraint(["collection_id"], ["collection.id"], name=f"{TABLE}_collection_id_fkey"),
        sa.ForeignKeyConstraint(["client_id"], ["oauth_client.id"], name=f"{TABLE}_client_id_fkey"),
        sa.ForeignKeyConstraint(["family_id"], ["oauth_grant.id"], name=f"{TABLE}_family_id_fkey"),
        sa.PrimaryKeyConstraint("id", name=f"{TABLE}_pkey"),
        sa.UniqueConstraint("device_code_hash", name=f"{TABLE}_device_code_hash_key"),
        sa.UniqueConstraint("user_code_hash", name=f"{TABLE}_user_code_hash_key"),
    )
    for column in ("customer_id", "origin_identity_id", "collection_id", "client_id", "family_id", "expires_at"):
        op.create_index(f"{TABLE}_{column}_idx", TABLE, [column])
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {TABLE} TO cdp_worker")
    op.execute(f"ALTER TABLE {TABLE} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {TABLE} FORCE ROW LEVEL SECURITY")
    op.execute(
        f"CREATE POLICY {TABLE}_customer ON {TABLE} TO cdp_customer USING (customer_id = {SUBJECT}) "
        f"WITH CHECK (customer_id = {SUBJECT})"
    )
    op.execute(f"CREATE POLICY {TABLE}_staff ON {TABLE} TO cdp_staff USING (true) WITH CHECK (true)")
    op.execute(f"CREATE POLICY {TABLE}_worker ON {TABLE} TO cdp_worker USING (true) WITH CHECK (true)")


def downgrade() -> None:
    """Drop it; whoever waits starts again."""
    op.drop_table(TABLE)
