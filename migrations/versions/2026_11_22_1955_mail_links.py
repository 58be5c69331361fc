"""Mailed links: single-use proofs of an e-mail address, and new passwords."""

import sqlalchemy as sa
from alembic import op

revision = "c0d1a5e0a502"
down_revision = "c0d1a5e0d001"
branch_labels = None
depends_on = None

SUBJECT = "nullif(current_setting('cdp.subject', true), '')::uuid"


def upgrade() -> None:
    """Add the table; only the worker's role has rights on it."""
    op.create_table(
        "mail_link",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=True),
        sa.Column("origin_identity_id", sa.Uuid(), nullable=True),
        sa.Column("collection_id", sa.Uuid(), nullable=True),
        sa.Column("staff_id", sa.Uuid(), nullable=True),
        sa.Column(
            "kind",
            sa.Enum("email_proof", "reset", name="link_kind", native_enum=False, create_constraint=True, length=40),
            nullable=False,
        ),
        sa.Column("address", sa.String(length=320), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(customer_id IS NULL) <> (staff_id IS NULL)", name=op.f("mail_link_one_subject_check")),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name="mail_link_customer_id_fkey"),
        sa.ForeignKeyConstraint(["origin_identity_id"], ["identity.id"], name="mail_link_origin_identity_id_fkey"),
        sa.ForeignKeyConstraint(["collection_id"], ["collection.id"], name="mail_link_collection_id_fkey"),
        sa.ForeignKeyConstraint(["staff_id"], ["staff.id"], name="mail_link_staff_id_fkey"),
        sa.PrimaryKeyConstraint("id", name="mail_link_pkey"),
        sa.UniqueConstraint("token_hash", name="mail_link_token_hash_key"),
    )
    for column in ("customer_id", "origin_identity_id", "collection_id", "staff_id", "expires_at"):
        op.create_index(f"mail_link_{column}_idx", "mail_link", [column])
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON mail_link TO cdp_worker")
    op.execute("ALTER TABLE mail_link ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE mail_link FORCE ROW LEVEL SECURITY")
    op.execute(
        f"CREATE POLICY mail_link_customer ON mail_link TO cdp_customer USING (customer_id = {SUBJECT}) "
        f"WITH CHECK (customer_id = {SUBJECT})"
    )
    op.execute("CREATE POLICY mail_link_staff ON mail_link TO cdp_staff USING (true) WITH CHECK (true)")
    op.execute("CREATE POLICY mail_link_worker ON mail_link TO cdp_worker USING (true) WITH CHECK (true)")


def downgrade() -> None:
    """Drop it; whoever holds a link asks for another."""
    op.drop_table("mail_link")
