"""Who approves a bulk export reads its query; the values of its variables stay hidden."""

from alembic import op

revision = "c0d1a5e0b503"
down_revision = "c0d1a5e0d102"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Let staff read it; the access rules say which."""
    op.execute("GRANT SELECT (document) ON bulk_export TO cdp_staff")


def downgrade() -> None:
    """As before."""
    op.execute("REVOKE SELECT (document) ON bulk_export FROM cdp_staff")
