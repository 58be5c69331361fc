"""Second factors: authenticator apps, recovery codes, passkeys, half sign-ins; how sessions and grants were proven."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "c0d1a5e0c301"
down_revision = "c0d1a5e0e701"
branch_labels = None
depends_on = None

SUBJECT = "nullif(current_setting('cdp.subject', true), '')::uuid"
OWNED = ("totp", "recovery_code", "passkey", "half_sign_in")


def _moment(name: str, *, now: bool = False, nullable: bool = False) -> sa.Column[object]:
    default = sa.text("now()") if now else None
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=nullable)


def upgrade() -> None:
    """Add the tables, with rights for the worker's role alone."""
    _owned(
        "totp",
        sa.Column("secret_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("last_step", sa.BigInteger(), nullable=False),
        _moment("created_at", now=True),
        _moment("used_at", nullable=True),
    )
    _owned(
        "recovery_code",
        sa.Column("code_hash", sa.LargeBinary(length=32), nullable=False),
        _moment("created_at", now=True),
        _moment("used_at", nullable=True),
        sa.UniqueConstraint("code_hash", name="recovery_code_code_hash_key"),
    )
    _owned(
        "passkey",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("credential_id", sa.LargeBinary(length=1023), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("sign_count", sa.BigInteger(), nullable=False),
        sa.Column("backed_up", sa.Boolean(), nullable=False),
        _moment("created_at", now=True),
        _moment("used_at", nullable=True),
        sa.UniqueConstraint("credential_id", name="passkey_credential_id_key"),
    )
    _owned(
        "half_sign_in",
        sa.Column("token_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        _moment("created_at", now=True),
        _moment("expires_at"),
        sa.UniqueConstraint("token_hash", name="half_sign_in_token_hash_key"),
    )
    op.create_table(
        "used_challenge",
        sa.Column("challenge_hash", sa.LargeBinary(length=32), nullable=False),
        _moment("expires_at"),
        sa.PrimaryKeyConstraint("challenge_hash", name="used_challenge_pkey"),
    )
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON used_challenge TO cdp_worker")
    for column in ("customer_id", "staff_id"):
        op.create_index(f"totp_{column}_key", "totp", [column], unique=True)
    for table in ("half_sign_in", "used_challenge"):
        op.create_index(f"{table}_expires_at_idx", table, ["expires_at"])
    for table in ("session", "oauth_grant"):
        methods = sa.Column("amr", postgresql.ARRAY(sa.Text()), server_default="{pwd}", nullable=False)
        op.add_column(table, methods)


def _owned(table: str, *columns: sa.schema.SchemaItem) -> None:
    """A table whose rows belong to a customer or to a member of staff."""
    owners = {
        "customer_id": "customer.id",
        "origin_identity_id": "identity.id",
        "collection_id": "collection.id",
        "staff_id": "staff.id",
    }
    op.create_table(
        table,
        sa.Column("id", sa.Uuid(), nullable=False),
        *(sa.Column(name, sa.Uuid(), nullable=True) for name in owners),
        *columns,
        *(sa.ForeignKeyConstraint([name], [to], name=f"{table}_{name}_fkey") for name, to in owners.items()),
        sa.CheckConstraint("(customer_id IS NULL) <> (staff_id IS NULL)", name=op.f(f"{table}_one_subject_check")),
        sa.PrimaryKeyConstraint("id", name=f"{table}_pkey"),
    )
    for name in owners:
        if table != "totp" or name not in ("customer_id", "staff_id"):
            op.create_index(f"{table}_{name}_idx", table, [name])
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO cdp_worker")
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(
        f"CREATE POLICY {table}_customer ON {table} TO cdp_customer USING (customer_id = {SUBJECT}) "
        f"WITH CHECK (customer_id = {SUBJECT})"
    )
    op.execute(f"CREATE POLICY {table}_staff ON {table} TO cdp_staff USING (true) WITH CHECK (true)")
    op.execute(f"CREATE POLICY {table}_worker ON {table} TO cdp_worker USING (true) WITH CHECK (true)")


def downgrade() -> None:
    """Drop them; everybody is back to a password alone."""
    for table in ("session", "oauth_grant"):
        op.drop_column(table, "amr")
    for table in ("used_challenge", *OWNED):
        op.drop_table(table)
