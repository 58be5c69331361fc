"""Let customers and staff read what passkeys there are, never their keys."""

from alembic import op

revision = "c0d1a5e0c302"
down_revision = "c0d1a5e0f503"
branch_labels = None
depends_on = None

READ = "id, customer_id, origin_identity_id, collection_id, staff_id, name, backed_up, created_at, used_at"


def upgrade() -> None:
    """Grant reading of the columns that say nothing secret."""
    op.execute(f"GRANT SELECT ({READ}) ON passkey TO cdp_customer, cdp_staff")


def downgrade() -> None:
    """Take it back."""
    op.execute(f"REVOKE SELECT ({READ}) ON passkey FROM cdp_customer, cdp_staff")
