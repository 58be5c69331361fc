"""Controllers whose processor we are, what they ask of us, and the calls that tell them how it stands."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "c0d1a5e0f401"
down_revision = "c0d1a5e0f302"
branch_labels = None
depends_on = None

STATUSES = ("pending", "in_progress", "completed", "cancelled")
OUTCOMES = ("refused", "failed", "partial", "held", "unsupported")
CALLS = ("queued", "sending", "sent", "failed")


def _closed(name: str, *values: str) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=40)


def _moment(name: str, *, nullable: bool = False, now: bool = False) -> sa.Column[object]:
    default = sa.text("now()") if now else None
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=nullable)


def _refers(table: str, column: str, other: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{other}.id"], name=f"{table}_{column}_fkey")


def _texts(name: str) -> sa.Column[object]:
    return sa.Column(name, postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False)


def upgrade() -> None:
    """Add the tables; only the worker's role has rights on them."""
    op.create_table(
        "controller",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.Uuid(), nullable=False),
        sa.Column("brand_id", sa.Uuid(), nullable=False),
        sa.Column("numbering", sa.String(100), server_default="", nullable=False),
        _texts("callback_domains"),
        _moment("created_at", now=True),
        _refers("controller", "client_id", "oauth_client"),
        _refers("controller", "brand_id", "brand"),
        sa.PrimaryKeyConstraint("id", name="controller_pkey"),
        sa.UniqueConstraint("client_id", name="controller_client_id_key"),
    )
    op.create_table(
        "asked_request",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("controller_id", sa.Uuid(), nullable=False),
        sa.Column("subject_request_id", sa.Uuid(), nullable=False),
        sa.Column("type", _closed("asked_type", "access", "portability", "erasure"), nullable=False),
        sa.Column("regulation", sa.String(20), nullable=False),
        sa.Column("status", _closed("asked_status", *STATUSES), server_default="pending", nullable=False),
        sa.Column("outcome", _closed("asked_outcome", *OUTCOMES)),
        sa.Column("code", sa.String(60)),
        sa.Column("results_count", sa.Integer()),
        sa.Column("body_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("identities_sealed", sa.LargeBinary()),
        _texts("callback_urls"),
        sa.Column("request_id", sa.Uuid()),
        _moment("submitted_at"),
        _moment("received_at", now=True),
        _moment("due_at"),
        _moment("next_run_at", now=True),
        _moment("settled_at", nullable=True),
        _refers("asked_request", "controller_id", "controller"),
        _refers("asked_request", "request_id", "privacy_request"),
        sa.PrimaryKeyConstraint("id", name="asked_request_pkey"),
    )
    op.create_table(
        "status_call",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("asked_request_id", sa.Uuid(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("request_status", _closed("call_about", *STATUSES), nullable=False),
        sa.Column("outcome", _closed("call_outcome", *OUTCOMES)),
        sa.Column("status", _closed("call_status", *CALLS), server_default="queued", nullable=False),
        sa.Column("code", sa.String(60)),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("fence", sa.BigInteger(), server_default="0", nullable=False),
        _moment("next_run_at", now=True),
        _moment("created_at", now=True),
        _moment("settled_at", nullable=True),
        _refers("status_call", "asked_request_id", "asked_request"),
        sa.PrimaryKeyConstraint("id", name="status_call_pkey"),
    )
    _index()
    for table in ("controller", "asked_request", "status_call"):
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO cdp_worker")


def _index() -> None:
    op.create_index("controller_brand_id_idx", "controller", ["brand_id"])
    op.create_index(
        "asked_request_controller_id_subject_request_id_key",
        "asked_request",
        ["controller_id", "subject_request_id"],
        unique=True,
    )
    op.create_index("asked_request_request_id_idx", "asked_request", ["request_id"])
    open_ones, due = "status IN ('pending', 'in_progress')", "status IN ('queued', 'sending')"
    op.create_index("asked_request_open_idx", "asked_request", ["next_run_at"], postgresql_where=open_ones)
    op.create_index("status_call_asked_request_id_idx", "status_call", ["asked_request_id"])
    op.create_index("status_call_due_idx", "status_call", ["next_run_at"], postgresql_where=due)


def downgrade() -> None:
    """Drop what controllers asked; what the engine did for them stays."""
    op.drop_table("status_call")
    op.drop_table("asked_request")
    op.drop_table("controller")
