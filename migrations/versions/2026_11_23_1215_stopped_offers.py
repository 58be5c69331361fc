"""Let an offer be stopped: its grant ended before everybody was written to, which is not to have been sent."""

from alembic import op

revision = "c0d1a5e1b501"
down_revision = "c0d1a5e1b500"
branch_labels = None
depends_on = None

CHECK = "partner_offer_offer_status_check"
BEFORE = "'proposed', 'approved', 'sent', 'refused'"


def _allow(statuses: str) -> None:
    op.execute(f"ALTER TABLE partner_offer DROP CONSTRAINT {CHECK}")
    op.execute(f"ALTER TABLE partner_offer ADD CONSTRAINT {CHECK} CHECK (status IN ({statuses}))")


def upgrade() -> None:
    """Allow it."""
    _allow(f"{BEFORE}, 'stopped'")


def downgrade() -> None:
    """Call what was stopped sent, as before."""
    op.execute("UPDATE partner_offer SET status = 'sent' WHERE status = 'stopped'")
    _allow(BEFORE)
