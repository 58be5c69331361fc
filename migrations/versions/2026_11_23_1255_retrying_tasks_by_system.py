"""Count the tasks of a system that wait for another try without reading all its open ones."""

from alembic import op

revision = "c0d1a5e1b502"
down_revision = "c0d1a5e1b501"
branch_labels = None
depends_on = None

NAME = "request_task_retrying_by_system_idx"


def upgrade() -> None:
    """Index them."""
    op.create_index(NAME, "request_task", ["system_id"], postgresql_where="status = 'retrying'")


def downgrade() -> None:
    """Read them all again."""
    op.drop_index(NAME, table_name="request_task")
