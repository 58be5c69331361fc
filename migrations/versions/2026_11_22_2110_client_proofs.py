"""What a client proves and is given: public keys, demands on it, details of its grants, keys its tokens are bound to.

A grant may now belong to nobody but its client, who then acts in its own name.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "c0d1a5e0a601"
down_revision = "c0d1a5e0b002"
branch_labels = None
depends_on = None

ONE_SUBJECT = "oauth_grant_one_subject_check"


def _one_subject(condition: str) -> None:
    op.drop_constraint(op.f(ONE_SUBJECT), "oauth_grant")
    op.execute(f"ALTER TABLE oauth_grant ADD CONSTRAINT {ONE_SUBJECT} CHECK ({condition}) NOT VALID")
    op.execute(f"ALTER TABLE oauth_grant VALIDATE CONSTRAINT {ONE_SUBJECT}")


def upgrade() -> None:
    """Add the columns; every default is cheap."""
    op.add_column("oauth_client", sa.Column("jwks", postgresql.JSONB(), nullable=True))
    for name in ("requires_pushed", "requires_dpop"):
        op.add_column("oauth_client", sa.Column(name, sa.Boolean(), server_default="false", nullable=False))
    op.add_column(
        "oauth_client",
        sa.Column("authorization_types", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
    )
    op.add_column("oauth_grant", sa.Column("authorization_details", postgresql.JSONB(), nullable=True))
    for table in ("oauth_code", "oauth_token"):
        op.add_column(table, sa.Column("dpop_jkt", sa.String(length=43), nullable=True))
    _one_subject("customer_id IS NULL OR staff_id IS NULL")


def downgrade() -> None:
    """Grants of clients alone, which did not exist before, go."""
    op.execute("DELETE FROM oauth_grant WHERE customer_id IS NULL AND staff_id IS NULL")
    _one_subject("(customer_id IS NULL) <> (staff_id IS NULL)")
    for table in ("oauth_code", "oauth_token"):
        op.drop_column(table, "dpop_jkt")
    op.drop_column("oauth_grant", "authorization_details")
    for name in ("authorization_types", "requires_dpop", "requires_pushed", "jwks"):
        op.drop_column("oauth_client", name)
