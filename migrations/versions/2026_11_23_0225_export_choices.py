"""What somebody chose when they asked for a copy, and the passphrase that locks it until it is made."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "c0d1a5e0b502"
down_revision = "c0d1a5e0d201"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; copies asked for before hold everything."""
    op.add_column("export", sa.Column("choices", JSONB()))
    op.add_column("export", sa.Column("passphrase_sealed", sa.LargeBinary()))


def downgrade() -> None:
    """Drop them."""
    op.drop_column("export", "passphrase_sealed")
    op.drop_column("export", "choices")
