"""Look up a customer in a cohort at once, and who of a deal is gone."""

from alembic import op

revision = "c0d1a5e0d202"
down_revision = "c0d1a5e0b504"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the indexes; a deal is packed in the same release at the earliest, so nobody waits for them."""
    op.create_index(
        "transfer_customer_cohort_id_customer_id_idx",
        "transfer_customer",
        ["cohort_id", "customer_id"],
        postgresql_where="cohort_id IS NOT NULL",
    )
    op.create_index(
        "transfer_customer_gone_idx",
        "transfer_customer",
        ["transfer_id"],
        postgresql_where="cohort_id IS NOT NULL AND (customer_id IS NULL OR objected_at IS NOT NULL)",
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_index("transfer_customer_gone_idx", "transfer_customer")
    op.drop_index("transfer_customer_cohort_id_customer_id_idx", "transfer_customer")
