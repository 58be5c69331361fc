"""Grants behind tokens, sessions of staff, the brake on guessing passwords.

Codes and tokens now point to their grant, and a trigger notes every grant that ends.
"""

import sqlalchemy as sa
from alembic import op

revision = "c0d1a5e0a501"
down_revision = "c0d1a5e00002"
branch_labels = None
depends_on = None

SUBJECT = "nullif(current_setting('cdp.subject', true), '')::uuid"
ROLES = ("cdp_customer", "cdp_staff", "cdp_worker")


def upgrade() -> None:
    """Add the tables, then let sessions, codes and tokens belong to staff too."""
    _grants()
    op.create_table(
        "sign_in_brake",
        sa.Column("key_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("first_failure_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("blocked_until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key_hash", name="sign_in_brake_pkey"),
    )
    op.create_index("sign_in_brake_blocked_until_idx", "sign_in_brake", ["blocked_until"])
    op.add_column("session", sa.Column("staff_id", sa.Uuid(), nullable=True))
    op.create_foreign_key("session_staff_id_fkey", "session", "staff", ["staff_id"], ["id"])
    op.create_index("session_staff_id_idx", "session", ["staff_id"])
    op.alter_column("session", "customer_id", nullable=True)
    op.alter_column("session", "account_id", nullable=True)
    op.create_check_constraint(
        op.f("session_one_subject_check"), "session", "(customer_id IS NULL) <> (staff_id IS NULL)"
    )
    op.create_check_constraint(
        op.f("session_account_of_customer_check"), "session", "(customer_id IS NULL) = (account_id IS NULL)"
    )
    for table in ("oauth_code", "oauth_token"):
        op.alter_column(table, "customer_id", nullable=True)
        op.create_foreign_key(f"{table}_family_id_fkey", table, "oauth_grant", ["family_id"], ["id"])
    for table in ("session", "oauth_code", "oauth_token"):
        op.create_index(f"{table}_expires_at_idx", table, ["expires_at"])
    _rights()


def _grants() -> None:
    op.create_table(
        "oauth_grant",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=True),
        sa.Column("origin_identity_id", sa.Uuid(), nullable=True),
        sa.Column("collection_id", sa.Uuid(), nullable=True),
        sa.Column("staff_id", sa.Uuid(), nullable=True),
        sa.Column("client_id", sa.Uuid(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=True),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("authenticated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(customer_id IS NULL) <> (staff_id IS NULL)", name=op.f("oauth_grant_one_subject_check")),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name="oauth_grant_customer_id_fkey"),
        sa.ForeignKeyConstraint(["origin_identity_id"], ["identity.id"], name="oauth_grant_origin_identity_id_fkey"),
        sa.ForeignKeyConstraint(["collection_id"], ["collection.id"], name="oauth_grant_collection_id_fkey"),
        sa.ForeignKeyConstraint(["staff_id"], ["staff.id"], name="oauth_grant_staff_id_fkey"),
        sa.ForeignKeyConstraint(["client_id"], ["oauth_client.id"], name="oauth_grant_client_id_fkey"),
        sa.PrimaryKeyConstraint("id", name="oauth_grant_pkey"),
    )
    for column in (
        "customer_id",
        "origin_identity_id",
        "collection_id",
        "staff_id",
        "client_id",
        "session_id",
        "created_at",
    ):
        op.create_index(f"oauth_grant_{column}_idx", "oauth_grant", [column])
    op.create_table(
        "oauth_ended_grant",
        sa.Column("grant_id", sa.Uuid(), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("grant_id", name="oauth_ended_grant_pkey"),
    )
    op.create_index("oauth_ended_grant_ended_at_idx", "oauth_ended_grant", ["ended_at"])
    op.execute(
        "CREATE FUNCTION cdp_note_ended_grant() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER "
        "SET search_path = public, pg_temp AS $$ BEGIN "
        "INSERT INTO oauth_ended_grant (grant_id, ended_at) VALUES (OLD.id, clock_timestamp()) ON CONFLICT DO NOTHING; "
        "RETURN NULL; END $$"
    )
    op.execute(
        "CREATE TRIGGER oauth_grant_revoked AFTER UPDATE OF revoked_at ON oauth_grant FOR EACH ROW "
        "WHEN (NEW.revoked_at IS NOT NULL) EXECUTE FUNCTION cdp_note_ended_grant()"
    )
    op.execute(
        "CREATE TRIGGER oauth_grant_deleted AFTER DELETE ON oauth_grant FOR EACH ROW "
        "EXECUTE FUNCTION cdp_note_ended_grant()"
    )


def _rights() -> None:
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON oauth_grant, oauth_ended_grant, sign_in_brake TO cdp_worker")
    op.execute("GRANT SELECT ON oauth_grant TO cdp_customer, cdp_staff")
    op.execute("GRANT UPDATE (revoked_at) ON oauth_grant TO cdp_customer")
    op.execute("GRANT SELECT (staff_id) ON session TO cdp_customer, cdp_staff")
    op.execute("ALTER TABLE oauth_grant ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE oauth_grant FORCE ROW LEVEL SECURITY")
    op.execute(
        f"CREATE POLICY oauth_grant_customer ON oauth_grant TO cdp_customer USING (customer_id = {SUBJECT}) "
        f"WITH CHECK (customer_id = {SUBJECT})"
    )
    op.execute("CREATE POLICY oauth_grant_staff ON oauth_grant TO cdp_staff USING (true) WITH CHECK (true)")
    op.execute("CREATE POLICY oauth_grant_worker ON oauth_grant TO cdp_worker USING (true) WITH CHECK (true)")


def downgrade() -> None:
    """Drop what came; sessions, codes and tokens of staff, who did not exist before, go with it."""
    op.execute("DELETE FROM session WHERE customer_id IS NULL")
    for table in ("oauth_code", "oauth_token"):
        op.execute(f"DELETE FROM {table}")
        op.drop_constraint(f"{table}_family_id_fkey", table)
        op.alter_column(table, "customer_id", nullable=False)
    op.drop_constraint(op.f("session_one_subject_check"), "session")
    op.drop_constraint(op.f("session_account_of_customer_check"), "session")
    op.alter_column("session", "account_id", nullable=False)
    op.alter_column("session", "customer_id", nullable=False)
    op.drop_column("session", "staff_id")
    for table in ("session", "oauth_code", "oauth_token"):
        op.drop_index(f"{table}_expires_at_idx", table)
    op.drop_table("sign_in_brake")
    op.drop_table("oauth_ended_grant")
    op.drop_table("oauth_grant")
    op.execute("DROP FUNCTION cdp_note_ended_grant()")
