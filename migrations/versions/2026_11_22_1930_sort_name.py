"""Customers sorted by name, page by page: last name or organisation, whatever the case, then id."""

from alembic import op
from sqlalchemy import text

revision = "c0d1a5e0c001"
down_revision = "c0d1a5e0b001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index that serves the pages; small tables at this point of history, so it is built inside the migration."""
    op.create_index(
        "customer_sort_name_id_idx",
        "customer",
        [text("lower(coalesce(family_name, organisation_name, ''))"), "id"],
    )


def downgrade() -> None:
    """Drop the index."""
    op.drop_index("customer_sort_name_id_idx", table_name="customer")
