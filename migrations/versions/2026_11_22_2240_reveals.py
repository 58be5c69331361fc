"""Reveals: for a minute an agent sees masked fields of one customer clear."""

import sqlalchemy as sa
from alembic import op

revision = "c0d1a5e0b901"
down_revision = "c0d1a5e0f502"
branch_labels = None
depends_on = None

SUBJECT = "nullif(current_setting('cdp.subject', true), '')::uuid"
REASONS = ("customer_asked", "identity_check", "order_problem", "privacy_request", "fraud_check", "legal_duty")


def upgrade() -> None:
    """Add the table; staff's statements look into it, the worker's role alone writes."""
    op.create_table(
        "reveal",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("origin_identity_id", sa.Uuid(), nullable=True),
        sa.Column("collection_id", sa.Uuid(), nullable=True),
        sa.Column("staff_id", sa.Uuid(), nullable=False),
        sa.Column("categories", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column(
            "reason",
            sa.Enum(*REASONS, name="reveal_reason", native_enum=False, create_constraint=True, length=40),
            nullable=False,
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name="reveal_customer_id_fkey"),
        sa.ForeignKeyConstraint(["origin_identity_id"], ["identity.id"], name="reveal_origin_identity_id_fkey"),
        sa.ForeignKeyConstraint(["collection_id"], ["collection.id"], name="reveal_collection_id_fkey"),
        sa.ForeignKeyConstraint(["staff_id"], ["staff.id"], name="reveal_staff_id_fkey"),
        sa.PrimaryKeyConstraint("id", name="reveal_pkey"),
    )
    for column in ("customer_id", "origin_identity_id", "collection_id"):
        op.create_index(f"reveal_{column}_idx", "reveal", [column])
    op.create_index("reveal_staff_id_created_at_idx", "reveal", ["staff_id", "created_at"])
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON reveal TO cdp_worker")
    op.execute("GRANT SELECT ON reveal TO cdp_staff")
    op.execute("ALTER TABLE reveal ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE reveal FORCE ROW LEVEL SECURITY")
    op.execute(
        f"CREATE POLICY reveal_customer ON reveal TO cdp_customer USING (customer_id = {SUBJECT}) "
        f"WITH CHECK (customer_id = {SUBJECT})"
    )
    op.execute("CREATE POLICY reveal_staff ON reveal TO cdp_staff USING (true) WITH CHECK (true)")
    op.execute("CREATE POLICY reveal_worker ON reveal TO cdp_worker USING (true) WITH CHECK (true)")


def downgrade() -> None:
    """Drop it; what was revealed stays in the audit log."""
    op.drop_table("reveal")
