"""Find people by the sign-in of an external provider that a merge put aside."""

from alembic import op

revision = "c0d1a5e0ea03"
down_revision = "c0d1a5e0ea02"
branch_labels = None
depends_on = None

NAME = "customer_merge_row_provider_idx"


def upgrade() -> None:
    """Index the few lines of that kind."""
    with op.get_context().autocommit_block():
        op.execute(
            f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {NAME} ON customer_merge_row (row_id)"
            " WHERE table_name = 'external_identity'"
        )


def downgrade() -> None:
    """Drop it."""
    with op.get_context().autocommit_block():
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {NAME}")
