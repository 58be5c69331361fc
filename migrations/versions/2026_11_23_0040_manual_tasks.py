"""Steps of requests that people work on."""

import sqlalchemy as sa
from alembic import op

revision = "c0d1a5e0f303"
down_revision = "c0d1a5e0f401"
branch_labels = None
depends_on = None

SUBJECT = "nullif(current_setting('cdp.subject', true), '')::uuid"
STEPS = ("read", "pack", "check", "erase", "verify", "update")
LINKS = {
    "customer_id": "customer",
    "request_id": "privacy_request",
    "system_id": "system",
    "reported_by_id": "staff",
    "confirmed_by_id": "staff",
}


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
    """Add the table; staff read it, the worker's role alone writes."""
    op.create_table(
        "manual_task",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid()),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("system_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.String(200), nullable=False),
        sa.Column("step", _closed("manual_step", *STEPS), nullable=False),
        sa.Column(
            "status",
            _closed("manual_status", "open", "reported", "settled", "lapsed"),
            server_default="open",
            nullable=False,
        ),
        sa.Column("outcome", _closed("manual_outcome", "done", "nothing_found", "refused", "held", "not_possible")),
        sa.Column("records", sa.Integer()),
        sa.Column("code", sa.String(60)),
        sa.Column("note", sa.Text()),
        sa.Column("file_name", sa.String(200)),
        sa.Column("media_type", sa.String(100)),
        sa.Column("size_bytes", sa.Integer()),
        sa.Column("sha256", sa.LargeBinary(32)),
        sa.Column("object_key", sa.String(300)),
        sa.Column("key_id", sa.String(60)),
        sa.Column("token_hash", sa.LargeBinary(32)),
        sa.Column("reported_by_id", sa.Uuid()),
        sa.Column("confirmed_by_id", sa.Uuid()),
        _moment("created_at", nullable=False, now=True),
        _moment("due_at", nullable=False),
        _moment("reminded_at"),
        _moment("reported_at"),
        _moment("settled_at"),
        *(
            sa.ForeignKeyConstraint([name], [f"{table}.id"], name=f"manual_task_{name}_fkey")
            for name, table in LINKS.items()
        ),
        sa.PrimaryKeyConstraint("id", name="manual_task_pkey"),
        sa.UniqueConstraint("key", name="manual_task_key_key"),
        sa.UniqueConstraint("token_hash", name="manual_task_token_hash_key"),
    )
    for name in ("customer_id", "system_id", "reported_by_id", "confirmed_by_id"):
        op.create_index(f"manual_task_{name}_idx", "manual_task", [name])
    op.create_index("manual_task_status_due_at_idx", "manual_task", ["status", "due_at"])
    op.create_index("manual_task_created_at_id_idx", "manual_task", ["created_at", "id"])
    op.create_index("manual_task_request_id_system_id_step_idx", "manual_task", ["request_id", "system_id", "step"])
    _guard("manual_task", ())


def downgrade() -> None:
    """Drop it."""
    op.drop_table("manual_task")
