"""Keep the fingerprint of the key store, so that a process that opens another one notices at its start."""

import sqlalchemy as sa
from alembic import op

revision = "c0d1a5e0ea06"
down_revision = "c0d1a5e0ea05"
branch_labels = None
depends_on = None

TABLE = "key_store"


def upgrade() -> None:
    """Add the table; the first process that starts fills it."""
    op.create_table(
        TABLE,
        sa.Column("id", sa.SmallInteger(), autoincrement=False, server_default=sa.text("1"), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(32), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("id = 1", name="key_store_id_check"),
        sa.PrimaryKeyConstraint("id", name="key_store_pkey"),
    )
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON {TABLE} TO cdp_worker")
    op.execute(f"ALTER TABLE {TABLE} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {TABLE} FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY {TABLE}_worker ON {TABLE} TO cdp_worker USING (true) WITH CHECK (true)")


def downgrade() -> None:
    """Drop it; nobody notices another key store any more."""
    op.drop_table(TABLE)
