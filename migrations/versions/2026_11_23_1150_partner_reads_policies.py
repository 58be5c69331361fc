"""Let partners read the policies, as everybody may: their role could not, and the read failed."""

from alembic import op

revision = "c0d1a5e1b500"
down_revision = "c0d1a5e0ea08"
branch_labels = None
depends_on = None

ROLE = "cdp_partner"


def upgrade() -> None:
    """Grant it: nothing in there is about anybody."""
    op.execute(f"GRANT SELECT ON policy_version TO {ROLE}")


def downgrade() -> None:
    """Take it back."""
    op.execute(f"REVOKE SELECT ON policy_version FROM {ROLE}")
