"""Logout notices: apps are told when a session ends (OpenID Connect Back-Channel Logout 1.0)."""

import sqlalchemy as sa
from alembic import op

revision = "c0d1a5e0a702"
down_revision = "c0d1a5e0a701"
branch_labels = None
depends_on = None

TABLE = "logout_notice"
STATUSES = ("queued", "sending", "sent", "failed")


def upgrade() -> None:
    """Add the table and where a client wants to be told; only the worker's role has rights on the table."""
    op.add_column("oauth_client", sa.Column("backchannel_logout_uri", sa.Text(), nullable=True))
    op.create_table(
        TABLE,
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.Uuid(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("subject", sa.Uuid(), nullable=True),
        sa.Column("subject_ref", sa.Uuid(), nullable=True),
        sa.Column(
            "status",
            sa.Enum(*STATUSES, name="notice_status", native_enum=False, create_constraint=True, length=40),
            server_default="queued",
            nullable=False,
        ),
        sa.Column("code", sa.String(length=60), nullable=True),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("fence", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("next_run_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["client_id"], ["oauth_client.id"], name=f"{TABLE}_client_id_fkey"),
        sa.PrimaryKeyConstraint("id", name=f"{TABLE}_pkey"),
    )
    op.create_index(f"{TABLE}_client_id_session_id_key", TABLE, ["client_id", "session_id"], unique=True)
    op.create_index(f"{TABLE}_due_idx", TABLE, ["next_run_at"], postgresql_where="status IN ('queued', 'sending')")
    op.create_index(f"{TABLE}_settled_at_idx", TABLE, ["settled_at"])
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {TABLE} TO cdp_worker")


def downgrade() -> None:
    """Drop both; apps are no longer told."""
    op.drop_table(TABLE)
    op.drop_column("oauth_client", "backchannel_logout_uri")
