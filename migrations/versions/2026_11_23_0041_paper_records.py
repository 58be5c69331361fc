"""The register of paper records."""

import sqlalchemy as sa
from alembic import op

revision = "c0d1a5e0f304"
down_revision = "c0d1a5e0f303"
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
LINKS = {
    "customer_id": "customer",
    "origin_identity_id": "identity",
    "collection_id": "collection",
    "request_id": "privacy_request",
    "registered_by_id": "staff",
    "destroyed_by_id": "staff",
    "witness_id": "staff",
}
TOLD = (
    "id",
    "customer_id",
    "reference",
    "category",
    "description",
    "status",
    "retain_until",
    "filed_at",
    "destroyed_at",
)


def _closed(name: str, *values: str) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=40)


def _moment(name: str, *, nullable: bool = True, now: bool = False) -> sa.Column[object]:
    default = sa.text("now()") if now else None
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=nullable)


def _guard(table: str, told: tuple[str, ...]) -> None:
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO cdp_worker")
    op.execute(f"GRANT SELECT ON {table} TO cdp_staff")
    if told:
        op.execute(f"GRANT SELECT ({', '.join(told)}) ON {table} TO cdp_customer")
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    mine = f"customer_id = {SUBJECT}"
    op.execute(f"CREATE POLICY {table}_customer ON {table} TO cdp_customer USING ({mine}) WITH CHECK ({mine})")
    op.execute(f"CREATE POLICY {table}_staff ON {table} TO cdp_staff USING (true) WITH CHECK (true)")
    op.execute(f"CREATE POLICY {table}_worker ON {table} TO cdp_worker USING (true) WITH CHECK (true)")


def upgrade() -> None:
    """Add the table; where a paper lies is for staff to know."""
    op.create_table(
        "paper_record",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("origin_identity_id", sa.Uuid()),
        sa.Column("collection_id", sa.Uuid()),
        sa.Column("reference", sa.String(20), nullable=False),
        sa.Column("category", _closed("paper_category", *CATEGORIES), nullable=False),
        sa.Column("office", sa.String(100), nullable=False),
        sa.Column("location", sa.String(200), nullable=False),
        sa.Column("description", sa.String(300), nullable=False),
        sa.Column(
            "status",
            _closed("paper_status", "filed", "due", "reported", "destroyed"),
            server_default="filed",
            nullable=False,
        ),
        sa.Column("retain_until", sa.Date(), nullable=False),
        sa.Column("request_id", sa.Uuid()),
        sa.Column("method", sa.String(100)),
        sa.Column("file_name", sa.String(200)),
        sa.Column("media_type", sa.String(100)),
        sa.Column("size_bytes", sa.Integer()),
        sa.Column("sha256", sa.LargeBinary(32)),
        sa.Column("object_key", sa.String(300)),
        sa.Column("key_id", sa.String(60)),
        sa.Column("registered_by_id", sa.Uuid()),
        sa.Column("destroyed_by_id", sa.Uuid()),
        sa.Column("witness_id", sa.Uuid()),
        _moment("filed_at", nullable=False, now=True),
        _moment("due_at"),
        _moment("reported_at"),
        _moment("destroyed_at"),
        *(
            sa.ForeignKeyConstraint([name], [f"{table}.id"], name=f"paper_record_{name}_fkey")
            for name, table in LINKS.items()
        ),
        sa.PrimaryKeyConstraint("id", name="paper_record_pkey"),
        sa.UniqueConstraint("reference", name="paper_record_reference_key"),
    )
    for name in (*LINKS, "retain_until"):
        op.create_index(f"paper_record_{name}_idx", "paper_record", [name])
    op.create_index("paper_record_status_due_at_idx", "paper_record", ["status", "due_at"])
    op.create_index("paper_record_filed_at_id_idx", "paper_record", ["filed_at", "id"])
    _guard("paper_record", TOLD)


def downgrade() -> None:
    """Drop it."""
    op.drop_table("paper_record")
