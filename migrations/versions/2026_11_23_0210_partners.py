"""Partners, their grants, the log of disclosures, and the role they read as.

The role ``cdp_partner`` sees rows only while the grant that the statement named lives, of tables a grant may name.
"""

import sqlalchemy as sa
from alembic import op

revision = "c0d1a5e0e801"
down_revision = "c0d1a5e0d101"
branch_labels = None
depends_on = None

ROLE = "cdp_partner"
SUBJECT = "nullif(current_setting('cdp.subject', true), '')::uuid"
NAMED = "nullif(current_setting('cdp.grant', true), '')::uuid"
LIVES = (
    f"(SELECT EXISTS (SELECT FROM partner_grant g WHERE g.id = {NAMED} AND g.status = 'active'"
    " AND statement_timestamp() >= g.valid_from AND statement_timestamp() < g.valid_until))"
)
FUNCTIONS = ("promotions", "email_contact", "data_management", "payment_processing", "customer_service")
STATUSES = ("proposed", "endorsed", "active", "refused", "revoked", "expired")
BASES = ("consent", "contract", "legal_obligation", "legitimate_interest")
STAFF = ("proposed_by_id", "endorsed_by_id", "approved_by_id", "ended_by_id")
# Tables with rows of customers that a partner may read, and the columns of them; none named: all.
READ = {
    "customer": (
        "id, kind, given_name, family_name, organisation_name, country, locale, status, restricted_at, brand_id,"
        " created_at, updated_at"
    ),
    "email_address": "",
    "phone_number": "",
    "postal_address": "",
    "preference": "",
    "consent": "",
    "sales_order": "",
    "sales_order_item": "",
    "inquiry": "",
    "quotation": "",
    "privacy_request": "customer_id, type, status",
    "objection": "customer_id, purpose, status",
    "legal_hold": "customer_id, status",
}


def _closed(name: str, *values: str) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=40)


def _moment(name: str, *, nullable: bool = True, now: bool = False) -> sa.Column[object]:
    default = sa.text("now()") if now else None
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=nullable)


def _role() -> None:
    op.execute(
        # Asked first: who may not create roles is refused even for one that an administrator has made already.
        f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{ROLE}') THEN CREATE ROLE {ROLE} NOLOGIN; "
        f"END IF; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
    )
    op.execute(f"GRANT USAGE ON SCHEMA public TO {ROLE}")
    op.execute(
        f"DO $$ BEGIN IF NOT pg_has_role(current_user, '{ROLE}', 'MEMBER') THEN GRANT {ROLE} TO CURRENT_USER; END IF; END $$"
    )


def _tables() -> None:
    op.create_table(
        "partner",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("code", sa.String(40), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("contact", sa.String(320), nullable=False),
        sa.Column("client_id", sa.Uuid()),
        _moment("created_at", nullable=False, now=True),
        sa.ForeignKeyConstraint(["client_id"], ["oauth_client.id"], name="partner_client_id_fkey"),
        sa.PrimaryKeyConstraint("id", name="partner_pkey"),
        sa.UniqueConstraint("code", name="partner_code_key"),
        sa.UniqueConstraint("client_id", name="partner_client_id_key"),
    )
    op.create_index("partner_client_id_idx", "partner", ["client_id"])
    op.create_table(
        "partner_grant",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("partner_id", sa.Uuid(), nullable=False),
        sa.Column("function", _closed("partner_function", *FUNCTIONS), nullable=False),
        *(sa.Column(name, sa.ARRAY(sa.Text()), nullable=False) for name in ("purposes", "fields", "actions")),
        sa.Column("legal_basis", _closed("grant_basis", *BASES), nullable=False),
        sa.Column("brands", sa.ARRAY(sa.Uuid()), server_default="{}", nullable=False),
        sa.Column("countries", sa.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("retention_days", sa.Integer(), nullable=False),
        sa.Column("contract_reference", sa.String(100), nullable=False),
        sa.Column("status", _closed("grant_status", *STATUSES), server_default="proposed", nullable=False),
        _moment("valid_from", nullable=False),
        _moment("valid_until", nullable=False),
        _moment("proposed_at", nullable=False, now=True),
        *(sa.Column(name, sa.Uuid()) for name in STAFF),
        _moment("endorsed_at"),
        _moment("approved_at"),
        _moment("ended_at"),
        sa.Column("end_reason", sa.Text()),
        sa.ForeignKeyConstraint(["partner_id"], ["partner.id"], name="partner_grant_partner_id_fkey"),
        *(sa.ForeignKeyConstraint([name], ["staff.id"], name=f"partner_grant_{name}_fkey") for name in STAFF),
        sa.PrimaryKeyConstraint("id", name="partner_grant_pkey"),
    )
    for name in ("partner_id", *STAFF):
        op.create_index(f"partner_grant_{name}_idx", "partner_grant", [name])
    op.create_index("partner_grant_status_valid_until_idx", "partner_grant", ["status", "valid_until"])
    op.create_table(
        "disclosure",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        *(sa.Column(name, sa.Uuid()) for name in ("partner_id", "grant_id", "order_id", "link_id")),
        sa.Column("recipient", sa.String(200), nullable=False),
        sa.Column("purpose", sa.String(60), nullable=False),
        sa.Column("legal_basis", sa.String(40), nullable=False),
        sa.Column("fields", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("request", sa.String(40)),
        _moment("disclosed_at", nullable=False, now=True),
        _moment("hidden_until"),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name="disclosure_customer_id_fkey"),
        sa.PrimaryKeyConstraint("id", name="disclosure_pkey"),
    )
    for name in ("customer_id", "partner_id"):
        newest_first = [sa.text(name), sa.text("disclosed_at DESC"), sa.text("id DESC")]
        op.create_index(f"disclosure_{name}_disclosed_at_id_idx", "disclosure", newest_first)


def _guard(table: str) -> None:
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO cdp_worker")
    op.execute(f"GRANT SELECT ON {table} TO cdp_staff")
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY {table}_staff ON {table} TO cdp_staff USING (true) WITH CHECK (true)")
    op.execute(f"CREATE POLICY {table}_worker ON {table} TO cdp_worker USING (true) WITH CHECK (true)")


def upgrade() -> None:
    """Add them; who reads for a partner reads nothing without a living grant."""
    _role()
    _tables()
    for table in ("partner", "partner_grant", "disclosure"):
        _guard(table)
    op.execute("GRANT SELECT (id, code, name) ON partner TO cdp_customer, cdp_partner")
    op.execute("CREATE POLICY partner_customer ON partner FOR SELECT TO cdp_customer USING (true)")
    op.execute("CREATE POLICY partner_partner ON partner FOR SELECT TO cdp_partner USING (true)")
    op.execute(f"GRANT SELECT ON partner_grant TO {ROLE}")
    op.execute(f"CREATE POLICY partner_grant_partner ON partner_grant FOR SELECT TO {ROLE} USING (id = {NAMED})")
    mine = f"customer_id = {SUBJECT}"
    op.execute("GRANT SELECT, INSERT ON disclosure TO cdp_customer")
    told = f"{mine} AND (hidden_until IS NULL OR hidden_until <= statement_timestamp())"
    op.execute(f"CREATE POLICY disclosure_customer ON disclosure TO cdp_customer USING ({told}) WITH CHECK ({mine})")
    theirs = f"partner_id = (SELECT g.partner_id FROM partner_grant g WHERE g.id = {NAMED})"
    op.execute(f"GRANT SELECT, INSERT ON disclosure TO {ROLE}")
    op.execute(
        f"CREATE POLICY disclosure_partner ON disclosure TO {ROLE} USING ({theirs}) WITH CHECK (grant_id = {NAMED})"
    )
    op.execute(f"GRANT SELECT ON brand, purpose TO {ROLE}")
    for table, columns in READ.items():
        op.execute(f"GRANT SELECT {f'({columns})' if columns else ''} ON {table} TO {ROLE}")
        op.execute(f"CREATE POLICY {table}_partner ON {table} FOR SELECT TO {ROLE} USING ({LIVES})")


def downgrade() -> None:
    """Drop them; keep the cluster's role."""
    for table in READ:
        op.execute(f"DROP POLICY {table}_partner ON {table}")
    for table in ("disclosure", "partner_grant", "partner"):
        op.drop_table(table)
    op.execute(f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {ROLE}")
    op.execute(f"REVOKE ALL ON SCHEMA public FROM {ROLE}")
