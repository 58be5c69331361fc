"""Casework: requests that wait for a decision, are paused, extended or assigned, and the evidence agents act on."""

import sqlalchemy as sa
from alembic import op

revision = "c0d1a5e0d401"
down_revision = "c0d1a5e0a602"
branch_labels = None
depends_on = None

SUBJECT = "nullif(current_setting('cdp.subject', true), '')::uuid"
STATUSES = ("received", "checking", "cooling_off", "erasing", "verifying", "collecting", "packing")
NEW_STATUSES = ("applying", "in_force", "lifting", "paused")
ENDS = ("needs_attention", "completed", "cancelled", "refused", "failed")
STEPS = ("read", "pack", "check", "erase", "verify")
SEEN = ("extension_reason", "pause_reason", "paused_from", "joined", "opened_by_id", "assignee_id", "extended_at")


def _allow(table: str, name: str, column: str, values: tuple[str, ...]) -> None:
    op.drop_constraint(name, table)
    listed = ", ".join(f"'{value}'" for value in values)
    op.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} CHECK ({column} IN ({listed})) NOT VALID")
    op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}")


def _closed(name: str, *values: str) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=40)


def upgrade() -> None:
    """Allow the new states and the step, add the columns and the table."""
    statuses = (*STATUSES, *NEW_STATUSES, *ENDS)
    _allow("privacy_request", "privacy_request_request_status_check", "status", statuses)
    _allow("request_task", "request_task_task_step_check", "step", (*STEPS, "update"))
    op.add_column("privacy_request", sa.Column("extension_reason", sa.Text()))
    op.add_column("privacy_request", sa.Column("pause_reason", sa.Text()))
    op.add_column("privacy_request", sa.Column("paused_from", sa.String(40)))
    listed = ", ".join(f"'{value}'" for value in statuses)
    op.execute(
        "ALTER TABLE privacy_request ADD CONSTRAINT privacy_request_paused_from_check"
        f" CHECK (paused_from IN ({listed}))"
    )
    op.add_column("privacy_request", sa.Column("joined", sa.Integer(), server_default="0", nullable=False))
    op.add_column("privacy_request", sa.Column("extended_at", sa.DateTime(timezone=True)))
    for column in ("opened_by_id", "assignee_id"):
        op.add_column("privacy_request", sa.Column(column, sa.Uuid()))
        op.create_foreign_key(f"privacy_request_{column}_fkey", "privacy_request", "staff", [column], ["id"])
        op.create_index(f"privacy_request_{column}_idx", "privacy_request", [column])
    op.execute(f"GRANT SELECT ({', '.join(SEEN)}) ON privacy_request TO cdp_customer, cdp_staff")
    _evidence()


def _evidence() -> None:
    op.create_table(
        "evidence",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=True),
        sa.Column("origin_identity_id", sa.Uuid(), nullable=True),
        sa.Column("collection_id", sa.Uuid(), nullable=True),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("kind", _closed("evidence_kind", "identity", "representative", "statement"), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("representative_name", sa.String(200)),
        sa.Column("representative_basis", sa.String(200)),
        sa.Column("file_name", sa.String(200)),
        sa.Column("media_type", sa.String(100)),
        sa.Column("size_bytes", sa.Integer()),
        sa.Column("sha256", sa.LargeBinary(32)),
        sa.Column("object_key", sa.String(300)),
        sa.Column("key_id", sa.String(60)),
        sa.Column("staff_id", sa.Uuid()),
        sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name="evidence_customer_id_fkey"),
        sa.ForeignKeyConstraint(["origin_identity_id"], ["identity.id"], name="evidence_origin_identity_id_fkey"),
        sa.ForeignKeyConstraint(["collection_id"], ["collection.id"], name="evidence_collection_id_fkey"),
        sa.ForeignKeyConstraint(["request_id"], ["privacy_request.id"], name="evidence_request_id_fkey"),
        sa.ForeignKeyConstraint(["staff_id"], ["staff.id"], name="evidence_staff_id_fkey"),
        sa.PrimaryKeyConstraint("id", name="evidence_pkey"),
    )
    for column in ("customer_id", "origin_identity_id", "collection_id", "request_id", "staff_id"):
        op.create_index(f"evidence_{column}_idx", "evidence", [column])
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON evidence TO cdp_worker")
    op.execute("GRANT SELECT ON evidence TO cdp_customer, cdp_staff")
    op.execute("ALTER TABLE evidence ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE evidence FORCE ROW LEVEL SECURITY")
    mine = f"customer_id = {SUBJECT}"
    op.execute(f"CREATE POLICY evidence_customer ON evidence TO cdp_customer USING ({mine}) WITH CHECK ({mine})")
    op.execute("CREATE POLICY evidence_staff ON evidence TO cdp_staff USING (true) WITH CHECK (true)")
    op.execute("CREATE POLICY evidence_worker ON evidence TO cdp_worker USING (true) WITH CHECK (true)")


def downgrade() -> None:
    """Give requests in a new state back to people, forget what the columns and the table held."""
    op.drop_table("evidence")
    for column in SEEN:
        op.execute(f"ALTER TABLE privacy_request DROP COLUMN {column}")
    op.execute("DELETE FROM request_task WHERE step = 'update'")
    listed = ", ".join(f"'{value}'" for value in NEW_STATUSES)
    op.execute(f"UPDATE privacy_request SET status = 'needs_attention' WHERE status IN ({listed})")
    _allow("request_task", "request_task_task_step_check", "step", STEPS)
    _allow("privacy_request", "privacy_request_request_status_check", "status", (*STATUSES, *ENDS))
