"""The erasure journal's place in the database: what is written and replayed, each entry chained to the one before."""

import sqlalchemy as sa
from alembic import op

revision = "c0d1a5e0a403"
down_revision = "c0d1a5e0a402"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "journal_entry",
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("request_id", sa.Uuid()),
        sa.Column("erased_id", sa.Uuid()),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(32), nullable=False),
        sa.Column("appended_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("sequence", name="journal_entry_pkey"),
    )
    op.create_index("journal_entry_request_id_idx", "journal_entry", ["request_id"])
    op.create_index("journal_entry_erased_id_idx", "journal_entry", ["erased_id"])
    unpublished = sa.text("published_at IS NULL")
    op.create_index("journal_entry_unpublished_idx", "journal_entry", ["sequence"], postgresql_where=unpublished)
    op.execute("GRANT SELECT, INSERT, UPDATE ON journal_entry TO cdp_worker")


def downgrade() -> None:
    """Drop it; the object store keeps the journal."""
    op.drop_table("journal_entry")
