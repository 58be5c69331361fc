"""Keep whom each file of a package holds, as hashes that name nobody, for the chain of custody.

The frozen hash is made of such hashes from now on: a deal that was frozen and not packed yet is frozen once more.
"""

import sqlalchemy as sa
from alembic import op

revision = "c0d1a5e0f3a1"
down_revision = "c0d1a5e0ea01"
branch_labels = None
depends_on = None

TABLE = "transfer_roll"


def upgrade() -> None:
    """Add the table, and its mark on files."""
    op.create_table(
        TABLE,
        sa.Column("transfer_id", sa.Uuid(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(32), nullable=False),
        sa.Column("leaves", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["transfer_id"], ["transfer.id"], name="transfer_roll_transfer_id_fkey"),
        sa.PrimaryKeyConstraint("transfer_id", "sha256", name="transfer_roll_pkey"),
    )
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {TABLE} TO cdp_worker")
    op.execute(f"GRANT SELECT ON {TABLE} TO cdp_staff")
    op.execute(f"ALTER TABLE {TABLE} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {TABLE} FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY {TABLE}_staff ON {TABLE} TO cdp_staff USING (true) WITH CHECK (true)")
    op.execute(f"CREATE POLICY {TABLE}_worker ON {TABLE} TO cdp_worker USING (true) WITH CHECK (true)")
    op.add_column("transfer_file", sa.Column("people_sha256", sa.LargeBinary(32)))


def downgrade() -> None:
    """Drop both."""
    op.drop_column("transfer_file", "people_sha256")
    op.drop_table(TABLE)
