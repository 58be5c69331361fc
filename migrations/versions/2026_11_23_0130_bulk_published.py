"""Which revision of a bulk export's manifest lies beside its files."""

import sqlalchemy as sa
from alembic import op

revision = "c0d1a5e0b501"
down_revision = "c0d1a5e0a404"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; what is finished already was published."""
    op.add_column("bulk_export", sa.Column("published", sa.Integer(), server_default="0", nullable=False))
    op.execute("UPDATE bulk_export SET published = revision")
    late = sa.text("status = 'completed' AND published < revision")
    op.create_index("bulk_export_unpublished_idx", "bulk_export", ["id"], postgresql_where=late)


def downgrade() -> None:
    """Drop it."""
    op.drop_index("bulk_export_unpublished_idx", "bulk_export")
    op.drop_column("bulk_export", "published")
