"""Name the file that the rewriter of a part is writing, or has replaced, so that whoever finds it can remove it."""

import sqlalchemy as sa
from alembic import op

revision = "c0d1a5e0e901"
down_revision = "c0d1a5e0e803"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; no part has a spare yet."""
    op.add_column("bulk_part", sa.Column("spare_key", sa.String(300)))
    op.add_column("bulk_part", sa.Column("spare_until", sa.DateTime(timezone=True)))
    there = sa.text("spare_key IS NOT NULL")
    op.create_index("bulk_part_spare_until_idx", "bulk_part", ["spare_until"], postgresql_where=there)


def downgrade() -> None:
    """Drop them."""
    op.drop_index("bulk_part_spare_until_idx", "bulk_part")
    op.drop_column("bulk_part", "spare_until")
    op.drop_column("bulk_part", "spare_key")
