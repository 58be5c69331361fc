"""Runs of the canary, one at a time."""

import sqlalchemy as sa
from alembic import op

revision = "c0d1a5e0a404"
down_revision = "c0d1a5e0a403"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    names = ("running", "passed", "failed")
    status = sa.Enum(*names, name="canary_status", native_enum=False, create_constraint=True, length=40)
    op.create_table(
        "canary_run",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("status", status, server_default="running", nullable=False),
        sa.Column("code", sa.String(60)),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.ForeignKeyConstraint(["request_id"], ["privacy_request.id"], name="canary_run_request_id_fkey"),
        sa.PrimaryKeyConstraint("id", name="canary_run_pkey"),
    )
    op.create_index("canary_run_request_id_idx", "canary_run", ["request_id"])
    op.create_index("canary_run_started_at_idx", "canary_run", ["started_at"])
    running = sa.text("status = 'running'")
    op.create_index("canary_run_one_running_key", "canary_run", ["status"], unique=True, postgresql_where=running)
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON canary_run TO cdp_worker")
    op.execute("GRANT SELECT ON canary_run TO cdp_staff")


def downgrade() -> None:
    """Drop it."""
    op.drop_table("canary_run")
