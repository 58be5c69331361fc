"""Find a system's open tasks by index: how many run, how many are troubled, which is next."""

from alembic import op

revision = "c0d1a5e0b002"
down_revision = "c0d1a5e0a502"
branch_labels = None
depends_on = None

NAME = "request_task_open_by_system_idx"


def upgrade() -> None:
    """Add the index without stopping writes."""
    with op.get_context().autocommit_block():
        op.execute(
            f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {NAME} ON request_task (system_id, next_run_at) "
            "WHERE status IN ('pending', 'running', 'retrying', 'waiting')"
        )


def downgrade() -> None:
    """Drop it."""
    with op.get_context().autocommit_block():
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {NAME}")
