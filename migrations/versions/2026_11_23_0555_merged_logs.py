"""Let customers read what the log says of records that were merged into theirs."""

from alembic import op

revision = "c0d1a5e0ea02"
down_revision = "c0d1a5e0f3a2"
branch_labels = None
depends_on = None

OWN = "SELECT audit_ref FROM customer"
MERGED = "SELECT merged_ref FROM customer_merge WHERE status = 'merged' AND merged_ref IS NOT NULL"


def upgrade() -> None:
    """Ask the ledger of merges too; its own policy shows a customer their rows alone."""
    op.execute(f"ALTER POLICY audit_event_customer ON audit_event USING (subject_ref IN ({OWN} UNION ALL {MERGED}))")


def downgrade() -> None:
    """Ask the customer alone."""
    op.execute(f"ALTER POLICY audit_event_customer ON audit_event USING (subject_ref IN ({OWN}))")
