"""Delegations: a member of staff acts for a customer, for a reason and in a case (RFC 8693)."""

import sqlalchemy as sa
from alembic import op

revision = "c0d1a5e0a704"
down_revision = "c0d1a5e0a703"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Say on a grant who acts, why, and in which case."""
    op.add_column("oauth_grant", sa.Column("acting_staff_id", sa.Uuid(), nullable=True))
    op.add_column("oauth_grant", sa.Column("reason", sa.Text(), nullable=True))
    op.add_column("oauth_grant", sa.Column("case_reference", sa.String(length=100), nullable=True))
    op.create_foreign_key("oauth_grant_acting_staff_id_fkey", "oauth_grant", "staff", ["acting_staff_id"], ["id"])
    op.create_check_constraint(
        op.f("oauth_grant_acting_for_customer_check"),
        "oauth_grant",
        "acting_staff_id IS NULL OR (customer_id IS NOT NULL AND reason IS NOT NULL)",
    )
    op.create_index("oauth_grant_acting_staff_id_idx", "oauth_grant", ["acting_staff_id"])


def downgrade() -> None:
    """Grants of people who act for others, which did not exist before, go."""
    op.execute("DELETE FROM oauth_grant WHERE acting_staff_id IS NOT NULL")
    op.drop_index("oauth_grant_acting_staff_id_idx", "oauth_grant")
    op.drop_constraint(op.f("oauth_grant_acting_for_customer_check"), "oauth_grant")
    op.drop_constraint("oauth_grant_acting_staff_id_fkey", "oauth_grant")
    for name in ("case_reference", "reason", "acting_staff_id"):
        op.drop_column("oauth_grant", name)
