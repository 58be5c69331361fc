"""When systems that did not give their part of a copy are asked again."""

import sqlalchemy as sa
from alembic import op

revision = "c0d1a5e0b504"
down_revision = "c0d1a5e0b503"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; older copies are not made again."""
    op.add_column("export", sa.Column("retry_at", sa.DateTime(timezone=True)))
    due = sa.text("retry_at IS NOT NULL")
    op.create_index("export_retry_at_idx", "export", ["retry_at"], postgresql_where=due)


def downgrade() -> None:
    """Drop it."""
    op.drop_index("export_retry_at_idx", "export")
    op.drop_column("export", "retry_at")
