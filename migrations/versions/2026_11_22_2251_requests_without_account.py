"""Requests of people without an account: a proof by mailed link, letters and packages that belong to no customer."""

import sqlalchemy as sa
from alembic import op

revision = "c0d1a5e0d403"
down_revision = "c0d1a5e0d402"
branch_labels = None
depends_on = None

TYPES = ("access", "portability", "erasure", "rectification", "restriction", "objection")


def upgrade() -> None:
    """Add the table of proofs; let a letter and a package belong to a request alone."""
    kind = sa.Enum(*TYPES, name="request_type", native_enum=False, create_constraint=True, length=40)
    op.create_table(
        "request_proof",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=True),
        sa.Column("type", kind, nullable=False),
        sa.Column("address_sealed", sa.LargeBinary()),
        sa.Column("locale", sa.String(20)),
        sa.Column("token_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["request_id"], ["privacy_request.id"], name="request_proof_request_id_fkey"),
        sa.PrimaryKeyConstraint("id", name="request_proof_pkey"),
        sa.UniqueConstraint("token_hash", name="request_proof_token_hash_key"),
    )
    op.create_index("request_proof_request_id_idx", "request_proof", ["request_id"])
    op.create_index("request_proof_expires_at_idx", "request_proof", ["expires_at"])
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON request_proof TO cdp_worker")
    op.add_column("privacy_request", sa.Column("address_hash", sa.LargeBinary(32)))
    op.create_index("privacy_request_address_hash_idx", "privacy_request", ["address_hash"])
    op.alter_column("message", "customer_id", nullable=True)
    op.add_column("message", sa.Column("request_id", sa.Uuid()))
    op.create_foreign_key("message_request_id_fkey", "message", "privacy_request", ["request_id"], ["id"])
    op.create_index("message_request_id_idx", "message", ["request_id"])
    op.alter_column("export", "customer_id", nullable=True)


def downgrade() -> None:
    """Drop the proofs and whatever belongs to no customer."""
    op.execute("DELETE FROM export WHERE customer_id IS NULL")
    op.alter_column("export", "customer_id", nullable=False)
    op.execute("DELETE FROM message WHERE customer_id IS NULL")
    op.drop_column("message", "request_id")
    op.alter_column("message", "customer_id", nullable=False)
    op.drop_column("privacy_request", "address_hash")
    op.drop_table("request_proof")
