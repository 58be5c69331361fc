"""Corrections, objections and restrictions: what people ask for under GDPR art. 16, 18 and 21."""

import sqlalchemy as sa
from alembic import op

revision = "c0d1a5e0d402"
down_revision = "c0d1a5e0d301"
branch_labels = None
depends_on = None

SUBJECT = "nullif(current_setting('cdp.subject', true), '')::uuid"
TABLES = ("correction", "objection")


def _shared(table: str) -> tuple[sa.schema.SchemaItem, ...]:
    return (
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=True),
        sa.Column("origin_identity_id", sa.Uuid(), nullable=True),
        sa.Column("collection_id", sa.Uuid(), nullable=True),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=f"{table}_customer_id_fkey"),
        sa.ForeignKeyConstraint(["origin_identity_id"], ["identity.id"], name=f"{table}_origin_identity_id_fkey"),
        sa.ForeignKeyConstraint(["collection_id"], ["collection.id"], name=f"{table}_collection_id_fkey"),
        sa.ForeignKeyConstraint(["request_id"], ["privacy_request.id"], name=f"{table}_request_id_fkey"),
        sa.PrimaryKeyConstraint("id", name=f"{table}_pkey"),
    )


def _moment(name: str, *, nullable: bool = False) -> sa.Column[object]:
    default = None if nullable else sa.text("now()")
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=nullable)


def upgrade() -> None:
    """Add the tables and the mark on the customer."""
    op.create_table(
        "correction",
        *_shared("correction"),
        sa.Column("object_type", sa.String(40), nullable=False),
        sa.Column("object_id", sa.Uuid(), nullable=False),
        sa.Column("field", sa.String(60), nullable=False),
        sa.Column("old_value", sa.Text()),
        sa.Column("new_value", sa.Text()),
        _moment("asked_at"),
        _moment("applied_at", nullable=True),
    )
    status = sa.Enum(
        "weighed", "stands", "refused", name="objection_status", native_enum=False, create_constraint=True, length=40
    )
    op.create_table(
        "objection",
        *_shared("objection"),
        sa.Column("purpose", sa.String(60), nullable=False),
        sa.Column("status", status, nullable=False),
        _moment("objected_at"),
        _moment("decided_at", nullable=True),
        sa.ForeignKeyConstraint(["purpose"], ["purpose.code"], name="objection_purpose_fkey"),
    )
    op.create_index("objection_purpose_idx", "objection", ["purpose"])
    for table in TABLES:
        _guard(table)
    op.execute("GRANT UPDATE (status, decided_at) ON objection TO cdp_customer")
    op.add_column("customer", sa.Column("restricted_at", sa.DateTime(timezone=True)))
    op.create_index(
        "customer_restricted_idx", "customer", ["id"], postgresql_where=sa.text("restricted_at IS NOT NULL")
    )


def _guard(table: str) -> None:
    for column in ("customer_id", "origin_identity_id", "collection_id", "request_id"):
        op.create_index(f"{table}_{column}_idx", table, [column])
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO cdp_worker")
    op.execute(f"GRANT SELECT, INSERT ON {table} TO cdp_customer")
    op.execute(f"GRANT SELECT ON {table} TO cdp_staff")
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    mine = f"customer_id = {SUBJECT}"
    op.execute(f"CREATE POLICY {table}_customer ON {table} TO cdp_customer USING ({mine}) WITH CHECK ({mine})")
    op.execute(f"CREATE POLICY {table}_staff ON {table} TO cdp_staff USING (true) WITH CHECK (true)")
    op.execute(f"CREATE POLICY {table}_worker ON {table} TO cdp_worker USING (true) WITH CHECK (true)")


def downgrade() -> None:
    """Drop them; restrictions end."""
    op.drop_index("customer_restricted_idx", "customer")
    op.drop_column("customer", "restricted_at")
    for table in TABLES:
        op.drop_table(table)
