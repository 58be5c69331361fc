"""Merges of duplicate customers, and what each did to every row; words of a consent may come to belong to the record
that stays, and are never changed."""

import sqlalchemy as sa
from alembic import op

revision = "c0d1a5e0ea01"
down_revision = "c0d1a5e0f300"
branch_labels = None
depends_on = None

SUBJECT = "nullif(current_setting('cdp.subject', true), '')::uuid"
STAFF = ("proposed_by_id", "merged_by_id", "undone_by_id")
# What customers read: never which colleague it was, nor what could open a sign-in.
TOLD = {
    "customer_merge": (
        "id customer_id kept_id merged_id merged_ref status reason case_ref undo_reason counts version proposed_at"
        " merged_at undone_at"
    ),
    "customer_merge_row": "id customer_id merge_id table_name effect shown",
}
# Whose row it is, and where it is filed.
FILED = "ARRAY['customer_id', 'origin_identity_id', 'collection_id']"


def _closed(name: str, *values: str) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=40)


def _moment(name: str, *, nullable: bool = True, now: bool = False) -> sa.Column[object]:
    default = sa.text("now()") if now else None
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=nullable)


def _points(table: str, column: str, to: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{to}.id"], name=f"{table}_{column}_fkey")


def _merges() -> None:
    statuses = ("proposed", "merged", "withdrawn", "undone")
    op.create_table(
        "customer_merge",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("kept_id", sa.Uuid(), nullable=False),
        sa.Column("merged_id", sa.Uuid(), nullable=False),
        sa.Column("merged_ref", sa.Uuid()),
        sa.Column("status", _closed("merge_status", *statuses), server_default="proposed", nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("case_ref", sa.String(100)),
        sa.Column("undo_reason", sa.Text()),
        sa.Column("counts", sa.dialects.postgresql.JSONB(), server_default="{}", nullable=False),
        *(sa.Column(name, sa.Uuid()) for name in STAFF),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        _moment("proposed_at", nullable=False, now=True),
        _moment("merged_at"),
        _moment("undone_at"),
        _points("customer_merge", "customer_id", "customer"),
        *(_points("customer_merge", name, "staff") for name in STAFF),
        sa.PrimaryKeyConstraint("id", name="customer_merge_pkey"),
    )
    for name in STAFF:
        op.create_index(f"customer_merge_{name}_idx", "customer_merge", [name])
    op.create_index("customer_merge_customer_id_proposed_at_idx", "customer_merge", ["customer_id", "proposed_at"])
    for name, columns, status in (
        ("customer_merge_merged_id_key", ["merged_id"], "merged"),
        ("customer_merge_proposal_key", ["customer_id", "merged_id"], "proposed"),
    ):
        where = sa.text(f"status = '{status}'")
        op.create_index(name, "customer_merge", columns, unique=True, postgresql_where=where)


def _rows() -> None:
    op.create_table(
        "customer_merge_row",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("merge_id", sa.Uuid(), nullable=False),
        sa.Column("table_name", sa.String(63), nullable=False),
        sa.Column("row_id", sa.Uuid(), nullable=False),
        sa.Column("effect", _closed("merge_effect", "moved", "parked", "changed", "added"), nullable=False),
        sa.Column("kept", sa.dialects.postgresql.JSONB()),
        sa.Column("shown", sa.dialects.postgresql.JSONB()),
        sa.Column("kept_context", sa.String(120)),
        sa.Column("kept_sealed", sa.LargeBinary()),
        _points("customer_merge_row", "customer_id", "customer"),
        _points("customer_merge_row", "merge_id", "customer_merge"),
        sa.PrimaryKeyConstraint("id", name="customer_merge_row_pkey"),
    )
    op.create_index("customer_merge_row_customer_id_idx", "customer_merge_row", ["customer_id"])
    columns = ["merge_id", "table_name", "row_id"]
    op.create_index("customer_merge_row_key", "customer_merge_row", columns, unique=True)


def _wall(table: str) -> None:
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO cdp_worker")
    op.execute(f"GRANT SELECT ({TOLD[table].replace(' ', ', ')}) ON {table} TO cdp_customer, cdp_staff")
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(
        f"CREATE POLICY {table}_customer ON {table} TO cdp_customer USING (customer_id = {SUBJECT})"
        f" WITH CHECK (customer_id = {SUBJECT})"
    )
    op.execute(f"CREATE POLICY {table}_staff ON {table} TO cdp_staff USING (true) WITH CHECK (true)")
    op.execute(f"CREATE POLICY {table}_worker ON {table} TO cdp_worker USING (true) WITH CHECK (true)")


def upgrade() -> None:
    """Add the ledger; let a consent change hands, and nothing else of it."""
    _merges()
    _rows()
    for table in TOLD:
        _wall(table)
    op.execute(f"GRANT SELECT ({', '.join(STAFF)}) ON customer_merge TO cdp_staff")
    op.execute("DROP TRIGGER consent_append_only ON consent")
    op.execute(
        "CREATE TRIGGER consent_append_only BEFORE UPDATE ON consent FOR EACH ROW"
        f" WHEN (to_jsonb(OLD) - {FILED} IS DISTINCT FROM to_jsonb(NEW) - {FILED})"
        " EXECUTE FUNCTION cdp_append_only()"
    )


def downgrade() -> None:
    """Drop the ledger: what was merged stays merged."""
    op.execute("DROP TRIGGER consent_append_only ON consent")
    op.execute(
        "CREATE TRIGGER consent_append_only BEFORE UPDATE ON consent FOR EACH ROW EXECUTE FUNCTION cdp_append_only()"
    )
    op.drop_table("customer_merge_row")
    op.drop_table("customer_merge")
