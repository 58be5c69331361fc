"""Mark customers one of whose identifiers stands on the suppression list, so that a read can ask their own row.

Only the platform can make the list's hashes, so it looks, and says here what it found; until it has looked, whoever is
marked unchecked is withheld from partners too. Where there is a list, everybody is looked at once.
"""

import sqlalchemy as sa
from alembic import op

revision = "c0d1a5e0ea08"
down_revision = "c0d1a5e0ea07"
branch_labels = None
depends_on = None

CHECK = "customer_customer_suppression_check"
INDEX = "customer_unchecked_idx"


def upgrade() -> None:
    """Add the mark, its index, and the right of partners' statements to read it."""
    op.add_column("customer", sa.Column("suppression", sa.String(40)))
    op.execute(f"ALTER TABLE customer ADD CONSTRAINT {CHECK} CHECK (suppression IN ('unchecked', 'listed')) NOT VALID")
    op.execute(f"ALTER TABLE customer VALIDATE CONSTRAINT {CHECK}")
    op.execute("GRANT SELECT (suppression) ON customer TO cdp_partner")
    # Row-level security is forced on the owner too, who has no policy.
    op.execute("ALTER TABLE customer NO FORCE ROW LEVEL SECURITY")
    op.execute(
        "UPDATE customer SET suppression = 'unchecked' WHERE EXISTS (SELECT FROM suppression WHERE lifted_at IS NULL)"
    )
    op.execute("ALTER TABLE customer FORCE ROW LEVEL SECURITY")
    with op.get_context().autocommit_block():
        op.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {INDEX} ON customer (id) WHERE suppression = 'unchecked'")


def downgrade() -> None:
    """Drop it."""
    with op.get_context().autocommit_block():
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {INDEX}")
    op.drop_column("customer", "suppression")
