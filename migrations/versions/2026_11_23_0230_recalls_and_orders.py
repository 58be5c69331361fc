"""Recalls, offers on behalf of partners, legal orders, and links by which customers let somebody read."""

import sqlalchemy as sa
from alembic import op

revision = "c0d1a5e0e802"
down_revision = "c0d1a5e0b502"
branch_labels = None
depends_on = None

SUBJECT = "nullif(current_setting('cdp.subject', true), '')::uuid"
ORDER_STAFF = ("proposed_by_id", "endorsed_by_id", "approved_by_id", "disclosed_by_id")
LINKS = {"customer_id": "customer", "origin_identity_id": "identity", "collection_id": "collection"}
# What customers read of their own links; never what opens them.
TOLD = (
    "id",
    "customer_id",
    "recipient",
    "purpose",
    "areas",
    "created_at",
    "expires_at",
    "last_used_at",
    "use_count",
    "revoked_at",
)


def _closed(name: str, *values: str) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=40)


def _moment(name: str, *, nullable: bool = True, now: bool = False) -> sa.Column[object]:
    default = sa.text("now()") if now else None
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=nullable)


def _points(table: str, column: str, to: str, key: str = "id") -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{to}.{key}"], name=f"{table}_{column}_fkey")


def _indexed(table: str, *columns: str) -> None:
    for name in columns:
        op.create_index(f"{table}_{name}_idx", table, [name])


def _recalls() -> None:
    op.create_table(
        "partner_recall",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("partner_id", sa.Uuid(), nullable=False),
        sa.Column("grant_id", sa.Uuid()),
        sa.Column("reason", _closed("recall_reason", "grant_ended", "erasure"), nullable=False),
        sa.Column("subject_id", sa.Uuid()),
        sa.Column("status", _closed("recall_status", "open", "acknowledged"), server_default="open", nullable=False),
        _moment("created_at", nullable=False, now=True),
        _moment("due_at", nullable=False),
        _moment("acknowledged_at"),
        sa.Column("note", sa.String(500)),
        _points("partner_recall", "partner_id", "partner"),
        _points("partner_recall", "grant_id", "partner_grant"),
        sa.PrimaryKeyConstraint("id", name="partner_recall_pkey"),
    )
    _indexed("partner_recall", "partner_id", "grant_id")
    op.create_index("partner_recall_status_due_at_idx", "partner_recall", ["status", "due_at"])


def _offers() -> None:
    statuses = ("proposed", "approved", "sent", "refused")
    op.create_table(
        "partner_offer",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("grant_id", sa.Uuid(), nullable=False),
        sa.Column("purpose", sa.String(60), nullable=False),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("status", _closed("offer_status", *statuses), server_default="proposed", nullable=False),
        sa.Column("decided_by_id", sa.Uuid()),
        sa.Column("position", sa.Uuid()),
        sa.Column("sent_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("withheld_count", sa.Integer(), server_default="0", nullable=False),
        _moment("created_at", nullable=False, now=True),
        _moment("decided_at"),
        _moment("completed_at"),
        _points("partner_offer", "grant_id", "partner_grant"),
        _points("partner_offer", "purpose", "purpose", "code"),
        _points("partner_offer", "decided_by_id", "staff"),
        sa.PrimaryKeyConstraint("id", name="partner_offer_pkey"),
    )
    _indexed("partner_offer", "grant_id", "purpose", "decided_by_id")
    waiting = sa.text("status = 'approved'")
    op.create_index("partner_offer_approved_idx", "partner_offer", ["id"], postgresql_where=waiting)


def _orders() -> None:
    statuses = ("proposed", "endorsed", "approved", "disclosed", "refused")
    op.create_table(
        "legal_order",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid()),
        sa.Column("subject_ref", sa.Uuid(), nullable=False),
        sa.Column("authority", sa.String(200), nullable=False),
        sa.Column("case_ref", sa.String(100), nullable=False),
        sa.Column("law", sa.String(200), nullable=False),
        sa.Column("fields", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("status", _closed("order_status", *statuses), server_default="proposed", nullable=False),
        _moment("silent_until"),
        sa.Column("reason", sa.Text()),
        sa.Column("file_name", sa.String(200)),
        sa.Column("media_type", sa.String(100)),
        sa.Column("size_bytes", sa.Integer()),
        sa.Column("sha256", sa.LargeBinary(32)),
        sa.Column("object_key", sa.String(300)),
        sa.Column("key_id", sa.String(60)),
        *(sa.Column(name, sa.Uuid()) for name in ORDER_STAFF),
        _moment("proposed_at", nullable=False, now=True),
        *(_moment(name) for name in ("approved_at", "disclosed_at", "told_at")),
        _points("legal_order", "customer_id", "customer"),
        *(_points("legal_order", name, "staff") for name in ORDER_STAFF),
        sa.PrimaryKeyConstraint("id", name="legal_order_pkey"),
    )
    _indexed("legal_order", "customer_id", "subject_ref", *ORDER_STAFF)
    silent = sa.text("told_at IS NULL")
    op.create_index("legal_order_silent_until_idx", "legal_order", ["silent_until"], postgresql_where=silent)


def _links() -> None:
    op.create_table(
        "shared_link",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("origin_identity_id", sa.Uuid()),
        sa.Column("collection_id", sa.Uuid()),
        sa.Column("token_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("recipient", sa.String(200), nullable=False),
        sa.Column("purpose", sa.String(200), nullable=False),
        sa.Column("areas", sa.ARRAY(sa.Text()), nullable=False),
        _moment("created_at", nullable=False, now=True),
        _moment("expires_at", nullable=False),
        _moment("last_used_at"),
        sa.Column("use_count", sa.Integer(), server_default="0", nullable=False),
        _moment("revoked_at"),
        *(_points("shared_link", name, to) for name, to in LINKS.items()),
        sa.PrimaryKeyConstraint("id", name="shared_link_pkey"),
        sa.UniqueConstraint("token_hash", name="shared_link_token_hash_key"),
    )
    _indexed("shared_link", *LINKS, "expires_at")


def _guard(table: str, *, staff: str = "", customer: str | None = None) -> None:
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO cdp_worker")
    op.execute(f"GRANT SELECT {staff} ON {table} TO cdp_staff")
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    if customer is not None:
        op.execute(
            f"CREATE POLICY {table}_customer ON {table} TO cdp_customer USING ({customer}) WITH CHECK ({customer})"
        )
    op.execute(f"CREATE POLICY {table}_staff ON {table} TO cdp_staff USING (true) WITH CHECK (true)")
    op.execute(f"CREATE POLICY {table}_worker ON {table} TO cdp_worker USING (true) WITH CHECK (true)")


def upgrade() -> None:
    """Add them. A customer hears of an order by the disclosure it led to; the order itself is for staff."""
    _recalls()
    _offers()
    _orders()
    _links()
    _guard("partner_recall")
    _guard("partner_offer")
    _guard("legal_order", customer=f"customer_id = {SUBJECT}")
    _guard("shared_link", staff=f"({', '.join(TOLD)})", customer=f"customer_id = {SUBJECT}")
    op.execute(f"GRANT SELECT ({', '.join(TOLD)}) ON shared_link TO cdp_customer")


def downgrade() -> None:
    """Drop them."""
    for table in ("shared_link", "legal_order", "partner_offer", "partner_recall"):
        op.drop_table(table)
