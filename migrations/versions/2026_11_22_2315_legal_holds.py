"""Legal holds, the state of a request that waits for one, and which categories a connected system keeps."""

import sqlalchemy as sa
from alembic import op

revision = "c0d1a5e0f301"
down_revision = "c0d1a5e0c302"
branch_labels = None
depends_on = None

SUBJECT = "nullif(current_setting('cdp.subject', true), '')::uuid"
CATEGORIES = (
    "identity",
    "account",
    "contact",
    "preference",
    "consent",
    "order",
    "support",
    "survey",
    "device",
    "activity",
    "request",
    "message",
)
STATUSES = ("proposed", "active", "releasing", "released", "refused", "expired")
EFFECTIVE = "status IN ('proposed', 'active', 'releasing')"
REQUEST_STATUSES = (
    "received",
    "checking",
    "cooling_off",
    "erasing",
    "verifying",
    "collecting",
    "packing",
    "applying",
    "in_force",
    "lifting",
    "paused",
    "needs_attention",
    "completed",
    "cancelled",
    "refused",
    "failed",
)
# What a customer may read of a hold; why it was placed is not always theirs to know.
TOLD = ("id", "customer_id", "category", "status", "notice", "placed_at", "until", "ended_at")
STAFF = ("placed_by_id", "approved_by_id", "release_asked_by_id", "ended_by_id")


def _closed(name: str, *values: str) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=40)


def _moment(name: str, *, nullable: bool = True, now: bool = False) -> sa.Column[object]:
    default = sa.text("now()") if now else None
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=nullable)


def _allow(*statuses: str) -> None:
    listed = ", ".join(f"'{value}'" for value in statuses)
    for name, column in (
        ("privacy_request_request_status_check", "status"),
        ("privacy_request_paused_from_check", "paused_from"),
    ):
        op.drop_constraint(name, "privacy_request")
        op.execute(f"ALTER TABLE privacy_request ADD CONSTRAINT {name} CHECK ({column} IN ({listed})) NOT VALID")
        op.execute(f"ALTER TABLE privacy_request VALIDATE CONSTRAINT {name}")


def upgrade() -> None:
    """Add them."""
    _allow(*REQUEST_STATUSES, "held")
    op.add_column("system", sa.Column("categories", sa.ARRAY(sa.Text()), server_default="{}", nullable=False))
    op.execute("GRANT SELECT (categories) ON system TO cdp_customer, cdp_staff")
    op.create_table(
        "legal_hold",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid()),
        sa.Column("subject_ref", sa.Uuid(), nullable=False),
        sa.Column("category", _closed("hold_category", *CATEGORIES), nullable=False),
        sa.Column("status", _closed("hold_status", *STATUSES), server_default="proposed", nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("notice", sa.Text()),
        sa.Column("is_secret", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("case_ref", sa.String(100)),
        sa.Column("release_reason", sa.Text()),
        sa.Column("file_name", sa.String(200)),
        sa.Column("media_type", sa.String(100)),
        sa.Column("size_bytes", sa.Integer()),
        sa.Column("sha256", sa.LargeBinary(32)),
        sa.Column("object_key", sa.String(300)),
        sa.Column("key_id", sa.String(60)),
        *(sa.Column(name, sa.Uuid()) for name in STAFF),
        _moment("placed_at", nullable=False, now=True),
        _moment("approved_at"),
        _moment("review_at", nullable=False),
        _moment("until"),
        _moment("ended_at"),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name="legal_hold_customer_id_fkey"),
        *(sa.ForeignKeyConstraint([name], ["staff.id"], name=f"legal_hold_{name}_fkey") for name in STAFF),
        sa.PrimaryKeyConstraint("id", name="legal_hold_pkey"),
    )
    for name in ("customer_id", "subject_ref", *STAFF):
        op.create_index(f"legal_hold_{name}_idx", "legal_hold", [name])
    op.create_index("legal_hold_placed_at_id_idx", "legal_hold", ["placed_at", "id"])
    op.create_index(
        "legal_hold_one_effective_key",
        "legal_hold",
        ["subject_ref", "category"],
        unique=True,
        postgresql_where=sa.text(EFFECTIVE),
    )
    op.create_index("legal_hold_until_idx", "legal_hold", ["until"], postgresql_where=sa.text(EFFECTIVE))
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON legal_hold TO cdp_worker")
    op.execute("GRANT SELECT ON legal_hold TO cdp_staff")
    op.execute(f"GRANT SELECT ({', '.join(TOLD)}) ON legal_hold TO cdp_customer")
    op.execute("ALTER TABLE legal_hold ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE legal_hold FORCE ROW LEVEL SECURITY")
    op.execute(
        f"CREATE POLICY legal_hold_customer ON legal_hold TO cdp_customer USING (customer_id = {SUBJECT})"
        f" WITH CHECK (customer_id = {SUBJECT})"
    )
    op.execute("CREATE POLICY legal_hold_staff ON legal_hold TO cdp_staff USING (true) WITH CHECK (true)")
    op.execute("CREATE POLICY legal_hold_worker ON legal_hold TO cdp_worker USING (true) WITH CHECK (true)")


def downgrade() -> None:
    """Drop them; requests that wait for a hold go to whoever works on requests."""
    op.drop_table("legal_hold")
    op.drop_column("system", "categories")
    op.execute("UPDATE privacy_request SET status = 'needs_attention' WHERE status = 'held'")
    _allow(*REQUEST_STATUSES)
