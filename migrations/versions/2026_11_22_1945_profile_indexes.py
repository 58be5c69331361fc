"""Indexes in the order a profile is read: contacts by age and id, items by customer, order and position."""

from alembic import op

revision = "c0d1a5e0d001"
down_revision = "c0d1a5e0c001"
branch_labels = None
depends_on = None

CONTACTS = ("email_address", "phone_number", "postal_address")
ITEMS = "sales_order_item"


def _replace(table: str, old: tuple[str, ...], new: tuple[str, ...]) -> None:
    op.create_index(f"{table}_{'_'.join(new)}_idx", table, list(new))
    op.drop_index(f"{table}_{'_'.join(old)}_idx", table_name=table)


def upgrade() -> None:
    """Let each index serve the sort as well; tables are small at this point of history."""
    for table in CONTACTS:
        _replace(table, ("customer_id", "created_at"), ("customer_id", "created_at", "id"))
    _replace(ITEMS, ("customer_id",), ("customer_id", "order_id", "position"))


def downgrade() -> None:
    """Back to the shorter ones."""
    _replace(ITEMS, ("customer_id", "order_id", "position"), ("customer_id",))
    for table in CONTACTS:
        _replace(table, ("customer_id", "created_at", "id"), ("customer_id", "created_at"))
