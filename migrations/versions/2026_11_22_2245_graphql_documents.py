"""Stored GraphQL documents: nothing of a person, written by operators alone."""

import sqlalchemy as sa
from alembic import op

revision = "c0d1a5e0d301"
down_revision = "c0d1a5e0b901"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table; the worker's role alone reads and writes it."""
    op.create_table(
        "graphql_document",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name="graphql_document_pkey"),
    )
    op.execute("GRANT SELECT, INSERT, DELETE ON graphql_document TO cdp_worker")


def downgrade() -> None:
    """Drop it; documents are added again from their files."""
    op.drop_table("graphql_document")
