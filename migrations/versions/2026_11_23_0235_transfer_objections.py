"""Let customers say by themselves that they object to a transfer."""

from alembic import op

revision = "c0d1a5e0d102"
down_revision = "c0d1a5e0e802"
branch_labels = None
depends_on = None

WRITES = "objected_at, objection_channel"


def upgrade() -> None:
    """Allow it on their own rows."""
    op.execute(f"GRANT UPDATE ({WRITES}) ON transfer_customer TO cdp_customer")


def downgrade() -> None:
    """Take it back."""
    op.execute(f"REVOKE UPDATE ({WRITES}) ON transfer_customer FROM cdp_customer")
