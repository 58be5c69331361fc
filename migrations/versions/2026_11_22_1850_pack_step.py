"""A task may also pack: the package of an export is made under a lease like every other step."""

from alembic import op

revision = "c0d1a5e0b001"
down_revision = "c0d1a5e0a501"
branch_labels = None
depends_on = None

NAME = "request_task_task_step_check"


def _allow(*steps: str) -> None:
    op.drop_constraint(NAME, "request_task")
    names = ", ".join(f"'{step}'" for step in steps)
    op.execute(f"ALTER TABLE request_task ADD CONSTRAINT {NAME} CHECK (step IN ({names})) NOT VALID")
    op.execute(f"ALTER TABLE request_task VALIDATE CONSTRAINT {NAME}")


def upgrade() -> None:
    """Allow the step."""
    _allow("read", "pack", "check", "erase", "verify")


def downgrade() -> None:
    """Forget packing tasks, then forbid the step."""
    op.execute("DELETE FROM request_task WHERE step = 'pack'")
    _allow("read", "check", "erase", "verify")
