"""What is good once: proofs that were seen, requests pushed ahead, invitations to register a client."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "c0d1a5e0a602"
down_revision = "c0d1a5e0a601"
branch_labels = None
depends_on = None


def _moment(name: str, *, now: bool = False, nullable: bool = False) -> sa.Column[object]:
    default = sa.text("now()") if now else None
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=nullable)


def upgrade() -> None:
    """Add the tables; they hold nothing of a person, and only the worker's role has rights on them."""
    op.create_table(
        "oauth_seen_proof",
        sa.Column("proof_hash", sa.LargeBinary(length=32), nullable=False),
        _moment("expires_at"),
        sa.PrimaryKeyConstraint("proof_hash", name="oauth_seen_proof_pkey"),
    )
    op.create_table(
        "oauth_pushed_request",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("reference_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("client_id", sa.Uuid(), nullable=False),
        sa.Column("parameters", postgresql.JSONB(), nullable=False),
        _moment("created_at", now=True),
        _moment("expires_at"),
        _moment("used_at", nullable=True),
        sa.ForeignKeyConstraint(["client_id"], ["oauth_client.id"], name="oauth_pushed_request_client_id_fkey"),
        sa.PrimaryKeyConstraint("id", name="oauth_pushed_request_pkey"),
        sa.UniqueConstraint("reference_hash", name="oauth_pushed_request_reference_hash_key"),
    )
    op.create_table(
        "oauth_registration_token",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("purpose", sa.String(length=200), nullable=False),
        _moment("created_at", now=True),
        _moment("expires_at"),
        _moment("used_at", nullable=True),
        sa.Column("client_id", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(["client_id"], ["oauth_client.id"], name="oauth_registration_token_client_id_fkey"),
        sa.PrimaryKeyConstraint("id", name="oauth_registration_token_pkey"),
        sa.UniqueConstraint("token_hash", name="oauth_registration_token_token_hash_key"),
    )
    for table in ("oauth_seen_proof", "oauth_pushed_request", "oauth_registration_token"):
        op.create_index(f"{table}_expires_at_idx", table, ["expires_at"])
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO cdp_worker")
    for table in ("oauth_pushed_request", "oauth_registration_token"):
        op.create_index(f"{table}_client_id_idx", table, ["client_id"])


def downgrade() -> None:
    """Drop them; what was pushed or invited is asked for again."""
    for table in ("oauth_registration_token", "oauth_pushed_request", "oauth_seen_proof"):
        op.drop_table(table)
