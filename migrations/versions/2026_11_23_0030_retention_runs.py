"""Runs of the purge."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "c0d1a5e0f302"
down_revision = "c0d1a5e0d501"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table; only the worker reads and writes it."""
    status = sa.Enum("due", "running", "done", name="run_status", native_enum=False, create_constraint=True, length=40)
    op.create_table(
        "retention_run",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("day", sa.Date()),
        sa.Column("status", status, server_default="due", nullable=False),
        sa.Column("fence", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("removed", postgresql.JSONB(), server_default="{}", nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name="retention_run_pkey"),
        sa.UniqueConstraint("day", name="retention_run_day_key"),
    )
    op.create_index("retention_run_status_lease_until_idx", "retention_run", ["status", "lease_until"])
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON retention_run TO cdp_worker")


def downgrade() -> None:
    """Drop it; the audit log keeps what was removed."""
    op.drop_table("retention_run")
