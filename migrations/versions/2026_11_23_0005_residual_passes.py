"""The residual pass: whom it looks for, how runs ended, what they found, and the addenda that follow from them."""

import sqlalchemy as sa
from alembic import op

revision = "c0d1a5e0a401"
down_revision = "c0d1a5e0f504"
branch_labels = None
depends_on = None


def _closed(name: str, *values: str) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=40)


def _moment(name: str, *, nullable: bool = False, now: bool = False) -> sa.Column[object]:
    default = sa.text("now()") if now else None
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=nullable)


def _count(name: str, kind: sa.types.TypeEngine[int]) -> sa.Column[int]:
    return sa.Column(name, kind, server_default="0", nullable=False)


def _points(table: str, column: str, to: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{to}.id"], name=f"{table}_{column}_fkey")


def _runs() -> None:
    op.create_table(
        "residual_pass",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("status", _closed("pass_status", "clean", "found", "failed"), nullable=False),
        sa.Column("code", sa.String(60)),
        _count("people", sa.Integer()),
        _count("tables_read", sa.Integer()),
        _count("columns_read", sa.Integer()),
        _count("rows_read", sa.BigInteger()),
        _count("canaries", sa.Integer()),
        _moment("started_at"),
        _moment("finished_at", now=True),
        sa.PrimaryKeyConstraint("id", name="residual_pass_pkey"),
    )
    op.create_index("residual_pass_finished_at_idx", "residual_pass", ["finished_at"])


def _checks() -> None:
    status = _closed("residual_status", "waiting", "clean", "found", "impossible")
    op.create_table(
        "residual_check",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("status", status, server_default="waiting", nullable=False),
        sa.Column("pass_id", sa.Uuid()),
        _moment("created_at", now=True),
        _moment("published_at", nullable=True),
        _moment("checked_at", nullable=True),
        _points("residual_check", "request_id", "privacy_request"),
        _points("residual_check", "pass_id", "residual_pass"),
        sa.PrimaryKeyConstraint("id", name="residual_check_pkey"),
        sa.UniqueConstraint("request_id", name="residual_check_request_id_key"),
    )
    waiting = sa.text("status = 'waiting'")
    op.create_index("residual_check_waiting_idx", "residual_check", ["created_at"], postgresql_where=waiting)
    op.create_index("residual_check_pass_id_idx", "residual_check", ["pass_id"])
    op.create_table(
        "residual_finding",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("pass_id", sa.Uuid(), nullable=False),
        sa.Column("table_name", sa.String(63), nullable=False),
        sa.Column("column_name", sa.String(63), nullable=False),
        sa.Column("identifier_type", sa.String(40), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        _moment("found_at", now=True),
        _points("residual_finding", "request_id", "privacy_request"),
        _points("residual_finding", "pass_id", "residual_pass"),
        sa.PrimaryKeyConstraint("id", name="residual_finding_pkey"),
    )
    for name in ("request_id", "pass_id"):
        op.create_index(f"residual_finding_{name}_idx", "residual_finding", [name])


def _addenda() -> None:
    op.create_table(
        "certificate_addendum",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("certificate_id", sa.Uuid(), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("reference", sa.String(20), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("key_id", sa.String(60), nullable=False),
        _moment("issued_at", now=True),
        _points("certificate_addendum", "certificate_id", "certificate"),
        _points("certificate_addendum", "request_id", "privacy_request"),
        sa.PrimaryKeyConstraint("id", name="certificate_addendum_pkey"),
        *(
            sa.UniqueConstraint(name, name=f"certificate_addendum_{name}_key")
            for name in ("certificate_id", "request_id", "reference")
        ),
    )
    op.execute(
        "CREATE TRIGGER certificate_addendum_append_only BEFORE UPDATE OR DELETE ON certificate_addendum"
        " FOR EACH ROW EXECUTE FUNCTION cdp_append_only()"
    )
    op.execute("ALTER TABLE certificate_addendum ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE certificate_addendum FORCE ROW LEVEL SECURITY")
    op.execute(
        "CREATE POLICY certificate_addendum_customer ON certificate_addendum FOR SELECT TO cdp_customer"
        " USING (request_id IN (SELECT id FROM privacy_request))"
    )
    for role in ("staff", "worker"):
        op.execute(
            f"CREATE POLICY certificate_addendum_{role} ON certificate_addendum TO cdp_{role}"
            " USING (true) WITH CHECK (true)"
        )


def upgrade() -> None:
    """Add the tables; the worker reads every table, also the one that says which version this is."""
    _runs()
    _checks()
    _addenda()
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON residual_pass, residual_check, residual_finding TO cdp_worker")
    op.execute("GRANT SELECT, INSERT ON certificate_addendum TO cdp_worker")
    op.execute("GRANT SELECT ON residual_check, residual_finding, certificate_addendum TO cdp_staff")
    op.execute("GRANT SELECT ON certificate_addendum TO cdp_customer")
    op.execute("GRANT SELECT ON alembic_version TO cdp_worker")


def downgrade() -> None:
    """Drop them."""
    op.execute("REVOKE ALL ON alembic_version FROM cdp_worker")
    for table in ("certificate_addendum", "residual_finding", "residual_check", "residual_pass"):
        op.drop_table(table)
